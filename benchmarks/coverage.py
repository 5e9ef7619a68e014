"""Do the 95 % intervals of the Fréchet distances hold? Redraws of features whose true distance is known; two minutes.

A row is one pair of distributions and one number of images. Columns: the true distance; mean distance at n images and its
spread over redraws; mean standard error over that spread; share of `value ± 1.96 standard errors` that hold the mean; then
bias in spreads and share of the intervals that hold the true distance, for FD-infinity and for the straight line of Chong and
Forsyth (2020: 15 random subsets from n/10 to n, least squares) with the same standard error.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from bootlight.metrics.distances.fd_infinity import frechet_infinity
from bootlight.metrics.distances.frechet import frechet_distance
from bootlight.metrics.distances.statistics import Statistics, feature_statistics
from bootlight.metrics.uncertainty import Z95

REDRAWS = 150
EXACT = 10**9  # images of a reference that is known exactly


def cases(size: int) -> Iterator[tuple[str, Statistics, Tensor, Tensor, float]]:
    """Name, reference, root of the synthetic covariance, synthetic mean, spread of the logarithm of the scale."""
    rng = torch.Generator().manual_seed(size)
    eye, zero = torch.eye(size).double(), torch.zeros(size).double()
    decay = torch.logspace(0, -1, size).double().diag()
    rotated = decay @ torch.linalg.qr(torch.randn(size, size, generator=rng).double()).Q
    shift = zero.clone()
    shift[0] = 0.5
    yield "equal, flat", Statistics(zero, eye, EXACT), eye, zero, 0.0
    yield "equal, decaying", Statistics(zero, decay @ decay, EXACT), decay, zero, 0.0
    yield "equal, heavy tails", Statistics(zero, decay @ decay, EXACT), decay, zero, 0.4
    yield "shifted", Statistics(zero, decay @ decay, EXACT), decay, shift, 0.0
    yield "half as wide", Statistics(zero, 4 * eye, EXACT), eye, zero, 0.0
    yield "rotated", Statistics(zero, decay @ decay, EXACT), rotated, zero, 0.0
    yield "rotated, heavy tails", Statistics(zero, decay @ decay, EXACT), rotated, zero, 0.4


def draw(count: int, root: Tensor, mean: Tensor, tails: float, rng: torch.Generator) -> Tensor:
    """Features with covariance rootᵀ root; `tails` > 0 gives each image a log-normal scale, 0.4 a kurtosis of 6."""
    scale = (tails * torch.randn(count, 1, generator=rng) - tails**2).exp()
    return (torch.randn(count, len(root), generator=rng) * scale).double() @ root + mean


def straight_line(real: Statistics, features: Tensor, rng: torch.Generator) -> float:
    """Intercept of least squares over 1/n."""
    sizes = torch.linspace(len(features) / 10, len(features), 15).long().clamp(min=2)
    subsets = [features[torch.randperm(len(features), generator=rng)[:size]] for size in sizes]
    distances = torch.tensor([frechet_distance(real=real, synthetic=feature_statistics(subset)) for subset in subsets])
    design = torch.stack([torch.ones(15), 1 / sizes], 1)
    return torch.linalg.lstsq(design.double(), distances.double()[:, None]).solution[0].item()


def coverage(real: Statistics, root: Tensor, mean: Tensor, tails: float, count: int) -> str:
    """One row."""
    rng = torch.Generator().manual_seed(count)
    truth = frechet_distance(real=real, synthetic=Statistics(mean, root.T @ root, EXACT))
    rows = []
    for seed in range(REDRAWS):
        features = draw(count, root, mean, tails, rng)
        found = frechet_infinity(real=real, synthetic_features=features, seed=seed)
        line = straight_line(real, features, rng)
        rows.append((found.full.value, found.standard_error, found.value, *found.interval, line))
    value, error, infinity, low, high, line = torch.tensor(rows, dtype=torch.float64).T
    shares = [
        (value - value.mean()).abs() <= Z95 * error,
        (low <= truth) & (truth <= high),
        (line - truth).abs() <= Z95 * error,
    ]
    first, second, third = (share.double().mean().item() for share in shares)
    bias, line_bias = ((guess.mean() - truth) / value.std() for guess in (infinity, line))
    return (
        f"{truth:9.4f} {value.mean():9.4f} {value.std():8.4f} {error.mean() / value.std():6.2f} {first:6.2f} "
        f"{bias:9.2f} {second:6.2f} {line_bias:9.2f} {third:6.2f}"
    )


def main() -> None:
    print(f"{REDRAWS} redraws: a share of 0.95 is known to ± {2 * math.sqrt(0.05 * 0.95 / REDRAWS):.2f} (two standard errors)")
    print(f"{'':34}{'truth':>9} {'mean':>9} {'spread':>8} {'se':>6} {'holds':>6}  infinity  holds      line  holds")
    for size, multiples in ((16, (5, 50)), (64, (1, 2, 5, 10))):
        for name, real, root, mean, tails in cases(size):
            for multiple in multiples:
                print(f"{name:21}D={size:<3} n={multiple:2} D ", coverage(real, root, mean, tails, multiple * size), flush=True)


if __name__ == "__main__":
    main()
