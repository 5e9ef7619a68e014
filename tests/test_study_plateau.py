"""When a loss curve leaves its plateau: exact on curves of known shape, silent on drift and noise."""

import math

import numpy as np
import pytest

from bootlight.metrics.score import Score
from bootlight.studies.plateau import find_plateau, num_stayed, plateau_scores, restricted, running_median

N = 400
STEPS = list(range(0, 10 * N, 10))


def step(at, before=0.2, after=1.2, n=N):
    return [before if i < at else after for i in range(n)]


@pytest.mark.parametrize("at", [60, 137, 200, 350])
@pytest.mark.parametrize(("before", "after"), [(0.2, 1.2), (1.4, -0.3)])
def test_a_step_is_found_exactly(at, before, after):
    found = find_plateau(STEPS, step(at, before, after))
    assert found.left and found.step == STEPS[at]
    assert found.levels == pytest.approx((before, after))
    assert found.explained == pytest.approx(1.0)


def test_a_ramp_is_left_in_its_middle():
    # By symmetry: both halves have equal means about the middle of the ramp. SETTLE takes 8 points off the front, so the
    # ramp is centred in what remains.
    start, half = 8 + (N - 8) // 2, 50
    curve = np.interp(np.arange(N), [start - half, start + half], [0.0, 1.0])
    found = find_plateau(STEPS, curve)
    assert found.left
    assert abs(found.step - STEPS[start]) <= 10  # the middle falls between two points


@pytest.mark.parametrize(("share", "left"), [(0.32, True), (0.345, False), (1.0, False)])
def test_a_change_slower_than_a_third_of_the_training_is_a_drift(share, left):
    # A centred ramp over a share r: two levels explain (1 - r/2)^2 / (1 - 2r/3) of the variance, a line
    # 12 (1/4 - r^2/12)^2 / (1 - 2r/3); they are equal at r = 0.3313. 400 points resolve r to about 0.005.
    n = 4000
    curve = np.interp(np.arange(n) - 80 - (n - 80) / 2, [-share * (n - 80) / 2, share * (n - 80) / 2], [0.0, 1.0])
    found = find_plateau(range(n), curve)
    assert found.left is left
    assert found.explained == pytest.approx((1 - share / 2) ** 2 / (1 - 2 * share / 3), abs=0.01)
    assert left or found.step == n - 1  # censored: the whole training


def test_a_constant_curve_stays():
    for value in (0.7, 0.2, 0.1, 1.3):  # the mean of equal values is not exactly that value
        found = find_plateau(STEPS, [value] * N)
        assert (found.left, found.step, found.explained) == (False, STEPS[-1], 0.0)


def test_noise_is_no_change_of_level():
    rng = np.random.default_rng(0)
    assert not any(find_plateau(STEPS, rng.normal(size=N)).left for _ in range(200))


def test_a_step_is_found_in_noise_and_after_the_first_fall():
    # Noise of half the step: the split of 392 smoothed points is at most a window of 11 points off.
    rng = np.random.default_rng(1)
    for _ in range(20):
        curve = np.array(step(180)) + rng.normal(scale=0.5, size=N)
        curve[:6] += np.linspace(3, 0, 6)  # networks begin elsewhere
        found = find_plateau(STEPS, curve)
        assert found.left
        assert abs(found.step - STEPS[180]) <= 110


def test_short_returns_do_not_count():
    curve = step(180)
    curve[300:304] = [0.2] * 4  # shorter than half of the window of 11
    assert find_plateau(STEPS, curve).step == STEPS[180]


def test_values_that_are_no_numbers_are_left_out():
    curve = step(200)
    curve[50] = math.nan
    curve[251:253] = [math.inf, 1e300]
    assert find_plateau(STEPS, curve).step == STEPS[200]
    assert find_plateau(STEPS[:39], curve[:39]) is None


def test_running_median_against_a_plain_loop():
    rng = np.random.default_rng(2)
    values = rng.normal(size=50)
    expected = [np.median(values[max(0, i - 3) : i + 4]) for i in range(50)]
    np.testing.assert_allclose(running_median(values, 7), expected, rtol=1e-15)


def test_time_in_steps_and_passes():
    # 2,000 steps of 64 images over a set of 164 are 780.49 passes.
    found = plateau_scores({"train/loss_d": (STEPS, step(200))}, batch_size=64.0, size=164)
    assert found["plateau_steps"].value == 2000.0
    assert found["plateau_passes"].value == pytest.approx(2000 * 64 / 164)
    assert found["plateau_passes"].protocol["trained"] == pytest.approx(3990 * 64 / 164)
    assert found["plateau_steps"].protocol["left"] is True
    assert plateau_scores({"train/loss": (STEPS, step(200))}, batch_size=64.0, size=164) == {}


def time(value, trained, left=True):
    return Score(value, None, 1, {"curve": "train/loss_d", "left": left, "trained": trained})


def test_censored_times_are_cut_at_the_common_end():
    first = {0: time(120.0, 900.0), 1: time(900.0, 900.0, left=False)}
    second = {0: time(700.0, 600.0), 1: time(80.0, 600.0)}
    assert num_stayed([*first.values(), *second.values()]) == 1
    cut = [[score.value for score in arm.values()] for arm in restricted(first, second)]
    assert cut == [[120.0, 600.0], [600.0, 80.0]]


def test_times_without_censoring_stay_as_they_are():
    first, second = {0: time(800.0, 900.0)}, {0: time(80.0, 600.0)}
    assert restricted(first, second) == (first, second)
