"""The Fréchet distance extrapolated to infinitely many synthetic images."""

import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bootlight.errors import BootlightError
from bootlight.metrics.distances.fd_infinity import Extrapolation, FrechetInfinity, frechet_infinity
from bootlight.metrics.distances.frechet import frechet_distance, frechet_jackknife
from bootlight.metrics.distances.statistics import Statistics, feature_statistics
from bootlight.metrics.features.features import PixelFeatures
from bootlight.rng import torch_rng

MANY = 10**9  # images of a reference that is known exactly


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def isotropic(size: int, scale: float = 1.0) -> Statistics:
    return Statistics(torch.zeros(size).double(), scale**2 * torch.eye(size).double(), MANY)


def without_slope(real: Statistics, features: Tensor) -> float:
    """The jackknife estimate n f - (n - 1) (mean of f without each image), image by image."""
    n, f = len(features), frechet_distance(real=real, synthetic=feature_statistics(features))
    rest = [torch.cat([features[:i], features[i + 1 :]]) for i in range(n)]
    return n * f - (n - 1) * np.mean([frechet_distance(real=real, synthetic=feature_statistics(r)) for r in rest]).item()


def extrapolations(real: Statistics, draws: Tensor) -> list[Extrapolation]:
    return [frechet_infinity(real=real, synthetic_features=draw, seed=seed) for seed, draw in enumerate(draws)]


