"""Spatial Fréchet distance (sFID: Nash et al. 2021, section 5)."""

from typing import Any

from torch import Tensor, nn

from bootlight.metrics.distances.frechet import FrechetDistance
from bootlight.metrics.features.features import score_name
from bootlight.metrics.score import Score


class SpatialFrechetDistance(FrechetDistance):
    """Fréchet distance of features that know where in the image they were seen: `sfid`.

    Pooled features, as FID takes them, forget the place; these see parts that are right in themselves and in the wrong place.
    What else is to be said is said of `FrechetDistance`.

    Args:
        features: a network whose method `outputs` answers with `spatial`, (B, D); of Inception these are 7 channels at 17 x 17
            places, D = 2023.
        name: what the number is called; None: `sfid` for FID's Inception, `sfd-<name>` for other networks.
        settings: as for `FeatureMetric`.
    """

    output = "spatial"

    def __init__(
        self,
        *,
        features: nn.Module,
        name: str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(
            features=features,
            name=name or f"s{score_name(features)}",
            **settings,
        )

    def measure(self, real: Tensor, synthetic: Tensor) -> dict[str, Score]:
        """As `FrechetDistance.measure`, from spatial features."""
        scores = super().measure(real, synthetic)
        return {name: score.noting(output=self.output) for name, score in scores.items()}
