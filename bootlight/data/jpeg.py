"""Pictures as JPEG leaves them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bootlight.diffusion.corruption import Corruption
from bootlight.io.pictures import to_arrays, to_float


class JPEG(Corruption):
    """Saved once with loss, as Pillow does it (colors at half resolution below quality 90); pictures of 1 or 3 channels.

    `level` is the deviation that rounding all 64 coefficients of a block of brightness would leave, in the units of [-1, 1]:
    the root of the mean of q^2 / 12 over the steps q of the quantization table, over 127.5 (ITU-T T.81, annex K). Coefficients
    below half a step lose no more than themselves, so photographs lose less: a run tells how much.

    Args:
        quality: 1 to 100, of the standard tables.

    Raises:
        ValueError: another one.
    """

    of_pictures = True
    identity: Mapping[str, Any] | None = None  # even quality 100 rounds

    def __init__(self, quality: int = 25) -> None:
        if not 1 <= quality <= 100:
            raise ValueError(f"quality is {quality}; it must be from 1 to 100")
        self.quality = quality
        self.level = float(np.sqrt(np.mean(np.square(steps(quality))) / 12) / 127.5)

    def __call__(self, x: Tensor, ids: Tensor, seed: int) -> Tensor:
        """See `Corruption`.

        Raises:
            ValueError: images of another number of channels.
        """
        if x.shape[1] not in (1, 3):
            raise ValueError(f"JPEG is of pictures of 1 or 3 channels, not {x.shape[1]}")
        again = [_saved(picture, self.quality) for picture in to_arrays(x)]
        return to_float(torch.from_numpy(np.stack(again)).permute(0, 3, 1, 2)).to(x)


@cache
def steps(quality: int) -> tuple[int, ...]:
    """The quantization table of brightness, 64 steps of grey levels, that Pillow uses at a quality."""
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "JPEG", quality=quality)
    with Image.open(io.BytesIO(file.getvalue())) as picture:
        return tuple(picture.quantization[0])  # type: ignore[attr-defined]


def _saved(picture: np.ndarray[Any, np.dtype[np.uint8]], quality: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(H, W, C), saved and read again."""
    file = io.BytesIO()
    grey = picture.shape[2] == 1
    Image.fromarray(picture[:, :, 0] if grey else picture).save(file, "JPEG", quality=quality)
    with Image.open(io.BytesIO(file.getvalue())) as again:
        return np.asarray(again, np.uint8).reshape(picture.shape)
