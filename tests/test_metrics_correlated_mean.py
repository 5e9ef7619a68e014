"""The standard error of a mean of losses whose neighbours are alike: closed form, coverage, limits."""

import math

import numpy as np
import pytest
from scipy.signal import lfilter

from bootlight.metrics.correlated_mean import mean_standard_error


def autoregression(n, memory, count, seed=0):
    """(count, n) stationary series of variance 1."""
    drive = np.random.default_rng(seed).normal(size=(count, n)) * math.sqrt(1 - memory**2)
    drive[:, 0] /= math.sqrt(1 - memory**2)
    return lfilter([1.0], [1.0, -memory], drive, axis=1)


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.8])
def test_closed_form_of_an_autoregression(memory):
    # Variance of the mean: (1 + r)/(1 - r)/n. The larger of two estimates lies a few per cent above; one of them is known to
    # sqrt(2 m / n) of a variance, with m = 2 (1 + r)/(1 - r) lags that matter: 4 % of the error at r = 0.8, twice.
    n = 20_000
    expected = math.sqrt((1 + memory) / (1 - memory) / n)
    (series,) = autoregression(n, memory, 1)
    assert mean_standard_error(series) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(("n", "memory", "least"), [(100, 0.0, 0.95), (100, 0.5, 0.93), (100, 0.7, 0.92), (300, 0.9, 0.91)])
def test_errors_hold_the_mean(n, memory, least):
    # `least` as measured with 2,000 series (coverage_loss.py); four standard deviations of a share of 400: 0.05.
    series = autoregression(n, memory, 400, seed=1)
    errors = np.array([mean_standard_error(values) for values in series])
    assert np.mean(abs(series.mean(axis=1)) <= 1.96 * errors) >= least - 0.05
    naive = series.std(axis=1, ddof=1) / math.sqrt(n)
    assert memory == 0 or np.mean(abs(series.mean(axis=1)) <= 1.96 * naive) < least - 0.1


def test_memory_below_independent_noise_is_seen():
    # r1 = 0.45 alone would give a sum of covariances of 2 (1.45/0.55) = 5.3; it is 19 + 1 = 20.
    series = autoregression(20_000, 0.9, 1)[0] + np.random.default_rng(2).normal(size=20_000)
    assert mean_standard_error(series) == pytest.approx(math.sqrt(20 / 20_000), rel=0.2)


def test_scale_and_offset():
    (series,) = autoregression(50, 0.3, 1)
    error = mean_standard_error(series)
    assert mean_standard_error(1000 - 3 * series) == pytest.approx(3 * error, rel=1e-9)


def test_limits():
    assert mean_standard_error([1.0] * 9) is None and mean_standard_error([]) is None
    assert mean_standard_error([0.1] * 10) == 0.0
    # Alternating values have a negative correlation: it is not credited.
    assert mean_standard_error([1.0, -1.0] * 50) == pytest.approx(1 / math.sqrt(99), rel=1e-12)
    assert mean_standard_error([1e200, -1e200] * 10) is None  # squares overflow
