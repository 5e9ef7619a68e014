"""Augmentations of a batch whose random numbers are functions of counters: step, image, view and a name."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from bootlight.errors import BootlightError, check_range

if TYPE_CHECKING:
    from bootlight.batch import Batch

Uniform = Callable[..., Tensor]  # uniform("crop", 2) -> (B, 2), in [0, 1), the same for an image whatever its batch
BLACK = -1.0
TRIES = 10  # boxes of which the first that fits is erased, as torchvision has it


class Augmentation(ABC):
    """What becomes of the images of a step before a classifier sees them."""

    @abstractmethod
    def __call__(self, images: Tensor, targets: Tensor, uniform: Uniform) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) and targets (B, K) in their places.

        Args:
            images: about [-1, 1] of pictures; not changed in place.
            targets: probabilities of the classes; all 0 where an image has no label.
            uniform: the only source of randomness; a name, and the shape of what is drawn for each image.
        """


class OfImages(Augmentation):
    """One that leaves targets as they are, and looks at each image alone."""

    @abstractmethod
    def images(self, images: Tensor, uniform: Uniform) -> Tensor:
        """Images (B, C, H, W), of the same shape."""

    def __call__(self, images: Tensor, targets: Tensor, uniform: Uniform) -> tuple[Tensor, Tensor]:
        """See `Augmentation`."""
        return self.images(images, uniform), targets


def augmented(batch: Batch, augmentations: Sequence[Augmentation], targets: Tensor, view: str) -> tuple[Tensor, Tensor]:
    """Images and targets of one view of a batch; two views of other names are augmented independently."""
    images = batch.images
    for number, augmentation in enumerate(augmentations):

        def uniform(number: int, name: str, *shape: int) -> Tensor:
            return batch.uniforms(f"augment {view} {number} {name}", *shape)

        images, targets = augmentation(images, targets, partial(uniform, number))
    return images, targets


class RandomFlip(OfImages):
    """Left to right; not for digits and letters.

    Args:
        probability: of each image.
    """

    def __init__(self, probability: float = 0.5) -> None:
        check_range("probability", probability, 0, 1)
        self.probability = probability

    def images(self, images: Tensor, uniform: Uniform) -> Tensor:
        """See `OfImages`."""
        return torch.where((uniform("flip", 1) < self.probability)[:, :, None, None], images.flip(3), images)


class RandomCrop(OfImages):
    """A crop of the image's own size, after a border was added.

    Args:
        padding: pixels of the border on each side.
        border: black, or reflect: the image as in a mirror.
    """

    def __init__(self, padding: int = 4, border: str = "black") -> None:
        check_range("padding", padding, 0)
        if border not in ("black", "reflect"):
            raise BootlightError(f"border is {border!r}; it is black or reflect")
        self.padding, self.border = padding, border

    def images(self, images: Tensor, uniform: Uniform) -> Tensor:
        """See `OfImages`.

        Raises:
            BootlightError: a mirror image of that border is larger than the image.
        """
        pad, (count, channels, height, width) = self.padding, images.shape
        if self.border == "reflect" and pad >= min(height, width):
            raise BootlightError(f"RandomCrop: a reflected border of {pad} pixels is too wide for {height}x{width} images")
        mode, value = ("constant", BLACK) if self.border == "black" else ("reflect", None)
        wide = F.pad(images, [pad] * 4, mode, value)
        start = (uniform("crop", 2) * (2 * pad + 1)).long()  # u is below 1 by 2^-24 or more
        rows = start[:, :1] + torch.arange(height, device=images.device)
        columns = start[:, 1:] + torch.arange(width, device=images.device)
        rows = rows[:, None, :, None].expand(count, channels, height, wide.shape[3])
        columns = columns[:, None, None, :].expand(count, channels, height, width)
        return wide.gather(2, rows).gather(3, columns)


class RandomErasing(OfImages):
    """A random box becomes gray (Zhong et al. 2020, algorithm 1).

    Args:
        probability: of each image.
        area: least and largest share of the image.
        ratio: least and largest height over width.
    """

    def __init__(
        self,
        probability: float = 0.5,
        area: Sequence[float] = (0.02, 0.33),
        ratio: Sequence[float] = (0.3, 3.3),
    ) -> None:
        check_range("probability", probability, 0, 1)
        for key, pair, most in (("area", area, 1.0), ("ratio", ratio, math.inf)):
            if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= most:
                raise BootlightError(f"{key} is {list(pair)}; give the least and then the largest")
        self.probability, self.area, self.ratio = probability, tuple(area), tuple(ratio)

    def images(self, images: Tensor, uniform: Uniform) -> Tensor:
        """See `OfImages`."""
        u = uniform("box", TRIES, 4)
        _, _, height, width = images.shape
        area = height * width * (self.area[0] + u[..., 0] * (self.area[1] - self.area[0]))
        low, high = (math.log(edge) for edge in self.ratio)
        ratio = torch.exp(low + u[..., 1] * (high - low))
        tall, wide = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
        fits = (tall < height) & (wide < width)  # (B, TRIES)
        first = fits.int().argmax(1, keepdim=True)
        tall, wide, y, x = (value.gather(1, first) for value in (tall, wide, u[..., 2], u[..., 3]))
        top, left = (y * (height - tall + 1)).floor(), (x * (width - wide + 1)).floor()
        erased = fits.any(1, keepdim=True) & (uniform("erase", 1) < self.probability)
        box = inside(top, tall, height)[:, :, None] & inside(left, wide, width)[:, None, :] & erased[:, :, None]
        return images.masked_fill(box[:, None], 0.0)


class GaussianJitter(OfImages):
    """Normal noise on each number: for points and other data without a range.

    Args:
        deviation: of the noise.
    """

    def __init__(self, deviation: float = 0.1) -> None:
        check_range("deviation", deviation, 0)
        self.deviation = deviation

    def images(self, images: Tensor, uniform: Uniform) -> Tensor:
        """See `OfImages`."""
        u = uniform("jitter", *images.shape[1:]).double()
        return images + self.deviation * torch.special.ndtri(u + 2.0**-25).to(images.dtype)


def inside(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Which of `size` places lie in [start, start + length), bool (B, size) of (B, 1) each."""
    places = torch.arange(size, device=start.device)
    return (places >= start) & (places < start + length)
