"""The answer of a metric: never a bare number."""

import math
import re
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

K = TypeVar("K")
MAX_DECIMALS = 6
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


def format_value(value: float, standard_error: float | None) -> str:
    """Write ``value ± standard error``, both rounded to the same decimal.

    The error keeps two significant digits, so rounding moves it by at most 5 %. Without an error the value keeps four.
    """
    if standard_error is None or not math.isfinite(standard_error) or not math.isfinite(value):
        return f"{value:.4g}"
    if standard_error <= 0:
        return f"{value:.4g} ± 0"
    decimals = min(max(1 - math.floor(math.log10(standard_error)), 0), MAX_DECIMALS)
    return f"{value:.{decimals}f} ± {standard_error:.{decimals}f}"


def format_interval(value: float, interval: tuple[float, float]) -> str:
    """Write ``value [low, high]``, all rounded to the same decimal; a quarter of the width keeps two significant digits."""
    quarter = (interval[1] - interval[0]) / 4
    if not (math.isfinite(value) and math.isfinite(quarter) and quarter > 0):
        return f"{value:.4g} [{interval[0]:.4g}, {interval[1]:.4g}]"
    decimals = min(max(1 - math.floor(math.log10(quarter)), 0), MAX_DECIMALS)
    return f"{value:.{decimals}f} [{interval[0]:.{decimals}f}, {interval[1]:.{decimals}f}]"
