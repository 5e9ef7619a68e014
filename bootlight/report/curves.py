"""Line charts as SVG that takes the text colour of the page it stands in."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 4.6, 2.9  # inches; at 72 pixels to the inch
INK = "#010203"  # stands for the page's text colour, which matplotlib cannot know
COLORS = ("#3b82c4", "#d9822b", "#3fa66b", "#a678d8", "#d9567a")
RAMP = ("#3b82c4", "#8a63d2", "#d9567a", "#e08a2c")  # readable on white and on black
MAX_POINTS = 200
MAX_CHARTS = 40  # on a page; each takes a tenth of a second
LARGEST = 1e100  # value that can be drawn: axes take differences of the ends
MAX_LEGEND = 6
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
STYLE: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: small, sharp, searchable
    "svg.hashsalt": "bootlight",  # equal input, equal bytes
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "xtick.color": INK,
    "ytick.color": INK,
}


@dataclass(frozen=True)
class Curve:
    """A line.

    Args:
        label: its name in the legend.
        x: positions, rising.
        y: values, as many.
        error: one standard error of each value, 0 where it is not known; None draws no band.
    """

    label: str
    x: list[int]
    y: list[float]
    error: list[float] | None = None


def score_chart(curves: list[Curve]) -> str:
    """Scores over generations, each with a band of one standard error on both sides.

    Returns:
        An ``<svg>`` element.
    """
    return svg(lambda axes: _draw_scores(axes, curves))


def history_chart(curves: list[Curve]) -> str:
    """One training curve for each generation, from blue (first) to orange (last).

    Long curves are drawn through the means of about 200 groups of consecutive points. The axis is logarithmic when the
    values are positive and span more than a factor of 10.

    Returns:
        An ``<svg>`` element.
    """
    return svg(lambda axes: _draw_histories(axes, curves))


def _draw_scores(axes: "Axes", curves: list[Curve]) -> None:
    from matplotlib.ticker import MaxNLocator

    for k, curve in enumerate(curves):
        color = COLORS[k % len(COLORS)]
        axes.plot(curve.x, curve.y, color=color, marker="o", markersize=4, label=curve.label)
        if curve.error is not None:
            y, error = np.asarray(curve.y), np.asarray(curve.error)
            axes.fill_between(curve.x, y - error, y + error, color=color, alpha=0.25, linewidth=0)
            axes.errorbar(curve.x, y, error, color=color, linewidth=0, elinewidth=1, capsize=2)
    axes.set_xlabel("generation")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(curves) > 1:
        axes.legend()


def _draw_histories(axes: "Axes", curves: list[Curve]) -> None:
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.ticker import LogLocator, NullFormatter

    ramp = LinearSegmentedColormap.from_list("generations", RAMP)
    labelled = set(np.linspace(0, len(curves) - 1, MAX_LEGEND).round().astype(int).tolist())
    for k, curve in enumerate(curves):
        x, y = group_means(curve.x, curve.y)
        color = ramp(k / max(len(curves) - 1, 1))
        axes.plot(x, y, color=color, linewidth=1.2, label=curve.label if k in labelled else None)
    lowest, highest = axes.dataLim.y0, axes.dataLim.y1
    if lowest > 0 and highest > 10 * lowest:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("training step")
    axes.legend()


def group_means(x: list[int], y: list[float]) -> tuple[list[float], list[float]]:
    """Means of groups of consecutive points, at most `MAX_POINTS` groups of nearly equal size; each point counts once."""
    count = min(len(x), MAX_POINTS)
    edges = np.linspace(0, len(x), count + 1).round().astype(int).tolist()
    groups = [slice(start, stop) for start, stop in pairwise(edges)]
    return [float(np.mean(x[group])) for group in groups], [float(np.mean(y[group])) for group in groups]


def svg(draw: Callable[["Axes"], None], height: float = HEIGHT) -> str:
    """A drawing as an ``<svg>`` element; equal drawings give equal text.

    Args:
        draw: draws on the axes that it is given.
        height: in inches.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        draw(figure.add_subplot())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata=NO_METADATA)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    return re.sub(r' id="[\w.]+_\d+"', "", text)  # names like axes_1 would stand several times in one page
