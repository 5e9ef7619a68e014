"""Mean and variance of a set of images against those of the real ones, without any assumption: what loops are followed by."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bootlight.metrics.exact import blocks, checked
from bootlight.metrics.features.feature_metric import FeatureMetric
from bootlight.metrics.once import shared
from bootlight.metrics.score import Score


class Moments(NamedTuple):
    """Mean and variance of synthetic images against those of real ones, summed over all features.

    Attributes:
        shift: sum of (m_synthetic - m_real)^2 over the sum of the variances of the real images, m being the means.
        shift_error: its standard error.
        chance: what the shift is on average where nothing differs.
        ratio: sum of the variances of the synthetic images over that of the real ones.
        ratio_error: its standard error.
        real_variance: sum over all features; 1 where all real images agree.
        synthetic_variance: likewise.
    """

    shift: float
    shift_error: float
    chance: float
    ratio: float
    ratio_error: float
    real_variance: float
    synthetic_variance: float


def moments(real: Tensor, synthetic: Tensor) -> Moments:
    """Of features (N, D) and (M, D). Errors are over redraws of the synthetic images; the real ones are taken as exact.

    Variances are those of maximum likelihood (division by n), as loops have them (`studies.gaussian_loop`).

    Raises:
        BootlightError: fewer than 2 images on a side, or features that are not finite.
    """
    real = checked(real, least=2, metric="a comparison of moments", side="real")
    synthetic = checked(synthetic, least=2, metric="a comparison of moments", side="synthetic")
    mean, real_mean = mean_of(synthetic), mean_of(real)
    distances, unit = squared_distances(synthetic, mean), squared_distances(real, real_mean).mean()
    unit = unit if unit > 0 else torch.ones_like(unit)  # all real images agree: the numbers themselves
    shift = mean - real_mean
    along = torch.cat([(rows - mean) @ shift for _, rows in blocks(synthetic)])
    n = len(synthetic)
    # Of a normal vector's squared length: 4 d'Sd + 2 tr S^2, where d is its mean and S its covariance. The d that is seen
    # has chance in it, which adds tr S^2 to d'Sd.
    squares = _trace_of_square(synthetic, mean) / n**2
    error = torch.maximum(4 * along.square().mean() / n - 2 * squares, 2 * squares).sqrt() / unit
    return Moments(
        shift=(shift.square().sum() / unit).item(),
        shift_error=error.item(),
        chance=((distances.mean() / n + unit / len(real)) / unit).item(),
        ratio=(distances.mean() / unit).item(),
        ratio_error=(distances.std() / n**0.5 / unit).item(),
        real_variance=unit.item(),
        synthetic_variance=distances.mean().item(),
    )


class _MomentMetric(FeatureMetric):
    """What `MeanShift` and `VarianceRatio` share; of both the work is done once inside `once`."""

    def _moments(self, real: Tensor, synthetic: Tensor) -> tuple[Moments, dict[str, Any]]:
        """The numbers and the protocol."""
        found = shared("moments", (real, synthetic), lambda: moments(real, synthetic))
        variances = {"real_variance": found.real_variance, "synthetic_variance": found.synthetic_variance}
        return found, self.common_protocol(real, synthetic) | variances


class MeanShift(_MomentMetric):
    """How far the mean has moved, `mean-shift`: squared, summed over all features, in units of the variance of the real images.

    Of images that are numbers, `PixelFeatures` of their own size makes the features the numbers themselves. See `Moments`; so
    many images come to `by_chance` of the protocol where nothing differs.

    Args:
        features: see `FeatureMetric`.
        settings: likewise.
    """

    higher_is_better = False
    name = "mean-shift"

    def measure(self, real: Tensor, synthetic: Tensor) -> dict[str, Score]:
        """The score under `name`.

        Raises:
            BootlightError: as `moments`.
        """
        found, protocol = self._moments(real, synthetic)
        protocol |= {"by_chance": found.chance}
        return {self.name: Score(found.shift, found.shift_error, len(synthetic), protocol, higher_is_better=False)}


class VarianceRatio(_MomentMetric):
    """How much variance is left, `variance-ratio`: 1 = as much variety as the real images, below 1 it is being lost.

    See `MeanShift` and `Moments`.

    Args:
        features: see `FeatureMetric`.
        settings: likewise.
    """

    higher_is_better = None
    name = "variance-ratio"

    def measure(self, real: Tensor, synthetic: Tensor) -> dict[str, Score]:
        """The score under `name`.

        Raises:
            BootlightError: as `moments`.
        """
        found, protocol = self._moments(real, synthetic)
        return {self.name: Score(found.ratio, found.ratio_error, len(synthetic), protocol)}


def mean_of(features: Tensor) -> Tensor:
    """Mean (D,) float64 of features (N, D)."""
    total = torch.stack([rows.sum(0) for _, rows in blocks(features)]).sum(0)
    return total / len(features)


def squared_distances(features: Tensor, mean: Tensor) -> Tensor:
    """Of each row (N, D) from the mean, (N,) float64."""
    return torch.cat([(rows - mean).square().sum(1) for _, rows in blocks(features)])


def _trace_of_square(features: Tensor, mean: Tensor) -> Tensor:
    """Trace of the square of the covariance of features (N, D), by the smaller of the covariance and the Gram matrix."""
    n, size = features.shape
    if n > size:
        covariance = torch.stack([(rows - mean).T @ (rows - mean) for _, rows in blocks(features)]).sum(0) / n
        return covariance.square().sum()
    centered = features.double() - mean
    return (centered @ centered.T / n).square().sum()
