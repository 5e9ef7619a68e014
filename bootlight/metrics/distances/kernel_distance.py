"""Unbiased kernel distance between two sets of features with its variance, from kernel matrices too large to be held."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bootlight.metrics.exact import blocks, checked
from bootlight.metrics.once import shared
from bootlight.metrics.uncertainty import Z95

Kernel = Callable[[Tensor, Tensor], Tensor]  # (B, D), (C, D) -> (B, C)


@dataclass(frozen=True)
class Sums:
    """Sums over a kernel matrix (N, M); within one set the diagonal counts as 0.

    Attributes:
        rows: (N,) float64.
        columns: (M,) float64.
        squares: sum of squared entries, a scalar.
    """

    rows: Tensor
    columns: Tensor
    squares: Tensor

    def interaction_within(self) -> Tensor:
        """Unbiased mean square of what is left of the kernel without its two main effects, >= 0; needs n >= 4.

        The U-centred matrix of Székely & Rizzo (2014), its squares summed without forming it.
        """
        n, total = len(self.rows), self.rows.sum()
        effects = 2 * self.rows.square().sum() / (n - 2) - total.square() / ((n - 1) * (n - 2))
        return ((self.squares - effects) / (n * (n - 3))).clamp(min=0)

    def interaction_between(self) -> Tensor:
        """The same between two independent sets: the interaction mean square of a two-way layout; needs N, M >= 2."""
        n, m, total = len(self.rows), len(self.columns), self.rows.sum()
        effects = self.rows.square().sum() / m + self.columns.square().sum() / n - total.square() / (n * m)
        return ((self.squares - effects) / ((n - 1) * (m - 1))).clamp(min=0)


def sums_within(kernel: Kernel, x: Tensor) -> Sums:
    """Sums over k(x_i, x_j), i ≠ j, of features (N, D); each block of pairs is computed once."""
    rows = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    squares = rows.new_zeros(())
    for at, left in blocks(x):
        values = kernel(left, left).fill_diagonal_(0)
        rows[at] += values.sum(1)
        squares += values.square().sum()
        for offset, right in blocks(x[at.stop :]):
            values = kernel(left, right)
            rows[at] += values.sum(1)
            rows[at.stop + offset.start :][: len(right)] += values.sum(0)
            squares += 2 * values.square().sum()
    return Sums(rows, rows, squares)


def sums_between(kernel: Kernel, x: Tensor, y: Tensor) -> Sums:
    """Sums over k(x_i, y_j) of features (N, D) and (M, D)."""
    rows = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    columns = torch.zeros(len(y), dtype=torch.float64, device=x.device)
    squares = rows.new_zeros(())
    for at, left in blocks(x):
        for across, right in blocks(y):
            values = kernel(left, right)
            rows[at] += values.sum(1)
            columns[across] += values.sum(0)
            squares += values.square().sum()
    return Sums(rows, columns, squares)


def sums_without(kernel: Kernel, within: Sums, between: Sums, y: Tensor, groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over all k(y_i, y_j), i ≠ j, and over all k(x_i, y_j) without each group of y in turn, and images that stay.

    Args:
        kernel: of both sums.
        within: `sums_within` of y.
        between: `sums_between` of x and y.
        y: features (M, D).
        groups: of each of them the number of its group, (M,), from 0.

    Returns:
        Each (G,) float64.
    """
    groups = groups.to(y.device)
    counts = torch.bincount(groups)
    own = torch.stack([sums_within(kernel, y[groups == group]).rows.sum() for group in range(len(counts))])
    yy = within.rows.sum() - 2 * torch.bincount(groups, weights=within.rows) + own
    xy = between.columns.sum() - torch.bincount(groups, weights=between.columns)
    return yy, xy, len(y) - counts.double()


class KernelEstimate(NamedTuple):
    """What `kernel_distance` found; all but the value are None for fewer than 4 images on a side.

    Attributes:
        value: unbiased estimate of the squared MMD; may be negative.
        standard_error: over redraws of the synthetic images, the reference held fixed.
        standard_error_both: over redraws of both sides.
        interval: 95 % interval of the squared MMD of the two distributions; an end below 0 is not cut off.
    """

    value: float
    standard_error: float | None = None
    standard_error_both: float | None = None
    interval: tuple[float, float] | None = None


def score_interval(*, value: float, first_order: float, second_order: float, slope: float) -> tuple[float, float]:
    r"""95 % interval of a squared MMD θ: all θ with |value - θ| <= 1.96 standard errors, the error being that at θ.

    As in Wilson's interval of a share the variance depends on the truth: at θ = 0 only the second-order part is left, and the
    first-order part grows in proportion to θ, being a quadratic form in the witness, whose squared norm is θ. So it is
    κ max(θ, 0), and the ends solve a quadratic equation. For κ stands first_order / value where the value is well above
    √second_order, `slope` where it is not, and between them (first_order + slope √second_order) / (value + √second_order).

    Value ± 1.96 standard errors with the variance at the estimate instead holds the truth too often at θ = 0 (99 %) and
    too seldom at small θ (87 %), because low values then come with low errors; `benchmarks/coverage_kid.py` measures both.

    Args:
        value: the U-statistic.
        first_order: estimate of the first-order part of its variance, >= 0.
        second_order: of the rest, >= 0.
        slope: the most that the first-order part can be for θ = 1.
    """
    noise = second_order**0.5
    kappa = 0.0
    if slope > 0:
        kappa = min(slope, (first_order + slope * noise) / (max(value, 0.0) + noise))
    low, high = value - Z95 * noise, value + Z95 * noise
    centre = value + Z95**2 * kappa / 2
    half = Z95 * max(second_order + kappa * value + Z95**2 * kappa**2 / 4, 0.0) ** 0.5
    return (centre - half if low > 0 else low, centre + half if high > 0 else high)


