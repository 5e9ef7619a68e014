"""Are two sets of images different? Differences of scores with intervals, and what it would take to tell."""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from scipy.stats import t as student
from torch import Tensor, nn
from tqdm import tqdm

from bootlight.errors import BootlightError
from bootlight.evaluation.attempt import attempt
from bootlight.evaluation.suite import Choice, Features, least_images, looked_at, measure_all, metrics_of
from bootlight.metrics.once import once
from bootlight.metrics.score import Score, format_value
from bootlight.metrics.uncertainty import Z95, group_numbers, jackknife_standard_error

GROUPS = 20
MAX_REAL = 2_000  # where every pair of images is looked at: both sets share them, so their draw hardly moves a difference
ROUNDING = 1e-12  # relative; what the difference of two equal differences may be
Z80 = 0.841621  # 80 % quantile of the standard normal distribution


class Difference(NamedTuple):
    """How much a score of the second set is above that of the first.

    Attributes:
        first: score of the first set.
        second: score of the second.
        value: second - first.
        standard_error: of `value`, over redraws of the images of both sets; None where unknown.
        interval: 95 % confidence interval of `value`; None where unknown.
        paired: whether image i of one set belongs to image i of the other, and the error is that of their differences.
        detectable: the difference that so many images find in four of five attempts; half of it takes four times as many. None
            where nothing is known of the error.
        better: whether the second set is better (None for scores that have no good direction).
    """

    first: Score
    second: Score
    value: float
    standard_error: float | None
    interval: tuple[float, float] | None
    paired: bool
    detectable: float | None
    better: bool | None

    @property
    def found(self) -> bool:
        """Whether the interval excludes 0."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    def sentence(self, name: str, first: str, second: str) -> str:
        """What it means, in words."""
        size = format_value(abs(self.value), self.standard_error)
        how = "paired, " if self.paired else ""
        n = min(self.first.n, self.second.n)
        if self.value == 0 and not self.standard_error:
            return f"{name}: {second} and {first} score exactly the same"
        if self.interval is None:
            return f"{name}: {second} differs from {first} by {self.value:.4g}; nothing is known of the error"
        low, high = self.interval
        where = f"{how}n = {n:,}; 95 % interval {low:.4g} to {high:.4g}"
        if self.found:
            direction = "higher" if self.value > 0 else "lower"
            verdict = "" if self.better is None else (", which is better" if self.better else ", which is worse")
            return f"{name}: {second} is {direction} than {first} by {size}{verdict} ({where})"
        more = f"; so many find a difference of {self.detectable:.2g} in four of five attempts, four times as many half of it"
        return f"{name}: {second} and {first} are not distinguishable ({where}){more}"


def difference(
    first: Score, second: Score, *, standard_error: float | None, quantile: float, paired: bool, higher_is_better: bool | None
) -> Difference:
    """A difference from its standard error.

    Power 80 % at level 5 % asks for a difference of 1.96 + 0.84 errors, and the error falls like 1/√n. How many images the
    difference at hand would take cannot be said where it was not found: it may as well be 0, which none would find.
    """
    value = second.value - first.value
    better = None if higher_is_better is None or value == 0 else (value > 0) is higher_is_better
    if standard_error is None:
        return Difference(first, second, value, None, None, paired, None, better)
    interval = (value - quantile * standard_error, value + quantile * standard_error)
    detectable = (quantile + Z80) * standard_error
    return Difference(first, second, value, standard_error, interval, paired, detectable, better)


class Measured(NamedTuple):
    """Scores of a set of images, and what they are without each group of its images.

    Attributes:
        scores: of metrics by key of `METRICS`: scores by name.
        without: values by name, one for each group; empty where nothing is to be paired.
        n: number of images.
        failed: why metrics have no score, or none without a group, by their name.
    """

    scores: dict[Choice, dict[str, Score]]
    without: dict[str, list[float]]
    n: int
    failed: dict[str, str]


def measure_set(
    names: Sequence[Choice], network: nn.Module, *, real: Features, synthetic: Features, n: int, paired: bool
) -> Measured:
    """All scores of the first of two sets or of the second one; see `compare_measured`.

    Args:
        names: keys of `METRICS`.
        network: where the features come from.
        real: of the reference; where every pair of images is looked at, or copies are looked for, `MAX_REAL` of them.
        synthetic: of the set.
        n: use so many of its images, spread evenly: scores depend on their number.
        paired: whether to measure without each group too.
    """
    chosen = {key: values[torch.arange(n) * len(values) // n] for key, values in synthetic.items()}
    failed: dict[str, str] = {}
    measure = partial(measure_all, network=network, max_real=MAX_REAL, max_copied=MAX_REAL, failed=failed)
    with once():
        scores = {name: measure([name], real=real, synthetic=chosen) for name in tqdm(names, desc="comparing", leave=False)}
        names = [name for name in names if scores[name]]
        without = measure_without(names, network, real=real, synthetic=chosen, n=n, failed=failed) if paired else {}
    return Measured(scores, without, n, failed)


def measure_without(
    names: Sequence[Choice], network: nn.Module, *, real: Features, synthetic: Features, n: int, failed: dict[str, str]
) -> dict[str, list[float]]:
    """Values of a set without each group of its images, by name of the score; see `measure_set`.

    Only values: each metric knows what of its work is the same without a group, see `FeatureMetric.values_without`.
    """
    groups = group_numbers(n, min(GROUPS, n))
    found: dict[str, list[float]] = {}
    for name in tqdm(names, desc="comparing · without each group", leave=False, delay=2):
        with attempt(str(name), failed):
            left, least = n - int(torch.bincount(groups).max()), least_images([name])
            if left < least:
                raise BootlightError(f"{n} images less a group of them are {left}, and {name} needs {least}; draw more")
            for metric in metrics_of(name, network):
                reference, judged = looked_at(name, metric, real, synthetic, MAX_REAL, MAX_REAL)
                values = metric.values_without(reference, judged, groups)
                found |= {key: without for key, without in values.items() if all(map(math.isfinite, without))}
    return found


def compare_measured(first: Measured, second: Measured, network: nn.Module, *, paired: bool) -> dict[str, Difference]:
    """Differences of all scores of two sets of equal size.

    Independent sets: errors of both scores, squared and added. Paired sets: the delete-a-group jackknife over `GROUPS` groups
    of pairs, which works for any metric and sees that what two images of a pair have in common cancels. Neither covers the
    draw of the real images, which both sets share, nor of the generators' trainings.

    Args:
        first: as `measure_set` gives it.
        second: likewise, with the same number of images.
        network: as for `measure_set`.
        paired: whether image i of both belong together (the same noise, or one a copy of the other).
    """
    found: dict[str, Difference] = {}
    for name, scores in first.scores.items():
        for key, score in scores.items():
            other = second.scores[name].get(key)
            if other is None or key.endswith("/real"):
                continue
            groups = [measured.without.get(key, []) for measured in (first, second)]
            error, quantile = _paired(*groups) if paired else (_added(score, other), Z95)
            found[key] = difference(
                score,
                other,
                standard_error=error,
                quantile=quantile,
                paired=paired,
                higher_is_better=score.higher_is_better,
            )
    return found


def compare_means(first: Tensor, second: Tensor, *, paired: bool, protocol: dict[str, str]) -> Difference:
    """Difference of the means of one number for each image, such as a judge's probabilities, (N,) and (M,)."""
    scores = [
        Score(v.mean().item(), (v.std() / len(v) ** 0.5).item() or None, len(v), protocol, higher_is_better=True)
        for v in (first.double(), second.double())
    ]
    error = _added(*scores)
    if paired:
        error = ((second.double() - first.double()).std() / len(first) ** 0.5).item()
    return difference(*scores, standard_error=error, quantile=Z95, paired=paired, higher_is_better=True)


def _added(first: Score, second: Score) -> float | None:
    if first.standard_error is None or second.standard_error is None:
        return None
    return math.hypot(first.standard_error, second.standard_error)


def _paired(first: Sequence[float], second: Sequence[float]) -> tuple[float | None, float]:
    """Standard error of a difference from its values without each group of pairs, and Student's quantile for so many groups."""
    if not (first and second):
        return None, Z95  # a score without some group could not be computed
    values = torch.tensor([first, second], dtype=torch.float64)
    error = jackknife_standard_error(values[1] - values[0])
    if error is not None and error < ROUNDING * values.abs().max().item():
        error = None  # no group makes a difference: nothing is known
    return error, float(student.ppf(0.975, len(first) - 1))
