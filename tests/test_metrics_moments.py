"""Moments against their closed forms for normal numbers, and their errors against redraws."""

import numpy as np
import pytest
import torch

from bootlight import PixelFeatures
from bootlight.errors import BootlightError
from bootlight.metrics.moments import MeanShift, VarianceRatio

METRICS = [kind(features=PixelFeatures(1, 1), sync_on_compute=False) for kind in (MeanShift, VarianceRatio)]


def measured(real, synthetic):
    sides = torch.as_tensor(real), torch.as_tensor(synthetic)
    return METRICS[0].measure(*sides) | METRICS[1].measure(*sides)


def test_values_are_those_of_numpy():
    rng = np.random.default_rng(0)
    real, drawn = rng.normal(3, 2, (40, 5)), rng.normal(4, 1, (30, 5))
    found = measured(real, drawn)
    unit = real.var(0).sum()
    assert found["mean-shift"].value == pytest.approx(((drawn.mean(0) - real.mean(0)) ** 2).sum() / unit, rel=1e-12)
    assert found["variance-ratio"].value == pytest.approx(drawn.var(0).sum() / unit, rel=1e-12)
    assert found["variance-ratio"].n == 30 and found["variance-ratio"].protocol["real_variance"] == pytest.approx(unit)


def test_a_set_against_itself_and_moved_and_scaled():
    """x + c moves the mean by |c|^2 and no variance; 3 x has nine times the variance."""
    real = torch.randn(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    unit = real.var(0, correction=0).sum().item()
    same, moved = measured(real, real), measured(real, real + 2)
    assert same["mean-shift"].value == 0 and same["variance-ratio"].value == 1
    assert moved["mean-shift"].value == pytest.approx(4 * 4 / unit) and moved["variance-ratio"].value == pytest.approx(1)
    assert measured(real, 3 * real)["variance-ratio"].value == pytest.approx(9)


def test_order_and_blocks_make_no_difference():
    rng = np.random.default_rng(2)
    real, drawn = rng.normal(0, 1, (100, 3)), rng.normal(0, 1, (5000, 3))  # more than a block
    found, again = measured(real, drawn), measured(real[::-1].copy(), drawn[::-1].copy())
    for name in found:
        assert found[name].value == pytest.approx(again[name].value, rel=1e-10)


@pytest.mark.parametrize(("shift", "dimension"), [(0.0, 3), (0.5, 3), (0.3, 60)])
def test_errors_are_those_of_redraws(shift, dimension):
    """400 redraws know a deviation to 3.5 %, and errors of 40 images scatter; more numbers than images take the Gram matrix."""
    rng = np.random.default_rng(3)
    real = rng.normal(0, 1, (4000, dimension))
    found = [measured(real, rng.normal(shift, 0.8, (40, dimension))) for _ in range(400)]
    for name in ("mean-shift", "variance-ratio"):
        spread = np.std([scores[name].value for scores in found])
        errors = np.sqrt(np.mean([scores[name].standard_error ** 2 for scores in found]))
        assert 0.85 < errors / spread < 1.5, (name, errors, spread)


def test_by_chance_is_the_mean_shift_where_nothing_differs():
    """The mean of 400 of them, each with a relative deviation of about 1 / sqrt(3)."""
    rng = np.random.default_rng(4)
    found = [measured(rng.normal(0, 1, (50, 6)), rng.normal(0, 1, (20, 6)))["mean-shift"] for _ in range(400)]
    values, chances = np.mean([f.value for f in found]), np.mean([f.protocol["by_chance"] for f in found])
    assert values == pytest.approx(chances, rel=5 * 3**-0.5 / 20)


def test_of_float_images_as_they_are():
    """Features are the numbers, whatever their size."""
    metric = VarianceRatio(features=PixelFeatures(6, 2), sync_on_compute=False)
    images = torch.randn(20, 2, 3, 6, generator=torch.Generator().manual_seed(0)) * 500
    metric.update(images, real=True)
    metric.update(images * 2, real=False)
    assert metric.compute().item() == pytest.approx(4, rel=1e-6)
    expected = images.double().flatten(1).var(0, correction=0).sum().item()
    assert metric.scores()["variance-ratio"].protocol["real_variance"] == pytest.approx(expected, rel=1e-6)


def test_too_few_or_all_alike():
    with pytest.raises(BootlightError, match="2 synthetic"):
        measured(np.zeros((5, 2)), np.zeros((1, 2)))
    found = measured(np.ones((5, 2)), np.full((5, 2), 3.0))
    assert found["mean-shift"].value == 8 and found["variance-ratio"].value == 0
