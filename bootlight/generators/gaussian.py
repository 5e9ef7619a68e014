"""The simplest generator there is: a mean and a variance for each pixel. What it does in a loop is known in closed form."""

from abc import ABC
from typing import Any

import torch
from torch import Tensor

from bootlight.batch import Batch
from bootlight.errors import BootlightError, check_range
from bootlight.generators.base import GeneratorModule
from bootlight.rng import NoiseStreams


class PixelSums(GeneratorModule, ABC):
    """Sums over the training images in one pass, without a gradient: a mean and a variance for each pixel."""

    count: Tensor
    sums: Tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.automatic_optimization = False
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("sums", torch.zeros(2, *self.image_shape, dtype=torch.float64))

    def setup(self, stage: str) -> None:
        """Refuse several processes: without parameters there is nothing that they could share.

        Raises:
            BootlightError: there are several.
        """
        if self.trainer.world_size > 1:
            raise BootlightError(f"{type(self).__name__} trains in one process; set trainer.devices and trainer.num_nodes to 1")

    def fitted(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of each pixel, (C, H, W) float64."""
        mean, square = self.sums / self.count
        return mean, (square - mean.square()).clamp(min=0)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Add the weighted sums of a batch; the loss is the mean square, the curve that of the variance of the fit so far."""
        images = batch.images.double()
        squares = images.square()
        if batch.weights is None:
            self.count += len(images)
            self.sums += torch.stack([images.sum(0), squares.sum(0)])
            self.log("train/loss", squares.mean())
        else:
            weights = batch.weights.double()
            self.count += weights.sum()
            self.sums += torch.stack([torch.einsum("b,bchw->chw", weights, powers) for powers in (images, squares)])
            self.log("train/loss", batch.weighted(squares.mean((1, 2, 3))))
        self.log("train/variance", self.fitted()[1].mean())

    def configure_optimizers(self) -> Any:
        """None is needed."""
        return None


class PixelGaussian(PixelSums):
    """Independent normal pixels by (weighted) maximum likelihood: sums over the training images, no gradient.

    A null model for bootstraps: it fits its own family, so that its own images can add nothing but noise. One pass
    (`data.num_epochs: 1`, a training set that is a multiple of the batch) is all that it takes.

    Args:
        image_size: edge of square images in pixels, or [height, width]; taken from the data section of a config.
        channels: 1 or more; taken from the data section of a config.
        sampling_bias: the drawn pixels have so many times the fitted variance; below 1 it stands for samplers that trade
            diversity for quality (Alemohammad et al. 2024), and for DDIM at few steps.
    """

    def __init__(self, image_size: int | list[int], channels: int = 3, sampling_bias: float = 1.0) -> None:
        super().__init__(image_size, channels)
        check_range("model.sampling_bias", sampling_bias, 0)
        self.sampling_bias = sampling_bias

    def protocol(self) -> dict[str, Any]:
        """See `GeneratorModule`."""
        return {**super().protocol(), "sampling_bias": self.sampling_bias}

    def draw(self, noise: NoiseStreams, labels: Tensor | None) -> Tensor:
        """Images from the fit."""
        mean, variance = self.fitted()
        return (mean + (self.sampling_bias * variance).sqrt() * noise.normal(*self.image_shape)).float()
