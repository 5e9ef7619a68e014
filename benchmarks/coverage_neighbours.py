"""How right the uncertainties of the nearest-neighbour metrics are: one to two minutes.

Reference fixed, synthetic features drawn again and again. "mean" and "spread" are of the value over redraws; "SE/spread" is
the root mean square of the answered standard errors over the spread, 1 if right, above 1 if cautious; "95 %" is the share of
the answered intervals (value ± 1.96 standard errors where there is none) that hold the mean; "none" is the share of redraws
without interval, which "95 %" leaves out.

    python benchmarks/coverage_neighbours.py
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from bootlight.metrics.features.features import PixelFeatures
from bootlight.metrics.neighbours.authenticity import Authenticity
from bootlight.metrics.neighbours.copying import DataCopying, GlobalDataCopying
from bootlight.metrics.neighbours.density_coverage import Coverage, Density
from bootlight.metrics.neighbours.precision_recall import USUAL_KS, Precision, Recall
from bootlight.metrics.once import once
from bootlight.metrics.score import Score
from bootlight.metrics.uncertainty import Z95

REDRAWS = 150
Draw = Callable[[int], Tensor]  # features (count, D) of a count


def cases() -> Iterator[tuple[str, int, int, Draw, Draw]]:
    """Name, numbers of real and synthetic images, and how to draw either."""

    def normal(size: int, scale: float = 1.0, shift: float = 0.0) -> Draw:
        offset = torch.zeros(size)
        offset[0] = shift
        return lambda count: scale * torch.randn(count, size) + offset

    def heavy(size: int) -> Draw:
        return lambda count: torch.randn(count, size) * (0.6 * torch.randn(count, 1)).exp()

    yield "equal", 300, 300, normal(2), normal(2)
    yield "equal", 300, 300, normal(16), normal(16)
    yield "equal", 300, 300, normal(64), normal(64)
    yield "equal, heavy tails", 300, 300, heavy(16), heavy(16)
    yield "narrow and shifted", 300, 300, normal(16), normal(16, 0.7, 1.0)
    yield "wide", 300, 300, normal(16), normal(16, 1.2)
    yield "few synthetic", 500, 100, normal(16), normal(16, 0.9)
    yield "many synthetic", 100, 500, normal(16), normal(16, 0.9)


def answers(real: Tensor, held_out: Tensor, synthetic: Tensor) -> dict[str, Score]:
    """All scores of one draw."""
    network = PixelFeatures()  # only its name is used
    scores: dict[str, Score] = {}
    of_neighbours = [kind(features=network, k=k) for k in USUAL_KS for kind in (Precision, Recall)]
    with once():
        for metric in (*of_neighbours, *(kind(features=network) for kind in (Density, Coverage, Authenticity))):
            scores |= metric.measure(real, synthetic)
        for copying in (GlobalDataCopying(features=network), DataCopying(features=network)):
            scores |= copying.measure(train=real, held_out=held_out, synthetic=synthetic)
    return scores


def row(scores: list[Score]) -> str:
    """Mean, spread, right errors, right intervals."""
    values = torch.tensor([score.value for score in scores], dtype=torch.float64)
    mean, spread = values.mean().item(), values.std().item()
    errors = [score.standard_error for score in scores if score.standard_error is not None]
    intervals = [interval for interval in map(ends, scores) if interval is not None]
    error = math.sqrt(sum(error**2 for error in errors) / len(errors)) if errors else math.nan
    held = sum(low <= mean <= high for low, high in intervals) / len(intervals) if intervals else math.nan
    ratio = error / spread if spread > 0 else math.nan
    return f"{mean:9.4f} {spread:8.4f} {ratio:9.2f} {held:7.3f} {1 - len(intervals) / len(scores):6.2f}"


def ends(score: Score) -> tuple[float, float] | None:
    if score.interval is not None or score.standard_error is None:
        return score.interval
    return score.value - Z95 * score.standard_error, score.value + Z95 * score.standard_error


def main() -> None:
    torch.manual_seed(0)
    print(f"{REDRAWS} redraws: a share of 0.95 is known to ± {2 * math.sqrt(0.05 * 0.95 / REDRAWS):.2f} (two standard errors)")
    head = f"{'distributions':<20}{'N':>5}{'M':>5}{'D':>4}  {'score':<14}{'mean':>9}{'spread':>9}"
    print(f"{head}{'SE/spread':>10}{'95 %':>8}   none")
    for name, num_real, num_synthetic, draw_real, draw_synthetic in cases():
        real, held_out = draw_real(num_real), draw_real(num_real)
        found = [answers(real, held_out, draw_synthetic(num_synthetic)) for _ in range(REDRAWS)]
        for key in found[0]:
            scores = [scores[key] for scores in found if key in scores]
            print(f"{name:<20}{num_real:>5}{num_synthetic:>5}{real.shape[1]:>4}  {key:<14}{row(scores)}", flush=True)


if __name__ == "__main__":
    main()
