"""How much an image is liked: for curators, and for training on rewards."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from bootlight.errors import BootlightError, check_range

if TYPE_CHECKING:
    from bootlight.runs.generation import Generation


class Reward(nn.Module, ABC):
    """A number for each image, higher is better; what it judges by is fixed.

    Attributes:
        judges_by: networks of the evaluation that it needs, `judge` and `features`; they are there before the first generation.
    """

    judges_by: Sequence[str] = ()

    def begin(self, generation: Generation) -> None:
        """Take what the judging needs of a generation, such as `generation.judge`; called before the first image, if at all.

        Raises:
            BootlightError: the run has no such thing.
        """

    @abstractmethod
    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Rewards (B,).

        Args:
            images: (B, C, H, W) as they are stored: uint8, or float32 of float data.
            labels: int64 (B,), where the images have some.
        """


@torch.no_grad()
def rewards(reward: Reward, batches: Iterable[Tensor], labels: Sequence[int | None], device: torch.device) -> list[float]:
    """Rewards of images.

    Args:
        reward: moved to the device, in eval mode.
        batches: the images, (B, C, H, W) as they are stored.
        labels: of the images; handed on where all have one.
        device: that is computed on.

    Raises:
        BootlightError: an answer of another shape, or a reward that is no finite number.
    """
    name = type(reward).__name__
    known = [label for label in labels if label is not None]
    every = torch.tensor(known, dtype=torch.int64, device=device) if len(known) == len(labels) else None
    reward = reward.to(device).eval()
    found: list[float] = []
    for images in batches:
        end = len(found) + len(images)
        values = reward(images.to(device), None if every is None else every[len(found) : end])
        if tuple(values.shape) != (len(images),):
            raise BootlightError(
                f"{name} answered {tuple(values.shape)} to {len(images)} images; correct it to ({len(images)},)"
            )
        if not bool(values.isfinite().all()):
            raise BootlightError(f"{name} gives an image a reward that is no finite number; correct it")
        found += values.tolist()
    return found


def check_spread(name: str, found: Sequence[float]) -> None:
    """Refuse rewards that tell no image from another.

    Args:
        name: of the reward.
        found: of some images.

    Raises:
        BootlightError: they are all equal.
    """
    if len(found) > 1 and min(found) == max(found):
        raise BootlightError(
            f"{name} gives all {len(found)} images the reward {found[0]:.6g}, which prefers none; take another"
        )


class ConstantReward(Reward):
    """All images are liked alike.

    Args:
        value: the reward.
    """

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.value = value

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """See `Reward`."""
        return torch.full((len(images),), self.value, device=images.device)


class Brightness(Reward):
    """How near the mean of all pixels is to a wanted one: minus their distance.

    Args:
        target: a mean in the units of the images: 0 (black) to 255 where they are uint8.
    """

    def __init__(self, target: float = 255.0) -> None:
        super().__init__()
        self.target = target

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """See `Reward`."""
        return -(images.double().mean((1, 2, 3)) - self.target).abs()


class JpegSize(Reward):
    """Minus the size as a JPEG in kilobytes of 1,000 bytes, or that size: Black et al. 2024 (DDPO), section 5.1.

    Args:
        small: like small files, that is plain images.
        quality: of the JPEG, 1 to 100.
    """

    def __init__(self, small: bool = True, quality: int = 95) -> None:
        super().__init__()
        check_range("quality", quality, 1, 100)
        self.sign = -1.0 if small else 1.0
        self.quality = quality

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """See `Reward`.

        Raises:
            BootlightError: the images are not uint8 of 1 or 3 channels.
        """
        if images.dtype != torch.uint8 or images.shape[1] not in (1, 3):
            raise BootlightError(f"JpegSize judges uint8 images of 1 or 3 channels, not {images.dtype} of {images.shape[1]}")
        sizes = [self._bytes(image.squeeze(2).numpy()) for image in images.permute(0, 2, 3, 1).cpu()]
        return self.sign * torch.tensor(sizes, device=images.device) / 1000

    def _bytes(self, image: NDArray[np.uint8]) -> int:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=self.quality)
        return len(file.getvalue())
