"""The whole of a plug-in: a generator that fits a mean and a variance to each pixel."""

from typing import Any

import torch

from bootlight import Batch, GeneratorModule, NoiseStreams


class Gaussian(GeneratorModule):
    """Maximum likelihood in one pass: sums over all training images, no gradient.

    Args:
        image_size: edge of the images in pixels.
        channels: of the images.
    """

    def __init__(self, image_size: int, channels: int = 3) -> None:
        super().__init__(image_size, channels)
        self.automatic_optimization = False
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("sums", torch.zeros(2, *self.image_shape, dtype=torch.float64))

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        images = batch.images.double()
        self.count += len(images)
        self.sums += torch.stack([images.sum(0), images.square().sum(0)])
        self.log("train/loss", images.square().mean())

    def configure_optimizers(self) -> Any:
        return None

    def draw(self, noise: NoiseStreams, labels: torch.Tensor | None) -> torch.Tensor:
        mean, square = self.sums / self.count
        deviation = (square - mean.square()).clamp(min=0).sqrt()
        return (mean + deviation * noise.normal(*self.image_shape)).float()
