"""Means over images and trainings, and how far they may be off; differences of two sets of trainings on the same images."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

LEVEL = 0.975
HOW = "variances of images and of trainings, crossed; Student's t"


class Interval(NamedTuple):
    """Of a mean.

    Attributes:
        value: the mean.
        standard_error: of it.
        low: end of a 95 % interval.
        high: end of it.
    """

    value: float
    standard_error: float
    low: float
    high: float


def crossed_mean(hits: NDArray[np.float64]) -> Interval:
    """The mean of hits (S, N), 1 where a training is right about an image, for other trainings and other images.

    As if two images more were right and two wrong (Agresti and Coull 1998), for the interval alone.
    """
    n, value = hits.shape[1], float(hits.mean())
    centre = (n * value + 2) / (n + 4)
    more = 2 * centre**2 + 2 * (1 - centre) ** 2
    error, reach = _error(hits.mean(0) - centre, [hits], more, 4)
    return Interval(value, error, max(0.0, centre - reach), min(1.0, centre + reach))


def crossed_difference(one: NDArray[np.float64], other: NDArray[np.float64]) -> Interval:
    """The mean of `one` (S, N) less that of `other` (R, N), on the same N images.

    Images are paired, trainings are not. With one training on each side the interval is about the images alone. It is made as
    if one image more were right on one side and one on the other, by half each (Agresti and Min 2005): else two sides that
    agree everywhere would be equal without any doubt.
    """
    differences = one.mean(0) - other.mean(0)
    value = float(differences.mean())
    error, reach = _error(differences - value, [one, other], 1.0, 2)
    return Interval(value, error, max(-1.0, value - reach), min(1.0, value + reach))


def _error(apart: NDArray[np.float64], sides: list[NDArray[np.float64]], more: float, added: int) -> tuple[float, float]:
    """Standard error of a mean over images, and how far a 95 % interval reaches.

    Its variance is that of the images over their number, and of the trainings of each side over theirs, less what both count:
    the scatter of single answers. It is never below the larger of the two. Degrees of freedom are Satterthwaite's.

    Args:
        apart: of each image, how far it is from the middle (N,).
        sides: of the trainings, (S, N) each.
        more: sum of squares that added images have.
        added: how many these are.
    """
    n = len(apart)
    parts = [((float((apart**2).sum()) + more) / ((n + added) * (n + added - 1)), n + added - 1.0)]
    scatter = 0.0
    for side in sides:
        s = len(side)
        if s > 1:
            parts.append((float(side.mean(1).var(ddof=1)) / s, s - 1.0))
            rest = side - side.mean(0) - side.mean(1, keepdims=True) + side.mean()
            scatter += float((rest**2).sum()) / ((s - 1) * max(1, n - 1)) / (n * s)
    of_images, of_trainings = parts[0][0], sum(part for part, _ in parts[1:])
    error = math.sqrt(max(of_images + of_trainings - scatter, of_images, of_trainings))
    freedom = sum(part for part, _ in parts) ** 2 / sum(part**2 / df for part, df in parts)
    return error, float(student.ppf(LEVEL, freedom)) * error
