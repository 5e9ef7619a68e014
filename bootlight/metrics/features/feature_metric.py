"""A metric of two sets of features: those of real images, and those of synthetic ones."""

from abc import abstractmethod
from typing import Any

from torch import Tensor, nn

from bootlight.metrics.features.features import feature_name, weights_remark
from bootlight.metrics.features.role_metric import SYNTHETIC, RoleMetric
from bootlight.metrics.score import Score


class FeatureMetric(RoleMetric):
    """A metric of two sets of features.

    Usable alone (`update` with images, then `compute` or `scores`), or on features that are there already (`measure`), so that
    one pass of the network serves any number of metrics; in a `MetricCollection` those that share a network are one compute
    group. Features are kept, (N, D) float32 on the device of the images. A process may have seen no image.

    A subclass has a `name`, `higher_is_better`, and `measure`.

    Args:
        features: maps uint8 images (B, 3, H, W) to (B, D). Grey images are repeated to three channels unless it has an
            attribute `channels` that is 1. An attribute `protocol`, a dict, is added to the score's protocol.
        reset_real_features: whether `reset` forgets the reference too.
        settings: of `torchmetrics.Metric`; `sync_on_compute=False` where one process measures alone.
    """

    references = ("real",)
    real_features: list[Tensor]

    @abstractmethod
    def measure(self, real: Tensor, synthetic: Tensor) -> dict[str, Score]:
        """Scores by name, from features (N, D) of the reference and (M, D) of the synthetic images."""

    def values_without(self, real: Tensor, synthetic: Tensor, groups: Tensor) -> dict[str, list[float]]:
        """Values by name without each group of synthetic images in turn, for a jackknife; a metric overrides what is slow.

        Args:
            real: features (N, D) of the reference.
            synthetic: features (M, D).
            groups: of each synthetic image the number of its group, int64 (M,), from 0 and without gaps.
        """
        found: dict[str, list[float]] = {}
        for group in range(int(groups.max()) + 1):
            for name, score in self.measure(real, synthetic[(groups != group).to(synthetic.device)]).items():
                found.setdefault(name, []).append(score.value)
        return found

    def update(self, images: Tensor, *, real: bool) -> None:
        """Add images.

        Args:
            images: uint8 (B, C, H, W), or float32 where the network takes them; see `check_float`.
            real: whether they belong to the reference.

        Raises:
            TypeError: neither.
            BootlightError: the network takes no float32, or does not answer with one row of features for each image.
        """
        self._add(images, "real" if real else SYNTHETIC)

    def forward(self, images: Tensor, *, real: bool) -> Tensor:
        """Add images, and answer with the value of these alone against the reference so far; NaN for the reference itself.

        The network looks once.

        Raises:
            BootlightError: as `update`, or too few images in this batch or in the reference.
        """
        self.update(images, real=real)
        return self._answer_for("real" if real else SYNTHETIC)

    def _measured(self) -> dict[str, Score]:
        """What `measure` says of all images so far, and a remark if the network has other weights than the published ones."""
        scores = self.measure(self._features_of("real"), self._features_of(SYNTHETIC))
        doubt = weights_remark(self._features.network)
        return {name: score._replace(remarks=(*doubt, *score.remarks)) for name, score in scores.items()}

    def common_protocol(self, real: Tensor, synthetic: Tensor) -> dict[str, Any]:
        """The part of a protocol that all metrics of features (N, D) and (M, D) share: network, and how many of what."""
        return common_protocol(self._features.network, real, synthetic)


def common_protocol(network: nn.Module, real: Tensor, synthetic: Tensor) -> dict[str, Any]:
    """The part of a protocol that all metrics of features (N, D) and (M, D) of a network share."""
    return {
        "features": feature_name(network),
        "num_features": real.shape[1],
        "num_real": len(real),
        "num_synthetic": len(synthetic),
        **getattr(network, "protocol", {}),
    }
