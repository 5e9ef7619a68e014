"""Standard error and bias of the Fréchet distance, by leaving out single images."""

import math

import pytest
import torch
from torch import Tensor

from bootlight.metrics.distances.frechet import frechet_distance, frechet_jackknife
from bootlight.metrics.distances.statistics import Statistics, feature_statistics
from bootlight.metrics.exact import BLOCK

MANY = 10**9  # images of a reference that is known exactly


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def zeros(size: int) -> Tensor:
    return torch.zeros(size, dtype=torch.float64)


def exactly(cov: Tensor) -> Statistics:
    return Statistics(zeros(len(cov)), cov, MANY)


def left_out(real: Statistics, features: Tensor) -> Tensor:
    """The distance without each image, one at a time."""
    rest = [torch.cat([features[:i], features[i + 1 :]]) for i in range(len(features))]
    values = [frechet_distance(real=real, synthetic=feature_statistics(r)) for r in rest]
    return torch.tensor(values, dtype=torch.float64)


def spread_and_errors(real: Statistics, draws: Tensor) -> tuple[float, Tensor]:
    """Standard deviation of the distance over draws (K, N, D), and the standard error that each of them tells."""
    found = [frechet_jackknife(real=real, synthetic_features=d)[:2] for d in draws]
    values, errors = torch.tensor(found, dtype=torch.float64).T
    return values.std().item(), errors


# More images than features; a reference without full rank; as many images as features, one more; fewer, on either side.
@pytest.mark.parametrize(
    ("size", "count", "count_r", "tolerance"),
    [(4, 60, 99, 1e-10), (9, 60, 5, 1e-10), (9, 9, 50, 5e-8), (9, 10, 50, 5e-8), (20, 7, 99, 5e-8), (12, 3, 4, 5e-8)],
)
def test_all_images_are_left_out_exactly(size: int, count: int, count_r: int, tolerance: float) -> None:
    real = feature_statistics(normal(count_r, size, seed=1) @ normal(size, size, seed=2))
    features = normal(count, size, seed=3) @ normal(size, size, seed=4) + 0.5
    found = frechet_jackknife(real=real, synthetic_features=features)
    values = left_out(real, features)
    assert found.value == pytest.approx(frechet_distance(real=real, synthetic=feature_statistics(features)), rel=1e-12)
    # The integral is right to 2e-11. Where an eigenvalue becomes zero without the image, either way takes the root of what
    # rounding leaves of it, 1e-16 of the largest: 1e-8.
    error = math.sqrt((count - 1) * values.var(correction=0).item())
    assert found.standard_error == pytest.approx(error, rel=tolerance)
    # A mean of changes of which all but D / n cancels, at least 1 / 15 here.
    assert found.bias == pytest.approx((count - 1) * (values.mean().item() - found.value), rel=100 * tolerance)


def test_one_feature_has_a_closed_form_in_every_block() -> None:
    x, count = normal(2 * BLOCK + 3, seed=5) ** 3 + 1, 2 * BLOCK + 3
    real = Statistics(zeros(1) + 0.3, zeros(1)[None] + 4, MANY)
    mean = (x.sum() - x) / (count - 1)
    variance = (x.square().sum() - x.square() - (count - 1) * mean.square()) / (count - 2)
    values = (mean - 0.3).square() + (2 - variance.sqrt()).square()
    found = frechet_jackknife(real=real, synthetic_features=x[:, None])
    # The integral is right to 2e-11; the closed form takes differences of sums 4099 times larger than the terms, 1e-12 of each.
    assert found.standard_error == pytest.approx(math.sqrt((count - 1) * values.var(correction=0).item()), rel=1e-9)
    # The bias is the integral's part, 2 * 4 / 2, with its error of 2e-11, less what cancels all but 0.03 of it.
    assert found.bias == pytest.approx((count - 1) * (values.mean().item() - found.value), rel=1e-7)


def test_a_constant_reference_has_a_closed_form() -> None:
    features, n = normal(60, 4, seed=19), 60
    real = Statistics(features.mean(0), torch.zeros(4, 4, dtype=torch.float64), MANY)
    # Without an image d, |d|² / (n - 1)² of shift is added and n / ((n - 1)(n - 2)) |d|² of variance is lost.
    factor = n / ((n - 1) * (n - 2)) - 1 / (n - 1) ** 2
    squares = (features - features.mean(0)).square().sum(1)
    found = frechet_jackknife(real=real, synthetic_features=features)
    assert found.standard_error == pytest.approx(factor * math.sqrt((n - 1) * squares.var(correction=0)), rel=1e-12)
    # A shift of tr C / n on average; the trace is unbiased.
    assert found.bias == pytest.approx(squares.sum().item() / (n - 1) / n, rel=1e-9)


