"""Mean and variance of a set of images against those of the real ones, without any assumption: what loops are followed by."""

from typing import Any

import torch
from torch import Tensor, nn

from bootlight.metrics.exact import blocks, checked
from bootlight.metrics.features.feature_metric import FeatureMetric, common_protocol
from bootlight.metrics.score import Score


class Moments(FeatureMetric):
    """How far the mean has moved, and how much variance is left, summed over all features.

    Of images that are numbers, `PixelFeatures` of their own size makes the features the numbers themselves. Variances are those
    of maximum likelihood (division by n), as loops have them (`studies.gaussian_loop`). With S their variances, m their means:

    - `mean-shift`: sum of (m_synthetic - m_real)^2 over the sum of S_real; so many images come to `by_chance` of the protocol
      where nothing differs.
    - `variance-ratio`: sum of S_synthetic over the sum of S_real; 1 = as much variety, below 1 it is being lost.

    Standard errors are over redraws of the synthetic images; the real ones are taken as exact.

    Args:
        features: see `FeatureMetric`.
        reset_real_features: likewise.
        sync_on_compute: likewise.
    """

    def __init__(self, *, features: nn.Module, reset_real_features: bool = False, sync_on_compute: bool = True) -> None:
        super().__init__(features=features, reset_real_features=reset_real_features, sync_on_compute=sync_on_compute)

    def measure(self, real: Tensor, synthetic: Tensor) -> dict[str, Score]:
        """Both scores, by their names.

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
        chance = (distances.mean() / n + unit / len(real)) / unit
        protocol: dict[str, Any] = common_protocol(self._features.network, real, synthetic)
        protocol |= {"real_variance": unit.item(), "synthetic_variance": distances.mean().item()}
        # Of a normal vector's squared length: 4 d'Sd + 2 tr S^2, where d is its mean and S its covariance. The d that is seen
        # has chance in it, which adds tr S^2 to d'Sd.
        squares = _trace_of_square(synthetic, mean) / n**2
        error = torch.maximum(4 * along.square().mean() / n - 2 * squares, 2 * squares).sqrt() / unit
        return {
            "mean-shift": Score(
                value=(shift.square().sum() / unit).item(),
                standard_error=error.item(),
                n=n,
                protocol={**protocol, "by_chance": chance.item()},
                higher_is_better=False,
            ),
            "variance-ratio": Score((distances.mean() / unit).item(), (distances.std() / n**0.5 / unit).item(), n, protocol),
        }


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
