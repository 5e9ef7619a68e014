"""The standard error of the mean of a series whose neighbours are alike, such as the losses of successive steps."""

import math

import numpy as np
from numpy.typing import ArrayLike

LEAST = 10  # values; fewer do not tell how alike they are
LARGEST = 1e100  # squares of larger ones overflow


def mean_standard_error(values: ArrayLike) -> float | None:
    """Standard error of the mean of a stationary series, its correlation in time included.

    The variance of the mean of n values is s/n, with s the sum of the covariances at all lags. The larger one of two estimates
    of s is taken, since both are low where the memory is long: the initial monotone sequence of Geyer (1992), Statistical
    Science 7, 473, section 3.3, which is right for any reversible series as n grows; and that of a first-order autoregression,
    variance x (1 + r)/(1 - r), with r = r1 + (1 + 4 r1)/n against the bias of the lag-1 correlation r1 (Marriott and Pope
    1954, Biometrika 41, 390). `benchmarks/coverage_loss.py` measures how often value ± 1.96 errors hold the mean.

    Args:
        values: (n,), finite, at equal distances in time.

    Returns:
        None with fewer than `LEAST`, or with some beyond `LARGEST`.
    """
    series = np.asarray(values, dtype=np.float64)
    n = len(series)
    if n < LEAST or abs(series).max() > LARGEST:
        return None
    if np.ptp(series) == 0:
        return 0.0
    deviations = series - series.mean()
    spectrum = np.fft.rfft(deviations, 2 * n)
    covariances = np.fft.irfft(spectrum * spectrum.conj())[:n] / n
    correlation = covariances[1] / covariances[0]
    correlation = min(max(correlation + (1 + 4 * correlation) / n, 0.0), 1 - 1 / n)
    autoregression = covariances[0] * n / (n - 1) * (1 + correlation) / (1 - correlation)
    pairs = covariances[: n // 2 * 2].reshape(-1, 2).sum(axis=1)
    end = int((pairs <= 0).argmax()) if (pairs <= 0).any() else len(pairs)
    geyer = 2 * np.minimum.accumulate(pairs[:end]).sum() - covariances[0] if end else 0.0
    return math.sqrt(max(autoregression, geyer) / n)
