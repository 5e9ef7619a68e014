"""What one training step sees."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from bootlight.rng import derive_key, normal_rows, random_words, split_key, to_uniform, torch_rng


class Batch(NamedTuple):
    """A rank's share of the global batch of one step.

    Args:
        images: (B, C, H, W); uint8 from the loader, float32 in [-1, 1] on the device.
        labels: int64 (B,), -1 where an image has none; None for data without classes.
        seed: of this step, the same on every rank.
        start: position of the first image in the global batch.
        total: size of the global batch.
        ids: int64 (B,), from 0: of the image itself, the same in every epoch, generation and run that reads the same images.
        weights: float32 (B,), how much each image counts, about 1 in the mean; None = each counts 1. See `weighted`.
        sources: int64 (B,), which of the sources of the training set an image is of.
        cond: what else belongs to the images, (B, ...) each, by name; what a view of an origin adds.
        noise: float32 (B, 2), the least and the largest sigma that an image may be trained at; None = all may be at any.
        mask: bool (B, 1, H, W), which pixels are seen, the others being 0; None = all are.
        t: (B,), where whoever chose the images had to choose their noise levels too.
    """

    images: Tensor
    labels: Tensor | None
    seed: int
    start: int
    total: int
    ids: Tensor | None = None
    weights: Tensor | None = None
    sources: Tensor | None = None
    cond: dict[str, Tensor] = {}  # noqa: RUF012  (nobody writes into it)
    noise: Tensor | None = None
    t: Tensor | None = None
    mask: Tensor | None = None

    def weighted(self, loss: Tensor) -> Tensor:
        """The mean of weight times loss (B,); not divided by the sum of the weights, so that parts of a batch add up."""
        return loss.mean() if self.weights is None else (self.weights * loss).mean()

    def positions(self) -> Tensor:
        """Of the images in the global batch: int64 (B,), on their device."""
        return torch.arange(self.start, self.start + len(self.images), device=self.images.device)

    def rng(self, stream: str) -> torch.Generator:
        """A generator on the device of the images, the same on every rank."""
        return torch_rng(self.seed, stream, device=self.images.device)

    def normal(self, stream: str, *shape: int) -> Tensor:
        """Standard normal noise (B, *shape) of a named stream: this rank's rows of that of the global batch."""
        return normal_rows(self._key(stream), self._rows(), *shape).to(self.images.device)

    def uniform(self, stream: str, whole: bool = False) -> Tensor:
        """Uniform numbers in [0, 1), (B,): this rank's rows of those of the global batch; or all of these, (total,)."""
        return to_uniform(random_words(self._key(stream), self._rows(whole), 1))[:, 0].to(self.images.device)

    def uniforms(self, stream: str, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1), (B, *shape): this rank's rows of those of the global batch."""
        numbers = to_uniform(random_words(self._key(stream), self._rows(), math.prod(shape)))
        return numbers.reshape(len(self.images), *shape).to(self.images.device)

    def _key(self, stream: str) -> tuple[int, int, int, int]:
        return split_key(derive_key(self.seed, stream))

    def _rows(self, whole: bool = False) -> Tensor:
        device = self.images.device
        made_on = torch.device("cpu") if device.type == "mps" else device  # which has no float64
        first, count = (0, self.total) if whole else (self.start, len(self.images))
        return torch.arange(first, first + count, device=made_on)[:, None]
