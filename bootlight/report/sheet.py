"""A sheet of images: a row for each kind, a column for each image."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from bootlight.errors import BootlightError
from bootlight.io.pictures import to_arrays
from bootlight.io.shown import in_colors, is_points, squared

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST, MOST = 64, 128  # pixels of a tile's edge: smaller images are enlarged by a whole factor, larger ones reduced
GAP, MARGIN, TEXT, FONT = 4, 12, 20, 13
INK, EMPTY = "#222222", "#f2f2f2"


class Row(Protocol):
    """A row, see `data.side_by_side.LookedAt`."""

    @property
    def label(self) -> str:
        """What stands above it."""

    @property
    def images(self) -> Sequence[NDArray[Any] | None]:
        """(H, W, C) each, or None."""


def sheet(rows: Sequence[Row]) -> bytes:
    """A PNG: text above each row, tiles enlarged by whole factors without interpolation. Floats beyond [-1, 1] are cut there.

    Raises:
        BootlightError: there is nothing to draw, or the images are points.
    """
    shapes = [image.shape for row in rows for image in row.images if image is not None]
    if not shapes or any(is_points((shape[2], *shape[:2])) for shape in shapes):
        raise BootlightError(
            "there are no pictures to look at; images of one pixel are points, which the report of a run shows"
        )
    edge = _edge(max(max(shape[:2]) for shape in shapes))
    columns = max(len(row.images) for row in rows)
    height = 2 * MARGIN + len(rows) * (TEXT + edge + GAP)
    labels = max(ImageFont.load_default(FONT).getlength(row.label) for row in rows)
    width = 2 * MARGIN + max(columns * (edge + GAP), int(labels) + 1)
    canvas = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(canvas)
    for number, row in enumerate(rows):
        top = MARGIN + number * (TEXT + edge + GAP)
        pen.text((MARGIN, top), row.label, fill=INK, font=ImageFont.load_default(FONT))
        for column, image in enumerate(row.images):
            where = MARGIN + column * (edge + GAP), top + TEXT
            if image is None:
                pen.rectangle([*where, where[0] + edge - 1, where[1] + edge - 1], fill=EMPTY)
            else:
                canvas.paste(_tile(image, edge), where)
    file = io.BytesIO()
    canvas.save(file, "PNG", optimize=True)
    return file.getvalue()


def _edge(size: int) -> int:
    return size * -(-LEAST // size) if size < LEAST else min(size, MOST)


def _tile(image: NDArray[Any], edge: int) -> Image.Image:
    """In RGB at `edge` x `edge`."""
    if image.dtype != np.uint8:
        image = to_arrays(torch.from_numpy(np.array(image, np.float32)).permute(2, 0, 1)[None])[0]
    shown = squared(in_colors(image))
    picture = Image.fromarray(shown[:, :, 0] if shown.shape[2] == 1 else shown).convert("RGB")
    filter_ = Image.Resampling.NEAREST if edge % picture.height == 0 else Image.Resampling.LANCZOS
    return picture.resize((edge, edge), filter_)
