"""What each image adds to a kernel distance, so that the distances of two sets to the same real images can be compared."""

from typing import NamedTuple

import torch
from torch import Tensor

from bootlight.metrics.distances.kernel_distance import Kernel, sums_between, sums_within
from bootlight.metrics.exact import checked


class Witness(NamedTuple):
    """Means of a kernel k over a reference X, N images, and a set Y of M images.

    Attributes:
        value: unbiased squared MMD, without the mean of k(x, x'), which is the same for every set.
        real: mean of k(x, y) over the set, for each image of the reference, (N,) float64.
        synthetic: for each image of the set, mean of k(y, y') over the others minus mean of k(x, y), (M,) float64.
    """

    value: float
    real: Tensor
    synthetic: Tensor


def witness(*, real: Tensor, synthetic: Tensor, kernel: Kernel) -> Witness:
    """See `Witness`.

    Args:
        real: features (N, D), at least 2.
        synthetic: (M, D), at least 2, on the same device.
        kernel: symmetric, maps (B, D) and (C, D) in float64 to (B, C).

    Raises:
        BootlightError: fewer than 2 images on a side, or features that are not finite.
    """
    real = checked(real, least=2, metric="a kernel distance", side="real")
    synthetic = checked(synthetic, least=2, metric="a kernel distance", side="synthetic")
    n, m = len(real), len(synthetic)
    within, between = sums_within(kernel, synthetic).rows, sums_between(kernel, real, synthetic)
    value = within.sum() / (m * (m - 1)) - 2 * between.rows.sum() / (n * m)
    return Witness(value.item(), (between.rows / m).cpu(), (within / (m - 1) - between.columns / n).cpu())


def witness_difference(first: Witness, second: Witness, *, paired: bool) -> tuple[float, float]:
    """How much farther the second set is from the reference than the first one, and the standard error of that.

    The difference of two U-statistics with the same reference X moves with x by -2 times the difference of the two `real`,
    and with each y by 2 times `synthetic`, to first order (Hoeffding 1948; cf. Bounliphone et al. 2016, for independent
    sets). The sample variances of these hold the second-order part at least once, as a jackknife does (Efron & Stein 1981), so
    the error is rather too large where both sets are of one distribution. It covers redraws of the reference and of both sets;
    `benchmarks/coverage_told_apart.py` measures how often it is wrong.

    Args:
        first: of one set.
        second: of another one, with the same reference.
        paired: whether image i of both were drawn from the same noise; the sets are equally large then.
    """
    n = len(first.real)
    spread = 4 / n * (second.real - first.real).var()
    if paired:
        spread = spread + 4 / len(first.synthetic) * (second.synthetic - first.synthetic).var()
    else:
        spread = spread + sum(4 / len(one.synthetic) * one.synthetic.var() for one in (first, second))
    return second.value - first.value, torch.as_tensor(spread).sqrt().item()
