"""Can two sets be told apart: the distance of divisions, exact p-values, and how often equal sets are called different."""

from itertools import combinations

import pytest
import torch
from torch import Tensor

from bootlight.errors import BootlightError
from bootlight.metrics.distances.kernel_distance import kernel_distance
from bootlight.metrics.features.features import PixelFeatures
from bootlight.metrics.two_sample import MAX_IMAGES, ToldApart, laplace_kernel, p_value, split_distances


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test(real: Tensor, synthetic: Tensor, **how: int):
    (score,) = ToldApart(features=PixelFeatures(), sync_on_compute=False, **how).measure(real, synthetic).values()
    return score


test.__test__ = False


def all_divisions(total: int, first: int) -> Tensor:
    """(C(total, first), total) bool; the first row is that of the first images."""
    rows = torch.zeros(0, total, dtype=torch.bool)
    for chosen in combinations(range(total), first):
        row = torch.zeros(1, total, dtype=torch.bool)
        row[0, list(chosen)] = True
        rows = torch.cat([rows, row])
    return rows


def test_the_distance_of_a_division_is_the_unbiased_one_of_its_two_sets():
    features = normal(11, 3, seed=0)
    kernel = laplace_kernel(features)
    first = all_divisions(11, 4)[::37]
    scale = 2 / torch.pdist(features).mean()
    for row, found in zip(first, split_distances(kernel, first), strict=True):
        expected = kernel_distance(
            real=features[row], synthetic=features[~row], kernel=lambda x, y: (-scale * torch.cdist(x, y)).exp()
        )
        assert found.item() == pytest.approx(expected.value, abs=1e-12)  # sums of 55 numbers up to 1


def test_the_p_values_of_all_divisions_are_those_of_ranks():
    """With all divisions at hand the test is exact: of 126 without ties each has its own p, so p <= a in a share a of them."""
    statistics = split_distances(laplace_kernel(normal(9, 2, seed=1)), all_divisions(9, 4))
    found = sorted(p_value(statistics.roll(-k)) for k in range(126))
    assert found == pytest.approx([k / 126 for k in range(1, 127)], abs=1e-12)


def test_ties_count_against_a_difference():
    """Features of two values: divisions with equal counts have equal statistics, though sums were rounded otherwise."""
    features = torch.tensor([0.0, 0.1, 0.1, 0.0, 0.1, 0.0, 0.1, 0.0])[:, None]
    first = all_divisions(8, 4)
    statistics = split_distances(laplace_kernel(features), first)
    ones = (features[:, 0] > 0).double() @ first.double().T
    # 4 of 8 are 1: of the 70 divisions 36 have 2 of each, 32 have 1 or 3, 2 have 0 or 4.
    for count, p in ((2, 1.0), (1, 34 / 70), (0, 2 / 70)):
        at = int((ones == count).nonzero()[0])
        assert p_value(statistics.roll(-at)) == pytest.approx(p, abs=1e-12)


def test_what_differs_is_told_apart_and_what_does_not_is_not():
    far = test(normal(30, 4, seed=2), normal(20, 4, seed=3) + 3)
    assert far.value == 1 / 1000 and far.n == 20 and far.protocol["num_real"] == 30  # the least of 999 permutations and itself
    assert test(normal(30, 4, seed=2), normal(20, 4, seed=3)).value > 0.05
    assert test(torch.zeros(9, 4), torch.zeros(12, 4)).value == 1.0  # nothing differs
    assert far.protocol["distance"] > 0 and far.higher_is_better is None


def test_the_kernel_sees_what_has_equal_moments():
    """Points at ± 1 and normal ones have equal mean, variance and third moment: all that KID's kernel sees."""
    coins = normal(200, 1, seed=4).sign()
    assert test(normal(200, 1, seed=5), coins).value == 1 / 1000


def test_units_do_not_matter_and_seeds_hardly():
    real, synthetic = normal(25, 3, seed=6), normal(25, 3, seed=7) * 1.3
    one = test(real, synthetic)
    assert test(real * 1000 + 5, synthetic * 1000 + 5).value == one.value
    assert test(real, synthetic) == one
    # Two Monte Carlo estimates of one p from 999 permutations each: four standard errors of their difference.
    p = one.value
    assert abs(test(real, synthetic, seed=1).value - p) < 4 * (2 * p * (1 - p) / 999) ** 0.5 + 1e-3


@pytest.mark.parametrize("kind", ["normal", "heavy", "discrete"])
def test_equal_sets_are_seldom_called_different(kind):
    """At 5 %: of 200 pairs 10 are expected, and four standard deviations of a share more are 22."""
    draws = {
        "normal": lambda n, seed: normal(n, 3, seed=seed),
        "heavy": lambda n, seed: normal(n, 3, seed=seed) / normal(n, 1, seed=seed + 10**6).abs(),  # no mean
        "discrete": lambda n, seed: normal(n, 2, seed=seed).sign(),
    }
    found = sum(test(draws[kind](12, 2 * k), draws[kind](20, 2 * k + 1), permutations=59).value <= 0.05 for k in range(200))
    assert found <= 22


def test_of_many_images_a_fixed_choice_is_taken():
    real, synthetic = normal(MAX_IMAGES + 50, 2, seed=8), normal(40, 2, seed=9)
    score = test(real, synthetic, permutations=19)
    assert score.protocol["num_real"] == MAX_IMAGES and score == test(real, synthetic, permutations=19)


def test_too_few_images_or_permutations_and_nan_are_refused():
    for real, synthetic, said in ((7, 20, "real"), (20, 7, "synthetic")):
        with pytest.raises(BootlightError, match=said):
            test(normal(real, 2, seed=0), normal(synthetic, 2, seed=1))
    with pytest.raises(BootlightError, match="permutations"):
        ToldApart(features=PixelFeatures(), permutations=18)
    with pytest.raises(BootlightError, match="NaN"):
        test(normal(9, 2, seed=0), torch.full((9, 2), float("nan")))
