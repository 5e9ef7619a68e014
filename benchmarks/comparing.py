"""Two paired sets of 200 images with all usual metrics: `bootlight compare`, against measuring anew without each group.

Processor time of one thread; features are there already. The differences are checked to be the same before they are timed.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from ratios import compare, print_table

from bootlight.evaluation.comparing.compare import GROUPS, MAX_REAL, Measured, compare_measured, measure_set
from bootlight.evaluation.suite import USUAL, Features, measure_all
from bootlight.metrics.features.features import PixelFeatures
from bootlight.metrics.once import once
from bootlight.metrics.uncertainty import without_groups

COUNT = 200
NETWORK = PixelFeatures()  # names the scores; not asked
Sides = tuple[Features, Features]


def sets(size: int) -> tuple[Features, Sides]:
    """Real features, and those of two sets whose images come from the same noise."""
    rng = torch.Generator().manual_seed(0)
    spread = torch.logspace(0, -1.5, size)
    real, first, other = (torch.randn(count, size, generator=rng) * spread for count in (MAX_REAL, COUNT, COUNT))
    first = first + 0.1
    return {"features": real}, ({"features": first}, {"features": first + 0.3 * other})


def at_once(real: Features, both: Sides) -> list[Measured]:
    with once():
        return [measure_set(USUAL, NETWORK, real=real, synthetic=one, n=COUNT, paired=True) for one in both]


def anew(real: Features, both: Sides) -> list[Measured]:
    found = []
    for one in both:
        measure = partial(measure_all, network=NETWORK, real=real, max_real=MAX_REAL, max_copied=MAX_REAL)
        scores = {name: measure([name], synthetic=one) for name in USUAL}
        without: dict[str, list[float]] = {}
        for kept in without_groups(COUNT, GROUPS):
            for key, score in measure(USUAL, synthetic={"features": one["features"][kept]}).items():
                without.setdefault(key, []).append(score.value)
        found.append(Measured(scores, without, COUNT, {}))
    return found


def seconds(way: Callable[[], list[Measured]], errors: dict[str, float]) -> float:
    """Of the processor; the errors of the differences are noted, and checked where they are known."""
    before = time.process_time()
    found = compare_measured(*way(), paired=True)
    taken = time.process_time() - before
    for key, one in found.items():
        error = one.standard_error or 0.0
        if abs(errors.setdefault(key, error) - error) > 1e-6 * error:
            raise SystemExit(f"{key}: an error of {error}, and of {errors[key]} the other way")
    return taken


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of `ratios.compare`."""
    rows = []
    for size in (192,) if quick else (192, 1280):
        errors: dict[str, float] = {}
        sides = [partial(seconds, partial(way, *sets(size)), errors) for way in (at_once, anew)]
        what = f"compare, 2 x {COUNT} pairs, {MAX_REAL:,} real images, D = {size}"
        rows.append(compare(what, f"each of {GROUPS} groups anew", *sides, repeats=1))
    return rows


if __name__ == "__main__":
    print_table(run(quick="--quick" in sys.argv))
