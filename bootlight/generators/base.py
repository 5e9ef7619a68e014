"""The contract of a pluggable generator."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bootlight.errors import BootlightError
from bootlight.generators.part import PartModule
from bootlight.io.shape import size_words
from bootlight.rng import NoiseStreams


class GeneratorModule(PartModule, ABC):
    """A generative model that can be trained on batches of images and asked for images by seed.

    A subclass writes `training_step(batch, batch_idx)`, where `batch` is a `bootlight.Batch`, `configure_optimizers()` and
    `draw(noise, labels)`; where it wants the average of a network to be drawn from, it calls `average(network, decay)`.

    Args:
        image_size: edge of square images in pixels, or [height, width]; taken from the data section of a config.
        channels: 1 or more; taken from the data section of a config.
        num_classes: number of labels of a class-conditional model; None = unconditional. In a config, auto is the number that
            the images have, None where they have no labels.
    """

    image_dtype = "uint8"  # of the data; what is drawn is rounded to it, or left as it is where that is float32

    @abstractmethod
    def draw(self, noise: NoiseStreams, labels: Tensor | None) -> Tensor:
        """Images (B, C, H, W), about [-1, 1] of 8-bit data and as they are of float data, one for each stream of `noise`.

        Image i must depend on stream i (and label i) alone. Called without gradients and in eval mode.
        """

    def protocol(self) -> dict[str, Any]:
        """What, besides weights and seed, decides the drawn images; written into `metadata.jsonl`."""
        return {"sampler": type(self).__name__, "num_steps": 1}

    def set_num_steps(self, num_steps: int) -> None:
        """Draw with so many network calls for each image.

        Raises:
            BootlightError: this generator has no such choice, or not that many.
        """
        raise BootlightError(f"{type(self).__name__} draws an image in one step; leave out --steps")

    def at_size(self, height: int, width: int) -> "GeneratorModule":
        """A copy that shares the weights and draws images of another size, in pixels; of its own size itself.

        Raises:
            BootlightError: it draws images of one size alone.
        """
        if (height, width) == self.image_shape[1:]:
            return self
        raise BootlightError(f"{type(self).__name__} draws images of {size_words(*self.image_shape[1:])} pixels alone")

    def shortened(self) -> tuple["GeneratorModule", float]:
        """A copy that draws worse images in less time, and by what factor less: for estimates of time."""
        return self, 1.0

    def drawn(self, network: nn.Module, ema: bool = True) -> nn.Module:
        """The network to draw with: the average where there is one."""
        return network if self.ema is None or not ema else self.ema.network

    @torch.no_grad()
    def sample(self, seeds: Sequence[int], *, labels: Tensor | None = None, **cond: Tensor) -> Tensor:
        """Draw one image for each seed, by the EMA weights, in eval mode.

        Args:
            seeds: any integers. Image i depends on seed i and label i alone, not on batch size, rank or world size (up to
                float rounding in the network, which may differ with the batch size).
            labels: int64 (B,), for a class-conditional model.
            cond: whatever else `draw` takes, (B, ...), on the module's device.

        Returns:
            Float images (B, C, H, W), see `draw`, on the module's device.

        Raises:
            BootlightError: labels without a conditional model, the reverse, or a label out of range; images of another shape.
        """
        self._check_labels(len(seeds), labels)
        with self.drawing_mode():
            own = None if labels is None else labels.to(self.device)
            images = self.draw(NoiseStreams(list(seeds), self.device), own, **cond)
        if tuple(images.shape) != (len(seeds), *self.image_shape):
            raise BootlightError(
                f"{type(self).__name__}.draw answered {tuple(images.shape)} to {len(seeds)} noise streams; correct it to "
                f"{(len(seeds), *self.image_shape)}"
            )
        return images

    @contextmanager
    def drawing_mode(self) -> Iterator[None]:
        """In eval mode meanwhile."""
        was_training = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(was_training)

    def _check_labels(self, count: int, labels: Tensor | None) -> None:
        if labels is None and self.num_classes is not None:
            raise BootlightError(f"this model is class-conditional with {self.num_classes} classes: give labels (--label)")
        if labels is not None and self.num_classes is None:
            raise BootlightError("this model is unconditional: leave out the labels (--label)")
        if labels is not None and self.num_classes is not None and count > 0:
            low, high = int(labels.min()), int(labels.max())
            if len(labels) != count or low < 0 or high >= self.num_classes:
                raise BootlightError(f"labels must be {count} integers from 0 to {self.num_classes - 1}")
