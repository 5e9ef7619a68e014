"""Two sets of images are measured, and their scores compared: differences, and what is known of their errors."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from bootlight.errors import BootlightError
from bootlight.evaluation.attempt import attempt
from bootlight.evaluation.comparing.difference import Difference, difference
from bootlight.evaluation.suite import Choice, Features, least_images, looked_at, measure_all, metrics_of
from bootlight.metrics.once import once
from bootlight.metrics.score import Score
from bootlight.metrics.uncertainty import group_numbers, jackknife_standard_error

GROUPS = 20
MAX_REAL = 2_000  # where every pair of images is looked at: both sets share them, so their draw hardly moves a difference


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


def compare_measured(first: Measured, second: Measured, *, paired: bool) -> dict[str, Difference]:
    """Differences of all scores of two sets of equal size.

    Independent sets: errors of both scores, squared and added. Paired sets: the delete-a-group jackknife over `GROUPS` groups
    of pairs, which works for any metric and sees that what two images of a pair have in common cancels. Neither covers the
    draw of the real images, which both sets share, nor of the generators' trainings.

    Args:
        first: as `measure_set` gives it.
        second: likewise, with the same number of images.
        paired: whether image i of both belong together (the same noise, or one a copy of the other).
    """
    found: dict[str, Difference] = {}
    for name, scores in first.scores.items():
        for key, score in scores.items():
            other = second.scores.get(name, {}).get(key)
            if other is None or key.endswith("/real"):
                continue
            error, degrees = _added(score, other), None
            if paired:
                groups = [measured.without.get(key, []) for measured in (first, second)]
                error, degrees = _paired(*groups), len(groups[0]) - 1
            found[key] = difference(score, other, standard_error=error, degrees=degrees, paired=paired)
    return found


def compare_means(first: Tensor, second: Tensor, *, paired: bool, protocol: Mapping[str, str]) -> Difference:
    """Difference of the means of one number for each image, such as a judge's probabilities, (N,) and (M,)."""
    scores = [
        Score(v.mean().item(), (v.std() / len(v) ** 0.5).item() or None, len(v), dict(protocol), higher_is_better=True)
        for v in (first.double(), second.double())
    ]
    error = _added(*scores)
    if paired:
        error = ((second.double() - first.double()).std() / len(first) ** 0.5).item()
    return difference(*scores, standard_error=error, paired=paired)


def _added(first: Score, second: Score) -> float | None:
    if first.standard_error is None or second.standard_error is None:
        return None
    return math.hypot(first.standard_error, second.standard_error)


def _paired(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Standard error of a difference from its values without each group of pairs; None where nothing is known of it."""
    if not (first and second):
        return None  # a score without some group could not be computed
    values = torch.tensor([first, second], dtype=torch.float64)
    return jackknife_standard_error(values[1] - values[0])
