"""Windows of images, another one each time that an image is seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bootlight.data.origin import Origin
from bootlight.errors import BootlightError
from bootlight.io.shape import height_width, size_words

if TYPE_CHECKING:
    from bootlight.data.layout import Layout
    from bootlight.data.store import Store


class Crops(Origin):
    """A model is trained on windows of images, all places being equally likely; measured against are the images themselves.

    Args:
        origin: the images, of one or of many.
        size: of a window: edge of a square in pixels, or [height, width].
    """

    def __init__(self, origin: Origin, size: int | list[int]) -> None:
        self.origin = origin
        self.name = f"crops of {origin.name}"
        self.shape = origin.shape[0], *height_width(size, "Crops size")
        self.dtype, self.noise, self.may_flip = origin.dtype, origin.noise, origin.may_flip

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images."""
        return self.origin.shape

    def load(self) -> tuple[Store, Store | None]:
        """The images.

        Raises:
            BootlightError: they are smaller than a window.
        """
        found = self.origin.load()
        self.dtype = self.origin.dtype
        (_, *image), (_, *window) = self.origin.shape, self.shape
        if image[0] < window[0] or image[1] < window[1]:
            raise BootlightError(
                f"{self.origin.name} has {size_words(*image)} pixels, and Crops size is {size_words(*window)}; lower it"
            )
        return found

    def view(self, images: Tensor, ids: Tensor, step: int, uniform: Callable[..., Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Origin`: a window of each."""
        return cropped(images, *self.shape[1:], uniform("crop", 2)), {}

    def class_names(self) -> tuple[str, ...]:
        """Those of the images."""
        return self.origin.class_names()

    def record(self) -> dict[str, Any]:
        """What is wrong with the images, and the window."""
        return self.origin.record() | {"crops": list(self.shape[1:])}

    def told(self) -> list[str]:
        """Of the images, and the size of a window."""
        return [*self.origin.told(), f"crops of {size_words(*self.shape[1:])} pixels, at any place"]

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """Those of the images."""
        return self.origin.layouts


def cropped(images: Tensor, height: int, width: int, places: Tensor) -> Tensor:
    """A window (B, C, height, width) of each image.

    Args:
        images: (B, C, H, W).
        height: of the windows.
        width: of the windows.
        places: numbers in [0, 1), (B, 2): how far down and across, of all places where a window fits.
    """
    free = torch.tensor([images.shape[2] - height + 1, images.shape[3] - width + 1], device=places.device)
    top, left = torch.minimum((places * free).long(), free - 1).to(images.device).unbind(1)
    rows = (top[:, None] + torch.arange(height, device=images.device))[:, :, None]
    columns = (left[:, None] + torch.arange(width, device=images.device))[:, None]
    every = torch.arange(len(images), device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[every, rows, columns].permute(0, 3, 1, 2).contiguous()
