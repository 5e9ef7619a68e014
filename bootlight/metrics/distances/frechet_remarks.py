"""What a reader must know before believing a Fréchet distance: too few images, collapsed features."""

from typing import Protocol

import torch
from torch import Tensor

ENOUGH = 10  # images for each feature
COLLAPSED_VARIANCE = 0.01  # of the other side's total variance
COLLAPSED_RANK = 0.2  # of the other side's effective rank
HEAVY = 4.0  # kurtosis of features: of normal ones it is 3, and above this in few samples of one feature alone
ONE_SIDED = 30.0  # kurtosis of what images change: the square of one normal feature has 15
FEW_CARRIERS = 30  # images that the error rests on; of more, tails matter little
HELD_BY_KID = "94 to 97"  # likewise
HELD = "55 to 95"  # of samples with four degrees of freedom, by benchmarks/coverage_tails.py
A_LINE = 2.0  # effective rank below which nearly all variance has one direction


class Sample(Protocol):
    """The covariance (D, D) of a set of features and its count; see `frechet.Statistics`."""

    @property
    def cov(self) -> Tensor: ...  # noqa: D102

    @property
    def n(self) -> int: ...  # noqa: D102


def count_remark(side: str, sample: Sample, bias: float | None) -> tuple[str, ...]:
    """A sentence where images are fewer than 10 for each feature, else none.

    Args:
        side: "real" or "synthetic".
        sample: that side.
        bias: how much of the distance is the bias of that side's sample; None where unknown.
    """
    size = len(sample.cov)
    if sample.n >= ENOUGH * size:
        return ()
    fault = (
        f"have a covariance without full rank in {size} features"
        if sample.n <= size
        else f"are fewer than {ENOUGH} for each of {size} features"
    )
    share = "much" if bias is None else f"about {max(bias, 0.0):.2g}"
    return (f"{sample.n} {side} images {fault}: {share} of the distance is sampling bias; draw more, or compare by kid.",)


def tails_remark(kurtosis: float | None, carriers: float | None, n: int) -> tuple[str, ...]:
    """A sentence where heavy tails make the standard error too small too often, else none.

    A few images far out, which most samples have not, then carry a good part of the distance's spread. Heavy are the features
    (a kurtosis above 4), or what single images change (above 30); and the error rests on fewer than 30 images. In
    `benchmarks/coverage_tails.py` it was said of no sample of 16 or more normal features, of up to 6 % of those of one or two;
    and with four degrees of freedom, where the interval held in 55 to 95 %, of 45 to 100 % of samples of 80 images or more with
    the tails of whole images, of up to 93 % with those of each feature, and of a fifth where images were 20.

    With Student's quantile for the degrees of freedom that the spread leaves 1 to 4 % more of the intervals held, so the
    interval is left as it is.

    Args:
        kurtosis: of the features; None where unknown, as are `carriers` then.
        carriers: see `frechet.Jackknife`.
        n: images.
    """
    if kurtosis is None or carriers is None or carriers >= FEW_CARRIERS:
        return ()
    if kurtosis > HEAVY:
        what = f"the features have a kurtosis of {kurtosis:.1f}, normal ones 3"
    elif n / carriers > ONE_SIDED:
        what = f"what single images change has a kurtosis of {n / carriers:.0f}"
    else:
        return ()
    return (
        f"heavy tails: {what}, and the error rests on about {carriers:.0f} of {n} images; with such tails the interval held in "
        f"{HELD} % of samples, not in 95: draw more, or compare by kid, whose interval held in {HELD_BY_KID} %.",
    )


def real_bias(real: Sample, synthetic: Sample, bias: float | None) -> float | None:
    """What the draw of the reference adds to the distance on average, from `bias`, what that of the synthetic images adds.

    For normal features the bias of order 1/n is tr C / n from the mean and 1/(2n) (Σ_ij s_i s_j / (s_i + s_j) + Σ_i s_i / 2)
    from the covariance, with s the roots of the eigenvalues of C_r C_s. Only the first part tells one side from the other.
    """
    if bias is None:
        return None
    return (bias * synthetic.n + real.cov.trace().item() - synthetic.cov.trace().item()) / real.n


def effective_rank(variances: Tensor) -> float:
    """Exponential of the entropy of variances (D,) as shares of their sum (Roy and Vetterli 2007), from 1 to D; 1 for zeros."""
    total = variances.sum().clamp(min=torch.finfo(variances.dtype).tiny)
    return torch.special.entr(variances / total).sum().exp().item()


def collapse_remarks(
    *, real_variances: Tensor, synthetic_variances: Tensor, num_real: int, num_synthetic: int
) -> tuple[str, ...]:
    """A sentence for each side whose features collapsed.

    The synthetic features are called collapsed if their total variance is at most 1 % of the real features', or their
    effective rank at most a fifth of the real features' (or of what so few images can have). The real ones likewise, but for
    the rank only if it is below 2 as well: beside the noise of an untrained generator any real images have a low rank.

    Args:
        real_variances: eigenvalues of the covariance, zeros left out or not.
        synthetic_variances: likewise.
        num_real: images.
        num_synthetic: images.
    """
    expected = min(effective_rank(real_variances), num_synthetic - 1)
    remarks = _collapsed("synthetic", synthetic_variances, real_variances, expected, COLLAPSED_RANK * expected)
    expected = min(effective_rank(synthetic_variances), num_real - 1)
    return remarks + _collapsed("real", real_variances, synthetic_variances, expected, min(COLLAPSED_RANK * expected, A_LINE))


def _collapsed(side: str, variances: Tensor, others: Tensor, expected: float, lowest: float) -> tuple[str, ...]:
    total, other, rank = variances.sum().item(), others.sum().item(), effective_rank(variances)
    if total > COLLAPSED_VARIANCE * other and rank > lowest:
        return ()
    share = f"{total / other:.2g} of the other side's total variance" if other > 0 else "no variance"
    return (f"The {side} features collapsed: {share}, effective rank {rank:.1f} where {expected:.1f} is to be expected.",)
