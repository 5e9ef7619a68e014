"""Whether images can be what they are said to be, clean ones plus normal noise of a deviation tau: by their statistics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bootlight.io.pictures import to_float

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOOKED_AT = 2**22  # numbers, of images spread evenly over the set
SURE = 5.0  # standard errors
HARMLESS = 1e-3  # of all numbers: so many clipped ones change nothing that could be measured
LEVEL = 2 / 255  # between two grey levels, in [-1, 1]


@dataclass(frozen=True)
class NoiseStatistics:
    """Of numbers in the units of [-1, 1].

    Args:
        numbers: that were looked at.
        lowest: the least number.
        highest: the greatest one.
        at_lowest: share of numbers that are exactly the least.
        at_highest: share that are exactly the greatest.
        width: between two neighbouring numbers that can be told apart; 0 of floats.
        roughness: variance of the differences of neighbours that noise has and smooth images have not; at least tau^2 where
            there is noise of that deviation.
        roughness_error: its standard error.
    """

    numbers: int
    lowest: float
    highest: float
    at_lowest: float
    at_highest: float
    width: float
    roughness: float
    roughness_error: float

    def clipped(self, tau: float) -> bool:
        """Whether more numbers are equal at an end than noise of this deviation can put there.

        The density of normal noise is at most 1 / (tau sqrt(2 pi)), whatever lies below it, so in a bin of a width w lie at
        most w / (tau sqrt(2 pi)) of all numbers; of floats none. `SURE` standard errors and `HARMLESS` are added.
        """
        limit = self.width / (tau * math.sqrt(2 * math.pi))
        error = math.sqrt(limit * max(0.0, 1 - limit) / self.numbers)
        return max(self.at_lowest, self.at_highest) > limit + SURE * error + HARMLESS

    def too_smooth(self, tau: float) -> bool:
        """Whether neighbours differ less than noise of this deviation makes them differ, whatever the images are."""
        return self.roughness + SURE * self.roughness_error < tau**2


def noise_statistics(images: NDArray[Any]) -> NoiseStatistics:
    """Of images (N, H, W, C), uint8 pictures or float32; of many, of some that are spread evenly.

    Roughness is the variance of (a - b - c + d) / 2 of the squares of four neighbours: of white noise its own variance, of an
    image without noise what is left of its finest details. Images of one row or column have none: it is infinite.
    """
    each = math.prod(images.shape[1:])
    wanted = min(len(images), max(1, LOOKED_AT // each))
    chosen = np.asarray(images[np.unique(np.linspace(0, len(images) - 1, wanted).astype(np.int64))])
    width = LEVEL if chosen.dtype == np.uint8 else 0.0
    values = to_float(torch.from_numpy(chosen)).numpy()
    height, across = (n - n % 2 for n in values.shape[1:3])
    square = values[:, :height, :across].astype(np.float64)
    a, b, c, d = (square[:, i::2, j::2] for i in (0, 1) for j in (0, 1))
    details = ((a - b - c + d) / 2) ** 2
    per_image = details.reshape(len(details), -1).mean(1) if details.size else np.array([math.inf])
    error = math.inf if len(per_image) < 2 else float(per_image.std(ddof=1)) / math.sqrt(len(per_image))
    if not details.size:
        error = 0.0
    elif len(per_image) < 30:  # the spread over images is not known well: that of normal noise of as many numbers
        error = max(0.0 if math.isinf(error) else error, float(per_image.mean()) * math.sqrt(2 / details.size))
    low, high = float(values.min()), float(values.max())
    shares = float((values == values.min()).mean()), float((values == values.max()).mean())
    return NoiseStatistics(values.size, low, high, *shares, width, float(per_image.mean()), error)
