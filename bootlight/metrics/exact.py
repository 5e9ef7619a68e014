"""Features as exact arithmetic wants them: checked, in float64, a block at a time."""

from collections.abc import Iterator

import torch
from torch import Tensor

from bootlight.errors import BootlightError

BLOCK = 2048  # rows at a time: 2048 x 2048 numbers in float64 are 32 MiB


def checked(features: Tensor, *, least: int, metric: str, side: str) -> Tensor:
    """Features (N, D) of any float type without gradient, on a device that has float64.

    Raises:
        BootlightError: fewer than `least` images on this side ("real" or "synthetic"), or a number that is not finite.
    """
    if len(features) < least:
        raise BootlightError(f"{metric} needs at least {least} {side} images, got {len(features)}; draw more")
    if not all(features[start : start + BLOCK].isfinite().all() for start in range(0, len(features), BLOCK)):
        raise BootlightError("the feature network answered with NaN or infinity; check its weights")
    features = features.detach()
    return features.cpu() if features.device.type == "mps" else features  # Apple's GPUs have no float64


def blocks(features: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Rows of features (N, D) in order, at most `BLOCK` at a time: where they lie, and what they are in float64."""
    for start in range(0, len(features), BLOCK):
        rows = slice(start, start + BLOCK)
        yield rows, features[rows].double()


def unit(features: Tensor) -> Tensor:
    """Rows of features (N, D) scaled to length 1 and one column more, (N, D + 1) float64: products are cosines.

    A row of zeros, which a black image can give, has no direction. The last column, 1 for such rows and else 0, makes
    them alike among themselves and orthogonal to all others.
    """
    exact = features.double()
    exact = exact / exact.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)  # squares cannot overflow
    lengths = exact.norm(dim=1, keepdim=True)
    return torch.cat([exact / lengths.clamp(min=1), lengths.eq(0).double()], 1)
