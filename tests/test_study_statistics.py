"""Intervals, corrections and sample sizes of a study against SciPy, tables of others, and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from bootlight.metrics.score import Score
from bootlight.studies.statistics import (
    PairedDifference,
    effect_found,
    effect_interval,
    holm,
    images_needed,
    paired_difference,
    power,
    seeds_needed,
    seeds_range,
    summarise,
)

FIRST = [0.31, 0.42, 0.36, 0.50, 0.29]
SECOND = [0.35, 0.41, 0.47, 0.58, 0.40]


def scores(values, error=0.1, n=100, seeds=None):
    return {seed: Score(v, error, n, {}) for seed, v in zip(seeds or range(len(values)), values, strict=True)}


def test_summary_is_students():
    found = summarise(list(scores(FIRST).values()))
    expected = stats.t.interval(0.95, 4, np.mean(FIRST), stats.sem(FIRST))
    assert found.interval == pytest.approx(expected, rel=1e-12)
    assert found.deviation == pytest.approx(np.std(FIRST, ddof=1), rel=1e-12)
    assert found.standard_error == pytest.approx(stats.sem(FIRST), rel=1e-12)
    assert (found.seeds, found.n) == (5, 100)


def test_sampling_error_is_the_root_mean_square_of_the_runs():
    runs = [Score(1.0, 0.3, 50, {}), Score(2.0, 0.4, 40, {})]
    assert summarise(runs).sampling_error == pytest.approx(math.sqrt((0.09 + 0.16) / 2))
    assert summarise(runs).n == 40
    assert summarise([*runs, Score(3.0, None, 40, {})]).sampling_error is None


def test_one_run_has_a_mean_and_no_error():
    assert summarise([Score(2.0, 0.3, 50, {})]) == (2.0, None, None, None, 0.3, 1, 50)
    assert summarise([]) is None


def test_a_value_that_is_no_number_gives_no_interval():
    assert summarise([Score(math.inf, 0.1, 9, {}), Score(1.0, 0.1, 9, {})]).interval is None


def test_paired_difference_is_the_paired_t_test():
    order = [3, 0, 4, 1, 2]  # seeds make pairs, not positions
    second = scores([SECOND[seed] for seed in order], seeds=order)
    found = paired_difference(scores(FIRST), second)
    test = stats.ttest_rel(SECOND, FIRST)
    assert found.p_value == pytest.approx(test.pvalue, rel=1e-12)
    assert found.interval == pytest.approx(tuple(test.confidence_interval(0.95)), rel=1e-12)
    assert found.value == pytest.approx(np.mean(SECOND) - np.mean(FIRST), rel=1e-12)
    assert found.sampling_error == pytest.approx(math.hypot(0.1, 0.1))


def test_only_common_seeds_are_paired():
    found = paired_difference(scores([1.0, 2.0, 4.0]), scores([9.0, 2.5, 5.5], seeds=[7, 1, 2]))
    assert found.seeds == (1, 2)
    assert found.value == pytest.approx((0.5 + 1.5) / 2)
    assert paired_difference(scores([1.0]), scores([1.0], seeds=[8])) is None


def test_one_seed_or_equal_differences_have_no_test():
    one = paired_difference(scores([1.0]), scores([3.0]))
    assert (one.value, one.interval, one.p_value, one.found) == (2.0, None, None, False)
    # 0.1 + 0.2 is not 0.3 in binary: the differences below are equal but for rounding, if they were taken carelessly.
    equal = paired_difference(scores([1.0, 2.0, 5.0]), scores([3.0, 4.0, 7.0]))
    assert (equal.deviation, equal.standard_error, equal.interval, equal.p_value) == (0.0, None, None, None)


def test_found_is_whether_the_interval_excludes_zero():
    def found(interval):
        return PairedDifference(1.0, 1.0, 1.0, interval, 0.1, None, (0, 1), 9).found

    assert found((0.1, 2.0)) and found((-2.0, -0.1))
    assert not found((-0.1, 2.0)) and not found((0.0, 2.0)) and not found(None)


def test_holm_by_hand():
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, 0.04, and the last is raised to the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.04]) == [0.04] and holm([]) == []


def test_holm_keeps_the_family_error():
    # Four true hypotheses: any finding at 5 % happens in 5 % of families at most; 1 - 0.95^4 = 19 % without correction.
    rng = np.random.default_rng(0)
    families = rng.uniform(size=(4000, 4))
    rate = np.mean([min(holm(list(family))) < 0.05 for family in families])
    assert rate == pytest.approx(1 - (1 - 0.05 / 4) ** 4, abs=4 * math.sqrt(0.05 * 0.95 / 4000))


@pytest.mark.parametrize(("effect", "needed"), [(0.2, 199), (0.5, 34), (0.8, 15), (0.1, 787), (0.05, 3142)])
def test_seeds_needed_are_those_of_published_tables(effect, needed):
    # Paired t-test, two-sided 5 %, power 80 %: Cohen's small, medium and large effect, as G*Power tabulates them; the last
    # two lie beyond `MAX_EXACT` and test the normal approximation.
    assert seeds_needed(effect) == needed == seeds_needed(-effect)


def test_seeds_needed_is_the_first_that_is_enough():
    for effect in (0.3, 1.0, 2.5, 8.0):
        k = seeds_needed(effect)
        assert power(effect, k) >= 0.8
        assert k == 2 or power(effect, k - 1) < 0.8
    assert seeds_needed(1e-9) == 10**9


def test_power_is_that_of_simulated_studies():
    rng = np.random.default_rng(1)
    differences = rng.normal(0.9, 1.0, size=(20000, 8))
    rate = np.mean(stats.ttest_1samp(differences, 0, axis=1).pvalue < 0.05)
    assert power(0.9, 8) == pytest.approx(rate, abs=4 * math.sqrt(0.25 / 20000))  # four standard errors of a share
    assert power(0.0, 8) == pytest.approx(0.05)
    assert power(50.0, 3) == pytest.approx(1.0)


def test_effect_found_is_the_inverse_of_power():
    for seeds in (2, 3, 5, 20):
        assert power(effect_found(seeds), seeds) == pytest.approx(0.8, abs=1e-6)
    assert effect_found(5, level=0.01) > effect_found(5) > effect_found(6)


def difference(value, deviation, sampling, seeds=3, n=1000):
    return PairedDifference(value, deviation, 1.0, (-1.0, 1.0), 0.5, sampling, tuple(range(seeds)), n)


def test_images_needed_leave_power_of_eighty_per_cent():
    found = difference(0.7, 0.30, 0.25)
    needed = images_needed(found)
    between = 0.30**2 - 0.25**2
    deviation = math.sqrt(between + 0.25**2 * 1000 / needed)
    # Rounding up to whole images moves the variance by less than a thousandth.
    assert power(0.7 / deviation, 3) == pytest.approx(0.8, abs=1e-3)


def test_images_needed_where_the_spread_is_below_the_sampling_error():
    # Pairs drawn from the same noise: all of the spread is taken to fall with the number of images.
    found = difference(0.1, 0.2, 0.9)
    deviation = 0.2 * math.sqrt(1000 / images_needed(found))
    assert power(0.1 / deviation, 3) == pytest.approx(0.8, abs=1e-3)


def test_no_number_of_images_makes_up_for_unlike_trainings():
    assert images_needed(difference(0.1, 0.30, 0.05)) is None
    assert images_needed(difference(0.1, 0.30, None)) is None
    assert images_needed(difference(0.0, 0.30, 0.2)) is None


def study(value, deviation, seeds):
    """A difference over seeds as `paired_difference` gives it."""
    error = deviation / math.sqrt(seeds)
    return PairedDifference(value, deviation, error, (-1.0, 1.0), 0.5, None, tuple(range(seeds)), 1)


@pytest.mark.parametrize("seeds", [2, 3, 6, 40])
@pytest.mark.parametrize("value", [0.0, 0.01, -0.4, 1.5, -6.0, 40.0])
def test_effect_interval_holds_what_would_give_such_a_t(value, seeds):
    found = study(value, 1.0, seeds)
    low, high = (end * math.sqrt(seeds) for end in effect_interval(found))
    t = value * math.sqrt(seeds)
    assert low < t < high
    assert stats.nct.sf(t, seeds - 1, low) == pytest.approx(0.025, abs=1e-6)
    assert stats.nct.cdf(t, seeds - 1, high) == pytest.approx(0.025, abs=1e-6)


def test_effect_interval_of_many_seeds_is_the_normal_one():
    # Variance of the effect 1/k + d²/(2k) (Hedges and Olkin 1985, eq. 5.14 for one sample); the next term is 1/k times that.
    low, high = effect_interval(study(0.5, 1.0, 400))
    half = 1.959964 * math.sqrt(1 / 400 + 0.25 / 800)
    assert (low, high) == (pytest.approx(0.5 - half, abs=2e-3), pytest.approx(0.5 + half, abs=2e-3))


def test_the_range_of_seeds_holds_the_right_number():
    # 95 % of 80 studies, four standard deviations of a share: 0.097; thousands of them in coverage_seeds.py.
    rng = np.random.default_rng(2)
    needed = seeds_needed(2.0)
    ranges = [seeds_range(study(d.mean(), d.std(ddof=1), 5)) for d in rng.normal(2.0, 1, size=(80, 5))]
    assert np.mean([least <= needed <= (most or math.inf) for least, most in ranges]) >= 0.95 - 0.097
    # Without an effect there is no upper end, in as many.
    ends = [effect_interval(study(d.mean(), d.std(ddof=1), 3)) for d in rng.normal(size=(80, 3))]
    assert np.mean([low <= 0 <= high for low, high in ends]) >= 0.95 - 0.097


def test_the_range_of_seeds_has_an_upper_end_where_the_interval_excludes_zero():
    found = study(2.0, 1.0, 6)
    low, high = effect_interval(found)
    assert low > 0 and seeds_range(found, 0.01) == (seeds_needed(high, 0.01), seeds_needed(low, 0.01))
    assert seeds_range(study(-2.0, 1.0, 6), 0.01) == seeds_range(found, 0.01)
    assert seeds_range(study(1.0, 0.0, 6)) is None and seeds_range(study(math.nan, 1.0, 6)) is None
