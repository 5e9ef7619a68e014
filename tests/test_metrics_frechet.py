"""The arithmetic of the Fréchet distance."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from bootlight.errors import BootlightError
from bootlight.metrics.distances.frechet import frechet_distance
from bootlight.metrics.distances.statistics import Statistics, feature_statistics
from bootlight.metrics.exact import BLOCK

MANY = 10**6  # a count that does not limit the rank


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=rng(seed), dtype=torch.float64)


def rotation(size: int, seed: int) -> Tensor:
    return torch.linalg.qr(normal(size, size, seed=seed)).Q


def gaussian(mean: Tensor, axes: Tensor, variances: Tensor) -> Statistics:
    return Statistics(mean, axes @ variances.diag() @ axes.T, MANY)


def both_ways(a: Statistics, b: Statistics) -> tuple[float, float]:
    return frechet_distance(real=a, synthetic=b), frechet_distance(real=b, synthetic=a)


def test_statistics_are_those_of_numpy_also_far_from_the_origin() -> None:
    features = (normal(50, 6, seed=0) + 1e4).float()
    statistics = feature_statistics(features)
    exact = features.numpy().astype(np.float64)
    # Float64 of centred values of size 1 that came from 1e4: relative error 1e4 * 1e-16 each; float32 would be 1e-3 off.
    np.testing.assert_allclose(statistics.cov.numpy(), np.cov(exact, rowvar=False), rtol=0, atol=1e-11)
    np.testing.assert_allclose(statistics.mean.numpy(), exact.mean(0), rtol=1e-14)
    assert statistics.n == 50


def test_statistics_do_not_depend_on_blocks() -> None:
    features = normal(2 * BLOCK + 3, 3, seed=21).square()
    statistics = feature_statistics(features)
    # Sums of 4099 terms of size 1, in another order: 4099 roundings of 1e-16 at worst, divided by as many.
    np.testing.assert_allclose(statistics.cov.numpy(), np.cov(features.numpy(), rowvar=False), rtol=1e-12)
    np.testing.assert_allclose(statistics.mean.numpy(), features.numpy().mean(0), rtol=1e-13)


@pytest.mark.parametrize("count", [0, 1])
def test_one_image_has_no_covariance(count: int) -> None:
    with pytest.raises(BootlightError, match=f"at least 2 images on each side, got {count}"):
        feature_statistics(torch.zeros(count, 3))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_features_that_are_not_finite_are_refused(bad: float) -> None:
    features = torch.zeros(5, 3)
    features[2, 1] = bad
    with pytest.raises(BootlightError, match="NaN or infinity"):
        feature_statistics(features)


def test_the_factor_has_the_rank_of_the_images() -> None:
    statistics = feature_statistics(normal(10, 64, seed=20))
    assert statistics.factor.shape == (64, 9)  # 55 eigenvalues are rounding error of zero, some of them above it
    # Entries of size 1 from 64 terms of rounding error 1e-16.
    assert (statistics.factor @ statistics.factor.T - statistics.cov).abs().max() < 1e-13


def test_common_eigenvectors_have_a_closed_form() -> None:
    axes, shift = rotation(16, seed=1), normal(16, seed=2)
    a, b = torch.logspace(-1, 1, 16, dtype=torch.float64), torch.linspace(3, 0.2, 16, dtype=torch.float64)
    expected = (shift.square().sum() + (a.sqrt() - b.sqrt()).square().sum()).item()
    values = both_ways(gaussian(shift, axes, a), gaussian(torch.zeros(16, dtype=torch.float64), axes, b))
    # Eigenvalues of the product (<= 30) are right to 16 * 2e-16 * 30, their roots (>= 0.3) to 2e-13 each, the sum to 3e-12.
    assert values == pytest.approx((expected, expected), abs=1e-11)


def test_general_covariances_agree_with_the_matrix_square_root() -> None:
    sides = [feature_statistics(normal(200, 24, seed=s) @ normal(24, 24, seed=s + 10) + s) for s in (3, 4)]
    first, second = (side.cov.numpy() for side in sides)
    root = scipy.linalg.sqrtm(first @ second)
    shift = (sides[0].mean - sides[1].mean).square().sum().item()
    expected = shift + np.trace(first) + np.trace(second) - 2 * np.trace(root).real
    # Condition numbers of about 1e4 each; sqrtm loses that product from 16 digits at worst.
    assert both_ways(*sides) == pytest.approx((expected, expected), rel=1e-8)


def test_equal_sets_are_at_distance_zero() -> None:
    statistics = feature_statistics(normal(500, 16, seed=5))
    # Four sums of 16 terms of size 1 cancel: 64 roundings of 1e-16, and eigenvalues near 1 to 16 * 2e-16.
    assert frechet_distance(real=statistics, synthetic=statistics) == pytest.approx(0, abs=1e-12)


def test_a_distance_is_never_negative() -> None:
    values = [frechet_distance(real=s, synthetic=s) for s in (feature_statistics(normal(9, 7, seed=k)) for k in range(40))]
    assert min(values) >= 0


def test_disjoint_supports_leave_only_the_traces() -> None:
    axes, zero = rotation(12, seed=6), torch.zeros(12, dtype=torch.float64)
    a, b = zero.clone(), zero.clone()
    a[:5], b[7:] = 2.0, 3.0
    # The overlap is 0 up to 12 * 2e-16 * 6 in each of 5 eigenvalues: their roots sum to 6e-7 at worst.
    assert both_ways(gaussian(zero, axes, a), gaussian(zero, axes, b)) == pytest.approx((25, 25), abs=2e-6)


@pytest.mark.parametrize(("count_r", "count_s"), [(10, 12), (12, 10), (10, 200), (200, 10)])
def test_fewer_images_than_features_agree_with_the_singular_values(count_r: int, count_s: int) -> None:
    x, y = normal(count_r, 64, seed=7) * 3 + 1, normal(count_s, 64, seed=8)
    # tr (C_r C_s)^1/2 is the nuclear norm of X_r X_s^T without any covariance: accurate at every rank.
    xc, yc = x - x.mean(0), y - y.mean(0)
    nuclear = np.linalg.svd((xc @ yc.T).numpy(), compute_uv=False).sum() / math.sqrt((count_r - 1) * (count_s - 1))
    traces = xc.square().sum() / (count_r - 1) + yc.square().sum() / (count_s - 1)
    expected = ((x.mean(0) - y.mean(0)).square().sum() + traces).item() - 2 * nuclear
    # Nine or eleven eigenvalues count, all of the size of the largest, so nothing is lost: 1e-14 relative, with slack. A root
    # of rounding error in the place of a zero, 1e-8 * 54 times, would be 1e-9 of this value.
    assert both_ways(feature_statistics(x), feature_statistics(y)) == pytest.approx((expected, expected), rel=1e-12)


def test_a_collapsed_generator_has_a_finite_distance() -> None:
    real = feature_statistics(normal(100, 8, seed=9))
    collapsed = torch.full((50, 8), 0.25, dtype=torch.float64)  # a binary fraction: the covariance is exactly 0
    expected = (real.mean - 0.25).square().sum().item() + real.cov.trace().item()
    assert both_ways(real, feature_statistics(collapsed)) == pytest.approx((expected, expected), rel=1e-13)


def test_a_constant_reference_leaves_the_synthetic_variance() -> None:
    features = normal(60, 4, seed=19)
    synthetic = feature_statistics(features)
    real = Statistics(synthetic.mean, torch.zeros(4, 4, dtype=torch.float64), MANY)
    assert frechet_distance(real=real, synthetic=synthetic) == pytest.approx(synthetic.cov.trace().item(), rel=1e-13)


def test_bad_conditioning_stays_within_the_documented_bound() -> None:
    axes, zero = rotation(64, seed=10), torch.zeros(64, dtype=torch.float64)
    a = torch.logspace(0, -12, 64, dtype=torch.float64)
    b = torch.logspace(-12, 0, 64, dtype=torch.float64)
    expected = (a.sqrt() - b.sqrt()).square().sum().item()
    assert both_ways(gaussian(zero, axes, a), gaussian(zero, axes, b)) == pytest.approx((expected, expected), abs=64 * 1.5e-8)
    assert both_ways(gaussian(zero, axes, a), gaussian(zero, axes, a)) == pytest.approx((0, 0), abs=64 * 1.5e-8)
