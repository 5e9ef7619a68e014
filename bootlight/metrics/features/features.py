"""What a feature network is, how it and its scores are called, and one that needs no weights.

A feature network is any `torch.nn.Module` that maps uint8 images (B, C, H, W) to float32 features (B, D). One with an attribute
`takes_float = True` is given float32 images of float data too, as they are.
"""

from abc import ABC

import torch.nn.functional as F
from torch import Tensor, nn

from bootlight.errors import BootlightError, check_range


class FeatureNetwork(ABC):  # noqa: B024 - nothing to implement
    """Any `torch.nn.Module` that maps uint8 images (B, 3, H, W) to features (B, D) in a space where distances mean something.

    There is nothing to subclass: every module counts (a type of its own, because help would list all of torch's modules
    as known subclasses of `nn.Module`). An attribute `name` (str) names the score, `fd-<name>`.
    """


FeatureNetwork.register(nn.Module)


class PixelFeatures(nn.Module):
    """Pixels in [0, 1], averaged over a grid of `size` x `size` cells and flattened: a network without weights.

    Sees coarse shape and colour only; for tests and first runs. Float data are taken as they are, on a grid of at most as many
    cells as there are pixels: with `size` as large as the images, features are the numbers themselves.

    Args:
        size: cells along an edge.
        channels: of the images; 1 keeps grey images grey.
    """

    name = "pixels"
    takes_float = True

    def __init__(self, size: int = 8, channels: int = 3) -> None:
        super().__init__()
        check_range("evaluation.features.size", size, 1)
        self.size = size
        self.channels = channels
        self.num_features = channels * size * size
        self.protocol = {"resize": f"mean over {size} x {size} cells"}

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, channels * size * size) in [0, 1]; of float data (B, channels * cells), in their own unit.

        Raises:
            BootlightError: images of another number of channels.
        """
        if images.shape[1] != self.channels:
            raise BootlightError(f"PixelFeatures: images have {images.shape[1]} channels; set channels to that")
        if images.is_floating_point():
            height, width = images.shape[2:]
            return F.adaptive_avg_pool2d(images, (min(self.size, height), min(self.size, width))).flatten(1)
        return F.adaptive_avg_pool2d(images.float() / 255, self.size).flatten(1)


def feature_name(network: nn.Module) -> str:
    """The network's attribute `name` if that is a string, else its class in lower case."""
    name = getattr(network, "name", None)
    return name if isinstance(name, str) else type(network).__name__.lower()


def score_name(network: nn.Module) -> str:
    """What a Fréchet distance in this feature space is called: as the network itself says (`score_name`), or `fd-<name>`."""
    own = getattr(network, "score_name", None)
    return own if isinstance(own, str) else f"fd-{feature_name(network)}"


def weights_remark(network: nn.Module) -> tuple[str, ...]:
    """What a reader must know of scores in this feature space: that the weights are not those which others measure with."""
    if getattr(network, "protocol", {}).get("original_weights", True):
        return ()
    return (f"{feature_name(network)} has other weights than the published ones: compare with no score measured elsewhere",)
