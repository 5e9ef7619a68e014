"""Times on the plateau as scores: cut to a common end, compared exactly, and no false differences between arms."""

import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from bootlight.metrics.score import Score
from bootlight.studies.plateau import EARLY, LEFT, NO_PLATEAU, STAYED
from bootlight.studies.statistics import paired_difference
from bootlight.studies.times import common, compare_times, count_states, cut, describe, exact_p_value, plateau_scores

STEPS = list(range(1, 705))


def time(step, last=704.0, uneven=None, state=LEFT, margin=160.0, hold=80.0):
    """A time that may be cut anew."""
    known = {
        "curve": "train/loss_d",
        "state": state,
        "step": step,
        "uneven": uneven,
        "margin": margin,
        "hold": hold,
        "last": last,
    }
    return cut(Score(math.nan, None, 1, known), last)


def arm(*scores):
    return dict(enumerate(scores))


def curve(at):
    return {"train/loss_d": (STEPS, [1.4 if t <= at else 0.4 for t in STEPS])}


def test_time_in_steps_and_passes():
    # Step 301 of 64 images over a set of 164 is pass 117.46; margin and hold likewise.
    found = plateau_scores(curve(300), batch_size=64.0, size=164)
    assert found["plateau_steps"].value == 301.0
    assert found["plateau_passes"].value == pytest.approx(301 * 64 / 164)
    assert found["plateau_passes"].protocol["last"] == pytest.approx(704 * 64 / 164)
    assert found["plateau_passes"].protocol["hold"] == pytest.approx(80 * 64 / 164)
    assert found["plateau_steps"].protocol["state"] == LEFT
    assert plateau_scores({"train/loss": curve(300)["train/loss_d"]}, batch_size=64.0, size=164) == {}
    assert plateau_scores({"train/loss_d": ([1, 2], [1.0, 1.0])}, batch_size=64.0, size=164) == {}


@pytest.mark.parametrize(("at", "state", "value"), [(100, EARLY, 160), (300, LEFT, 301), (690, STAYED, 624)])
def test_each_state_has_its_value(at, state, value):
    found = plateau_scores(curve(at), batch_size=1.0, size=0)
    assert list(found) == ["plateau_steps"]
    assert (found["plateau_steps"].protocol["state"], found["plateau_steps"].value) == (state, value)


def test_no_plateau_has_no_value():
    found = plateau_scores({"train/loss_d": (STEPS, [t / 100 for t in STEPS])}, batch_size=1.0, size=0)
    assert found["plateau_steps"].protocol["state"] == NO_PLATEAU and math.isnan(found["plateau_steps"].value)


def test_a_cut_forgets_what_came_later():
    left = time(500.0, last=1154.0)
    assert [(cut(left, end).protocol["state"], cut(left, end).value) for end in (1154, 580, 579)] == [
        (LEFT, 500.0), (LEFT, 500.0), (STAYED, 499.0),
    ]  # fmt: skip
    uneven = time(None, uneven=400.0)
    assert [cut(uneven, end).protocol["state"] for end in (704, 480, 479)] == [NO_PLATEAU, NO_PLATEAU, STAYED]


def test_arms_are_cut_to_the_shortest_training():
    one, two = common(arm(time(500.0, 1154.0), time(600.0, 1154.0)), {0: time(None), 2: time(200.0)})
    assert list(one) == list(two) == [0]
    assert (one[0].value, one[0].protocol["last"]) == (500.0, 704.0)


def test_times_that_are_all_known_are_compared_as_scores_are():
    first, second = arm(time(300.0), time(350.0), time(420.0)), arm(time(250.0), time(260.0), time(300.0))
    assert compare_times(first, second) == paired_difference(first, second)


def test_one_set_of_trainings_cut_at_two_lengths_does_not_differ():
    steps = (200.0, 300.0, 420.0, 610.0, 650.0, None)
    short, long = ({i: time(step, last) for i, step in enumerate(steps)} for last in (704.0, 1154.0))
    found = compare_times(short, long)
    assert (found.value, found.p_value) == (0.0, 1.0)


def test_restricted_times_count_between_margin_and_common_end():
    first = arm(time(100.0, state=EARLY), time(300.0), time(None))
    second = arm(time(650.0, 2000.0), time(400.0, 2000.0), time(None, 2000.0))
    found = compare_times(first, second)
    # 160, 300, 624 against 624 (650 lies beyond 704 - 80), 400, 624.
    assert found.restricted == (160.0, 624.0)
    assert found.value == pytest.approx((624 + 400 + 624 - 160 - 300 - 624) / 3)
    assert (found.interval, found.standard_error, found.seeds) == (None, None, (0, 1, 2))
    assert found.p_value == exact_p_value([160, 300, 624], [624, 400, 624])


