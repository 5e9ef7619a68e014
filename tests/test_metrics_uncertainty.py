"""Intervals of shares and the jackknife: closed forms and another library."""

import math

import pytest
import scipy.stats
import torch

from bootlight.metrics.uncertainty import (
    Z95,
    binomial_standard_error,
    bounded_interval,
    bounded_mean,
    jackknife_standard_error,
    share_interval,
    wilson_interval,
)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (3, 10), (1, 1), (437, 1000)])
def test_the_interval_of_wilson_is_that_of_scipy(successes: int, n: int) -> None:
    expected = scipy.stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(successes / n, n) == pytest.approx(tuple(expected), abs=1e-7)  # the quantile has seven digits


def test_the_binomial_error_is_that_of_a_mean_of_zeros_and_ones() -> None:
    answers = torch.tensor([1.0] * 7 + [0.0] * 13, dtype=torch.float64)
    assert binomial_standard_error(7 / 20, 20) == pytest.approx(answers.std(correction=0).item() / math.sqrt(20), rel=1e-12)
    assert binomial_standard_error(0, 20) is None and binomial_standard_error(1, 20) is None


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = torch.randn(30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    without = (values.sum() - values) / 29
    assert jackknife_standard_error(without) == pytest.approx(values.std().item() / math.sqrt(30), rel=1e-12)


def test_the_jackknife_knows_nothing_where_no_image_matters() -> None:
    assert jackknife_standard_error(torch.full((1000,), 0.7)) is None
    assert jackknife_standard_error(torch.full((1000,), 1 / 3, dtype=torch.float64)) is None


def test_the_interval_of_a_share_with_an_error() -> None:
    # With the error of a binomial share it is Wilson's interval; with a small error it nears value +- 1.96 errors.
    error = binomial_standard_error(0.3, 50)
    assert share_interval(0.3, error) == pytest.approx(wilson_interval(0.3, 50), rel=1e-12)
    assert share_interval(0.3, 1e-4) == pytest.approx((0.3 - 1.96e-4, 0.3 + 1.96e-4), abs=1e-7)  # off by 0.4 x 3.84/n_eff
    assert share_interval(1.0, 0.1) == pytest.approx((1 - 0.196, 1), abs=1e-4)
    assert share_interval(0.0, 0.1) == pytest.approx((0, 0.196), abs=1e-4)
    assert share_interval(0.5, None) is None
    low, high = share_interval(0.99, 0.1) or (math.nan, math.nan)
    assert 0 < low < 0.99 < high <= 1


def test_the_bounded_mean_of_zeros_and_ones_is_agresti_and_coull() -> None:
    answers = torch.tensor([1.0] * 7 + [0.0] * 13)
    centre, error = bounded_mean(answers)
    share = (7 + Z95**2 / 2) / (20 + Z95**2)  # their p~, of n~ = n + z^2 images
    assert centre == pytest.approx(share, rel=1e-12)
    assert error == pytest.approx(math.sqrt(share * (1 - share) / (20 + Z95**2)), rel=1e-12)
    assert sum(wilson_interval(7 / 20, 20)) / 2 == pytest.approx(centre, rel=1e-12)  # and its middle is Wilson's


@pytest.mark.parametrize("value", [0.0, 1e-9, 0.5, 1.0])
@pytest.mark.parametrize("n", [1, 20, 10_000])
def test_equal_probabilities_keep_a_width_that_holds_them(value: float, n: int) -> None:
    centre, error = bounded_mean(torch.full((n,), value, dtype=torch.float64))
    low, high = bounded_interval(centre, Z95 * error)
    assert 0 <= low <= value <= high <= 1 and high - low > 1.9 / (n + 4)  # the images that are added lie that far apart


@pytest.mark.parametrize(("mean", "spread"), [(-5.0, 2.0), (-6.0, 4.0), (0.0, 1.0)])
def test_the_bounded_interval_holds_where_the_plain_one_does_not(mean: float, spread: float) -> None:
    rng = torch.Generator().manual_seed(0)
    truth = (mean + spread * torch.randn(400_000, generator=rng, dtype=torch.float64)).sigmoid().mean().item()
    held = plain = 0
    for _ in range(400):
        drawn = (mean + spread * torch.randn(30, generator=rng, dtype=torch.float64)).sigmoid()
        centre, error = bounded_mean(drawn)
        held += abs(centre - truth) <= Z95 * error
        plain += abs(drawn.mean().item() - truth) <= Z95 * drawn.std().item() / math.sqrt(30)
    assert held / 400 > 0.95 - 3 * 0.011  # three standard errors of 400 trials
    assert mean == 0 or plain / 400 < 0.92  # 0.80 and 0.88 in 10,000 trials
