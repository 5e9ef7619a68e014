"""Small parts that several networks are made of."""

import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


def normalization(channels: int) -> nn.GroupNorm:
    """Group norm with 32 groups, or the largest number that divides narrower test networks."""
    return nn.GroupNorm(math.gcd(32, channels), channels)


def zero_init(module: Layer) -> Layer:
    """Start a branch as nothing, so that a residual block starts as the identity."""
    nn.init.zeros_(module.weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
    return module


def timestep_embedding(t: Tensor, size: int) -> Tensor:
    """Cosines and sines of t at `size` / 2 frequencies from 1 down to 1/10,000, (B, size)."""
    half = size // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
    angles = t[:, None].float() * frequencies
    return F.pad(torch.cat([angles.cos(), angles.sin()], 1), (0, size % 2))


def conditioned(embed: nn.Module, embed_label: nn.Embedding | None, angles: Tensor, labels: Tensor | None) -> Tensor:
    """The activated embedding (B, E) of times and labels.

    Args:
        embed: of times.
        embed_label: of labels, one row more than there are classes: the last one stands for "no label" (classifier-free
            guidance). None = without classes.
        angles: see `timestep_embedding`.
        labels: int64 (B,), or None = no label for the whole batch.
    """
    embedding: Tensor = embed(angles)
    if embed_label is not None:
        none = embed_label.num_embeddings - 1
        labels = torch.full((len(angles),), none, device=angles.device) if labels is None else labels
        embedding = embedding + embed_label(labels)
    return F.silu(embedding)


class Pointwise(nn.Conv2d):
    """A 1x1 convolution done as one matrix product over channels-last pixels: on CPUs torch has a slow path for the former."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)