@pytest.mark.parametrize("value", [0.25, 0.1])  # a binary fraction, and one whose mean is rounded
def test_a_collapsed_set_has_no_error(value: float) -> None:
    real = feature_statistics(normal(100, 8, seed=9))
    found = frechet_jackknife(real=real, synthetic_features=torch.full((50, 8), value))
    exact = torch.tensor(value).double()
    expected = (real.mean - exact).square().sum().item() + real.cov.trace().item()
    # Where the mean is rounded to 1e-17 the covariance is 1e-34, and its root, 1e-17 times that of the reference, counts.
    assert found[:3] == pytest.approx((expected, 0, 0), rel=1e-13, abs=1e-13)


def test_two_images_tell_no_error() -> None:
    found = frechet_jackknife(real=exactly(torch.eye(3).double()), synthetic_features=normal(2, 3, seed=1))
    assert found[1:3] == (None, None)
    assert found.value == frechet_distance(real=exactly(torch.eye(3).double()), synthetic=found.synthetic)


def test_error_of_a_pure_shift() -> None:
    features, shift = normal(300, 5, seed=11), normal(5, seed=12)
    synthetic = feature_statistics(features)
    real = Statistics(synthetic.mean - shift, synthetic.cov, MANY)
    # To first order a redraw moves the distance by 2 shift.(mean of d), of variance 4 shift^T C shift / n; the next order is
    # D / n = 2 % of it at most.
    expected = 2 * math.sqrt((shift @ synthetic.cov @ shift).item() / 300)
    assert frechet_jackknife(real=real, synthetic_features=features).standard_error == pytest.approx(expected, rel=0.02)


def test_error_of_a_pure_scale() -> None:
    features = normal(300, 5, seed=13)
    synthetic = feature_statistics(features)
    real = Statistics(synthetic.mean, 9 * synthetic.cov, MANY)
    # The map to the reference is 3 I, an image moves the distance by -2 |d|^2 / n; the next order, 2 %, counts thrice.
    expected = 2 * (features - features.mean(0)).square().sum(1).std().item() / math.sqrt(300)
    assert frechet_jackknife(real=real, synthetic_features=features).standard_error == pytest.approx(expected, rel=0.06)


def test_error_is_the_spread_over_redraws() -> None:
    root = torch.tensor([[1.0, 0.3, 0, 0], [0, 0.6, 0, 0.2], [0, 0, 1.5, 0], [0.1, 0, 0, 0.8]], dtype=torch.float64)
    spread, errors = spread_and_errors(exactly(torch.eye(4).double()), normal(300, 400, 4, seed=18) @ root + 0.3)
    # The standard deviation of 300 draws is itself known to 1 / sqrt(600) = 4 %: three of those, and D / n = 1 % second order.
    assert errors.mean().item() == pytest.approx(spread, rel=0.13)
    assert errors.std().item() < 0.15 * errors.mean().item()  # each single answer is usable, not only their mean


def test_error_is_not_too_small_where_images_are_as_few_as_features() -> None:
    spread, errors = spread_and_errors(exactly(4 * torch.eye(24).double()), normal(150, 24, 24, seed=6))
    # 1.3 in benchmarks/coverage.py; the spread is known to 6 %, three of those. To first order in the weight it would be 0.4.
    assert 1 < errors.mean().item() / spread < 1.6


def test_error_of_equal_distributions_is_at_most_a_root_of_two_too_large() -> None:
    spread, errors = spread_and_errors(exactly(torch.eye(10).double()), normal(300, 100, 10, seed=7))
    # sqrt 2 to leading order; the spread is known to 4 %, three of those.
    assert errors.mean().item() / spread == pytest.approx(math.sqrt(2), rel=0.12)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_bias_of_normal_features_has_a_closed_form(scale: float) -> None:
    variances = torch.logspace(0, -1, 6).double()
    real, count = exactly(scale**2 * variances.diag()), 300
    found = [frechet_jackknife(real=real, synthetic_features=draw * variances.sqrt()) for draw in normal(60, count, 6, seed=8)]
    biases = torch.tensor([f.bias for f in found], dtype=torch.float64)
    # tr C / n of the mean, and of the covariance the second derivative of the root of a matrix with eigenvalues s².
    s = scale * variances
    pairs = (s[:, None] * s / (s[:, None] + s)).sum() + s.sum() / 2
    expected = (variances.sum() + pairs / 2).item() / count
    # Each bias scatters by sqrt(2 D / n) / D = 4 % or so, the mean of 60 by 1 %; the next order is D / n = 2 %.
    assert biases.mean().item() == pytest.approx(expected, rel=0.04)
    truth = ((scale - 1) ** 2 * variances.sum()).item()
    values = torch.tensor([f.value for f in found], dtype=torch.float64)
    # And it is by this much that the distance is too large: three standard errors of the mean of 60.
    assert (values.mean() - truth).item() == pytest.approx(expected, abs=3 * values.std().item() / math.sqrt(60))
