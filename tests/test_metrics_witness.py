"""What each image adds to a kernel distance: sums, differences, and how often their errors are right."""

import pytest
import torch
from torch import Tensor

from bootlight.errors import BootlightError
from bootlight.metrics.distances.kernel_distance import kernel_distance
from bootlight.metrics.distances.kid import polynomial_kernel
from bootlight.metrics.distances.witness import Witness, witness, witness_difference


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def of(real: Tensor, synthetic: Tensor) -> Witness:
    return witness(real=real, synthetic=synthetic, kernel=polynomial_kernel)


def test_differences_are_those_of_the_distances():
    real, sets = normal(9, 4, seed=0), (normal(7, 4, seed=1), 1 + normal(5, 4, seed=2))
    distances = [kernel_distance(real=real, synthetic=one, kernel=polynomial_kernel).value for one in sets]
    value, error = witness_difference(*(of(real, one) for one in sets), paired=False)
    assert value == pytest.approx(distances[1] - distances[0], rel=1e-12)
    assert error > 0
    back, same = witness_difference(*(of(real, one) for one in reversed(sets)), paired=False)
    assert back == pytest.approx(-value, rel=1e-12) and same == pytest.approx(error, rel=1e-12)


def test_each_number_is_the_mean_that_it_is_said_to_be():
    real, synthetic = normal(4, 3, seed=3), normal(3, 3, seed=4)
    found = of(real, synthetic)
    k = lambda x, y: float((x @ y / 3 + 1) ** 3)  # noqa: E731
    for i in range(4):
        assert found.real[i].item() == pytest.approx(sum(k(real[i], y) for y in synthetic) / 3, rel=1e-12)
    for j in range(3):
        others = sum(k(synthetic[j], synthetic[o]) for o in range(3) if o != j) / 2
        assert found.synthetic[j].item() == pytest.approx(others - sum(k(x, synthetic[j]) for x in real) / 4, abs=1e-12)


def test_a_set_does_not_differ_from_itself():
    real, synthetic = normal(9, 4, seed=0), normal(7, 4, seed=1)
    assert witness_difference(of(real, synthetic), of(real, synthetic), paired=True) == (0.0, 0.0)
    assert witness_difference(of(real, synthetic), of(real, synthetic), paired=False)[1] > 0


def test_the_error_is_that_of_the_first_order_in_one_dimension():
    """Kernel x y: the distance is (mean x - mean y)², so that the difference and its error have a closed form."""
    rng = torch.Generator().manual_seed(5)
    real, first, second = (torch.randn(50, 1, generator=rng, dtype=torch.float64) + shift for shift in (0, 1, 3))
    found = [witness(real=real, synthetic=one, kernel=lambda x, y: x @ y.T) for one in (first, second)]
    value, error = witness_difference(*found, paired=False)
    x, a, b = real.mean(), first.mean(), second.mean()
    pairs = lambda v: (v.sum() ** 2 - v.square().sum()) / (50 * 49)  # noqa: E731 mean of y y' over different images
    assert value == pytest.approx((pairs(second) - 2 * x * b - pairs(first) + 2 * x * a).item(), rel=1e-12)
    spread = real.var() * (b - a) ** 2
    for one, mean in ((first, a), (second, b)):
        spread += (one * (50 * mean - one) / 49 - x * one).var()
    assert error == pytest.approx((4 / 50 * spread).sqrt().item(), rel=1e-12)


@pytest.mark.parametrize(
    ("shifts", "paired", "most"), [((0.5, 0.5), False, 16), ((0.5, -0.5), False, 26), ((0.5, -0.5), True, 26)]
)
def test_generators_of_equal_distance_are_seldom_called_different(shifts, paired, most):
    """Of 200 at 5 % 10 are expected, 22 with four standard deviations; `benchmarks/coverage_told_apart.py` found up to 8 %."""
    wrong = 0
    for k in range(200):
        real, noise = normal(40, 8, seed=3 * k), [normal(30, 8, seed=3 * k + 1), normal(30, 8, seed=3 * k + 1 + (not paired))]
        sets = [one + shift * torch.eye(8, dtype=torch.float64)[0] for one, shift in zip(noise, shifts, strict=True)]
        value, error = witness_difference(*(of(real, one) for one in sets), paired=paired)
        wrong += abs(value) > 1.96 * error
    assert wrong <= most


def test_pairs_of_the_same_noise_show_what_independent_sets_do_not():
    real, noise, other = normal(60, 8, seed=0), normal(40, 8, seed=1), normal(40, 8, seed=2)
    near, far = of(real, noise + 0.3), of(real, noise + 0.4)
    value, error = witness_difference(near, far, paired=True)
    assert value > 2 * error
    value, error = witness_difference(near, of(real, other + 0.4), paired=False)
    assert abs(value) < 2 * error


def test_one_image_is_refused():
    with pytest.raises(BootlightError, match="synthetic"):
        of(normal(3, 2, seed=0), normal(1, 2, seed=0))
