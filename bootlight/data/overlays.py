"""Marks that lie over pictures: watermarks and subtitles, the same on all or at random for each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bootlight.diffusion.corruption import Corruption
from bootlight.diffusion.masked import spread, squares
from bootlight.errors import BootlightError
from bootlight.io.paths import expanded
from bootlight.io.pictures import decode_whole
from bootlight.rng import by_name, derive_key, random_words, to_uniform


def numbers_of(name: str, ids: Tensor, count: int, seed: int) -> Tensor:
    """Uniform numbers in [0, 1), (B, count), of images by their names: frozen, each image has its own."""
    return to_uniform(random_words(*by_name(derive_key("corruption", name, seed), ids), count))


class Overlay(Corruption):
    """y = x + opacity m (ink - x), with the mark m in [0, 1]; pictures stay pictures.

    `level` is the opacity: the largest share of a pixel that is lost.

    Args:
        opacity: from 0 to 1, where nothing of the picture is left under the mark.
        ink: grey level of the mark, in [-1, 1].
        per_image: each image has a mark of its own, at random by its name and the seed; else the seed's is on all.

    Raises:
        ValueError: an opacity or an ink out of range.
    """

    of_pictures = True
    identity: Mapping[str, Any] | None = {"opacity": 0.0}

    def __init__(self, opacity: float, ink: float, per_image: bool) -> None:
        if not 0 <= opacity <= 1 or not -1 <= ink <= 1:
            raise ValueError(f"opacity is {opacity} and ink {ink}; they must be from 0 to 1 and from -1 to 1")
        self.level = self.opacity = opacity
        self.ink, self.per_image = ink, per_image

    @abstractmethod
    def mark(self, ids: Tensor, height: int, width: int, seed: int) -> Tensor:
        """Float (B, 1, H, W), 1 where the mark is whole."""

    def __call__(self, x: Tensor, ids: Tensor, seed: int) -> Tensor:
        """See `Corruption`."""
        named = ids.cpu() if self.per_image else torch.zeros(1, dtype=torch.int64)
        mark = self.mark(named, x.shape[2], x.shape[3], seed).to(x)
        return x + self.opacity * mark * (self.ink - x)


class Watermark(Overlay):
    """A mark over the middle of a picture: a ring with a bar through it, or one of the user's own.

    Args:
        opacity: from 0 to 1.
        ink: grey level of the mark, in [-1, 1].
        per_image: the mark of each image lies elsewhere, up to a quarter of the edge from the middle.
        mask: a picture of the mark, white on black, of the size of the images; ours if left out.

    Raises:
        BootlightError: a mask that cannot be read.
    """

    def __init__(self, opacity: float = 0.5, ink: float = 1.0, per_image: bool = False, mask: str | None = None) -> None:
        super().__init__(opacity, ink, per_image)
        self.mask = mask
        self._own = None if mask is None else _read_mask(expanded(mask))

    def mark(self, ids: Tensor, height: int, width: int, seed: int) -> Tensor:
        """See `Overlay`.

        Raises:
            BootlightError: the mask is of another size than the images.
        """
        if self._own is not None and self._own.shape != (height, width):
            raise BootlightError(
                f"{self.mask} has {self._own.shape[0]} x {self._own.shape[1]} pixels (rows x columns), and the images "
                f"{height} x {width}; give a mask of their size"
            )
        moved = numbers_of("watermark", ids, 2, seed) - 0.5 if self.per_image else torch.zeros(len(ids), 2)
        if self._own is not None:
            down, across = (moved * torch.tensor([height, width]) / 2).round().long().T.tolist()
            own = torch.from_numpy(self._own).float()
            return torch.stack([own.roll((d, a), (0, 1)) for d, a in zip(down, across, strict=True)])[:, None]
        edge = min(height, width)
        y = torch.arange(height)[:, None] - (height - 1) / 2 - moved[:, 0].view(-1, 1, 1) * edge / 2
        x = torch.arange(width) - (width - 1) / 2 - moved[:, 1].view(-1, 1, 1) * edge / 2
        ring = ((y.square() + x.square()).sqrt() - 0.28 * edge).abs() <= 0.05 * edge
        bar = (y.abs() <= 0.05 * edge) & (x.abs() <= 0.42 * edge)
        return (ring | bar)[:, None].float()


class Subtitle(Overlay):
    """A line of words at the foot of a picture: blocks of letters with gaps between them, at random.

    Args:
        opacity: from 0 to 1.
        ink: grey level of the letters, in [-1, 1].
        per_image: each image has words of its own.
        height: of the line, as a share of the picture's.

    Raises:
        ValueError: a height that is not in (0, 1].
    """

    def __init__(self, opacity: float = 1.0, ink: float = 1.0, per_image: bool = True, height: float = 0.15) -> None:
        super().__init__(opacity, ink, per_image)
        if not 0 < height <= 1:
            raise ValueError(f"height is {height}; it must be above 0, at most 1")
        self.height = height

    def mark(self, ids: Tensor, height: int, width: int, seed: int) -> Tensor:
        """See `Overlay`."""
        rows = max(1, round(self.height * height))
        letter = max(1, rows // 2)  # columns
        places = -(-width // letter)
        inked = numbers_of("subtitle", ids, places, seed) < 0.75
        line = inked.repeat_interleave(letter, 1)[:, None, None, :width].float()
        bottom = min(height - rows, round(0.05 * height))
        mark = torch.zeros(len(ids), 1, height, width)
        mark[:, :, height - bottom - rows : height - bottom] = line
        return mark


class PixelMask(Corruption):
    """Pixels, or squares of them, are hidden at random, in each image others: they are set to 0, and it is known which.

    `level` is the share that is hidden in the mean. Of pictures this makes floats, so that a hidden pixel is 0 and not the grey
    level beside it.

    Args:
        share: of the squares that are hidden, from 0 to below 1.
        patch: edge of the squares in pixels.
        per_image: each image has a mask of its own; else the seed's is on all.

    Raises:
        ValueError: a share or a patch out of range.
    """

    hides = True
    identity: Mapping[str, Any] | None = {"share": 0.0}

    def __init__(self, share: float = 0.5, patch: int = 1, per_image: bool = True) -> None:
        if not 0 <= share < 1 or patch < 1:
            raise ValueError(f"share is {share} and patch {patch}; they must be from 0 to below 1, and at least 1")
        self.level = self.share = share
        self.patch, self.per_image = patch, per_image

    def seen(self, ids: Tensor, height: int, width: int, seed: int) -> Tensor:
        """See `Corruption`."""
        named = ids.cpu() if self.per_image else torch.zeros_like(ids.cpu())
        down, across = squares(height, width, self.patch)
        kept = (numbers_of("pixel mask", named, down * across, seed) >= self.share).view(-1, 1, down, across)
        return spread(kept, self.patch, height, width)

    def __call__(self, x: Tensor, ids: Tensor, seed: int) -> Tensor:
        """See `Corruption`."""
        return x * self.seen(ids, x.shape[2], x.shape[3], seed).to(x)


def _read_mask(path: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(H, W) from 0 to 1."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BootlightError(f"{path}: cannot be read ({error.strerror}); name a picture of the mark") from error
    return decode_whole(data, str(path)).mean(2, dtype=np.float32) / 255
