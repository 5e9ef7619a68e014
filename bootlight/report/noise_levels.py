"""Pictures of `noise_bins.json`: the loss at each noise level, and what a step at one does to the others."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bootlight.io.atomic import read_json
from bootlight.report.curves import COLORS, MAX_LEGEND, RAMP, WIDTH, svg
from bootlight.report.page import figure, remark, section
from bootlight.runs.folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVES = {"loss": "loss", "x0_error": "squared error of the image", "gradient_norm": "norm of the gradient"}
SQUARE = 4.0  # inches, height of the map
LINEAR = 0.02  # share of the largest change below which colors are linear in it
Bins = dict[str, Any]


def read_noise_bins(path: Path) -> Bins | None:
    """What was measured at each level; None where nothing was, or the file is not as `evaluation.noise_bins` writes it."""
    found = read_json(path) if path.exists() else None
    if not isinstance(found, dict) or found.get("format") != 1:
        return None
    n, numbers = len(found["sigma"]), [found["sigma"], *(found[key] for key in CURVES), *found["interference"]]
    whole = all(len(values) == n and np.isfinite(np.array(values, float)).all() for values in numbers)
    return found if n and whole else None


def noise_levels(run: RunFolder) -> str:
    """Curves of all generations, and the map of the last one, of the folder that leads the scores."""
    found = [(folder.number, read_noise_bins(folder.noise_bins)) for folder in run.generations()]
    known = [(number, bins) for number, bins in found if bins is not None]
    if not known:
        return ""
    drawings = [figure(title, svg(_curves(known, key))) for key, title in CURVES.items()]
    number, last = known[-1]
    drawings.append(figure(f"change of the loss by a step, generation {number}", svg(interference(last), SQUARE)))
    note = remark(
        f"On {last['n']} real images, held out where some are, with frozen noise. Bins are equal parts of the levels that "
        "training sees. The loss has its own units, those of what is predicted; its band is one standard deviation. Steps go "
        f"along the gradient of one bin, and are all {last['step']:.2g} long; blue falls, red rises, as a share of the loss."
    )
    return section("Noise levels", f'<div class="curves">{"".join(drawings)}</div>', note)


def noise_bins_png(bins: Bins) -> bytes:
    """Loss and map side by side, for pages that take no SVG."""
    from matplotlib.figure import Figure

    page = Figure(figsize=(2 * WIDTH, SQUARE), layout="constrained", facecolor="white")
    left, right = page.subplots(1, 2)
    _curves([(0, bins)], "loss")(left)
    left.set_title(CURVES["loss"])
    interference(bins)(right)
    buffer = io.BytesIO()
    page.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()


def _curves(known: Sequence[tuple[int, Bins]], key: str) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        from matplotlib.colors import LinearSegmentedColormap

        ramp = LinearSegmentedColormap.from_list("generations", RAMP)
        labelled = set(np.linspace(0, len(known) - 1, MAX_LEGEND).round().astype(int).tolist())
        for i, (number, bins) in enumerate(known):
            color = ramp(i / (len(known) - 1)) if len(known) > 1 else COLORS[0]
            x, y = np.array(bins["sigma"]), np.array(bins[key])
            axes.plot(x, y, color=color, marker="o", markersize=3, label=f"generation {number}" if i in labelled else None)
            if key == "loss" and i == len(known) - 1:
                spread = np.sqrt(bins["variance"])
                axes.fill_between(x, np.maximum(y - spread, y / 10), y + spread, color=color, alpha=0.2, linewidth=0)
        axes.set_xscale("log")
        if all(min(bins[key]) > 0 for _, bins in known):
            axes.set_yscale("log")
        axes.set_xlabel("sigma")
        if len(known) > 1:
            axes.legend()

    return draw


def interference(bins: Bins) -> Callable[[Axes], None]:
    """Draws the map: rows are losses, columns steps, both from the lowest level to the highest."""

    def draw(axes: Axes) -> None:
        from matplotlib.colors import SymLogNorm
        from matplotlib.ticker import FuncFormatter

        change = 100 * np.array(bins["interference"])
        largest = max(float(np.abs(change).max()), 1e-9)
        norm = SymLogNorm(LINEAR * largest, vmin=-largest, vmax=largest)
        edges = np.arange(len(change) + 1) - 0.5
        drawn = axes.pcolormesh(edges, edges, change, norm=norm, cmap="RdBu_r", edgecolor="face", linewidth=0.1)
        places = np.unique(np.linspace(0, len(change) - 1, 5).round().astype(int))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(places, [f"{bins['sigma'][k]:.2g}" for k in places])
        axes.set_xlabel("sigma of the step")
        axes.set_ylabel("sigma of the loss")
        axes.set_aspect("equal")
        marks = [sign * largest * share for sign, share in ((-1, 1), (-1, 0.1), (1, 0), (1, 0.1), (1, 1))]
        bar = axes.figure.colorbar(drawn, ax=axes, ticks=marks, format=FuncFormatter(lambda x, _: f"{x:+.2g} %" if x else "0"))
        bar.ax.minorticks_off()

    return draw
