"""The Fréchet distance of badly conditioned covariances against arithmetic with 50 digits."""

import mpmath
import pytest
import torch
from mpmath import mp, mpf
from torch import Tensor

from bootlight.metrics.distances.frechet import frechet_distance
from bootlight.metrics.distances.statistics import Statistics, feature_statistics

SIZE = 8
MANY = 10**9  # a count that does not limit the rank
ONES, NONE = [mpf(1)] * SIZE, [mpf(0)] * SIZE


@pytest.fixture(autouse=True)
def _fifty_digits():
    with mp.workdps(50):
        yield


def rotation(seed: int) -> mpmath.matrix:
    """Three reflections at vectors of small integers: orthogonal to 50 digits."""
    rng, product = torch.Generator().manual_seed(seed), mp.eye(SIZE)
    for _ in range(3):
        v = mp.matrix(torch.randint(-5, 6, (SIZE, 1), generator=rng).tolist())
        product = product * (mp.eye(SIZE) - v * v.T * (2 / (v.T * v)[0]))
    return product


def powers(condition: float) -> list[mpf]:
    return [mpf(condition) ** (-mpf(i) / (SIZE - 1)) for i in range(SIZE)]


def root_trace(first: mpmath.matrix, second: mpmath.matrix) -> mpf:
    """tr (first second)^½ by the root of `first`; rounding of zeros is 1e-50, its root 1e-25."""
    values, vectors = mp.eigsy(first)
    root = vectors * mp.diag([mp.sqrt(max(value, 0)) for value in values]) * vectors.T
    return sum(mp.sqrt(max(value, 0)) for value in mp.eigsy(root * second * root, eigvals_only=True))


def distance(shift: mpmath.matrix, first: mpmath.matrix, second: mpmath.matrix) -> mpf:
    traces = sum(first[i, i] + second[i, i] for i in range(SIZE))
    return sum(s * s for s in shift) + traces - 2 * root_trace(first, second)


def rounded(matrix: mpmath.matrix) -> Tensor:
    return torch.tensor([[float(x) for x in row] for row in matrix.tolist()], dtype=torch.float64)


def worst(first: Statistics, second: Statistics, exact: mpf) -> float:
    """The larger error of the two directions."""
    values = frechet_distance(real=first, synthetic=second), frechet_distance(real=second, synthetic=first)
    return max(abs(float(value - exact)) for value in values)


@pytest.mark.parametrize("condition", [1e2, 1e8, 1e12, 1e16, 1e24])
@pytest.mark.parametrize("second", ["rotated", "equal", "reversed"])
@pytest.mark.parametrize("shift", [0, 1000])
def test_ill_conditioned_covariances(condition: float, second: str, shift: int) -> None:
    variances, axes = powers(condition), rotation(1)
    other_axes = rotation(2) if second == "rotated" else axes
    cov = axes * mp.diag(variances) * axes.T
    other = other_axes * mp.diag(variances[::-1] if second == "reversed" else variances) * other_axes.T
    mean = mp.matrix([shift] * SIZE)
    exact = distance(mean, cov, other)
    zero = torch.zeros(SIZE, dtype=torch.float64)
    error = worst(Statistics(rounded(mean)[:, 0], rounded(cov), MANY), Statistics(zero, rounded(other), MANY), exact)
    # The documented bound with largest eigenvalue 1, and one rounding of what a far mean makes of the value.
    assert error < SIZE * 1.5e-8 + 2.3e-16 * float(exact)
    if condition == 1e2:
        # No eigenvalue of K is below 1e-4, so none loses more than 8 * 2e-16 / (2 * 1e-2) by its root.
        assert error < SIZE * 1e-13 + 2.3e-16 * float(exact)


@pytest.mark.parametrize(("ranks", "expected"), [((3, 8), None), ((3, 3), None), ((8, 8), 0)])
def test_covariances_without_full_rank(ranks: tuple[int, int], expected: int | None) -> None:
    axes = rotation(1)
    first, second = (axes * mp.diag(ONES[:rank] + NONE[rank:]) * axes.T for rank in ranks)
    if ranks == (3, 3):
        second = rotation(2) * mp.diag(ONES[:3] + NONE[3:]) * rotation(2).T
    zero = torch.zeros(SIZE, dtype=torch.float64)
    exact = distance(mp.matrix(NONE), first, second)
    assert expected is None or abs(exact - expected) < 1e-40
    assert worst(Statistics(zero, rounded(first), MANY), Statistics(zero, rounded(second), MANY), exact) < SIZE * 1.5e-8


def exact_statistics(features: Tensor) -> tuple[mpmath.matrix, mpmath.matrix]:
    """Mean and covariance of features (N, D), which are taken as they are in binary."""
    rows, n = mp.matrix(features.double().tolist()), len(features)
    mean = mp.matrix([mp.fsum(rows[:, j]) / n for j in range(rows.cols)])
    centred = rows - mp.matrix([mean.T.tolist()[0]] * n)
    return mean, centred.T * centred / (n - 1)


def images(count: int, kind: str, seed: int) -> Tensor:
    """Features (count, D) in float32, as networks give them."""
    x = torch.randn(count, SIZE, generator=torch.Generator().manual_seed(seed))
    match kind:
        case "far from the origin":
            return x + 1e4
        case "nearly collinear":
            return torch.cat([x[:, :4], x[:, :4] + 1e-6 * x[:, 4:]], 1)
        case "of many scales":
            return x * torch.logspace(0, -6, SIZE)
    return x


@pytest.mark.parametrize(
    ("kind", "counts"),
    [("few", (5, 6)), ("few", (5, 30)), ("far from the origin", (20, 30)), ("nearly collinear", (20, 30)),
     ("of many scales", (20, 30))],
)  # fmt: skip
def test_images(kind: str, counts: tuple[int, int]) -> None:
    first, second = (images(count, kind, seed) for seed, count in enumerate(counts))
    (mean, cov), (other_mean, other) = exact_statistics(first), exact_statistics(second)
    exact = distance(mean - other_mean, cov, other)
    largest = max(torch.linalg.eigvalsh(rounded(cov)).max().item(), torch.linalg.eigvalsh(rounded(other)).max().item())
    error = worst(feature_statistics(first), feature_statistics(second), exact)
    assert error < SIZE * 1.5e-8 * largest
    if kind in ("few", "far from the origin"):
        # All eigenvalues that are not 0 are of one size; 1e4 times rounding, squared by nothing because centred first.
        assert error < 1e-11