@pytest.mark.parametrize("count", [20, 21])
def test_the_value_is_the_intercept_of_a_line_over_the_inverse_square(count: int) -> None:
    real, features = isotropic(3), 2 * normal(count, 3, seed=1) + 0.4
    order = torch.randperm(count, generator=torch_rng("halves", 7))
    parts = [features, features[order[: count // 2]], features[order[count // 2 :]]]
    heights, places = [without_slope(real, part) for part in parts], [len(part) ** -2.0 for part in parts]
    line = np.polyfit([places[0], (places[1] + places[2]) / 2], [heights[0], (heights[1] + heights[2]) / 2], 1)
    found = frechet_infinity(real=real, synthetic_features=features, seed=7)
    # n times rounding in either; the integral of the jackknife is right to 2e-11.
    assert found.value == pytest.approx(line[1], rel=1e-8) and found.curved
    full = frechet_jackknife(real=real, synthetic_features=features)
    assert found.full[:3] == full[:3] and found.standard_error == full.standard_error
    margin = 1.959964 * full.standard_error + abs(found.value - heights[0]) * 3 / (count // 2)
    assert found.interval == pytest.approx((found.value - margin, found.value + margin), rel=1e-6)


def test_the_seed_draws_the_halves() -> None:
    real, features = isotropic(4), normal(40, 4, seed=2)
    first, again, other = (frechet_infinity(real=real, synthetic_features=features, seed=seed) for seed in (0, 0, 1))
    assert first[:3] == again[:3] and first.value != other.value
    assert abs(first.value - other.value) < first.standard_error  # a matter of second order


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_two_orders_of_the_bias_are_gone(scale: float) -> None:
    size, count = 12, 60
    found = extrapolations(isotropic(size, scale), normal(120, count, size, seed=3))
    truth = (scale - 1) ** 2 * size
    excess = torch.tensor([(f.full.value, f.full.value - f.full.bias, f.value) for f in found]).double().mean(0) - truth
    spread = torch.tensor([f.value for f in found]).std().item() / math.sqrt(120)
    # By the law of Marchenko and Pastur at D / n = 1/5, a size of 12 and this scale: without extrapolation (0.051 D + D / n)
    # scale, without the line -0.0014 D scale, with it 0.0003 D scale; three standard errors of the mean.
    assert excess[0].item() == pytest.approx(scale * 0.051 * size + size / count, rel=0.2)
    assert abs(excess[2].item() - 0.0003 * size * scale) < 3 * spread
    assert excess[2].item() > excess[1].item()


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (2.0, 0.0), (1.0, 0.5)])
@pytest.mark.parametrize("multiple", [1, 4])
def test_the_interval_holds_the_true_distance(scale: float, shift: float, multiple: int) -> None:
    size = 10
    found = extrapolations(isotropic(size, scale), normal(60, multiple * size, size, seed=4) + shift)
    truth = (scale - 1) ** 2 * size + shift**2 * size
    held = sum(f.interval[0] <= truth <= f.interval[1] for f in found)
    # 57 of 60 are to be expected; fewer than 52 have a chance of 1 %.
    assert held >= 52
    widths = torch.tensor([f.interval[1] - f.interval[0] for f in found])
    biases = torch.tensor([f.full.value - truth for f in found])
    if multiple == 4:
        # Nor is it held by width alone: 4 standard errors, a quarter of them allowance, where the bias is several of them.
        assert widths.mean() < 5 * torch.tensor([f.standard_error for f in found]).mean()
        assert shift or biases.mean() > widths.mean() / 4


def test_too_few_images_for_halves() -> None:
    real, features = isotropic(8, 2.0), normal(15, 8, seed=5)
    found = frechet_infinity(real=real, synthetic_features=features)
    assert found.value == found.full.value - found.full.bias and not found.curved
    assert found.interval == (0, found.full.value + 1.959964 * found.standard_error)
    assert frechet_infinity(real=real, synthetic_features=normal(16, 8, seed=5)).curved


def test_the_interval_holds_a_value_below_zero() -> None:
    found = extrapolations(isotropic(8), normal(20, 9, 8, seed=6))
    assert min(f.value for f in found) < 0
    assert all(f.interval[0] <= f.value <= f.interval[1] for f in found)


def test_two_images_are_too_few() -> None:
    with pytest.raises(BootlightError, match="at least 3 synthetic images, got 2; draw more"):
        frechet_infinity(real=isotropic(3), synthetic_features=normal(2, 3, seed=1))


@pytest.mark.parametrize(("count", "method"), [(30, "jackknife, line over 1/n^2 through two halves"), (7, "jackknife")])
def test_the_score(count: int, method: str) -> None:
    real, synthetic = normal(50, 4, seed=8), normal(count, 4, seed=9)
    scores = FrechetInfinity(features=PixelFeatures(), seed=3).measure(real, synthetic)
    found = frechet_infinity(real=feature_statistics(real), synthetic_features=synthetic, seed=3)
    (remark,) = scores["fd-pixels-infinity"].remarks or ("",)
    assert json.loads(json.dumps({name: score.to_json() for name, score in scores.items()})) == {
        "fd-pixels-infinity": {
            "value": found.value,
            "standard_error": found.standard_error,
            "n": count,
            "protocol": {
                "features": "pixels",
                "num_features": 4,
                "num_real": 50,
                "num_synthetic": count,
                "resize": "mean over 8 x 8 cells",
                "extrapolation": method,
                "seed": 3,
            },
            "interval": list(found.interval),
            "remarks": [remark] if remark else [],
            "higher_is_better": False,
        }
    }
    assert remark.startswith("7 synthetic images are fewer than 2 for each of 4 features" if count == 7 else "")
    assert bool(remark) == (count == 7)


def test_few_reference_images_are_told() -> None:
    (score,) = FrechetInfinity(features=PixelFeatures()).measure(normal(39, 4, seed=8), normal(60, 4, seed=9)).values()
    assert [remark[:14] for remark in score.remarks] == ["39 real images"]


def test_a_given_name_stays() -> None:
    scores = FrechetInfinity(features=PixelFeatures(), name="mine").measure(normal(60, 4, seed=8), normal(60, 4, seed=9))
    assert list(scores) == ["mine"]


def test_images_go_in_as_for_every_metric() -> None:
    pictures = torch.randint(0, 256, (40, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    metric = FrechetInfinity(features=PixelFeatures(1))
    metric.update(pictures, real=True)
    metric.update(pictures[:30] // 2, real=False)
    features = PixelFeatures(1)(pictures), PixelFeatures(1)(pictures[:30] // 2)
    assert metric.scores() == FrechetInfinity(features=PixelFeatures(1)).measure(*features)
