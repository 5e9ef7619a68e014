"""A backbone with several linear heads."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from bootlight.networks.backbone import Backbone


class Heads(nn.Module):
    """Linear classifiers on the features of one backbone.

    Args:
        backbone: what they share.
        names: of the heads.
        num_classes: of each.
    """

    def __init__(self, backbone: Backbone, names: Sequence[str], num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleDict({name: nn.Linear(backbone.num_features, num_classes) for name in names})

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, D) of images (B, C, H, W)."""
        # Batches come channels-last; torch 2.14 aborts in the gradient of a ResNet of 4 channels with them, and not with these.
        features: Tensor = self.backbone(images.contiguous())
        return features

    def logits(self, name: str, features: Tensor) -> Tensor:
        """(B, num_classes) of features (B, D)."""
        found: Tensor = self.heads[name](features)
        return found
