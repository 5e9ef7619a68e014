"""Kernel distances: the U-statistic, its exact variance and its interval."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_fidelity.metric_kid import kid_features_to_metric
from torchmetrics.image.kid import poly_mmd

from bootlight.errors import BootlightError
from bootlight.metrics import exact
from bootlight.metrics.distances.kernel_distance import Kernel, KernelEstimate, kernel_distance, score_interval
from bootlight.metrics.distances.kid import polynomial_kernel, rbf_kernel

BANDWIDTH = 1.7
KERNELS = {"polynomial": polynomial_kernel, "rbf": rbf_kernel(BANDWIDTH)}


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(name: str, x: Tensor, y: Tensor) -> float:
    """Kernel of two vectors, in plain Python."""
    if name == "polynomial":
        return (sum(a * b for a, b in zip(x.tolist(), y.tolist(), strict=True)) / len(x) + 1) ** 3
    return math.exp(-(math.dist(x.tolist(), y.tolist()) ** 2) / (2 * BANDWIDTH**2))


def matrices(name: str, real: Tensor, synthetic: Tensor) -> list[np.ndarray]:
    pairs = ((real, real), (synthetic, synthetic), (real, synthetic))
    return [np.array([[by_hand(name, a, b) for b in right] for a in left]) for left, right in pairs]


@pytest.mark.parametrize("name", KERNELS)
def test_the_value_is_the_double_sum_over_pairs(name: str) -> None:
    real, synthetic = normal(7, 4, seed=0), 1.3 * normal(10, 4, seed=1) + 0.4
    xx, yy, xy = matrices(name, real, synthetic)
    expected = sum(xx[i, j] for i in range(7) for j in range(7) if i != j) / (7 * 6)
    expected += sum(yy[i, j] for i in range(10) for j in range(10) if i != j) / (10 * 9)
    expected -= 2 * sum(xy[i, j] for i in range(7) for j in range(10)) / (7 * 10)
    value = kernel_distance(real=real, synthetic=synthetic, kernel=KERNELS[name]).value
    assert value == pytest.approx(expected, rel=1e-11)  # kernels up to 100 with rounding 1e-16, value above 0.01


def test_kid_is_that_of_the_libraries_where_a_subset_is_everything() -> None:
    real, synthetic = normal(60, 33, seed=2), 1.1 * normal(60, 33, seed=3) - 0.2
    value = kernel_distance(real=real, synthetic=synthetic, kernel=polynomial_kernel).value
    fidelity = kid_features_to_metric(synthetic, real, kid_subsets=1, kid_subset_size=60, verbose=False)
    # Sums of 3,600 kernels of size 1 in float64 in another order, 1e-13; the value is about 0.1.
    assert value == pytest.approx(fidelity["kernel_inception_distance_mean"], rel=1e-10)
    assert value == pytest.approx(poly_mmd(real, synthetic).item(), rel=1e-10)


def square_of_the_mean(within: np.ndarray, outside: np.ndarray, between: np.ndarray) -> float:
    """Unbiased estimate of the squared distance: h over all choices of disjoint pairs on each side, multiplied."""
    fours = [np.array(list(itertools.permutations(range(len(m)), 4))) for m in (within, outside)]

    def h(first: int, second: int) -> np.ndarray:
        i, j, a, b = fours[0][:, first], fours[0][:, second], fours[1][:, first], fours[1][:, second]
        return within[i, j][:, None] + outside[a, b][None] - between[np.ix_(i, a)] - between[np.ix_(j, b)]

    return float((h(0, 1) * h(2, 3)).mean())


@pytest.mark.parametrize("name", KERNELS)
def test_the_variance_is_the_only_unbiased_one(name: str) -> None:
    # Var U = E U² - θ². U² and a mean of products over disjoint choices are unbiased for both, and symmetric; symmetric
    # unbiased estimators for all distributions are unique, so the formula must answer the same number.
    real, synthetic = normal(5, 3, seed=1), 1.5 * normal(6, 3, seed=2) + 2
    xx, yy, xy = matrices(name, real, synthetic)
    estimate = kernel_distance(real=real, synthetic=synthetic, kernel=KERNELS[name])
    assert estimate.standard_error_both is not None
    expected = estimate.value**2 - square_of_the_mean(xx, yy, xy)
    # Products of 1e4 with rounding error 1e-16 times the number of roundings; no estimate was cut off at 0 here.
    assert estimate.standard_error_both**2 == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("name", KERNELS)
def test_the_variance_given_the_reference_is_the_only_unbiased_one(name: str) -> None:
    real, synthetic = normal(5, 3, seed=1), 1.5 * normal(6, 3, seed=2) + 2
    xx, yy, xy = matrices(name, real, synthetic)
    estimate = kernel_distance(real=real, synthetic=synthetic, kernel=KERNELS[name])
    assert estimate.standard_error is not None
    fixed, to_real = (xx.sum() - np.trace(xx)) / (5 * 4), xy.mean(0)
    fours = np.array(list(itertools.permutations(range(6), 4))).T
    pair = [fixed + yy[a, b] - to_real[a] - to_real[b] for a, b in (fours[:2], fours[2:])]
    expected = estimate.value**2 - (pair[0] * pair[1]).mean()
    assert estimate.standard_error**2 == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("block", [1, 7, 16])
def test_the_size_of_a_block_does_not_matter(monkeypatch: pytest.MonkeyPatch, name: str, block: int) -> None:
    real, synthetic = normal(33, 5, seed=6), normal(20, 5, seed=7) + 1
    whole = kernel_distance(real=real, synthetic=synthetic, kernel=KERNELS[name])
    monkeypatch.setattr(exact, "BLOCK", block)
    parts = kernel_distance(real=real, synthetic=synthetic, kernel=KERNELS[name])
    assert parts[:3] == pytest.approx(whole[:3], rel=1e-10)  # the order of summation differs


def test_float32_features_are_taken_as_exact() -> None:
    real, synthetic = normal(30, 5, seed=6).float(), normal(20, 5, seed=7).float() + 100
    exactly = kernel_distance(real=real.double(), synthetic=synthetic.double(), kernel=polynomial_kernel)
    assert kernel_distance(real=real, synthetic=synthetic, kernel=polynomial_kernel) == exactly


def repeated(kernel: Kernel, count: int, draws: int, shift: float) -> list[KernelEstimate]:
    sides = normal(draws, 2, count, 4, seed=8)
    return [kernel_distance(real=real, synthetic=other + shift, kernel=kernel) for real, other in sides]


def test_intervals_at_equal_distributions_are_neither_empty_nor_idle() -> None:
    # 300 intervals of 95 %: the share has the standard deviation 0.0126. The variance at the estimate would give 0.98 to 1.
    for kernel in KERNELS.values():
        found = repeated(kernel, 25, 300, 0.0)
        held = sum(e.interval is not None and e.interval[0] <= 0 <= e.interval[1] for e in found) / 300
        assert 0.91 <= held <= 0.98
        values = torch.tensor([e.value for e in found])
        assert abs(values.mean()) < 4 * values.std() / 300**0.5


def test_the_gaussian_kernel_of_gaussians_has_a_closed_form() -> None:
    # x - y is normal with variance 2 in each of 4 directions, and mean s between sets:
    # E k = (w / (w + 2))² exp(-2 s² / (w + 2)), w = bandwidth².
    shift, width = 0.8, BANDWIDTH**2
    within = (width / (width + 2)) ** 2
    true = 2 * within - 2 * within * math.exp(-2 * shift**2 / (width + 2))
    found = repeated(KERNELS["rbf"], 40, 300, shift)
    values = torch.tensor([e.value for e in found])
    assert abs(values.mean() - true) < 4 * values.std() / 300**0.5
    held = sum(e.interval is not None and e.interval[0] <= true <= e.interval[1] for e in found) / 300
    assert held > 0.92  # standard deviation 0.0126
    # Variances are unbiased; the mean of 300, each right to a third or so, to 2 %, and that of 300 values to 8 %.
    squares = torch.tensor([(e.standard_error_both or 0) ** 2 for e in found])
    assert squares.mean().item() == pytest.approx(values.var().item(), rel=0.3)


def test_two_far_points_are_two_apart() -> None:
    real, synthetic = torch.zeros(6, 3), torch.full((5, 3), 1e3)
    estimate = kernel_distance(real=real, synthetic=synthetic, kernel=rbf_kernel(1.0))
    assert estimate == (2.0, 0.0, 0.0, (2.0, 2.0))  # every kernel is exactly 1 or 0


@pytest.mark.parametrize(("value", "first", "second"), [(5.0, 0.3, 0.01), (0.15, 0.004, 0.01), (0.9, 0.0, 0.01)])
def test_the_ends_of_the_interval_are_their_own_errors_away(value: float, first: float, second: float) -> None:
    slope = 0.2
    kappa = min(slope, (first + slope * 0.1) / (value + 0.1))
    low, high = score_interval(value=value, first_order=first, second_order=second, slope=slope)
    assert low < value < high
    for end in (low, high):
        assert abs(value - end) == pytest.approx(1.959964 * math.sqrt(second + kappa * max(end, 0)), rel=1e-12)


def centred(kernel: np.ndarray) -> np.ndarray:
    """Without the means of its rows and columns."""
    return kernel - kernel.mean(0) - kernel.mean(1)[:, None] + kernel.mean()


def u_centred(kernel: np.ndarray) -> np.ndarray:
    """The same for the kernel within a set, whose diagonal is none of it (Székely & Rizzo 2014)."""
    n, others = len(kernel), 1 - np.eye(len(kernel))
    sums = (kernel * others).sum(0)
    return (kernel - (sums + sums[:, None]) / (n - 2) + sums.sum() / ((n - 1) * (n - 2))) * others


@pytest.mark.parametrize("name", KERNELS)
def test_the_interval_is_made_of_both_orders_of_the_variance(name: str) -> None:
    n, m = 20, 25
    real, synthetic = normal(n, 3, seed=13), normal(m, 3, seed=14) + 1.5
    xx, yy, xy = matrices(name, real, synthetic)
    zeta_xx = (u_centred(xx) ** 2).sum() / (n * (n - 3))
    zeta_yy = (u_centred(yy) ** 2).sum() / (m * (m - 3))
    zeta_xy = (centred(xy) ** 2).sum() / ((n - 1) * (m - 1))
    second = 2 * zeta_xx / (n * (n - 1)) + 2 * zeta_yy / (m * (m - 1)) + 4 * zeta_xy / (n * m)
    slope = 4 * zeta_xx**0.5 / n + 4 * zeta_yy**0.5 / m
    estimate = kernel_distance(real=real, synthetic=synthetic, kernel=KERNELS[name])
    assert estimate.interval is not None and estimate.standard_error_both is not None
    expected = score_interval(
        value=estimate.value, first_order=estimate.standard_error_both**2 - second, second_order=second, slope=slope
    )
    assert estimate.interval == pytest.approx(expected, rel=1e-9)  # differences of squares up to 1e4 times as large


def test_limits_of_the_interval() -> None:
    without = score_interval(value=0.5, first_order=0.0, second_order=0.04, slope=0.0)
    assert without == pytest.approx((0.5 - 1.959964 * 0.2, 0.5 + 1.959964 * 0.2), rel=1e-12)
    below = score_interval(value=-1.0, first_order=0.0, second_order=0.04, slope=3.0)
    assert below == pytest.approx((-1 - 1.959964 * 0.2, -1 + 1.959964 * 0.2), rel=1e-12)  # no truth >= 0 fits
    many = score_interval(value=1.0, first_order=1e-8, second_order=1e-12, slope=1e-3)
    # κ exceeds first_order / value by slope * noise = 1e-9, a tenth; the asymmetry is z²κ/2 = 2e-8 of a width of 2e-4.
    assert many == pytest.approx((1 - 1.959964e-4, 1 + 1.959964e-4), abs=1.2e-5)


def test_features_that_are_not_finite_are_refused() -> None:
    bad = torch.ones(5, 3)
    bad[4, 2] = math.nan
    with pytest.raises(BootlightError, match="NaN or infinity"):
        kernel_distance(real=torch.ones(5, 3), synthetic=bad, kernel=polynomial_kernel)