class AllSums(NamedTuple):
    """Sums over the kernel among real images, among synthetic ones, and between them."""

    xx: Sums
    yy: Sums
    xy: Sums


def all_sums(*, real: Tensor, synthetic: Tensor, kernel: Kernel, what: str | None = None) -> AllSums:
    """All that `kernel_distance` needs of features (N, D) and (M, D); of a kernel named `what` computed once inside `once`."""

    def known(sides: tuple[Tensor, ...], compute: Callable[[], Sums]) -> Sums:
        return compute() if what is None else shared(f"sums of {what}", sides, compute)

    return AllSums(
        known((real,), lambda: sums_within(kernel, real)),
        known((synthetic,), lambda: sums_within(kernel, synthetic)),
        known((real, synthetic), lambda: sums_between(kernel, real, synthetic)),
    )


def kernel_distance(*, real: Tensor, synthetic: Tensor, kernel: Kernel, what: str | None = None) -> KernelEstimate:
    r"""Squared maximum mean discrepancy by the U-statistic over all images (Gretton et al. 2012, eq. 3) and its variance.

    With P real (N images), Q synthetic (M images) and the witness g(z) = E k(z, Y) - E k(z, X), the variance of the
    U-statistic is, exactly (Hoeffding's decomposition; cf. Sutherland et al. 2017, Bounliphone et al. 2016),

        4/N Var g(X) + 4/M Var g(Y) + 2/(N(N-1)) ζ_xx + 2/(M(M-1)) ζ_yy + 4/(NM) ζ_xy,

    where ζ is the mean square of the kernel freed of its main effects. The first two terms vanish where P = Q; the others
    do not, so errors never collapse. Each term is replaced by an unbiased estimate: the witness, taken over the other
    images, has a sample variance that is too large by ζ_yy/(M-2) + ζ_xy/N on the synthetic side, likewise on the real.
    Estimates below 0 become 0. With X held fixed the terms that remain are 4/M Var(g(Y) | X) + 2/(M(M-1)) ζ_yy. The variance
    of a function of norm 1 is at most the largest eigenvalue of the centred kernel, and so at most √ζ: the slope of
    `score_interval`.

    Memory is bounded by blocks of 2048 x 2048 pairs; time grows as (N² + M²) D / 2 + N M D.

    Args:
        real: (N, D), at least 2.
        synthetic: (M, D), at least 2, on the same device.
        kernel: symmetric, maps (B, D) and (C, D) in float64 to (B, C).
        what: name of the kernel with all its settings, under which sums are shared inside `once`; None = they are not.

    Raises:
        BootlightError: fewer than 2 images on a side, or features that are not finite.
    """
    real = checked(real, least=2, metric="a kernel distance", side="real")
    synthetic = checked(synthetic, least=2, metric="a kernel distance", side="synthetic")
    n, m = len(real), len(synthetic)
    xx, yy, xy = all_sums(real=real, synthetic=synthetic, kernel=kernel, what=what)
    value = xx.rows.sum() / (n * (n - 1)) + yy.rows.sum() / (m * (m - 1)) - 2 * xy.rows.sum() / (n * m)
    if min(n, m) < 4:
        return KernelEstimate(value.item())
    zeta_xx, zeta_yy, zeta_xy = xx.interaction_within(), yy.interaction_within(), xy.interaction_between()
    spread_real = (xy.rows / m - xx.rows / (n - 2)).var() - zeta_xx / (n - 2)
    spread_synthetic = (xy.columns / n - yy.rows / (m - 2)).var() - zeta_yy / (m - 2)
    given_real = 4 / m * spread_synthetic.clamp(min=0) + 2 * zeta_yy / (m * (m - 1))
    first_order = 4 / n * (spread_real - zeta_xy / m).clamp(min=0) + 4 / m * (spread_synthetic - zeta_xy / n).clamp(min=0)
    second_order = 2 * zeta_xx / (n * (n - 1)) + 2 * zeta_yy / (m * (m - 1)) + 4 * zeta_xy / (n * m)
    return KernelEstimate(
        value=value.item(),
        standard_error=given_real.sqrt().item(),
        standard_error_both=(first_order + second_order).sqrt().item(),
        interval=score_interval(
            value=value.item(),
            first_order=first_order.item(),
            second_order=second_order.item(),
            slope=(4 / n * zeta_xx.sqrt() + 4 / m * zeta_yy.sqrt()).item(),
        ),
    )
