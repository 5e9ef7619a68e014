"""When a loss curve leaves its plateau: exact on curves of known shape, whatever follows, silent on drift and noise."""

import math

import numpy as np
import pytest
from scipy.signal import lfilter

from bootlight.studies.plateau import EARLY, LEFT, MIN_BLOCKS, NO_PLATEAU, STAYED, find_plateau

N = 704
STEPS = np.arange(1, N + 1)


def step(at, before=1.4, after=0.4, n=N):
    """The last step before is `at`."""
    return np.where(np.arange(n) < at, before, after)


def ar(rng, memory, n=N):
    drive = rng.normal(size=n) * (math.sqrt(1 - memory**2) if memory < 1 else 1)
    drive[0] = rng.normal()
    return lfilter([1.0], [1.0, -memory], drive)


@pytest.mark.parametrize("at", [160, 161, 307, 460, 623])
@pytest.mark.parametrize(("before", "after"), [(0.2, 1.2), (1.4, -0.3)])
def test_a_step_is_found_exactly(at, before, after):
    found = find_plateau(STEPS, step(at, before, after))
    assert (found.state, found.step) == (LEFT, at + 1)
    assert (found.margin, found.hold, found.last) == (160, 80, N)


@pytest.mark.parametrize("at", [24, 50, 100, 159])
def test_who_leaves_early_is_not_counted_as_never_leaving(at):
    found = find_plateau(STEPS, step(at))
    assert (found.state, found.step) == (EARLY, at + 1)


@pytest.mark.parametrize("at", [624, 700, 2000])
def test_who_leaves_in_the_last_steps_or_never_is_censored(at):
    found = find_plateau(STEPS, step(at))
    assert found.state == STAYED


def test_when_a_training_leaves_does_not_depend_on_how_long_it_goes_on():
    # Whatever comes later, the answer of the first 500 steps is that of all lengths from step + hold on.
    rng = np.random.default_rng(0)
    curve = step(300, n=5000) + 0.2 * rng.normal(size=5000)
    curve[1000:] += 3 * np.sin(np.arange(4000) / 100)
    steps = np.arange(1, 5001)
    whole = find_plateau(steps, curve)
    assert whole.state == LEFT and abs(whole.step - 301) <= 3
    for length in (whole.step + 80, 500, 704, 1154, 3000):
        assert find_plateau(steps[:length], curve[:length])[:2] == (LEFT, whole.step)
    for length in (whole.step + 79, 320):
        assert find_plateau(steps[:length], curve[:length]).state == STAYED


def test_exactly_what_is_known_by_an_end_is_known_of_a_curve_cut_there():
    # `state_at` of a whole curve and `find_plateau` of its beginning are two ways to the same answer. Ends are whole blocks.
    from bootlight.studies.plateau import state_at

    rng = np.random.default_rng(1)
    for _ in range(20):
        curve = step(rng.integers(100, 900), n=1200) + rng.choice([0.1, 0.2, 0.4]) * ar(rng, rng.choice([0, 0.5, 0.95]), 1200)
        whole = find_plateau(range(1, 1201), curve)
        for end in range(296, 1200, 200):
            part = find_plateau(range(1, end + 1), curve[:end])
            state = EARLY if whole.state == EARLY else state_at(end, whole.step, whole.uneven, whole.hold)
            assert part.state == state


@pytest.mark.parametrize("value", [0.7, 0.2, 0.1, 1.3, 0.0])
def test_a_constant_curve_never_leaves(value):  # the mean of equal values is not exactly that value
    assert find_plateau(STEPS, [value] * N).state == STAYED


def curves(rng):
    """Kinds that are no plateaus, each large against noise of 1."""
    t, noise = np.arange(N), rng.normal(size=N)
    for steps in (50, 200, 1000):
        yield 15 * np.exp(-t / steps) + noise
        yield np.exp(-t / steps)  # without noise
    yield t / 50 + noise
    yield -t / 5 + noise
    yield t / 5.0
    yield np.sqrt(t) + noise
    yield np.cumsum(rng.normal(size=N))
    yield np.cumsum(rng.normal(size=N)) / 4 + noise
    yield ar(rng, 0.99)
    yield ar(rng, 0.95)


def test_decay_drift_random_walk_and_wandering_noise_are_no_plateau():
    # The rate of other answers is at most 5 % for each kind (coverage_plateau.py): of 280 curves, 14 and four standard
    # deviations of 3.6 more.
    rng = np.random.default_rng(2)
    states = [find_plateau(STEPS, curve).state for _ in range(20) for curve in curves(rng)]
    assert len(states) == 280
    assert len(states) - states.count(NO_PLATEAU) <= 28


