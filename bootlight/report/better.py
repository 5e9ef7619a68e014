"""Is one generation better than another? A difference of their main score, with an interval, in a sentence."""

import math
from typing import Any, NamedTuple

import torch

from bootlight.errors import BootlightError
from bootlight.metrics.distances.witness import Witness, witness_difference
from bootlight.metrics.score import MAX_DECIMALS, NO_COMPARISON, Score, decimals_of, format_number, grouped
from bootlight.metrics.uncertainty import Z95
from bootlight.report.scores import HOLDOUT, GenerationScores, main_scores
from bootlight.runs.folder import RunFolder
from bootlight.runs.witness import KeptWitness, read_witness

FREE = ("num_synthetic", "standard_deviation", "bandwidth")  # of a protocol: may differ between generations
UNBIASED = ("kid", "mmd-rbf", "discriminator_score", "authpct")  # comparable at different numbers of images


class Comparison(NamedTuple):
    """A generation and an earlier one.

    Attributes:
        generation: number of the later one.
        than: of the earlier one.
        score: by which they are compared.
        difference: later - earlier; None where they cannot be compared.
        interval: ends of its 95 % interval; likewise.
        better: whether the later one is; None where the interval holds 0, or they cannot be compared.
        paired: whether images of equal number were drawn from equal noise.
        sentence: all this in words.
    """

    generation: int
    than: int
    score: str
    difference: float | None
    interval: tuple[float, float] | None
    better: bool | None
    paired: bool
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """The attributes by name, as JSON types."""
        return self._asdict() | {"interval": None if self.interval is None else list(self.interval)}


class _Difference(NamedTuple):
    value: float
    interval: tuple[float, float]
    numbers: str  # of images, in words
    paired: bool = False


def compare_generations(run: RunFolder, first: GenerationScores, second: GenerationScores) -> Comparison | None:
    """Compare two generations; None where they share no score with a direction and an error.

    By KID to held-out images, whether or not it is among the scores: it is unbiased at any n, and what each image adds to it is
    kept with the generation, so that the error of the difference is known: it covers redraws of the images of both generations
    and of the real ones, which both share. Without these numbers (scores of an older version, no feature network) by the first
    score of both that has a direction, from whose intervals that of the difference is made as if they were independent.
    """
    name, found, why = _by_witness(run, first, second)
    if found is None and not why:
        name, found, why = _by_scores(first, second)
    if name is None:
        return None
    who = f"generation {second.generation}"
    base = f"generation {first.generation}"
    if found is None:
        text = f"{who.capitalize()} and {base} cannot be compared by {name}: {why}."
        return Comparison(second.generation, first.generation, name, None, None, None, False, text)
    scores = [row.scores.get(name) for row in (first, second)]
    higher = any(score.higher_is_better for score in scores if score is not None)  # older versions did not write it
    told = not found.interval[0] <= 0 <= found.interval[1]
    better = (found.value > 0) is higher if told else None
    verdict = f"is {'better' if better else 'worse'} than" if told else "cannot be told from"
    text = f"{who.capitalize()} {verdict} {base} by {name}: {_in_numbers(scores, found)}{_doubt(scores)}."
    return Comparison(second.generation, first.generation, name, found.value, found.interval, better, found.paired, text)


def _in_numbers(scores: list[Score | None], found: _Difference) -> str:
    """`0.031 against 0.012, difference 0.019, 95 % interval 0.011 to 0.027 (twice 300 synthetic and 359 real images)`."""
    first, second = scores
    low, high = found.interval
    decimals = decimals_of((high - low) / 4) if 0 < high - low < 1e15 else 0

    def text(value: float) -> str:
        return grouped(round(value, decimals), max(decimals, 0)) if decimals <= MAX_DECIMALS else format_number(value, 3)

    values = "" if first is None or second is None else f"{text(second.value)} against {text(first.value)}, "
    return f"{values}difference {text(found.value)}, 95 % interval {text(low)} to {text(high)} ({found.numbers})"


def _numbers(first: int, second: int, paired: bool = False) -> str:
    """`300 pairs of`, `twice 300`, `300 and 200`."""
    if paired:
        return f"{first:,} pairs of synthetic"
    return f"twice {first:,} synthetic" if first == second else f"{first:,} and {second:,} synthetic"


def _doubt(scores: list[Score | None]) -> str:
    if any(NO_COMPARISON in remark for score in scores if score is not None for remark in score.remarks):
        return f"; but this is {NO_COMPARISON}, see below"
    return ""


def _by_witness(
    run: RunFolder, first: GenerationScores, second: GenerationScores
) -> tuple[str | None, _Difference | None, str]:
    """Score, difference, and why there is none though the numbers are there."""
    try:
        found = [read_witness(run.generation(row.generation).witness) for row in (first, second)]
    except BootlightError as damage:
        return "kid", None, str(damage)
    a, b = found
    if a is None or b is None:
        return None, None, ""
    if (a.score, a.key) != (b.score, b.key) or len(a.real) != len(b.real):
        return b.score, None, "they were measured with other features, or against other real images"
    paired = a.drawn is not None and a.drawn == b.drawn and len(a.synthetic) == len(b.synthetic)
    value, error = witness_difference(_witness(a), _witness(b), paired=paired)
    numbers = f"{_numbers(len(a.synthetic), len(b.synthetic), paired)} and {len(b.real):,} real images"
    return b.score, _Difference(value, (value - Z95 * error, value + Z95 * error), numbers, paired), ""


def _witness(kept: KeptWitness) -> Witness:
    real, synthetic = (torch.tensor(values, dtype=torch.float64) for values in (kept.real, kept.synthetic))
    return Witness(kept.value, real, synthetic)


def _by_scores(first: GenerationScores, second: GenerationScores) -> tuple[str | None, _Difference | None, str]:
    """The same from the first score of both that says something, those against held-out images before others."""
    names = [name for name in main_scores(list(second.scores)) if name in first.scores]
    names.sort(key=lambda name: (name != f"kid/{HOLDOUT}", not name.endswith(f"/{HOLDOUT}")))
    for name in names:
        a, b = first.scores[name], second.scores[name]
        ends = _ends(a), _ends(b)
        if b.higher_is_better is None or ends[0] is None or ends[1] is None:
            continue
        if _comparable(a) != _comparable(b):
            return name, None, "they were measured in different ways"
        if a.n != b.n and name.split("/")[0] not in UNBIASED:
            return name, None, f"it depends on the number of images, {a.n:,} and {b.n:,}"
        value = b.value - a.value
        low = value - math.hypot(b.value - ends[1][0], ends[0][1] - a.value)
        high = value + math.hypot(ends[1][1] - b.value, a.value - ends[0][0])
        return name, _Difference(value, (low, high), f"{_numbers(a.n, b.n)} images"), ""
    return None, None, ""


def _ends(score: Score) -> tuple[float, float] | None:
    if score.interval is not None or score.standard_error is None:
        return score.interval
    return score.value - Z95 * score.standard_error, score.value + Z95 * score.standard_error


def _comparable(score: Score) -> dict[str, Any]:
    return {key: value for key, value in score.protocol.items() if key not in FREE}
