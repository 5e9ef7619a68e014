"""Memorization-informed FID: a Fréchet distance that copies of training images make worse (Bai et al. 2021)."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bootlight.errors import check_range
from bootlight.metrics.distances.frechet import frechet_distance
from bootlight.metrics.distances.frechet_left_out import frechet_without
from bootlight.metrics.distances.statistics import feature_statistics, reference_statistics
from bootlight.metrics.exact import blocks, checked, unit
from bootlight.metrics.features.feature_metric import FeatureMetric
from bootlight.metrics.score import Score
from bootlight.metrics.uncertainty import jackknife_standard_error, without_groups

EPSILON = 1e-14  # added to the distance so that exact copies have a finite score; the competition's value
GROUPS = 10


def nearest_cosine_distances(*, real: Tensor, synthetic: Tensor) -> Tensor:
    """1 - the largest |cosine| with a real image, for each synthetic image; (M,) float64 in [0, 1].

    Args:
        real: features (N, D).
        synthetic: features (M, D), on the same device. A row of zeros is at 0 from other such rows and at 1 from the rest.

    Raises:
        BootlightError: no image on a side, or features that are not finite.
    """
    real = checked(real, least=1, metric="MiFID", side="real")
    synthetic = checked(synthetic, least=1, metric="MiFID", side="synthetic")
    largest = torch.zeros(len(synthetic), dtype=torch.float64, device=synthetic.device)
    for rows, block in blocks(synthetic):
        drawn = unit(block)
        for _, reference in blocks(real):
            largest[rows] = torch.maximum(largest[rows], (drawn @ unit(reference).T).abs().amax(1))
    return (1 - largest).clamp(min=0)


def penalised(distance: float, memorization: Tensor, threshold: float) -> float:
    """Fréchet distance over the mean of nearest cosine distances (M,), or over 1 where that mean is at least `threshold`."""
    mean = memorization.mean().item()
    return distance / (mean + EPSILON if mean < threshold else 1.0)


class MifidEstimate(NamedTuple):
    """MiFID, its standard error over redraws of the synthetic images or None, and the mean nearest cosine distance."""

    value: float
    standard_error: float | None
    memorization: float


def mifid(*, real: Tensor, synthetic: Tensor, threshold: float = 0.1) -> MifidEstimate:
    """Fréchet distance over the mean distance of synthetic images to their nearest real one where that is below `threshold`.

    The standard error is a jackknife over 10 random groups of synthetic images: each in turn is left out and all computed
    again, so the distance, the penalty and a mean near the threshold count together. Ten groups leave it uncertain by a
    quarter of itself; for Gaussian features with D = 16 and 64 and M from 60 to 500 it was on average 1.0 to 1.3 times the
    true spread. There is none below 20 images. It does not cover the bias of a Fréchet distance.

    Args:
        real: features (N, D) of the training images, N >= 2.
        synthetic: features (M, D), M >= 2, on the same device.
        threshold: 0.1 in the competition, for FID's Inception; other networks need their own.

    Raises:
        BootlightError: fewer than 2 images on a side, or features that are not finite.
    """
    reference = reference_statistics(real)
    value = frechet_distance(real=reference, synthetic=feature_statistics(synthetic))
    memorization = nearest_cosine_distances(real=real, synthetic=synthetic)
    error = None
    if len(synthetic) >= 2 * GROUPS:
        left_out = []
        for kept in without_groups(len(synthetic), GROUPS):
            distance = frechet_distance(real=reference, synthetic=feature_statistics(synthetic[kept.to(synthetic.device)]))
            left_out.append(penalised(distance, memorization[kept.to(memorization.device)], threshold))
        error = jackknife_standard_error(torch.tensor(left_out, dtype=torch.float64))
    return MifidEstimate(penalised(value, memorization, threshold), error, memorization.mean().item())


class MemorizationInformedFrechetDistance(FeatureMetric):
    """Fréchet distance of synthetic to real images, divided by a penalty for copies: `mifid`, lower is better.

    The penalty is the mean cosine distance of synthetic images to the nearest real one, where below `threshold`, else 1. So
    the real images must be those that the generator was trained on. It catches a generator that copies everywhere; copies
    among many new images hardly move a mean. Distances run from synthetic to real images, as in the competition's program;
    torchmetrics 1.9 takes them from real to synthetic ones, which a few copied images leave large.

    Args:
        features: as for `FeatureMetric`.
        threshold: in (0, 1]; 0.1 is the competition's for FID's Inception.
        settings: as for `FeatureMetric`.

    Raises:
        BootlightError: `threshold` is not from 0 to 1.
    """

    higher_is_better = False
    name = "mifid"

    def __init__(
        self,
        *,
        features: nn.Module,
        threshold: float = 0.1,
        **settings: Any,
    ) -> None:
        super().__init__(features=features, **settings)
        check_range("MemorizationInformedFrechetDistance.threshold", threshold, 0, 1)
        self.threshold = threshold

    def measure(self, real: Tensor, synthetic: Tensor) -> dict[str, Score]:
        """The score under `mifid`.

        Raises:
            BootlightError: fewer than 2 images on a side, or features that are not finite.
        """
        value, error, memorization = mifid(real=real, synthetic=synthetic, threshold=self.threshold)
        copied = (
            f"Synthetic images lie at a mean cosine distance of {memorization:.2g} from real ones, below {self.threshold:g}."
        )
        score = Score(
            value=value,
            standard_error=error,
            n=len(synthetic),
            protocol=self.common_protocol(real, synthetic) | {"threshold": self.threshold},
            remarks=(copied,) if memorization < self.threshold else (),
            higher_is_better=self.higher_is_better,
        )
        return {self.name: score}

    def values_without(self, real: Tensor, synthetic: Tensor, groups: Tensor) -> dict[str, list[float]]:
        """See `FeatureMetric.values_without`."""
        distances = frechet_without(real=reference_statistics(real), synthetic_features=synthetic, groups=groups)
        memorization = nearest_cosine_distances(real=real, synthetic=synthetic)
        stays = [(groups != group).to(memorization.device) for group in range(len(distances))]
        found = [
            penalised(distance, memorization[kept], self.threshold) for distance, kept in zip(distances, stays, strict=True)
        ]
        return {self.name: found}
