"""What a reader must know before believing scores: the most important first, and no more of it than is read."""

import re
import textwrap
from collections.abc import Mapping

from bootlight.metrics.score import NO_COMPARISON, Score, by_remark

WIDTH = 100
MAX_REMARKS = 3
NUMBERS = re.compile(r"noisy|fewer than|^only [\d,]+ images on|balls shrink|sampling bias|smaller sample|depends on the number")


def importance(remark: str) -> int:
    """0 of a score that is none to compare by, 2 where more images would do, 1 of all others."""
    if NO_COMPARISON in remark:
        return 0
    return 2 if NUMBERS.search(remark) else 1


def remark_lines(scores: Mapping[str, Score], *, more: str = "--json") -> list[str]:
    """The remarks of scores by name, for a terminal: the three most important.

    Args:
        scores: by name.
        more: where the others can be read.
    """
    found = sorted(by_remark(scores.items()).items(), key=lambda item: importance(item[0]))
    lines = [remark_line(f"{', '.join(names)}: {remark}") for remark, names in found[:MAX_REMARKS]]
    left = len(found) - MAX_REMARKS
    return lines if left <= 0 else [*lines, f"! {left} more remark{'s' * (left > 1)} in {more}"]


def failed_lines(failed: Mapping[str, str]) -> list[str]:
    """What has no score and why, for a terminal."""
    return [remark_line(f"{name} failed, and has no score: {why}") for name, why in failed.items()]


def remark_line(text: str) -> str:
    """A remark for a terminal, in as many lines as it needs."""
    return filled(f"! {text}", "  ")


def filled(text: str, indent: str = "") -> str:
    """Text in as many lines as it needs, the further ones indented; numbers stay with their per cent signs."""
    wrapped = textwrap.fill(text.replace(" %", "\N{NO-BREAK SPACE}%"), WIDTH, subsequent_indent=indent)
    return wrapped.replace("\N{NO-BREAK SPACE}%", " %")
