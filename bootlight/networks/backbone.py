"""What a classifier sees an image through: a vector of features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from bootlight.errors import BootlightError, check_range
from bootlight.io.shape import Shape


class Backbone(nn.Module, ABC):
    """Images to features; built of the shape of the images, (C, H, W), its first argument.

    Attributes:
        num_features: length of a feature vector.
    """

    num_features: int

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Features (B, num_features) of images (B, C, H, W), about [-1, 1] of pictures."""


class Flat(Backbone):
    """The numbers of an image as they are, or a layer of a small perceptron: for points, and as a lower bound.

    Args:
        shape: (C, H, W) of the images.
        hidden: widths of hidden layers; none = the heads are linear in the pixels.
    """

    def __init__(self, shape: Shape, hidden: Sequence[int] = ()) -> None:
        super().__init__()
        widths = [shape[0] * shape[1] * shape[2], *hidden]
        self.layers = nn.Sequential(*(nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(widths)))
        self.num_features = widths[-1]

    def forward(self, images: Tensor) -> Tensor:
        """See `Backbone`."""
        features: Tensor = self.layers(images.flatten(1))
        return features


class SmallResNet(Backbone):
    """A residual network with preactivation (He et al. 2016b) for images of 8 to 64 pixels; each stage halves the image.

    Args:
        shape: (C, H, W) of the images.
        width: channels of the first stage; each further one has twice as many.
        stages: how many.
        blocks: residual blocks of a stage, of two convolutions each.
    """

    def __init__(self, shape: Shape, width: int = 16, stages: int = 3, blocks: int = 1) -> None:
        super().__init__()
        for key, value in (("width", width), ("stages", stages), ("blocks", blocks)):
            check_range(key, value, 1)
        if min(shape[1:]) < 2 ** (stages - 1):
            raise BootlightError(f"SmallResNet: {stages} stages are too many for images of {shape[1]}x{shape[2]}; lower stages")
        stem = 2 if min(shape[1:]) >= 64 else 1
        layers: list[nn.Module] = [nn.Conv2d(shape[0], width, 3, stem, 1, bias=False)]
        channels = width
        for stage in range(stages):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                layers.append(Block(channels, width * 2**stage, stride))
                channels = width * 2**stage
        self.layers = nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU())
        self.num_features = channels

    def forward(self, images: Tensor) -> Tensor:
        """See `Backbone`."""
        features: Tensor = self.layers(images).mean((2, 3))
        return features


class Block(nn.Module):
    """Two convolutions beside a shortcut.

    Args:
        inputs: channels.
        outputs: channels.
        stride: of the first one.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        hidden = F.relu(self.norm1(x))
        beside = x if self.shortcut is None else self.shortcut(hidden)
        answer: Tensor = self.conv2(F.relu(self.norm2(self.conv1(hidden)))) + beside
        return answer
