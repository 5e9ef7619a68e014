"""What all metrics on features share: looking through a network once, keeping features, synchronising processes."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from bootlight.errors import BootlightError
from bootlight.metrics.features.features import feature_name, weights_remark
from bootlight.metrics.features.frozen import Frozen
from bootlight.metrics.score import Score


class FeatureMetric(Metric):
    """A metric of two sets of features.

    Usable alone (`update` with images, then `compute`), or on features that are there already (`measure`), so that one pass
    of the network serves any number of metrics. Features are kept, (N, D) float32 on the device of the images. Where
    processes are synchronised each must have seen at least one image of each side.

    Args:
        features: maps uint8 images (B, 3, H, W) to (B, D). Grey images are repeated to three channels unless it has an
            attribute `channels` that is 1. An attribute `protocol`, a dict, is added to the score's protocol.
        reset_real_features: whether `reset` forgets the reference too.
        sync_on_compute: whether `compute` waits for all processes; False where one process measures alone.
    """

    full_state_update = True  # `forward` else adds the reference that `reset` keeps to itself
    is_differentiable = False
    output = "features"  # which of the network's answers; others than "features" come from its method `outputs`
    real_features: list[Tensor]
    synthetic_features: list[Tensor]

    def __init__(self, *, features: nn.Module, reset_real_features: bool = False, sync_on_compute: bool = True) -> None:
        super().__init__(sync_on_compute=sync_on_compute)
        self.reset_real_features = reset_real_features
        self._features = Frozen(features)
        self.add_state("real_features", [], dist_reduce_fx="cat")
        self.add_state("synthetic_features", [], dist_reduce_fx="cat")

    @abstractmethod
    def measure(self, real: Tensor, synthetic: Tensor) -> dict[str, Score]:
        """Scores by name, from features (N, D) of the reference and (M, D) of the synthetic images."""

    def update(self, images: Tensor, *, real: bool) -> None:
        """Add images.

        Args:
            images: uint8 (B, 1 or 3, H, W).
            real: whether they belong to the reference.

        Raises:
            TypeError: not uint8.
            BootlightError: the network does not answer with one row of features for each image.
        """
        features = look(self._features, images)[self.output]
        (self.real_features if real else self.synthetic_features).append(features)

    def compute(self) -> dict[str, Score]:
        """What `measure` says of all images so far, and a remark if the network has other weights than the published ones."""
        scores = self.measure(_joined(self.real_features), _joined(self.synthetic_features))
        doubt = weights_remark(self._features.network)
        return {name: score._replace(remarks=(*doubt, *score.remarks)) for name, score in scores.items()}

    def reset(self) -> None:
        """Forget the synthetic images; the reference stays unless `reset_real_features`."""
        reference = list(self.real_features)  # a copy: torchmetrics empties the list itself
        super().reset()
        if not self.reset_real_features:
            self.real_features = reference


def common_protocol(network: nn.Module, real: Tensor, synthetic: Tensor) -> dict[str, Any]:
    """The part of a protocol that all metrics of features (N, D) and (M, D) of a network share."""
    return {
        "features": feature_name(network),
        "num_features": real.shape[1],
        "num_real": len(real),
        "num_synthetic": len(synthetic),
        **getattr(network, "protocol", {}),
    }


def look(network: Frozen, images: Tensor) -> dict[str, Tensor]:
    """All answers (B, D) to uint8 images (B, 1 or 3, H, W); see `FeatureMetric.update` for what it raises."""
    if images.dtype != torch.uint8:
        raise TypeError(f"metrics take uint8 images, not {images.dtype}; bootlight.io.pictures.to_uint8 converts")
    if images.shape[1] == 1 and getattr(network.network, "channels", 3) != 1:
        images = images.expand(-1, 3, -1, -1)
    answers = network.outputs(images)
    for features in answers.values():
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(images):
            answer = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise BootlightError(
                f"evaluation.features: {type(network.network).__name__} answered {answer} to {len(images)} images; it "
                f"must answer one row of features for each, ({len(images)}, D)"
            )
    return answers


def _joined(state: list[Tensor] | Tensor) -> Tensor:
    """Features of all updates, and after synchronisation of all processes, (N, D)."""
    return dim_zero_cat(state) if len(state) else torch.empty(0, 0)
