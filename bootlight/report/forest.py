"""One picture of many differences: each a dot with its interval, in units of its own standard error."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bootlight.io.atomic import atomic_write

UNKNOWN, WORSE, BETTER = "#777777", "#c2410c", "#0369a1"
ROW_INCHES = 0.32
LIMIT = 8.0  # standard errors; what lies farther out is drawn at the border


class Row(NamedTuple):
    """One difference.

    Attributes:
        label: on the left.
        value: the difference.
        standard_error: of it, > 0.
        interval: its ends.
        better: True or False when the difference is there and has a direction, else None.
    """

    label: str
    value: float
    standard_error: float
    interval: tuple[float, float]
    better: bool | None


def write_forest(path: Path, rows: Sequence[Row], title: str) -> Path:
    """Draw differences with their intervals; an interval that crosses the line at 0 says that nothing was found.

    Args:
        path: of the PNG.
        rows: from top to bottom.
        title: above.

    Returns:
        `path`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 1.1 + ROW_INCHES * len(rows)), dpi=120, layout="constrained")
    axes = figure.subplots()
    for y, row in enumerate(rows):
        low, middle, high = (_scaled(end, row) for end in (row.interval[0], row.value, row.interval[1]))
        colour = UNKNOWN if row.better is None else (BETTER if row.better else WORSE)
        axes.plot([low, high], [y, y], color=colour, linewidth=2, solid_capstyle="round")
        axes.plot([middle], [y], "o", color=colour, markersize=6)
        text = f"{row.value:.3g}  [{row.interval[0]:.3g}, {row.interval[1]:.3g}]"
        axes.annotate(text, (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=8, color=colour)
    axes.axvline(0, color="black", linewidth=1)
    axes.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(-LIMIT - 0.5, LIMIT + 0.5)
    axes.set_xlabel("difference in standard errors, with its 95 % interval (grey: not distinguishable)", fontsize=9)
    axes.set_title(title, fontsize=10, loc="left")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    with atomic_write(path) as file:
        figure.savefig(file, format="png")
    return path


def _scaled(value: float, row: Row) -> float:
    """In standard errors, at most `LIMIT` from 0."""
    return max(-LIMIT, min(LIMIT, value / row.standard_error))