def test_a_drift_below_the_noise_and_noise_that_remembers_are_no_plateau():
    # A drift of one deviation over 5,000 steps adds 0.083 to the variance 0.2 of blocks (pi/2 of the noise over 8), too little
    # for their ratio; among 61 stretches of 10 blocks it is 5 times the variance within. AR(1) noise of 0.9 has a ratio of
    # 0.41, and stretches that alone differ too little in four of five curves. Measured: 100 and 94 to 98 %.
    rng = np.random.default_rng(7)
    steps = np.arange(1, 5001)
    drifts = [find_plateau(steps, steps / 5000 + rng.normal(size=5000)).state for _ in range(10)]
    assert drifts.count(NO_PLATEAU) >= 9
    noises = [find_plateau(STEPS, ar(rng, 0.9)).state for _ in range(20)]
    assert noises.count(NO_PLATEAU) >= 15


def test_noise_about_a_level_is_a_plateau_that_is_never_left():
    # False answers: 5 % for independent noise and memory of a few steps; of 80, 4 and four standard deviations of 2.
    rng = np.random.default_rng(3)
    states = [find_plateau(STEPS, ar(rng, memory)).state for _ in range(40) for memory in (0.0, 0.5)]
    assert states.count(LEFT) == states.count(EARLY) == 0
    assert states.count(STAYED) >= 68


def test_a_fall_of_five_deviations_is_found_where_it_is():
    # coverage_plateau.py: all of them, 95 % within a step; of 40 two may be farther off (p = 0.32), five not (p = 0.01).
    rng = np.random.default_rng(4)
    for at in (200, 400, 600):
        found = [find_plateau(STEPS, step(at, 5.0, 0.0) + rng.normal(size=N)) for _ in range(40)]
        assert all(plateau.state == LEFT for plateau in found)
        assert sum(abs(plateau.step - at - 1) > 1 for plateau in found) <= 5


def test_a_plateau_is_left_by_a_slow_fall_too():
    # Half of what is fallen after the hold of 80 steps: 8 (1 - e^-0.6) = 3.6 of 8 (level of the last 40 of them); half of
    # that is fallen ln(1 / (1 - 0.225)) 100 = 26 steps after the onset.
    rng = np.random.default_rng(5)
    after = (np.arange(N) - 400).clip(min=0)
    found = [find_plateau(STEPS, 8 * np.exp(-after / 100) + rng.normal(size=N)) for _ in range(20)]
    steps = [plateau.step for plateau in found if plateau.state == LEFT]
    assert len(steps) >= 15
    assert np.mean(steps) == pytest.approx(426, abs=10)


def test_the_start_of_a_network_and_short_returns_do_not_count():
    curve = step(300)
    curve[:16] += np.linspace(3, 0, 16)
    curve[500:504] = 1.4
    curve[200] = 40.0
    assert find_plateau(STEPS, curve)[:2] == (LEFT, 301)


def test_scale_and_direction_do_not_matter():
    rng = np.random.default_rng(6)
    curve = step(350) + 0.2 * rng.normal(size=N)
    assert find_plateau(STEPS, curve) == find_plateau(STEPS, -1e6 * curve) == find_plateau(STEPS, 1e-6 * curve)


def test_values_that_are_no_numbers_are_left_out():
    curve = step(304)
    curve[[1, 3, 50]] = math.nan
    curve[451:453] = [math.inf, 1e300]
    assert find_plateau(STEPS, curve)[:2] == (LEFT, 305)
    assert find_plateau(STEPS, [math.nan] * N) is None


@pytest.mark.parametrize(("spacing", "block"), [(1, 8), (3, 6), (10, 10), (50, 50)])
def test_margins_are_in_steps_or_in_logged_losses_where_these_are_rarer(spacing, block):
    steps = np.arange(spacing, 100 * block + 1, spacing)
    found = find_plateau(steps, np.where(steps > 30 * block, 0.4, 1.4))
    assert (found.state, found.margin, found.hold) == (LEFT, 20 * block, 10 * block)
    assert 0 < found.step - 30 * block <= spacing


def test_too_short_a_curve_has_no_answer():
    assert find_plateau(STEPS[: 8 * MIN_BLOCKS - 1], step(100)[: 8 * MIN_BLOCKS - 1]) is None
    assert find_plateau(STEPS[: 8 * MIN_BLOCKS], step(100)[: 8 * MIN_BLOCKS]).state == EARLY
    assert find_plateau([], []) is None and find_plateau([1], [1.0]) is None
