"""The classifier two-sample test: its level, its power, its interval."""

import numpy as np
import pytest
import torch
from few_digits import digits
from scipy import stats

from bootlight.errors import BootlightError
from bootlight.metrics.c2st import _Both, two_sample_test


def images():
    source = digits().real
    return source.store.images[source.indices]


def halves():
    order = np.random.default_rng(0).permutation(len(images()))
    return images()[order[:600]], images()[order[600:1200]]


def test_halves_of_one_set_cannot_be_told_apart():
    first, second = halves()
    score = two_sample_test(first, second, epochs=2)
    assert score.n == 600 and score.protocol["num_train"] == 600
    # With nothing to find each answer is right with probability 1/2: binomial, 600 draws. 1 in 1,000 lies outside this range.
    low, high = stats.binom.ppf([0.0005, 0.9995], 600, 0.5) / 600
    assert low <= score.value <= high
    assert score.interval[0] < 0.5 < score.interval[1]


def test_darker_digits_are_told_apart():
    first, second = halves()
    score = two_sample_test(first, second // 2, epochs=3)
    assert score.value > 0.9 and score.interval[0] > 0.85


def test_the_interval_is_that_of_wilson():
    first, second = halves()
    score = two_sample_test(first[:100], second[:100] // 3 * 2, epochs=1)
    right = round(score.value * score.n)
    expected = stats.binomtest(right, score.n).proportion_ci(method="wilson")
    assert score.interval == pytest.approx((expected.low, expected.high), abs=1e-7)  # the quantile has seven digits
    assert score.standard_error == pytest.approx(np.sqrt(score.value * (1 - score.value) / score.n))


def test_the_larger_set_is_cut_and_the_seed_decides():
    first, second = halves()
    unequal = two_sample_test(first, second[:50], epochs=1)
    assert (unequal.protocol["num_train"], unequal.n) == (50, 50)
    assert unequal == two_sample_test(first, second[:50], epochs=1)
    assert {two_sample_test(first, second // 2, epochs=1, seed=seed).value for seed in range(3)} != {unequal.value}


def test_too_few_images_are_refused():
    with pytest.raises(BootlightError, match="c2st needs at least 20 images on each side, got 19"):
        two_sample_test(images(), images()[:19])


def test_all_right_says_nothing_of_the_error():
    dark, light = np.zeros((40, 8, 8, 1), np.uint8), np.full((40, 8, 8, 1), 255, np.uint8)
    score = two_sample_test(dark, light, epochs=10)
    assert score.value == 1 and score.standard_error is None
    assert score.interval == pytest.approx((40 / (40 + 1.959964**2), 1.0))  # of Wilson where all of 40 test images are right
    assert str(score) == "1.000 [0.912, 1.000]"


def test_batches_of_both_sides_are_those_of_all_images_in_memory():
    rng = np.random.default_rng(0)
    real, synthetic = (rng.integers(0, 256, (n, 4, 4, 3), dtype=np.uint8) for n in (9, 7))
    of_real, of_synthetic = np.array([8, 0, 3]), np.array([6, 6, 1])
    both = _Both(real, synthetic, of_real, of_synthetic)
    everything = torch.from_numpy(np.concatenate([real[of_real], synthetic[of_synthetic]])).permute(0, 3, 1, 2)
    assert len(both) == len(everything)
    for positions in (np.array([5, 0, 2, 3]), np.arange(6), np.array([1]), np.array([4])):
        assert torch.equal(both.batch(positions), everything[positions])
