"""What may be wrong with images, as functions of an image and its name: noise that is frozen, parts that are missing."""

import math
import pickle
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bootlight.rng import by_name, derive_key, normal_rows


class Corruption(ABC):
    """Makes worse images of good ones, the same in every round.

    Attributes:
        level: how strong, 0 = none; of noise its sigma, of a view the share that is lost.
        noise: the least and the largest sigma that such images may be trained at as they are; None = any.
        of_pictures: whether what it makes of pictures are pictures again, to be rounded to 8 bits; noise is not.
        hides: whether it sets pixels to 0 and can say which, see `seen`.
        identity: attributes, with their values, by which it changes nothing; None = there are none.
    """

    level: float = 0.0
    noise: tuple[float, float] | None = None
    of_pictures: bool = False
    hides: bool = False
    identity: Mapping[str, Any] | None = None

    @abstractmethod
    def __call__(self, x: Tensor, ids: Tensor, seed: int) -> Tensor:
        """Corrupted images (B, C, H, W).

        Args:
            x: images (B, C, H, W), [-1, 1], or floats as stored.
            ids: int64 (B,), from 0, names of the images: what becomes of one depends on its own name and the seed alone.
            seed: of the corruption.
        """

    def seen(self, ids: Tensor, height: int, width: int, seed: int) -> Tensor:
        """Bool (B, 1, H, W): which pixels of images of these names are not hidden."""
        return torch.ones(len(ids), 1, height, width, dtype=torch.bool)


class Clean(Corruption):
    """None."""

    identity: Mapping[str, Any] | None = {}

    def __call__(self, x: Tensor, ids: Tensor, seed: int) -> Tensor:
        """See `Corruption`."""
        return x


class GaussianNoise(Corruption):
    """y = x + tau n, with one n for each image for good; such an image may be trained at sigma >= tau.

    Args:
        tau: deviation of the noise.

    Raises:
        ValueError: it is negative.
    """

    identity: Mapping[str, Any] | None = {"tau": 0.0}

    def __init__(self, tau: float) -> None:
        if not (tau >= 0 and math.isfinite(tau)):
            raise ValueError(f"tau is {tau}; it must be finite and at least 0")
        self.level = self.tau = tau
        self.noise = (tau, math.inf) if tau > 0 else None

    def __call__(self, x: Tensor, ids: Tensor, seed: int) -> Tensor:
        """See `Corruption`."""
        noise = normal_rows(*by_name(derive_key("corruption", seed), ids.to(x.device)), *x.shape[1:])
        return x + self.tau * noise.to(x.dtype)


class View(Corruption):
    """A linear part of an image, without randomness: adjoint(project(x)) is what remains of it.

    Attributes:
        scale: by how much a part is larger than a picture of it, such as a small picture.
        keeps_pictures: whether the part of a picture is one, to the bit.
    """

    scale: float = 1.0
    keeps_pictures: bool = False

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """The part, of whatever shape, of images (B, C, H, W)."""

    @abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """Parts as images again: the inner products <project x, y> and <x, adjoint y> are equal."""

    def completed(self, y: Tensor, noise: Tensor | float) -> Tensor:
        """Noisy parts as a model of them has seen such in training: with noise too where the part of every image is 0.

        Args:
            y: parts of noisy images.
            noise: deviation of the noise, (B, 1, 1, 1).
        """
        return y

    def __call__(self, x: Tensor, ids: Tensor, seed: int) -> Tensor:
        """See `Corruption`."""
        return self.adjoint(self.project(x))


class Whole(View):
    """All of it."""

    keeps_pictures = True
    identity: Mapping[str, Any] | None = {}

    def project(self, x: Tensor) -> Tensor:
        """See `View`."""
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        """See `View`."""
        return y


class Box(View):
    """A rectangle; around it images are 0.

    Args:
        top: first row.
        left: first column.
        height: rows.
        width: columns.
        image_size: edge of the images in pixels, or [height, width].

    Raises:
        ValueError: it is empty or not inside.
    """

    keeps_pictures = True

    def __init__(self, top: int, left: int, height: int, width: int, image_size: int | list[int]) -> None:
        rows, columns = (image_size, image_size) if isinstance(image_size, int) else image_size
        if not (0 <= top < top + height <= rows and 0 <= left < left + width <= columns):
            raise ValueError(f"a box of {height} x {width} at {top}, {left} is not inside of {rows} x {columns} pixels")
        self.top, self.left, self.height, self.width = top, left, height, width
        self.image_size = image_size
        self.level = 1 - height * width / (rows * columns)
        self._around = (left, columns - left - width, top, rows - top - height)

    def project(self, x: Tensor) -> Tensor:
        """See `View`."""
        return x[:, :, self.top : self.top + self.height, self.left : self.left + self.width]

    def adjoint(self, y: Tensor) -> Tensor:
        """See `View`."""
        return F.pad(y, self._around)


def contents(corruption: Corruption) -> object:
    """What tells a corruption from others of its class: all that it holds, or, where that cannot be said, the object itself."""
    try:
        return pickle.dumps(vars(corruption))
    except (pickle.PicklingError, TypeError, AttributeError):  # of a function that has no name, a lock, ...
        return corruption
