"""What one training step sees."""

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
    """

    images: Tensor
    labels: Tensor | None
    seed: int
    start: int
    total: int

    def rng(self, stream: str) -> torch.Generator:
        """A generator on the device of the images, the same on every rank."""
        return torch_rng(self.seed, stream, device=self.images.device)

    def normal(self, stream: str, *shape: int) -> Tensor:
        """Standard normal noise (B, *shape) of a named stream: this rank's rows of that of the global batch."""
        return normal_rows(self._key(stream), self._rows(), *shape).to(self.images.device)

    def uniform(self, stream: str) -> Tensor:
        """Uniform numbers in [0, 1), (B,): this rank's rows of those of the global batch."""
        return to_uniform(random_words(self._key(stream), self._rows(), 1))[:, 0].to(self.images.device)

    def _key(self, stream: str) -> tuple[int, int, int, int]:
        return split_key(derive_key(self.seed, stream))

    def _rows(self) -> Tensor:
        device = self.images.device
        made_on = torch.device("cpu") if device.type == "mps" else device  # which has no float64
        return torch.arange(self.start, self.start + len(self.images), device=made_on)[:, None]
