"""How often the intervals of KID and MMD hold the true distance, and how right their standard errors are: 80 s of one core.

Gaussian features whose true distance has a closed form, drawn again and again. "interval" is the share of 95 % intervals
that hold the true distance, both sides redrawn, and "Wald" that of value ± 1.96 standard errors. "SE both" and
"SE synthetic" are the root mean square of the answered standard error over the true spread, for the latter among redraws
of the synthetic side with the reference held fixed. "bias/SE" is a standard normal number if the value is unbiased.

    python benchmarks/coverage_kid.py
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from bootlight.metrics.distances.kernel_distance import Z95, Kernel, kernel_distance
from bootlight.metrics.distances.kid import polynomial_kernel, rbf_kernel

DIMENSIONS = 16
REDRAWS = 1000
REFERENCES = 20
BANDWIDTH = 4.0
Moments = tuple[Tensor, Tensor]  # mean and variance of each feature, (D,)
KERNELS: dict[str, Kernel] = {"polynomial": polynomial_kernel, "rbf": rbf_kernel(BANDWIDTH)}


def mean_kernel(name: str, shift: Tensor, spread: Tensor, other_shift: Tensor, other_spread: Tensor) -> float:
    """E k(x, y) of independent Gaussians with means `shift` and diagonal variances `spread`, (D,) each."""
    if name == "rbf":
        width = BANDWIDTH**2 + spread + other_spread
        return ((BANDWIDTH**2 / width).sqrt() * (-((shift - other_shift) ** 2) / (2 * width)).exp()).prod().item()
    dot, common = (shift * other_shift).sum(), (spread * other_spread).sum()
    left, right = (shift**2 * other_spread).sum(), (other_shift**2 * spread).sum()
    cross = (shift * other_spread * spread * other_shift).sum()
    first = dot / DIMENSIONS
    second = (dot**2 + left + right + common) / DIMENSIONS**2
    third = (dot**3 + 3 * dot * (left + right + common) + 6 * cross) / DIMENSIONS**3
    return (third + 3 * second + 3 * first + 1).item()


def cases() -> Iterator[tuple[str, Tensor, Tensor, Tensor, Tensor]]:
    """Name, and mean and variance (D,) of the real and of the synthetic features; all but one direction is narrow."""
    one, zero = torch.ones(DIMENSIONS, dtype=torch.float64), torch.zeros(DIMENSIONS, dtype=torch.float64)
    narrow = torch.logspace(0.5, -1.5, DIMENSIONS, dtype=torch.float64)
    yield "equal, round", zero, one, zero, one
    yield "equal, narrow, off centre", one, narrow, one, narrow
    yield "mean off by 0.1", one, narrow, one + 0.1, narrow
    yield "mean off by 0.5", one, narrow, one + 0.5, narrow
    yield "variance half", zero, one, zero, one / 2


def draw(count: int, shift: Tensor, spread: Tensor) -> Tensor:
    """(count, D)."""
    return shift + spread.sqrt() * torch.randn(count, DIMENSIONS, dtype=torch.float64)


def ratio(errors: list[float], values: list[float]) -> float:
    """Root mean square of the answered errors over the standard deviation of the values."""
    return math.sqrt(sum(error**2 for error in errors) / len(errors)) / torch.tensor(values).std().item()


class Coverage(NamedTuple):
    """Shares of intervals that hold the truth; ratio of standard error to spread; bias in standard errors of the mean."""

    interval: float
    wald: float
    ratio: float
    bias: float


def both_sides(kernel: Kernel, sizes: tuple[int, int], real: Moments, synthetic: Moments, true: float) -> Coverage:
    """Of redraws of both sides."""
    found = []
    for _ in range(REDRAWS):
        found.append(kernel_distance(real=draw(sizes[0], *real), synthetic=draw(sizes[1], *synthetic), kernel=kernel))
    values = [estimate.value for estimate in found]
    errors = [estimate.standard_error_both or 0.0 for estimate in found]
    intervals = [estimate.interval or (math.nan, math.nan) for estimate in found]
    return Coverage(
        interval=sum(low <= true <= high for low, high in intervals) / REDRAWS,
        wald=sum(abs(value - true) <= Z95 * error for value, error in zip(values, errors, strict=True)) / REDRAWS,
        ratio=ratio(errors, values),
        bias=(sum(values) / REDRAWS - true) / (torch.tensor(values).std().item() / REDRAWS**0.5),
    )


def one_side(kernel: Kernel, sizes: tuple[int, int], real: Moments, synthetic: Moments) -> float:
    """Ratio of the standard error to the spread over synthetic redraws, each reference on its own."""
    squared_errors, variances = [], []
    for _ in range(REFERENCES):
        reference = draw(sizes[0], *real)
        found = [
            kernel_distance(real=reference, synthetic=draw(sizes[1], *synthetic), kernel=kernel)
            for _ in range(REDRAWS // REFERENCES)
        ]
        variances.append(torch.tensor([estimate.value for estimate in found]).var().item())
        squared_errors += [estimate.standard_error**2 for estimate in found if estimate.standard_error is not None]
    return math.sqrt(sum(squared_errors) / len(squared_errors) / (sum(variances) / len(variances)))


def main() -> None:
    torch.manual_seed(0)
    print("kernel      distributions                  N    M      true  bias/SE  interval   Wald  SE both  SE synthetic")
    for name, kernel in KERNELS.items():
        for case, *moments in cases():
            real, synthetic = (moments[0], moments[1]), (moments[2], moments[3])
            true = mean_kernel(name, *real, *real) + mean_kernel(name, *synthetic, *synthetic)
            true -= 2 * mean_kernel(name, *real, *synthetic)
            for sizes in ((20, 20), (50, 50), (200, 100)):
                both = both_sides(kernel, sizes, real, synthetic, true)
                print(
                    f"{name:<12}{case:<26}{sizes[0]:>6}{sizes[1]:>5}{true:>10.2g}{both.bias:>9.2f}{both.interval:>10.3f}"
                    f"{both.wald:>7.3f}{both.ratio:>9.2f}{one_side(kernel, sizes, real, synthetic):>14.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
