"""Intervals of shares and the jackknife: closed forms and another library."""

import math

import pytest
import scipy.stats
import torch

from bootlight.metrics.uncertainty import (
    binomial_standard_error,
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
