"""Spatial Fréchet distance (sFID: Nash et al. 2021, section 5)."""

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
        reset_real_features: whether `reset` forgets the reference too.
        sync_on_compute: whether `compute` waits for all processes; False where one process measures alone.
    """

    output = "spatial"

    def __init__(
        self,
        *,
        features: nn.Module,
        name: str | None = None,
        reset_real_features: bool = False,
        sync_on_compute: bool = True,
    ) -> None:
        super().__init__(
            features=features,
            name=name or f"s{score_name(features)}",
            reset_real_features=reset_real_features,
            sync_on_compute=sync_on_compute,
        )

    def measure(self, real: Tensor, synthetic: Tensor) -> dict[str, Score]:
        """As `FrechetDistance.measure`, from spatial features."""
        scores = super().measure(real, synthetic)
        return {name: score._replace(protocol={**score.protocol, "output": self.output}) for name, score in scores.items()}
