"""Images are shown to a feature network, and its answers are checked."""

import torch
from torch import Tensor, nn

from bootlight.errors import BootlightError
from bootlight.metrics.features.frozen import Frozen


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
