"""The feature network where a user names none."""

from torch import nn

from bootlight.evaluation.networks.learned_features import LearnedFeatures
from bootlight.metrics.features.features import PixelFeatures


def default_network(pictures: bool, channels: int) -> nn.Module:
    """One that needs no file.

    Args:
        pictures: whether images have 8 bits; otherwise they are numbers without a range.
        channels: of the images.
    """
    return LearnedFeatures() if pictures else PixelFeatures(channels=channels)


def default_line(network: nn.Module) -> str:
    """What a user should know of it."""
    if isinstance(network, LearnedFeatures):
        return "features: bootlight.LearnedFeatures, learned from these real images; compare no score with one of other images"
    return "features: bootlight.PixelFeatures, means of the numbers over 8 x 8 cells"
