"""One picture of suspected copies: each row a synthetic image and the real images nearest to it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from bootlight.errors import BootlightError
from bootlight.io.atomic import write_bytes
from bootlight.io.pictures import encode_png

MAX_ROWS = 16
TILE_EDGE = (64, 96)  # pixels; smaller images are enlarged by a whole factor, larger ones are reduced
GAP = 6
MARGIN = 12
HEAD = 20  # height of the headings
CAPTION = 34  # height of the two lines under a tile
SPLIT = 18  # more room between a synthetic image and the real ones
FONT_SIZE = 12


def write_neighbours(
    path: Path,
    *,
    synthetic: NDArray[np.uint8],
    indices: NDArray[np.int64],
    distances: NDArray[np.float64],
    real: Callable[[int], NDArray[np.uint8]],
    synthetic_label: Callable[[int], str] = "no. {}".format,
    real_label: Callable[[int], str] = "no. {}".format,
) -> Path:
    """Draw synthetic images beside their nearest real ones, those closest to a real image first.

    Under each real image stand its distance and its label, under each synthetic image its label. At most `MAX_ROWS` rows:
    the rest are farther from the real images. Where distances mean little to the eye, the features see otherwise than it does.

    Args:
        path: of the PNG; its folder is created.
        synthetic: images (n, H, W, C), square, C is 1 or 3.
        indices: of the k nearest real images, nearest first, (n, k).
        distances: to them, (n, k), in the unit of the features.
        real: the real image (H, W, C) of an index; called for the rows that are drawn.
        synthetic_label: what to write under a synthetic image, about 9 letters.
        real_label: what to write under a real one.

    Returns:
        `path`.

    Raises:
        BootlightError: there is no synthetic image, or the file cannot be written.
        ValueError: `synthetic`, `indices` and `distances` differ in length or shape.
    """
    if not len(synthetic):
        raise BootlightError(f"{path}: no synthetic images to compare with real ones; check num_synthetic")
    if indices.shape != distances.shape or len(indices) != len(synthetic):
        raise ValueError(
            f"{len(synthetic)} images, indices {indices.shape} and distances {distances.shape} do not belong together"
        )
    order = np.argsort(distances[:, 0], kind="stable")[:MAX_ROWS]
    edge = _edge(synthetic.shape[1])
    canvas, pen = _canvas(edge, rows=len(order), columns=indices.shape[1])
    for row, i in enumerate(order):
        top = MARGIN + HEAD + row * (edge + CAPTION + GAP)
        canvas.paste(_tile(synthetic[i], edge), (MARGIN, top))
        _write(pen, MARGIN + edge // 2, top + edge, synthetic_label(int(i)))
        for column, (j, distance) in enumerate(zip(indices[i].tolist(), distances[i].tolist(), strict=True)):
            left = _left(edge, column)
            canvas.paste(_tile(real(j), edge), (left, top))
            _write(pen, left + edge // 2, top + edge, f"{distance:.4g}\n{real_label(j)}")
    write_bytes(path, encode_png(np.asarray(canvas)))
    return path


def _canvas(edge: int, *, rows: int, columns: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """White paper with the headings."""
    width = _left(edge, columns) - GAP + MARGIN
    canvas = Image.new("RGB", (width, 2 * MARGIN + HEAD + rows * (edge + CAPTION + GAP) - GAP), "white")
    pen = ImageDraw.Draw(canvas)
    _write(pen, MARGIN + edge // 2, MARGIN - 3, "synthetic")
    real = "nearest real, distance below" if columns > 2 else "real"
    _write(pen, (_left(edge, 0) + _left(edge, columns) - GAP) // 2, MARGIN - 3, real)
    return canvas, pen


def _left(edge: int, column: int) -> int:
    """Where a column of real images begins."""
    return MARGIN + edge + SPLIT + column * (edge + GAP)


def _edge(height: int) -> int:
    smallest, largest = TILE_EDGE
    return height * -(-smallest // height) if height < smallest else min(height, largest)


def _tile(image: NDArray[np.uint8], edge: int) -> Image.Image:
    """The image in RGB at `edge` x `edge`; enlarged pixels stay squares."""
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).convert("RGB")
    filter_ = Image.Resampling.NEAREST if edge % picture.height == 0 else Image.Resampling.LANCZOS
    return picture.resize((edge, edge), filter_)


def _write(pen: ImageDraw.ImageDraw, middle: int, top: int, text: str) -> None:
    """Text, dark grey, centred at `middle`, beginning at `top`."""
    font = ImageFont.load_default(FONT_SIZE)
    pen.multiline_text((middle, top + 3), text, fill="#222222", font=font, anchor="ma", align="center", spacing=2)
