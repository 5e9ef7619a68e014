"""Standard errors and 95 % intervals of shares and of statistics without a formula."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

Z95 = 1.959964  # 97.5 % quantile of the standard normal distribution
WILSON = "Wilson"  # how intervals of shares are made, in protocols
WILSON_JACKKNIFE = "Wilson, with the number of images that has the jackknife's error"
PLUS_FOUR = "mean with two images more at either end"
NO_ERROR = "no single synthetic image changes {}, so its error has no estimate"


def wilson_interval(share: float, n: float) -> tuple[float, float]:
    """95 % interval of a probability from the share of n independent successes (Wilson 1927).

    Unlike share ± 1.96 standard errors it stays in [0, 1] and keeps a width where all or none of the n succeed.
    """
    centre = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * (share * (1 - share) / n + Z95**2 / (4 * n**2)) ** 0.5
    return max(centre - half, 0.0), min(centre + half, 1.0)


def binomial_standard_error(share: float, n: int) -> float | None:
    """Standard error of the share of n independent successes; None where all or none succeed, which says nothing of it."""
    return (share * (1 - share) / n) ** 0.5 if 0 < share < 1 else None


def jackknife_standard_error(without: Tensor) -> float | None:
    """Standard error of a statistic of n independent images from its values without each of them, (n,).

    √((n - 1)/n Σ (value without j - their mean)²). On average its square is not below the variance, for any symmetric
    statistic, up to the difference of n - 1 and n images (Efron and Stein 1981): it errs towards caution.

    Returns:
        None where no image makes a difference: the jackknife then knows nothing.
    """
    n = len(without)
    changes = without.double() - without[0].double()  # equal values must have a spread of 0 and not of rounding error
    error: float = ((changes.var(correction=0) * (n - 1)) ** 0.5).item()
    return error if error > 0 else None


def without_groups(count: int, groups: int) -> Iterator[Tensor]:
    """Indices below `count` without each of some groups in turn, for a jackknife; always the same groups.

    The groups are random: images may lie sorted by class, or classes may take turns, and a group of one class says nothing.
    """
    parts = _parts(count, groups)
    for left_out in range(groups):
        yield torch.cat([part for index, part in enumerate(parts) if index != left_out])


def group_numbers(count: int, groups: int) -> Tensor:
    """The group, from 0, of each index below `count`, int64 (count,); the groups of `without_groups`."""
    numbers = torch.empty(count, dtype=torch.int64)
    for number, part in enumerate(_parts(count, groups)):
        numbers[part] = number
    return numbers


def _parts(count: int, groups: int) -> tuple[Tensor, ...]:
    return torch.randperm(count, generator=torch.Generator().manual_seed(0)).tensor_split(groups)


def means_without(values: Tensor, groups: Tensor) -> list[float]:
    """Means of numbers (n,) without each group in turn.

    Args:
        values: of the images.
        groups: of each image its group's number, (n,), as `group_numbers` gives them.
    """
    numbers = values.double()
    groups = groups.to(values.device)
    sums, counts = torch.bincount(groups, weights=numbers), torch.bincount(groups)
    means: list[float] = ((numbers.sum() - sums) / (len(numbers) - counts)).tolist()
    return means


def share_interval(share: float, standard_error: float | None) -> tuple[float, float] | None:
    """95 % interval of a share with a known standard error: Wilson's, with as many successes as would have that error.

    At a share of 0 or 1 no number of successes has an error; there it is 1.96 standard errors wide, to one side.
    """
    if standard_error is None:
        return None
    if 0 < share < 1:
        return wilson_interval(share, share * (1 - share) / standard_error**2)
    return max(share - Z95 * standard_error, 0.0), min(share + Z95 * standard_error, 1.0)


class BoundedMean(NamedTuple):
    """The middle of an interval for a mean of numbers from 0 to 1, and its standard error."""

    centre: float
    standard_error: float


def bounded_mean(values: Tensor) -> BoundedMean:
    """Mean of n independent numbers from 0 to 1, (n,), as if 1.92 more were 0 and as many 1; for an interval of the true mean.

    Of zeros and ones it is the interval of Agresti and Coull (1998), which is Wilson's but for its width. A judge's
    probabilities are nearly that: almost all at one end, a few at the other, which a small sample may not have. Then the mean
    ± 1.96 standard errors held the truth in 77 to 95 % of samples of 20 to 100 probabilities from normal logits, this in 95
    to 100 %.
    """
    n, more = len(values), Z95**2 / 2
    total = n + 2 * more
    centre = (values.double().sum().item() + more) / total
    squares = (values.double() - centre).square().sum().item() + more * (centre**2 + (1 - centre) ** 2)
    return BoundedMean(centre, squares**0.5 / total)


def bounded_interval(centre: float, half: float) -> tuple[float, float]:
    """`centre` ± `half`, cut off at 0 and 1."""
    return max(centre - half, 0.0), min(centre + half, 1.0)
