"""Statistics of a study: means over seeds, paired differences, correction for many claims, and what it would take to tell.

The unit of replication is the training, not the image: intervals come from the spread over seeds. The error of drawing
images within a run is part of that spread and is given beside it, never in its place.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from scipy import optimize, stats

from bootlight.metrics.score import Score

LEVEL = 0.05
POWER = 0.8
MAX_EXACT = 500  # seeds; beyond, a formula with the normal distribution is exact to one seed
MAX_NEEDED = 10**9  # a larger number says nothing more
LARGEST = 1e100  # beyond, squares overflow


class Summary(NamedTuple):
    """A score of one arm over its seeds.

    Attributes:
        mean: over seeds.
        deviation: standard deviation over seeds, one lost degree of freedom; None with fewer than two.
        standard_error: of the mean, over seeds; None with fewer than two.
        interval: 95 % interval of the mean over seeds, Student's t; None with fewer than two.
        sampling_error: standard error of one run over redraws of its images, root mean square of the runs; None where a
            run does not know it.
        seeds: how many.
        n: images of a run, the fewest.
    """

    mean: float
    deviation: float | None
    standard_error: float | None
    interval: tuple[float, float] | None
    sampling_error: float | None
    seeds: int
    n: int


class PairedDifference(NamedTuple):
    """How much higher the second arm scores than the first, over the seeds that both have.

    Attributes:
        value: mean of second - first.
        deviation: standard deviation of the differences over seeds; None with fewer than two seeds.
        standard_error: of `value`; None with fewer than two seeds, or when all differences are equal, which says nothing of
            another seed.
        interval: 95 % interval, Student's t; None as `standard_error`.
        p_value: two-sided, of no difference; None as `standard_error`.
        sampling_error: standard error of the difference of two runs over redraws of their images, which are taken as
            independent; root mean square of the pairs. None where a run does not know it.
        seeds: which.
        n: images of a run, the fewest.
        restricted: where some times are only known to lie below or above: the ends between which they count. Then nothing
            but the p-value is known of the error, by dealing the trainings to the arms anew.
    """

    value: float
    deviation: float | None
    standard_error: float | None
    interval: tuple[float, float] | None
    p_value: float | None
    sampling_error: float | None
    seeds: tuple[int, ...]
    n: int
    restricted: tuple[float, float] | None = None

    @property
    def found(self) -> bool:
        """Whether the interval excludes 0, or without one the p-value is below 5 %."""
        if self.interval is None:
            return self.restricted is not None and self.p_value is not None and self.p_value < LEVEL
        return not self.interval[0] <= 0 <= self.interval[1]


def summarise(scores: Sequence[Score]) -> Summary | None:
    """A score over the seeds of an arm; None where no run has it."""
    if not scores:
        return None
    mean, deviation, error, interval = _student([score.value for score in scores])
    return Summary(
        mean, deviation, error, interval, _root_mean_square([s.standard_error for s in scores]), len(scores), _fewest(scores)
    )


def paired_difference(first: Mapping[int, Score], second: Mapping[int, Score]) -> PairedDifference | None:
    """Second - first over common seeds; None where there are none.

    Runs of one seed share the real images, the judge and the noise of their drawing, so what they have in common cancels.

    Args:
        first: scores of one arm by seed.
        second: of the other.
    """
    seeds = tuple(seed for seed in first if seed in second)
    if not seeds:
        return None
    pairs = [(first[seed], second[seed]) for seed in seeds]
    mean, deviation, error, interval = _student([b.value - a.value for a, b in pairs])
    p_value = None
    if error == 0:
        error = interval = None
    elif error is not None:
        p_value = float(2 * stats.t.sf(abs(mean) / error, len(seeds) - 1))
    errors = [_hypot(a.standard_error, b.standard_error) for a, b in pairs]
    fewest = _fewest([score for pair in pairs for score in pair])
    return PairedDifference(mean, deviation, error, interval, p_value, _root_mean_square(errors), seeds, fewest)


def _student(values: Sequence[float]) -> tuple[float, float | None, float | None, tuple[float, float] | None]:
    """Mean, standard deviation, standard error of the mean, and its 95 % interval; NaN where a value is no number."""
    k = len(values)
    mean = math.fsum(values) / k if all(abs(value) < LARGEST for value in values) else math.nan
    if k < 2 or math.isnan(mean):
        return mean, None, None, None
    shifts = [value - values[0] for value in values]  # equal values must have a spread of 0 and not of rounding error
    centre = math.fsum(shifts) / k
    deviation = math.sqrt(math.fsum((shift - centre) ** 2 for shift in shifts) / (k - 1))
    error = deviation / math.sqrt(k)
    half = float(stats.t.ppf(1 - LEVEL / 2, k - 1)) * error
    return mean, deviation, error, (mean - half, mean + half)


def _root_mean_square(errors: Sequence[float | None]) -> float | None:
    known = [error for error in errors if error is not None and error < LARGEST]
    return math.sqrt(math.fsum(error**2 for error in known) / len(known)) if len(known) == len(errors) else None


def _hypot(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else math.hypot(first, second)


def _fewest(scores: Sequence[Score]) -> int:
    return min(score.n for score in scores)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values of a family of tests: below 0.05, and the chance of any false finding is at most 5 % (Holm 1979).

    The i-th smallest of m is multiplied by m - i + 1; none may be smaller than one before it, nor larger than 1.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def power(effect: float, seeds: int, level: float = LEVEL) -> float:
    """Probability that a two-sided paired t-test finds a true difference.

    Args:
        effect: the difference in standard deviations of the differences over seeds.
        seeds: pairs, 2 or more.
        level: of the test.
    """
    critical, shift = stats.t.ppf(1 - level / 2, seeds - 1), abs(effect) * math.sqrt(seeds)
    upper, lower = stats.nct.sf(critical, seeds - 1, shift), stats.nct.cdf(-critical, seeds - 1, shift)
    return float(upper + (lower if math.isfinite(lower) else 0.0))  # far out SciPy's lower tail is NaN; it is 0


def seeds_needed(effect: float, level: float = LEVEL) -> int:
    """Seeds with which a difference of this size would be found in four of five studies; at most `MAX_NEEDED`.

    Args:
        effect: as for `power`, not 0.
        level: of the test.
    """
    if power(effect, MAX_EXACT, level) < POWER:
        first, second = stats.norm.ppf(1 - level / 2), stats.norm.ppf(POWER)
        return math.ceil(min(((first + second) / effect) ** 2 + first**2 / 2, MAX_NEEDED))  # Guenther 1981
    low, high = 1, MAX_EXACT  # power(low) < POWER <= power(high); with one seed there is no test
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, middle, level) >= POWER else (middle, high)
    return high


def effect_interval(found: PairedDifference) -> tuple[float, float]:
    """95 % interval of the true effect: the difference in standard deviations of the differences over seeds.

    Its ends are those noncentralities, over √seeds, at which Student's t of the study would be as large, or as small, with a
    chance of 2.5 % (Steiger and Fouladi 1997, in What If There Were No Significance Tests, chapter 9).

    Args:
        found: with two seeds or more that do not all give the same difference.
    """
    k, t = len(found.seeds), found.value / (found.standard_error or math.nan)

    def end(chance: float, direction: int) -> float:
        reach = 1.0 + abs(t)
        while direction * (stats.nct.cdf(t, k - 1, t + direction * reach) - chance) > 0:
            reach *= 2
        ends = sorted((t, t + direction * reach))
        ends = ends if direction * (stats.nct.cdf(t, k - 1, t) - chance) > 0 else [t - reach, t + reach]
        return float(optimize.brentq(lambda shift: stats.nct.cdf(t, k - 1, shift) - chance, *ends)) / math.sqrt(k)

    return end(1 - LEVEL / 2, -1), end(LEVEL / 2, 1)


def seeds_range(found: PairedDifference, level: float = LEVEL) -> tuple[int, int | None] | None:
    """Seeds that the true difference may take to be found in four of five studies, at least and at most.

    The ends are those of the 95 % interval of the effect, so the range holds the right number in 95 % of studies. There is no
    upper end where that interval holds 0: no number of seeds finds a difference that there is not.

    Args:
        found: of a study.
        level: of the test.

    Returns:
        None where nothing is known of the effect.
    """
    if not found.standard_error or not math.isfinite(found.value / found.standard_error):
        return None
    low, high = effect_interval(found)
    least = seeds_needed(max(abs(low), abs(high)), level)
    return least, None if low <= 0 <= high else seeds_needed(min(abs(low), abs(high)), level)


def effect_found(seeds: int, level: float = LEVEL) -> float:
    """The smallest difference that so many seeds find in four of five studies, in standard deviations over seeds."""
    highest = 1.0
    while power(highest, seeds, level) < POWER:
        highest *= 2
    return float(optimize.brentq(lambda effect: power(effect, seeds, level) - POWER, 0.0, highest))


def images_needed(found: PairedDifference, level: float = LEVEL) -> int | None:
    """Images of each run with which as many seeds would find this difference in four of five studies.

    The variance of the differences has a part that falls with the number of images, at the present number `sampling_error`²
    or all of it where that is less, as it is when both runs draw from the same noise; and a part between trainings that does
    not. With few seeds both are guesses.

    Args:
        found: with two seeds or more.
        level: of the test.

    Returns:
        None where no number of images would do, or nothing is known.
    """
    if not found.sampling_error or not found.deviation or found.value == 0:
        return None
    sampling = min(found.sampling_error, found.deviation) ** 2
    allowed = (found.value / effect_found(len(found.seeds), level)) ** 2 - (found.deviation**2 - sampling)
    return math.ceil(min(found.n * sampling / allowed, MAX_NEEDED)) if allowed > 0 else None
