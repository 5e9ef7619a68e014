"""Density and coverage (Naeem, Oh, Uh, Choi and Yoo 2020, section 3)."""

from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bootlight.errors import check_range
from bootlight.metrics.exact import checked
from bootlight.metrics.features.feature_metric import FeatureMetric
from bootlight.metrics.neighbours.left_out import coverage_without
from bootlight.metrics.neighbours.neighbours import ball_counts, nearest, own_nearest, rounding
from bootlight.metrics.score import SHARE, Score
from bootlight.metrics.uncertainty import (
    NO_ERROR,
    WILSON_JACKKNIFE,
    jackknife_standard_error,
    means_without,
    share_interval,
)

LOW_CEILING = 0.9  # a coverage that two equal distributions do not reach on average is remarked on


class Covered(NamedTuple):
    """Coverage, and what it would be without one of the synthetic images.

    Attributes:
        value: in [0, 1].
        without: (M,), entry j is the coverage by the other M - 1 images.
    """

    value: float
    without: Tensor


def densities(*, real: Tensor, synthetic: Tensor, k: int) -> Tensor:
    """For each synthetic image, in how many balls of real images it lies, divided by k; their mean is the density.

    The ball of a real image reaches to its k-th nearest real neighbour, itself not counted, and is closed. Were synthetic and
    real images drawn from one distribution, each of the N real images would have the synthetic one among its k nearest with
    probability k/N, so the expected density is 1. It has no upper bound.

    Args:
        real: features (N, D), N > k.
        synthetic: features (M, D).
        k: number of neighbours.

    Returns:
        (M,) float64, >= 0.
    """
    radii, _ = own_nearest(real, k)
    return ball_counts(synthetic, real, radii[None, :, -1])[0].double() / k


def coverage(*, real: Tensor, synthetic: Tensor, k: int) -> Covered:
    """Share of real images whose ball, as in `densities`, holds at least one synthetic image.

    Args:
        real: features (N, D), N > k.
        synthetic: features (M, D), M > 1.
        k: number of neighbours.
    """
    radii, _ = own_nearest(real, k)
    distances, indices = nearest(real, synthetic, 2)
    nearest_in, second_in = (distances <= radii[:, -1:] * (1 + rounding(real))).T
    needed = torch.bincount(indices[nearest_in & ~second_in, 0], minlength=len(synthetic))
    covered = nearest_in.sum()
    return Covered(covered.item() / len(real), (covered - needed).double() / len(real))


def expected_coverage(num_real: int, num_synthetic: int, k: int) -> float:
    """Mean coverage where synthetic and real images are drawn from one continuous distribution (Naeem et al. 2020, section 3).

    A real image is left uncovered when its k nearest of N - 1 real and M synthetic images are all real, so the mean is
    1 - (N - 1) ... (N - k) / ((M + N - 1) ... (M + N - k)).
    """
    return 1 - prod((num_real - i) / (num_synthetic + num_real - i) for i in range(1, k + 1))


class _InBalls(FeatureMetric):
    """What `Density` and `Coverage` share: the number of neighbours to which the ball of a real image reaches."""

    higher_is_better = True

    def __init__(self, *, features: nn.Module, k: int = 5, **settings: Any) -> None:
        super().__init__(features=features, **settings)
        check_range("k", k, 1)
        self.k = k


class Density(_InBalls):
    """Density of synthetic images in the feature space of a network, `density`, >= 0.

    Low where synthetic images lie far from real ones. Equal distributions have density 1 on average, whatever the features;
    above it synthetic images keep to where real ones lie dense, so read it beside `coverage`.

    Uncertainty, over redraws of the synthetic images with the reference fixed: density is a mean over synthetic images, which
    are independent given the reference, so that its error is that of a mean. Not covered: the draw of the reference.

    Args:
        features: as for `FeatureMetric`.
        k: number of neighbours, >= 1; the paper uses 5.
        settings: as for `FeatureMetric`.

    Raises:
        BootlightError: `k` is below 1.
    """

    name = "density"

    def measure(self, real: Tensor, synthetic: Tensor) -> dict[str, Score]:
        """The score under `name`.

        Raises:
            BootlightError: fewer than k + 1 real or 2 synthetic images, or a feature that is not finite.
        """
        real, synthetic = both_checked(real, synthetic, k=self.k)
        each = densities(real=real, synthetic=synthetic, k=self.k)
        protocol, n = self.common_protocol(real, synthetic) | {"k": self.k}, len(synthetic)
        return {self.name: Score(each.mean().item(), each.std().item() / n**0.5 or None, n, protocol, higher_is_better=True)}

    def values_without(self, real: Tensor, synthetic: Tensor, groups: Tensor) -> dict[str, list[float]]:
        """See `FeatureMetric.values_without`."""
        real, synthetic = both_checked(real, synthetic, k=self.k)
        return {self.name: means_without(densities(real=real, synthetic=synthetic, k=self.k), groups)}


class Coverage(_InBalls):
    """Coverage of real images in the feature space of a network, `coverage`, in [0, 1].

    Low where parts of the real images have no synthetic image near. Equal distributions have `expected_coverage` on average.

    Uncertainty, over redraws of the synthetic images with the reference fixed: jackknife, which errs towards caution; on 100
    to 500 simulated images the standard error was 1.1 to 1.7 times the true one and intervals held 95 to 99 %. Not covered:
    the draw of the reference.

    Args:
        features: as for `FeatureMetric`.
        k: number of neighbours, >= 1; the paper uses 5.
        settings: as for `FeatureMetric`.

    Raises:
        BootlightError: `k` is below 1.
    """

    name = "coverage"

    def measure(self, real: Tensor, synthetic: Tensor) -> dict[str, Score]:
        """The score under `name`.

        Raises:
            BootlightError: as `Density.measure`.
        """
        real, synthetic = both_checked(real, synthetic, k=self.k)
        found, n = coverage(real=real, synthetic=synthetic, k=self.k), len(synthetic)
        error = jackknife_standard_error(found.without)
        remarks = []
        ceiling = expected_coverage(len(real), n, self.k)
        if ceiling < LOW_CEILING:
            remarks.append(f"with so few synthetic images for the real ones, equal distributions would score {ceiling:.2f}")
        if error is None:
            remarks.append(NO_ERROR.format("coverage"))
        score = Score(
            value=found.value,
            standard_error=error,
            n=n,
            protocol=self.common_protocol(real, synthetic) | {"k": self.k, SHARE: WILSON_JACKKNIFE},
            interval=share_interval(found.value, error),
            remarks=tuple(remarks),
            higher_is_better=True,
        )
        return {self.name: score}

    def values_without(self, real: Tensor, synthetic: Tensor, groups: Tensor) -> dict[str, list[float]]:
        """See `FeatureMetric.values_without`."""
        real, synthetic = both_checked(real, synthetic, k=self.k)
        return {self.name: coverage_without(real=real, synthetic=synthetic, k=self.k, groups=groups)}


def both_checked(real: Tensor, synthetic: Tensor, *, k: int) -> tuple[Tensor, Tensor]:
    """Features as `checked` gives them, of as many images as density and coverage need."""
    return (
        checked(real, least=k + 1, metric="density", side="real"),
        checked(synthetic, least=2, metric="density", side="synthetic"),
    )
