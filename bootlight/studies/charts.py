"""Charts of a study as SVG that takes the text colour of the page: bands over seeds, differences, losses."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bootlight.report.curves import HEIGHT, INK, LARGEST, group_means, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = ("#3b82c4", "#d9822b", "#3fa66b", "#a678d8", "#d9567a", "#8a8f2a")  # readable on white and on black
MARKERS = "osD^vP"
UNKNOWN, WORSE, BETTER = "#8a8f98", "#d9822b", "#3b82c4"
ROW_INCHES = 0.72
LEGEND_INCHES = 0.16  # of an arm
MAX_LINES = len(COLORS)  # in a chart
MAX_ROWS = 12  # differences in a chart
MAX_LABEL = 58  # characters


class Band(NamedTuple):
    """A score of an arm over generations.

    Attributes:
        label: of the arm.
        x: generations.
        y: means over seeds.
        deviation: standard deviations over seeds, 0 where there is one seed only.
        expected: what theory says at `x`; empty where it says nothing.
    """

    label: str
    x: list[int]
    y: list[float]
    deviation: list[float]
    expected: list[float]


class Difference(NamedTuple):
    """One row of a chart of differences.

    Attributes:
        label: what is compared, above the row.
        reference: what with, below that.
        value: the difference.
        interval: its ends; None where it is not known.
        better: True or False where the interval excludes 0 and the score has a good direction, else None.
    """

    label: str
    reference: str
    value: float
    interval: tuple[float, float] | None
    better: bool | None


class Losses(NamedTuple):
    """A loss of an arm, one curve for each seed.

    Attributes:
        label: of the arm.
        curves: steps and values of each seed.
        exits: steps at which the plateau is left.
    """

    label: str
    curves: list[tuple[list[int], list[float]]]
    exits: list[int]


def band_chart(bands: Sequence[Band]) -> str:
    """Means over seeds with a band of one standard deviation on both sides; dashes where theory has a curve."""
    return svg(lambda axes: _draw_bands(axes, bands), HEIGHT + LEGEND_INCHES * len(bands))


def chance_note(count: int) -> str:
    """What so many 95 % intervals must be read with."""
    return (
        f"The intervals are not corrected for their number: of {count} about {0.05 * count:.1f} would exclude 0 by chance if "
        "nothing differed."
    )


def difference_chart(rows: Sequence[Difference]) -> str:
    """Differences with their intervals, from top to bottom; blue is better, orange worse, grey not known to be either."""
    return svg(lambda axes: _draw_differences(axes, rows), 0.4 + ROW_INCHES * len(rows))


def loss_chart(arms: Sequence[Losses]) -> str:
    """One thin line for each seed, one colour for each arm; vertical lines where a plateau is left."""
    return svg(lambda axes: _draw_losses(axes, arms), HEIGHT + LEGEND_INCHES * len(arms))


def _draw_bands(axes: "Axes", bands: Sequence[Band]) -> None:
    from matplotlib.ticker import MaxNLocator

    for k, band in enumerate(bands):
        color, y, deviation = COLORS[k % len(COLORS)], np.asarray(band.y), np.asarray(band.deviation)
        axes.plot(band.x, y, color=color, marker=MARKERS[k % len(MARKERS)], markersize=3.5, label=band.label)
        axes.fill_between(band.x, y - deviation, y + deviation, color=color, alpha=0.2, linewidth=0)
        if band.expected:
            axes.plot(band.x, band.expected, color=color, linestyle=(0, (4, 3)), linewidth=1.2)
    axes.set_xlabel("generation")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend_above(axes)


def _draw_differences(axes: "Axes", rows: Sequence[Difference]) -> None:
    for y, row in enumerate(rows):
        color = UNKNOWN if row.better is None else (BETTER if row.better else WORSE)
        text = f"{row.value:.3g}"
        if row.interval is not None:
            axes.plot(row.interval, [y, y], color=color, linewidth=2, solid_capstyle="round")
            text += f" [{row.interval[0]:.3g}, {row.interval[1]:.3g}]"
        axes.plot([row.value], [y], "o", color=color, markersize=6, markerfacecolor=color if row.interval else "none")
        axes.plot([0, 0], [y - 0.14, y + 0.14], color=INK, linewidth=1, zorder=0)  # a line throughout would cross the text
        for rise, line in ((0.72, row.label), (0.5, f"- {row.reference}"), (0.28, text)):
            line = textwrap.shorten(line, MAX_LABEL, placeholder=" ...")
            axes.annotate(line, (0.0, y - rise), xycoords=("axes fraction", "data"), va="center", fontsize=8.5)
    axes.set_ylim(len(rows) - 0.75, -0.9)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.05)


def _draw_losses(axes: "Axes", arms: Sequence[Losses]) -> None:
    for k, arm in enumerate(arms):
        color = COLORS[k % len(COLORS)]
        for i, (x, y) in enumerate(arm.curves):
            kept = [(a, b) for a, b in zip(x, y, strict=True) if abs(b) < LARGEST]  # a diverged loss has others
            axes.plot(*group_means([a for a, _ in kept], [b for _, b in kept]), color=color, linewidth=0.9, alpha=0.8,
                      label=arm.label if i == 0 else None)  # fmt: skip
        for step in arm.exits:
            axes.axvline(step, color=color, linestyle=(0, (2, 2)), linewidth=0.9)
    axes.set_xlabel("training step")
    _legend_above(axes)


def _legend_above(axes: "Axes") -> None:
    """Names of arms are long: inside they would cover the curves."""
    if axes.get_legend_handles_labels()[0]:
        axes.get_figure().legend(loc="outside upper left", fontsize=8.5, borderpad=0.1, labelspacing=0.25)  # type: ignore[union-attr]
