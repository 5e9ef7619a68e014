"""Linear parts of images with orthonormal rows: white noise stays white noise, and a part has the level of its image."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from bootlight.diffusion.corruption import View
from bootlight.errors import BootlightError
from bootlight.rng import derive_key, normal_rows, split_key


class LowResolution(View):
    """Means of square blocks, times the edge of a block: a part (C, H / factor, W / factor), in [-factor, factor].

    Means alone would have noise of deviation 1 / factor, and so belong to another level of the schedule.

    Args:
        factor: edge of a block in pixels.

    Raises:
        ValueError: it is below 1.
    """

    def __init__(self, factor: int) -> None:
        if factor < 1:
            raise ValueError(f"factor is {factor}; it must be at least 1")
        self.factor = factor
        self.scale = float(factor)
        self.level = 1 - 1 / factor**2

    def project(self, x: Tensor) -> Tensor:
        """See `View`."""
        if x.shape[-2] % self.factor or x.shape[-1] % self.factor:
            raise BootlightError(
                f"LowResolution: {x.shape[-2]} x {x.shape[-1]} pixels are no whole blocks of {self.factor}; take another factor"
            )
        return F.avg_pool2d(x, self.factor) * self.factor

    def adjoint(self, y: Tensor) -> Tensor:
        """See `View`."""
        return y.repeat_interleave(self.factor, -2).repeat_interleave(self.factor, -1) / self.factor


class Half(View):
    """One half of the pixels, (C, H, W / 2) or (C, H / 2, W).

    Args:
        side: which.
    """

    level = 0.5
    keeps_pictures = True

    def __init__(self, side: Literal["left", "right", "top", "bottom"]) -> None:
        self.side = side
        self._axis, self._is_second = {"left": (3, 0), "right": (3, 1), "top": (2, 0), "bottom": (2, 1)}[side]

    def project(self, x: Tensor) -> Tensor:
        """See `View`."""
        if x.shape[self._axis] % 2:
            raise BootlightError(f"Half: {x.shape[self._axis]} pixels have no two equal halves; take a Box")
        return x.chunk(2, self._axis)[self._is_second]

    def adjoint(self, y: Tensor) -> Tensor:
        """See `View`."""
        nothing = torch.zeros_like(y)
        return torch.cat([nothing, y] if self._is_second else [y, nothing], self._axis)


class Channels(View):
    """Some of the channels, (n, H, W).

    Args:
        which: from 0, each once.
        channels: of an image.

    Raises:
        ValueError: there are no such channels.
    """

    keeps_pictures = True

    def __init__(self, which: Sequence[int], channels: int = 3) -> None:
        if not which or len(set(which)) < len(which) or not all(0 <= channel < channels for channel in which):
            raise ValueError(f"which is {list(which)}; name some of the {channels} channels, from 0, each once")
        self.which = list(which)
        self.channels = channels
        self.level = 1 - len(which) / channels

    def project(self, x: Tensor) -> Tensor:
        """See `View`."""
        if x.shape[1] != self.channels:
            raise BootlightError(f"Channels: images have {x.shape[1]} channels, not {self.channels}; correct channels")
        return x[:, self.which]

    def adjoint(self, y: Tensor) -> Tensor:
        """See `View`."""
        image = y.new_zeros(len(y), self.channels, *y.shape[2:])
        image[:, self.which] = y
        return image


class Frames(View):
    """Some frames that follow each other, of a clip whose frames are its channels one after the other: (count * c, H, W).

    Args:
        first: from 0.
        count: how many.
        length: frames of a clip (length * c, H, W).

    Raises:
        ValueError: they are not within the clip.
    """

    keeps_pictures = True

    def __init__(self, first: int, count: int, length: int) -> None:
        if not 0 <= first < first + count <= length:
            raise ValueError(f"{count} frames from {first} are not within a clip of {length}")
        self.first, self.count, self.length = first, count, length
        self.level = 1 - count / length

    def project(self, x: Tensor) -> Tensor:
        """See `View`."""
        if x.shape[1] % self.length:
            raise BootlightError(f"Frames: {x.shape[1]} channels are no {self.length} frames; correct length")
        return _frames(x, self.length)[:, self.first : self.first + self.count].flatten(1, 2)

    def adjoint(self, y: Tensor) -> Tensor:
        """See `View`."""
        frames = _frames(y, self.count)
        clip = y.new_zeros(len(y), self.length, *frames.shape[2:])
        clip[:, self.first : self.first + self.count] = frames
        return clip.flatten(1, 2)


def _frames(x: Tensor, count: int) -> Tensor:
    """(B, count * c, H, W) to (B, count, c, H, W)."""
    return x.reshape(len(x), count, x.shape[1] // count, *x.shape[2:])


class Unmasked(View):
    """What a watermark or a subtitle, at the same place in all images, leaves; the part is an image, 0 where it is hidden.

    Args:
        hidden: rectangles [top, left, height, width] in pixels, which may overlap.
        image_size: edge of the images in pixels, or [height, width].

    Raises:
        ValueError: a rectangle is empty or not inside, or all is hidden.
    """

    def __init__(self, hidden: Sequence[Sequence[int]], image_size: int | list[int]) -> None:
        rows, columns = (image_size, image_size) if isinstance(image_size, int) else image_size
        self.hidden, self.image_size = [list(box) for box in hidden], image_size
        kept = torch.ones(rows, columns)
        for box in self.hidden:
            top, left, height, width = box if len(box) == 4 else (-1,) * 4
            if not (0 <= top < top + height <= rows and 0 <= left < left + width <= columns):
                raise ValueError(f"hidden: {box} is no [top, left, height, width] inside of {rows} x {columns} pixels")
            kept[top : top + height, left : left + width] = 0
        if not kept.any():
            raise ValueError("hidden: nothing is left")
        self._kept = kept
        self.level = 1 - float(kept.mean())

    def project(self, x: Tensor) -> Tensor:
        """See `View`."""
        if x.shape[-2:] != self._kept.shape:
            raise BootlightError(f"Unmasked: images are {tuple(x.shape[-2:])} pixels, not {tuple(self._kept.shape)}")
        return x * self._kept.to(x)

    def adjoint(self, y: Tensor) -> Tensor:
        """See `View`."""
        return self.project(y)

    def completed(self, y: Tensor, noise: Tensor | float) -> Tensor:
        """See `View`; the same noise for all, as of what is hidden an answer can depend on nothing."""
        frozen = normal_rows(split_key(derive_key("hidden")), torch.zeros(1, 1, dtype=torch.int64), *y.shape[1:])
        return y + noise * (frozen.to(y) * (1 - self._kept.to(y)))
