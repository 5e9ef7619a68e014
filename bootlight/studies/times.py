"""Times on the plateau as scores: what is known of each training, and how two arms are compared where not all is known.

Both arms of a comparison are cut to the end of the training that ended first: then each is known equally well. Trainings
without a plateau have no time and take no part. Where all others left theirs after the margin, the times are compared as any
score is. Otherwise a time counts between the margin, which stands for those that left before it, and the last step at which
leaving would have been seen, which stands for those that never left (the restricted mean time), and the p-value is exact: the
share of all ways to deal the trainings to the arms that give a difference at least as large (Fisher 1935, The Design of
Experiments, section 21). It holds for any distribution; it cannot be below 2 / C(2k, k) for k trainings in each arm.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np

from bootlight.metrics.score import Score
from bootlight.studies.plateau import EARLY, LEFT, NO_PLATEAU, STAYED, find_plateau, state_at
from bootlight.studies.statistics import PairedDifference, paired_difference

PLATEAU_STEPS = "plateau_steps"
PLATEAU_PASSES = "plateau_passes"
LOSS = "train/loss_d"
STATES = (LEFT, EARLY, STAYED, NO_PLATEAU)
MAX_DEALS = 20_000  # beyond, so many are drawn; the error of a p-value of 0.05 is then 0.0015
ROUNDING = 1e-9  # relative; differences that are equal but for it count as equal


def plateau_scores(history: Mapping[str, tuple[list[int], list[float]]], *, batch_size: float, size: int) -> dict[str, Score]:
    """The time on the plateau in steps, and in passes over the training set; nothing where the curve is too short or not there.

    The value is the time of a training that left its plateau, the margin of one that left before, the last step at which
    leaving would have been seen of one that never left, and NaN where there is no plateau; `protocol["state"]` says which.

    Args:
        history: training curves, as `tracking.history.read_history` gives them.
        batch_size: images of one step.
        size: images of the training set.
    """
    plateau = find_plateau(*history[LOSS]) if LOSS in history else None
    if plateau is None:
        return {}
    units = {PLATEAU_STEPS: 1.0} | ({PLATEAU_PASSES: batch_size / size} if size else {})
    scores = {}
    for name, unit in units.items():
        known = {key: None if value is None else value * unit for key, value in plateau._asdict().items() if key != "state"}
        scores[name] = cut(
            Score(math.nan, None, 1, {"curve": LOSS, "state": plateau.state, **known}, higher_is_better=False),
            plateau.last * unit,
        )
    return scores


def is_time(score: Score) -> bool:
    """Whether a score is a time on the plateau."""
    return score.protocol.get("curve") == LOSS


def cut(score: Score, end: float) -> Score:
    """What would be known if the training had ended at `end`, in the unit of the score."""
    known = score.protocol
    state = EARLY if known["state"] == EARLY else state_at(end, known["step"], known["uneven"], known["hold"])
    values = {LEFT: known["step"], EARLY: known["margin"], STAYED: end - known["hold"], NO_PLATEAU: math.nan}
    return score._replace(value=values[state], protocol={**known, "state": state, "last": end})


def common(first: Mapping[int, Score], second: Mapping[int, Score]) -> tuple[dict[int, Score], dict[int, Score]]:
    """Times of two arms by seed, of the seeds that both have, cut to the shortest of these trainings."""
    seeds = [seed for seed in first if seed in second]
    end = min((arm[seed].protocol["last"] for arm in (first, second) for seed in seeds), default=0.0)
    return {seed: cut(first[seed], end) for seed in seeds}, {seed: cut(second[seed], end) for seed in seeds}


def compare_times(first: Mapping[int, Score], second: Mapping[int, Score]) -> PairedDifference | None:
    """Second - first; see this module. None where no seed has a plateau in both arms."""
    one, two = common(first, second)
    seeds = tuple(s for s in one if NO_PLATEAU not in (one[s].protocol["state"], two[s].protocol["state"]))
    pairs = [(one[seed], two[seed]) for seed in seeds]
    scores = [score for pair in pairs for score in pair]
    if all(score.protocol["state"] == LEFT for score in scores):
        return paired_difference({s: one[s] for s in seeds}, {s: two[s] for s in seeds})
    low = max(score.protocol["margin"] for score in scores)
    high = max(low, min(score.protocol["last"] - score.protocol["hold"] for score in scores))
    left, right = ([min(max(pair[i].value, low), high) for pair in pairs] for i in (0, 1))
    p_value = exact_p_value(left, right) if len(seeds) > 1 else None
    difference = float(np.mean(right) - np.mean(left))
    return PairedDifference(difference, None, None, None, p_value, None, seeds, 1, (low, high))


def exact_p_value(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided, of equal distributions: the share of deals of all values with a difference of means as large as that seen."""
    values, k = np.array([*first, *second]), len(first)
    seen = abs(values[:k].mean() - values[k:].mean()) * (1 - ROUNDING)
    if math.comb(len(values), k) <= MAX_DEALS:
        deals, extra = np.array(list(combinations(range(len(values)), k))), 0
    else:
        deals, extra = np.random.default_rng(0).permuted(np.tile(np.arange(len(values)), (MAX_DEALS, 1)), axis=1)[:, :k], 1
    sums = values[deals].sum(axis=1)
    differences = abs(sums / k - (values.sum() - sums) / (len(values) - k))
    return float(((differences >= seen).sum() + extra) / (len(deals) + extra))  # the deal that was seen is one of them


def count_states(scores: Iterable[Score]) -> dict[str, int]:
    """How many trainings are in each state, those that occur."""
    found = Counter(score.protocol["state"] for score in scores if is_time(score))
    return {state: found[state] for state in STATES if found[state]}


def describe(scores: Sequence[Score]) -> str:
    """Each kind of training with what is known of its times: ``left at 312 to 402 (2), never left by 624 (1)``."""
    parts = []
    words = {LEFT: "left at", EARLY: "left before", STAYED: "never left by", NO_PLATEAU: "no plateau"}
    for state, count in count_states(scores).items():
        values = sorted({f"{score.value:.4g}" for score in scores if score.protocol["state"] == state}, key=float)
        known = "" if state == NO_PLATEAU else " " + (values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}")
        parts.append(f"{words[state]}{known} ({count})")
    return ", ".join(parts)


def states_text(scores: Iterable[Score]) -> str:
    """The same in a sentence, without times: ``of 6 trainings 4 left it, 1 never left it``."""
    words = {LEFT: "left it", EARLY: "left it before the margin", STAYED: "never left it", NO_PLATEAU: "had none"}
    counts = count_states(scores)
    return f"of {sum(counts.values())} trainings " + ", ".join(f"{count} {words[state]}" for state, count in counts.items())
