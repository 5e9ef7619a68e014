"""One picture of a run: rows are generations, columns are the same preview seeds, scores stand beside each row."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bootlight.errors import BootlightError
from bootlight.io.atomic import atomic_write, read_bytes
from bootlight.io.pictures import decode_whole
from bootlight.metrics.score import Score
from bootlight.report.current import scores_mark
from bootlight.report.legend import arrow
from bootlight.report.scores import REAL, floors_of, main_scores, read_scores, score_names
from bootlight.report.table import leading
from bootlight.runs.folder import RunFolder

MAX_BYTES = 500_000
MAX_COLUMNS = 16
MAX_ROWS = 24
LEAST_ROWS = 4  # real images, first, middle and last generation: only below that columns go
TEXT_BYTES = 60_000  # of labels and scores, about
TILE_EDGE = (64, 96)  # pixels; smaller tiles are enlarged by a whole factor, larger ones are reduced
MAX_ALONE = 192
GAP = 6
MARGIN = 12
LABEL_WIDTH = 112
CHARACTER_WIDTH = 8  # pixels, more than the mean of the sans-serif font at TEXT_HEIGHT
MAX_PREVIEW_BYTES = 64 * 2**20
MAX_CHARACTERS = 120  # of a line of text beside a row
TEXT_HEIGHT = 13
LINE_HEIGHT = 18
DPI = 100


@dataclass(frozen=True)
class Row:
    """One row of the strip.

    Args:
        label: what stands at its left.
        tiles: images (K, H, W, 3), uint8.
        lines: what stands at its right.
    """

    label: str
    tiles: NDArray[np.uint8]
    lines: list[str]


def write_strip(run: RunFolder) -> Path:
    """Draw `strip.png`: real images, then each generation that has previews, with its scores.

    Images are enlarged by whole factors without interpolation, so every pixel of a small image stays visible. At most
    16 columns and 24 rows; where the file would exceed 500 kB fewer rows, evenly between the first and the last generation.

    Returns:
        Path of the picture.

    Raises:
        BootlightError: there are no previews yet, a picture is not a row of squares, or the disk is full.
    """
    rows = _rows(run)
    if not rows:
        raise BootlightError(f"{run.path}: no previews.png yet; run bootlight fit until the end of a generation")
    rows, columns = _fitting(rows)
    with atomic_write(run.strip) as file:
        file.write(_draw(rows, columns, scores_mark(run)))
    return run.strip


def _fitting(rows: list[Row]) -> tuple[list[Row], int]:
    """As many rows as the file may hold, and columns: every row is packed once on its own, which tells what it will cost."""
    columns = max(len(row.tiles) for row in rows)
    left = MAX_BYTES - TEXT_BYTES
    costs = [_packed_bytes(row.tiles) for row in rows]
    count = len(rows)
    while count > LEAST_ROWS and sum(costs[k] for k in _kept(len(rows), count)) > left:
        count -= 1
    kept = _kept(len(rows), count)
    share = left / max(1, sum(costs[k] for k in kept))
    return [rows[k] for k in kept], max(1, min(columns, int(columns * share)))


def _kept(total: int, count: int) -> list[int]:
    """The first row, and evenly spaced ones of those below it."""
    return [0, *_evenly_spaced(list(range(1, total)), count - 1)]


def _packed_bytes(tiles: NDArray[np.uint8]) -> int:
    png = io.BytesIO()
    Image.fromarray(np.concatenate(list(tiles), 1)).save(png, format="PNG")
    return len(png.getvalue())


def _rows(run: RunFolder) -> list[Row]:
    scores = read_scores(run)
    names = leading(main_scores(score_names(scores)))
    arrows = {name: arrow(row.scores.get(name) for row in scores) for name in names}
    by_generation = {row.generation: row for row in scores}
    rows = []
    if run.real_previews.exists():
        tiles = _tiles(run.real_previews)
        rows.append(Row(REAL, tiles, _lines(floors_of(scores), names[: tiles.shape[1] // LINE_HEIGHT], arrows)))
    with_previews = [k for k, folder in enumerate(run.generations()) if folder.previews.exists()]
    for k in _evenly_spaced(with_previews, MAX_ROWS):
        tiles = _tiles(run.generation(k).previews)
        fitting = tiles.shape[1] // LINE_HEIGHT  # the table has them all
        lines = _lines(by_generation[k].scores, names[:fitting], arrows) if k in by_generation else []
        rows.append(Row(f"generation {k}", tiles, lines))
    return rows


def _evenly_spaced(items: list[int], count: int) -> list[int]:
    """At most `count` items, the first and the last among them."""
    if len(items) <= count:
        return items
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def _lines(scores: Mapping[str, Score], names: list[str], arrows: Mapping[str, str]) -> list[str]:
    lines = [f"{name}{arrows[name]} {scores[name]} (n={scores[name].n})" for name in names if name in scores]
    return [line[:MAX_CHARACTERS] for line in lines]


def _tiles(path: Path) -> NDArray[np.uint8]:
    """Cut a row of square images apart: (K, H, H, 3), at most `MAX_COLUMNS`, with an edge within `TILE_EDGE`."""
    try:
        picture = Image.fromarray(decode_whole(read_bytes(path, MAX_PREVIEW_BYTES), path.name))
    except (OSError, BootlightError) as error:
        raise BootlightError(f"{path}: cannot be read as a picture ({error}); delete it and run the same command") from error
    height, count = picture.height, min(picture.width // picture.height, MAX_COLUMNS)
    if picture.width % height or not count:
        raise BootlightError(f"{path}: {picture.width} x {height} is not a row of squares; delete it and run again")
    smallest, largest = TILE_EDGE
    largest = MAX_ALONE if count == 1 else largest  # a picture of all points
    edge = height * -(-smallest // height) if height < smallest else min(height, largest)
    filter_ = Image.Resampling.NEAREST if edge >= height else Image.Resampling.LANCZOS
    boxes = [(k * height, 0, (k + 1) * height, height) for k in range(count)]
    return np.stack([np.asarray(picture.resize((edge, edge), filter_, box=box)) for box in boxes])


def _draw(rows: list[Row], columns: int, mark: str) -> bytes:
    """PNG with the tiles at exact pixels: column c starts at MARGIN + LABEL_WIDTH + c * (edge + GAP)."""
    from matplotlib.figure import Figure
    from matplotlib.transforms import IdentityTransform

    columns = min(columns, max(len(row.tiles) for row in rows))
    heights = [max(row.tiles.shape[1], len(row.lines) * LINE_HEIGHT) for row in rows]
    grid_width = columns * (max(row.tiles.shape[2] for row in rows) + GAP)
    score_width = CHARACTER_WIDTH * max((len(line) for row in rows for line in row.lines), default=0)
    width = 2 * MARGIN + LABEL_WIDTH + grid_width + score_width
    height = 2 * MARGIN + sum(heights) + GAP * (len(rows) - 1)
    size = ((width + 0.01) / DPI, (height + 0.01) / DPI)  # matplotlib cuts off fractions: 1.13 * 100 must not become 112
    figure = Figure(figsize=size, dpi=DPI, facecolor="white")

    def write(x: int, y: float, text: str, color: str) -> None:
        figure.text(
            x, y, text, color=color, va="center", fontsize=TEXT_HEIGHT * 72 / DPI,
            transform=IdentityTransform(), parse_math=False,
        )  # fmt: skip

    top = height - MARGIN  # the origin of matplotlib is at the bottom
    pasted: list[tuple[int, int, NDArray[np.uint8]]] = []
    for row, row_height in zip(rows, heights, strict=True):
        middle = top - row_height / 2
        edge = row.tiles.shape[1]
        write(MARGIN, middle, row.label, "#111111")
        for column, tile in enumerate(row.tiles[:columns]):
            left = MARGIN + LABEL_WIDTH + column * (edge + GAP)
            pasted.append((height - round(middle - edge / 2) - edge, left, tile))
        for k, line in enumerate(row.lines):
            offset = (k - (len(row.lines) - 1) / 2) * LINE_HEIGHT
            write(MARGIN + LABEL_WIDTH + grid_width + GAP, middle - offset, line, "#333333")
        top -= row_height + GAP
    raw, png = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="rgba")
    about = PngInfo()
    about.add_text("scores", mark)
    picture = np.array(Image.frombytes("RGBA", (width, height), raw.getvalue()).convert("RGB"))
    for y, x, tile in pasted:  # matplotlib would resample each of them
        picture[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    Image.fromarray(picture).save(png, format="PNG", pnginfo=about)
    return png.getvalue()
