"""A small classifier, whose last hidden layer serves as features where Inception says little."""

import torch.nn.functional as F
from torch import Tensor, nn


class Classifier(nn.Module):
    """Three strided convolutions, a hidden layer of features, class logits.

    Images may have any height and width.

    Args:
        channels: of the images, any number.
        num_classes: number of labels.
        width: channels of the first convolution.
        num_features: length of a feature vector.
    """

    def __init__(self, channels: int, num_classes: int, width: int = 32, num_features: int = 64) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, width, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, 2, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )
        self.hidden = nn.Linear(8 * width, num_features)
        self.head = nn.Linear(num_features, num_classes)

    def features(self, images: Tensor) -> Tensor:
        """(B, channels, H, W) in [-1, 1] to (B, num_features), before the activation."""
        hidden: Tensor = self.hidden(self.convolutions(images))
        return hidden

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, H, W) in [-1, 1] to class logits (B, num_classes)."""
        logits: Tensor = self.head(F.relu(self.features(images)))
        return logits
