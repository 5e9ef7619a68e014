"""The answer of a metric: never a bare number."""

import math
import re
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

K = TypeVar("K")
MAX_DECIMALS = 6
TOLD_APART = "told-apart"  # score: whether two sets of images can be told apart at all
NO_COMPARISON = "not a score to compare by"  # in the remark on a score by which noise comes before real images
FEW = 100  # images: up to so many, a share and its standard error say less than the interval, which is lopsided
SHARE = "interval"  # key of a protocol: the score is a share, and this is how its interval is made


class Score(NamedTuple):
    """A value, how uncertain it is, and how it was measured.

    A named tuple, because torchmetrics rebuilds what `compute` returns and refuses a frozen dataclass.

    Attributes:
        value: the number.
        standard_error: standard deviation of `value` over redrawn synthetic images; None where it cannot be estimated.
        n: number of synthetic images.
        protocol: what a second measurement must share to be comparable; JSON types only.
        interval: ends of a 95 % confidence interval; None where there is none better than value ± 1.96 standard errors.
        remarks: what a reader must know before believing the value, one sentence each.
        higher_is_better: whether larger values are better (True) or smaller ones (False); None where neither is so, such as of
            a ratio that is best at 1.
    """

    value: float
    standard_error: float | None
    n: int
    protocol: dict[str, Any]
    interval: tuple[float, float] | None = None
    remarks: tuple[str, ...] = ()
    higher_is_better: bool | None = None

    def noting(self, **about: Any) -> "Score":
        """The same with more in its protocol."""
        return self._replace(protocol={**self.protocol, **about})

    def to_json(self) -> dict[str, Any]:
        """The attributes by name, as a JSON object."""
        return self._asdict()

    @property
    def is_told_by_interval(self) -> bool:
        """Whether the interval is written in the place of ± the standard error: of shares of few images, or without error."""
        return self.interval is not None and (self.standard_error is None or (SHARE in self.protocol and self.n <= FEW))

    def __str__(self) -> str:
        if self.interval is None or not self.is_told_by_interval:
            return format_value(self.value, self.standard_error)
        return format_interval(self.value, self.interval)


def by_remark(scores: Iterable[tuple[K, Score]]) -> dict[str, list[K]]:
    """The remarks of scores, once each, with the keys of all scores that they are about.

    Remarks that differ in their numbers alone are one, with the numbers of the first.
    """
    first: dict[str, str] = {}
    found: dict[str, list[K]] = {}
    for key, score in scores:
        for remark in score.remarks:
            text = first.setdefault(re.sub(r"\d[\d,.e+-]*", "#", remark), remark)
            found.setdefault(text, []).append(key)
    return found


def format_number(value: float, digits: int = 4) -> str:
    """A number in so many significant digits, without an exponent from 0.0001 to 1e15; thousands have separators."""
    if not 10**digits <= abs(value) < 1e15:  # also of numbers that are not finite
        return f"{value:.{digits}g}"
    return grouped(round(value, digits - 1 - math.floor(math.log10(abs(value)))), 0)


def grouped(value: float, decimals: int) -> str:
    """A number with so many decimals, and thousands separators from 10,000 on."""
    return f"{value:,.{decimals}f}" if abs(value) >= 10_000 else f"{value:.{decimals}f}"


def format_value(value: float, standard_error: float | None) -> str:
    """Write ``value ± standard error``, both rounded to the same decimal.

    The error keeps two significant digits, so rounding moves it by at most 5 %. Without an error the value keeps four.
    """
    if standard_error is None or not math.isfinite(standard_error) or not math.isfinite(value):
        return format_number(value)
    if standard_error <= 0:
        return f"{format_number(value)} ± 0"
    decimals = decimals_of(standard_error)
    if decimals > MAX_DECIMALS or abs(value) >= 1e15:
        return f"{value:.3g} ± {standard_error:.2g}"
    value, standard_error = round(value, decimals), round(standard_error, decimals)
    return f"{grouped(value, max(decimals, 0))} ± {grouped(standard_error, max(decimals, 0))}"


def decimals_of(uncertainty: float) -> int:
    """Decimals that keep two significant digits of an uncertainty; none are dropped before the point below 1,000."""
    decimals = 1 - math.floor(math.log10(uncertainty))
    return decimals if decimals > 0 or uncertainty >= 1000 else 0


def format_interval(value: float, interval: tuple[float, float]) -> str:
    """Write ``value [low, high]``, all rounded to the same decimal; a quarter of the width keeps two significant digits."""
    low, high = interval
    quarter = (high - low) / 4
    known = math.isfinite(value) and math.isfinite(quarter) and quarter > 0
    decimals = decimals_of(quarter) if known else 0
    if not known or decimals > MAX_DECIMALS or max(abs(value), abs(low), abs(high)) >= 1e15:
        return f"{format_number(value)} [{format_number(low)}, {format_number(high)}]"
    texts = [grouped(round(number, decimals), max(decimals, 0)) for number in (value, low, high)]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"