def test_trainings_without_a_plateau_take_no_part():
    first, second = arm(time(300.0), time(None, uneven=200.0), time(400.0)), arm(time(310.0), time(320.0), time(415.0))
    assert compare_times(first, second).seeds == (0, 2)
    assert compare_times(arm(time(None, uneven=200.0)), arm(time(300.0))) is None
    assert compare_times({}, arm(time(300.0))) is None


def test_one_seed_has_no_test():
    assert compare_times(arm(time(300.0)), arm(time(None))).p_value is None


def test_exact_p_value_is_that_of_all_deals():
    rng = np.random.default_rng(0)
    first, second = [160.0, 160.0, 300.0, 420.0], [350.0, 624.0, 624.0, 624.0]
    seen = abs(np.mean(first) - np.mean(second))
    values = np.array([*first, *second])
    deals = [abs(values[list(d)].sum() * 2 - values.sum()) / 4 >= seen - 1e-9 for d in combinations(range(8), 4)]
    assert exact_p_value(first, second) == pytest.approx(np.mean(deals), rel=1e-12)
    one, two = rng.normal(size=5), rng.normal(1.0, size=5)
    test = stats.permutation_test(
        (one, two), lambda x, y, axis: x.mean(axis) - y.mean(axis), vectorized=True, n_resamples=np.inf
    )
    assert exact_p_value(one.tolist(), two.tolist()) == pytest.approx(test.pvalue, rel=1e-9)


def test_p_value_of_many_trainings_is_drawn():
    # C(24, 12) = 2.7 million deals: 20,000 are drawn; against the normal limit of the rank-free test of shifts.
    rng = np.random.default_rng(1)
    one, two = rng.normal(size=12), rng.normal(0.8, size=12)
    expected = stats.ttest_ind(one, two).pvalue
    assert exact_p_value(one.tolist(), two.tolist()) == pytest.approx(expected, abs=0.02)


def test_exact_p_values_are_never_too_small():
    # Of 3 against 3 without ties the p-values are multiples of 2/20, each pair of mirrored deals once.
    rng = np.random.default_rng(2)
    p_values = np.array([exact_p_value(*rng.exponential(size=(2, 3)).tolist()) for _ in range(1000)])
    assert p_values.min() == pytest.approx(0.1)
    for level in (0.1, 0.2, 0.5):  # four standard deviations of a share of 1,000
        assert np.mean(p_values <= level + 1e-9) == pytest.approx(level, abs=4 * math.sqrt(level * (1 - level) / 1000))


def test_arms_of_equal_trainings_do_not_differ():
    # 200 studies of four trainings an arm, 704 and 1,154 steps long, that leave after an exponential time (a third of them
    # after the common end): at most 5 %, and four standard deviations of 1.5 % more.
    rng = np.random.default_rng(3)
    found = Counter()
    for _ in range(200):
        arms = [arm(*(time(t, last) for t in 160 + rng.exponential(400, size=4))) for last in (704.0, 1154.0)]
        found[compare_times(*arms).p_value < 0.05] += 1
    assert found[True] / 200 <= 0.05 + 4 * 0.015


@pytest.mark.parametrize("kind", ["plateau", "decay", "random walk"])
def test_null_studies_find_nothing(kind):
    # From the curves to the p-value: 30 studies of four trainings an arm, of 400 and 600 steps; 500 of each of 14 kinds are in
    # coverage_plateau.py. At 5 % more than 6 of 30 have a chance of 0.0006.
    rng = np.random.default_rng(4)

    def scores(length):
        t, noise = np.arange(length), rng.normal(size=length)
        curves = {
            "plateau": lambda: noise - 5 * (t >= 160 + rng.exponential(150)),
            "decay": lambda: 10 * np.exp(-t / 100) + noise,
            "random walk": lambda: noise.cumsum(),
        }
        return plateau_scores({"train/loss_d": (range(1, length + 1), curves[kind]())}, batch_size=1.0, size=0)["plateau_steps"]

    arms = [[arm(*(scores(length) for _ in range(4))) for length in (400, 600)] for _ in range(30)]
    found = [compare_times(*pair) for pair in arms]
    assert sum(one is not None and one.p_value is not None and one.p_value < 0.05 for one in found) <= 6
    states = Counter(score.protocol["state"] for pair in arms for one in pair for score in one.values())
    assert states[LEFT] > 100 if kind == "plateau" else states[NO_PLATEAU] >= 216  # of 240: 5 % have others, and 4 x 3.4


def test_states_in_words():
    scores = [time(300.0), time(402.0), time(100.0, state=EARLY), time(None), time(None, uneven=200.0)]
    assert describe(scores) == "left at 300 to 402 (2), left before 160 (1), never left by 624 (1), no plateau (1)"
    assert count_states(scores) == {LEFT: 2, EARLY: 1, STAYED: 1, NO_PLATEAU: 1}
    assert describe([]) == "" and count_states([Score(1.0, None, 1, {})]) == {}
