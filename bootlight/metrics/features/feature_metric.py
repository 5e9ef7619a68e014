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


def check_float(network: nn.Module, images: Tensor) -> None:
    """Refuse numbers that are not of 8 bits, unless a network takes them: one with an attribute `takes_float`.

    Raises:
        BootlightError: it takes pictures of 8 bits alone.
        TypeError: images are neither uint8 nor float32.
    """
    if images.dtype != torch.float32:
        raise TypeError(f"metrics take images of uint8 or float32, not {images.dtype}; io.pictures.to_uint8 converts")
    if not getattr(network, "takes_float", False):
        raise BootlightError(
            f"{type(network).__name__} takes 8-bit pictures, and these images are float32 numbers without a range; measure "
            "them with bootlight.PixelFeatures, or a network of yours with an attribute takes_float"
        )


def look(network: Frozen, images: Tensor) -> dict[str, Tensor]:
    """All answers (B, D) to images (B, C, H, W), uint8 or float32; see `FeatureMetric.update` for what it raises."""
    if images.dtype != torch.uint8:
        check_float(network.network, images)
    if images.dtype == torch.uint8 and images.shape[1] == 1 and getattr(network.network, "channels", 3) != 1:
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
