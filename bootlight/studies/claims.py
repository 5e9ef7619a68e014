"""What a study says to each claim: supported, contradicted, or not distinguishable at this size."""

import math
from typing import NamedTuple

from bootlight.metrics.score import format_value
from bootlight.studies.record import Claim, StudyRecord
from bootlight.studies.results import StudyResults, compare_arms
from bootlight.studies.statistics import LEVEL, PairedDifference, holm, images_needed, seeds_range
from bootlight.studies.times import common, is_time, states_text

SUPPORTED, CONTRADICTED = "supported", "contradicted"
UNDECIDED, UNTESTED = "not distinguishable at this size", "not tested"


class Verdict(NamedTuple):
    """What became of a claim.

    Attributes:
        claim: the claim.
        status: `supported`, `contradicted`, `not distinguishable at this size` or `not tested`.
        difference: of the arm said to be higher from the one said to be lower; None where they have no seed in common.
        p_value: corrected for the number of claims (Holm); None where there is no test.
        seeds_needed: seeds, at least and at most, with which the true difference would be found in four of five studies, by
            the 95 % interval of the effect; the latter is None where no difference is as possible. None where the difference
            is found already or nothing can be said.
        images_needed: images of each run with which the largest difference in the interval would be found without more seeds;
            None likewise, or where none would do.
        sentence: all of it in words.
    """

    claim: Claim
    status: str
    difference: PairedDifference | None
    p_value: float | None
    seeds_needed: tuple[int, int | None] | None
    images_needed: int | None
    sentence: str


def judge_claims(results: StudyResults) -> list[Verdict]:
    """Test every claim of a study over seeds, corrected together by Holm's method.

    The test is a paired t-test, and an exact permutation test of times that are not all known; see `studies.times`.

    A claim that cannot be tested yet counts as one of the family, so that its test later changes no other verdict for worse.
    """
    claims = results.record.claims
    differences = [compare_arms(results, claim.score, claim.lower, claim.higher) for claim in claims]
    adjusted = holm([1.0 if found is None or found.p_value is None else found.p_value for found in differences])
    return [_judge(results, claim, found, p) for claim, found, p in zip(claims, differences, adjusted, strict=True)]


def _judge(results: StudyResults, claim: Claim, found: PairedDifference | None, p_value: float) -> Verdict:
    record = results.record
    if found is None:
        return Verdict(claim, UNTESTED, None, None, None, None, _without_pairs(results, claim))
    names = f"{record.label(claim.higher)} and {record.label(claim.lower)}"
    if found.p_value is None:
        sentence = _without_test(claim, found, names) + _states(results, claim)
        return Verdict(claim, UNTESTED, found, None, None, None, sentence)
    facts = f"{format_value(found.value, found.standard_error)} ({_error(found)}, {_seeds(found)}"
    if len(record.claims) > 1:
        facts += f"; p = {p_value:.2g} after Holm's correction for {len(record.claims)} claims)"
    else:
        facts += f"; p = {p_value:.2g})"
    facts += _states(results, claim)
    if p_value < LEVEL:
        status = SUPPORTED if found.value > 0 else CONTRADICTED
        sentence = f"{_capital(status)}: {_direction(record, claim, found)} {facts}."
        return Verdict(claim, status, found, p_value, None, None, sentence)
    level = LEVEL / len(record.claims)  # the strictest of Holm's levels: enough whatever the other claims do
    seeds = seeds_range(found, level)
    images = None if found.interval is None else images_needed(found._replace(value=max(found.interval, key=abs)), level)
    sentence = f"{_capital(UNDECIDED)}: in {claim.score}, {names} differ by {facts}.{_advice(found, seeds, images)}"
    return Verdict(claim, UNDECIDED, found, p_value, seeds, images, sentence)


def _error(found: PairedDifference) -> str:
    """What is known of the error of a difference that was tested."""
    if found.interval is not None:
        return "95 % interval {:.4g} to {:.4g}".format(*found.interval)
    low, high = found.restricted or (math.nan, math.nan)
    k = len(found.seeds)
    least = 2 / math.comb(2 * k, k)
    text = f"mean times as far as they lie between {low:.4g} and {high:.4g}, exact permutation test"
    return text + (f", which with so few trainings cannot give less than p = {least:.2g}" if least >= LEVEL else "")


def _direction(record: StudyRecord, claim: Claim, found: PairedDifference) -> str:
    word = "higher" if found.value > 0 else "lower"
    return f"{record.label(claim.higher)} scores {word} in {claim.score} than {record.label(claim.lower)}, by"


def _seeds(found: PairedDifference) -> str:
    return f"{len(found.seeds)} seed{'s' * (len(found.seeds) > 1)}"


def _advice(found: PairedDifference, seeds: tuple[int, int | None] | None, images: int | None) -> str:
    if seeds is None:
        return ""
    least, most = seeds
    if most is None:
        text = (
            f" How many seeds would tell cannot be said: by these runs there may be no difference, or one that {least:,} seeds"
        )
        text += " would find in four of five studies"
    else:
        text = f" To find it in four of five studies takes {least:,} to {most:,} seeds (95 % interval)"
    if found.sampling_error is None:  # a time, say: more images would not change it
        return f"{text}."
    text += f" at {found.n:,} images each"
    if images is not None and images > found.n:
        return f"{text}; {images:,} images each at {_seeds(found)} would find the largest difference in the interval."
    return text + ("." if images is not None else f"; more images alone would not do at {_seeds(found)}.")


def _states(results: StudyResults, claim: Claim) -> str:
    """Of times on a plateau: what became of the trainings, up to the end that all of them reached."""
    arms = [results.scores(arm, claim.score) for arm in (claim.lower, claim.higher)]
    if not any(is_time(score) for arm in arms for score in arm.values()):
        return ""
    cut = [score for arm in common(arms[0], arms[1]) for score in arm.values()]
    end = min((score.protocol["last"] for score in cut), default=0)
    return f" (up to {end:.4g}, where the shortest training ended, {states_text(cut)})" if cut else ""


def _without_test(claim: Claim, found: PairedDifference, names: str) -> str:
    if math.isnan(found.value):
        return f"{_capital(UNTESTED)}: {claim.score} is no number in some runs of {names}; look at their losses."
    if len(found.seeds) > 1:
        return (
            f"{_capital(UNTESTED)}: {len(found.seeds)} seeds all give the difference {found.value:.4g} in {claim.score} "
            f"between {names}, so nothing is known of its error."
        )
    text = (
        f"{_capital(UNTESTED)}: one seed only. In {claim.score}, {names} differ by {found.value:.4g}, but no claim can be "
        "made: a difference between two trainings says nothing of other trainings."
    )
    if found.sampling_error is None:
        return text
    return f"{text} The drawing of {found.n:,} images alone has a standard error of {found.sampling_error:.2g}."


def _without_pairs(results: StudyResults, claim: Claim) -> str:
    arms = [name for name in (claim.higher, claim.lower) if not results.scores(name, claim.score)]
    if not arms and (states := _states(results, claim)):
        return f"{_capital(UNTESTED)}: no seed has a plateau in both arms{states}."
    if not arms:
        return f"{_capital(UNTESTED)}: no seed is finished in both arms yet."
    missing = " and ".join(results.record.label(name) for name in arms)
    return f"{_capital(UNTESTED)}: {missing} {'have' if len(arms) > 1 else 'has'} no finished run with {claim.score} yet."


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
