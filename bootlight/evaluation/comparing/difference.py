"""A difference of two scores: its interval, what it takes to tell it from none, and what many of them say together."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from scipy.stats import norm
from scipy.stats import t as student

from bootlight.metrics.score import Score, format_interval, format_number

LEVEL = 0.05  # of a false difference: in one line by its interval, in all lines together by Holm
ROUNDING = 1e-12  # of the larger score: a smaller error is that of sums, of sets where no image makes a difference
Z80 = 0.841621  # 80 % quantile of the standard normal distribution


class Difference(NamedTuple):
    """How much a score of the second set is above that of the first.

    Attributes:
        first: score of the first set.
        second: score of the second.
        value: second - first.
        standard_error: of `value`, over redraws of the images of both sets; None where unknown.
        degrees: of freedom of the error, None = many.
        interval: 95 % confidence interval of `value` alone; None where unknown.
        paired: whether image i of one set belongs to image i of the other, and the error is that of their differences.
        detectable: the difference that so many images find in four of five attempts; half of it takes four times as many. None
            where nothing is known of the error.
        better: whether the second set is better (None for scores that have no good direction).
        p_value: how often a value so far from 0 is there by chance; None where unknown.
        adjusted: the same of all lines together, see `judged`; that of this line alone until then.
    """

    first: Score
    second: Score
    value: float
    standard_error: float | None
    degrees: int | None
    interval: tuple[float, float] | None
    paired: bool
    detectable: float | None
    better: bool | None
    p_value: float | None
    adjusted: float | None

    @property
    def found(self) -> bool:
        """Whether it is told from none, by all lines together where they were judged."""
        return self.adjusted is not None and self.adjusted < LEVEL

    @property
    def maybe(self) -> bool:
        """Whether its own interval excludes 0, but not more so than chance does in one of so many lines."""
        return not self.found and self.p_value is not None and self.p_value < LEVEL

    @property
    def same(self) -> bool:
        """Whether both scores are equal and no image tells them apart."""
        return self.value == 0 and not self.standard_error

    @property
    def verdict(self) -> str:
        """In a word: better or worse, higher or lower where neither is good; in brackets where it may be chance."""
        if self.same:
            return "same"
        if self.interval is None:
            return "error unknown"
        word = ("higher" if self.value > 0 else "lower") if self.better is None else ("better" if self.better else "worse")
        return word if self.found else f"({word})" if self.maybe else "-"

    def numbers(self) -> str:
        """`value [low, high]`, the value alone where nothing is known of the error."""
        return format_number(self.value) if self.interval is None else format_interval(self.value, self.interval)

    def sentence(self, name: str, first: str, second: str) -> str:
        """What it means, in words."""
        if self.same:
            return f"{name}: {second} and {first} score exactly the same"
        if self.interval is None:
            return f"{name}: {second} differs from {first} by {self.numbers()}; nothing is known of the error"
        n = f"{'paired, ' if self.paired else ''}n = {min(self.first.n, self.second.n):,}"
        if not self.found:
            chance = "; its own interval excludes 0, as one of so many may by chance" if self.maybe else ""
            more = f"so many find a difference of {format_number(self.detectable or 0, 2)} in four of five attempts"
            return f"{name}: {second} and {first} are not told apart, {self.numbers()} ({n}){chance}; {more}"
        direction = "higher" if self.value > 0 else "lower"
        verdict = "" if self.better is None else (", which is better" if self.better else ", which is worse")
        return f"{name}: {second} is {direction} than {first}{verdict}, {self.numbers()} ({n})"


def difference(
    first: Score, second: Score, *, standard_error: float | None, paired: bool, degrees: int | None = None
) -> Difference:
    """A difference from its standard error, with Student's distribution for `degrees` of freedom or the normal one.

    Power 80 % at level 5 % asks for a difference of 1.96 + 0.84 errors, and the error falls like 1/√n. How many images the
    difference at hand would take cannot be said where it was not found: it may as well be 0, which none would find.
    """
    value, higher_is_better = second.value - first.value, first.higher_is_better
    better = None if higher_is_better is None or value == 0 else (value > 0) is higher_is_better
    if standard_error is None or standard_error <= ROUNDING * max(abs(first.value), abs(second.value)):
        return Difference(first, second, value, None, None, None, paired, None, better, None, None)
    half = _quantile(LEVEL, degrees) * standard_error
    p_value = float(2 * _law(degrees).sf(abs(value) / standard_error))
    detectable, interval = half + Z80 * standard_error, (value - half, value + half)
    return Difference(first, second, value, standard_error, degrees, interval, paired, detectable, better, p_value, p_value)


def _law(degrees: int | None) -> Any:
    return norm if degrees is None else student(degrees)


def _quantile(level: float, degrees: int | None) -> float:
    """How many errors from 0 are there by chance so seldom."""
    return float(_law(degrees).isf(level / 2))


def judged(comparisons: Sequence[dict[str, Difference]]) -> list[dict[str, Difference]]:
    """The same differences judged all together, by the method of Holm (1979), Scandinavian Journal of Statistics 6, 65.

    Ten lines at 5 % each would show a false difference in up to 40 % of comparisons. By Holm's p-values, which are never below
    those of single lines, it is at most 5 %, however the lines depend on each other: the smallest of m is multiplied by m, the
    next by m - 1, and so on. What is `detectable` is counted at the strictest level, of 5 % over m.

    Args:
        comparisons: of each further set: differences from the first one, by score.
    """
    places = [(i, key) for i, found in enumerate(comparisons) for key, one in found.items() if one.p_value is not None]
    places.sort(key=lambda place: comparisons[place[0]][place[1]].p_value or 0.0)
    answers = [dict(found) for found in comparisons]
    adjusted = 0.0
    for rank, (i, key) in enumerate(places):
        one = answers[i][key]
        assert one.p_value is not None and one.standard_error is not None  # else it has no place
        adjusted = min(1.0, max(adjusted, (len(places) - rank) * one.p_value))
        detectable = (_quantile(LEVEL / len(places), one.degrees) + Z80) * one.standard_error
        answers[i][key] = one._replace(adjusted=adjusted, detectable=detectable)
    return answers
