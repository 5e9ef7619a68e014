"""How near the patches of images are to those of other images, and how many places they come from."""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bootlight.errors import BootlightError

AT_ONCE = 2**24  # distances, of 4 bytes
TIE = 1e-5  # of the mean square of patches: float32 sums of equal patches differ by less


class NearestPatches(NamedTuple):
    """Of each patch of an image the nearest one of a source.

    Attributes:
        distances: mean squared differences, (h, w), one for each place of the image where a patch fits.
        offsets: rows and columns from a patch to its nearest one, int16 (h, w, 2).
    """

    distances: Tensor
    offsets: Tensor

    @property
    def diversity(self) -> float:
        """Bytes of the offsets as zlib packs them, as a share of the bytes; a field that is the same everywhere has about 0."""
        field = np.ascontiguousarray(self.offsets.cpu().numpy(), "<i2").tobytes()
        return len(zlib.compress(field, 9)) / len(field)


def nearest_patches(image: Tensor, source: Tensor, size: int = 3) -> NearestPatches:
    """Exact nearest neighbors by the squared distance; of equally near ones that at the same place, else the first.

    Memory is bounded whatever the sizes: some 2^24 distances at a time.

    Args:
        image: float (C, H, W).
        source: float (C, H', W').
        size: edge of a patch in pixels.

    Raises:
        BootlightError: one is smaller than a patch, or they have other channels.
    """
    if image.shape[0] != source.shape[0] or min(*image.shape[1:], *source.shape[1:]) < size:
        raise BootlightError(
            f"patches of {size} x {size} pixels of {tuple(image.shape)} and {tuple(source.shape)}, (C, H, W), cannot be "
            "compared; give images of as many channels that are no smaller than a patch"
        )
    (h, w), (rows, columns) = ((x.shape[1] - size + 1, x.shape[2] - size + 1) for x in (image, source))
    own, others = (F.unfold(x[None], size)[0].T.contiguous() for x in (image, source))  # (places, C size^2)
    squares = others.square().sum(1)
    places = torch.arange(h * w, device=image.device)
    row, column = places // w, places % w
    there = (row < rows) & (column < columns)
    same = torch.where(there, row * columns + column, 0)
    best, at = torch.empty_like(own[:, 0]), torch.empty_like(places)
    for start in range(0, len(own), max(1, AT_ONCE // len(others))):
        part = slice(start, start + max(1, AT_ONCE // len(others)))
        distances = torch.addmm(squares, own[part], others.T, alpha=-2)  # less the square of the own patch
        best[part], at[part] = distances.min(1)
        here = distances.gather(1, same[part, None])[:, 0]
        stays = there[part] & (here <= best[part] + TIE * (1 + squares[at[part]]))
        at[part] = torch.where(stays, same[part], at[part])
    exact = (own - others[at]).square().mean(1)
    offsets = torch.stack([at // columns - row, at % columns - column], 1).to(torch.int16)
    return NearestPatches(exact.reshape(h, w), offsets.reshape(h, w, 2))
