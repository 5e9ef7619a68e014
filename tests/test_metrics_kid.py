"""Kernel distance as a metric: its kernels, settings, protocol and remarks."""

import json
import math

import numpy as np
import pytest
import scipy.spatial.distance
import torch
from random_inception import noise
from torch import Tensor

from bootlight.errors import BootlightError
from bootlight.metrics.distances.kernel_distance import kernel_distance
from bootlight.metrics.distances.kid import KernelDistance, median_distance, polynomial_kernel, rbf_kernel
from bootlight.metrics.features.features import PixelFeatures
from bootlight.metrics.score import Score


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_median_is_that_of_all_pairs() -> None:
    features = normal(6, 3, seed=9)  # 15 pairs, so the median is one of them
    assert median_distance(features) == pytest.approx(np.median(scipy.spatial.distance.pdist(features.numpy())), rel=1e-12)
    many = torch.arange(2000.0)[:, None] + torch.tensor([[0.0, 3.0]])
    # Every second row, so distances are √2 times 2 k for k = 1..999, 1000 - k of each; half of all lie at k <= 293.
    assert median_distance(many) == pytest.approx(2 * 2**0.5 * 293, rel=1e-12)


def test_equal_images_have_no_bandwidth() -> None:
    with pytest.raises(BootlightError, match="median distance is 0; set bandwidth"):
        median_distance(torch.ones(5, 2))


def test_the_gaussian_kernel_knows_no_origin_and_only_relative_lengths() -> None:
    real, synthetic = normal(9, 3, seed=10), normal(8, 3, seed=11) + 1
    base = kernel_distance(real=real, synthetic=synthetic, kernel=rbf_kernel(2.0))
    moved = kernel_distance(real=30 * real + 50, synthetic=30 * synthetic + 50, kernel=rbf_kernel(60.0))
    assert moved[:3] == pytest.approx(base[:3], rel=1e-9)  # squares of 1e4 lose four digits of sixteen


def scored(metric: KernelDistance, real: int = 12, synthetic: int = 9) -> dict[str, Score]:
    metric.update(noise(real, 0), real=True)
    metric.update(noise(synthetic, 1) // 2, real=False)
    return metric.scores()


def test_the_metric_gives_the_estimate_with_its_protocol() -> None:
    score = scored(KernelDistance(features=PixelFeatures(2)))["kid"]
    network = PixelFeatures(2)
    expected = kernel_distance(real=network(noise(12, 0)), synthetic=network(noise(9, 1) // 2), kernel=polynomial_kernel)
    assert (score.value, score.standard_error, score.interval) == (expected.value, expected.standard_error, expected.interval)
    assert score.n == 9
    assert json.loads(json.dumps(score.protocol)) == {
        "features": "pixels",
        "num_features": 12,
        "num_real": 12,
        "num_synthetic": 9,
        "resize": "mean over 2 x 2 cells",
        "kernel": "(x.y/D + 1)^3",
        "estimator": "all pairs, unbiased",
    }
    assert "12 real and 9 synthetic images: unbiased, but noisy" in score.remarks[0]


def test_a_thousand_images_need_no_remark() -> None:
    metric = KernelDistance(features=PixelFeatures(2))
    real = normal(1000, 2, seed=12)
    assert metric.measure(real, real + 1)["kid"].remarks == ()
    assert len(metric.measure(real, real[:999])["kid"].remarks) == len(metric.measure(real[:999], real)["kid"].remarks) == 1


def test_the_bandwidth_is_that_of_the_real_images_or_the_given_one() -> None:
    metric = KernelDistance(features=PixelFeatures(2), kernel="rbf")
    score = scored(metric)["mmd-rbf"]
    real, synthetic = PixelFeatures(2)(noise(12, 0)), PixelFeatures(2)(noise(9, 1) // 2)
    bandwidth = median_distance(real)
    assert score.protocol["bandwidth"] == bandwidth
    assert score.value == kernel_distance(real=real, synthetic=synthetic, kernel=rbf_kernel(bandwidth)).value
    given = scored(KernelDistance(features=PixelFeatures(2), kernel="rbf", bandwidth=0.5))["mmd-rbf"]
    assert given.protocol["bandwidth"] == 0.5
    assert given.value == kernel_distance(real=real, synthetic=synthetic, kernel=rbf_kernel(0.5)).value


def test_few_images_have_a_value_but_no_error() -> None:
    score = scored(KernelDistance(features=PixelFeatures(2)), real=3)["kid"]
    assert score.standard_error is None and score.interval is None and math.isfinite(score.value)
    assert scored(KernelDistance(features=PixelFeatures(2)), real=4, synthetic=4)["kid"].standard_error is not None


@pytest.mark.parametrize(("real", "synthetic", "side"), [(1, 5, "real"), (5, 1, "synthetic")])
@pytest.mark.parametrize("kernel", ["polynomial", "rbf"])
def test_one_image_has_no_distance(kernel: str, real: int, synthetic: int, side: str) -> None:
    with pytest.raises(BootlightError, match=f"needs at least 2 {side} images, got 1"):
        scored(KernelDistance(features=PixelFeatures(2), kernel=kernel), real, synthetic)


def test_settings_that_make_no_sense_are_refused() -> None:
    for bandwidth in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(BootlightError, match="must be positive"):
            KernelDistance(features=PixelFeatures(), kernel="rbf", bandwidth=bandwidth)
    with pytest.raises(BootlightError, match="polynomial has none"):
        KernelDistance(features=PixelFeatures(), bandwidth=1.0)
    with pytest.raises(BootlightError, match="must be polynomial or rbf"):
        KernelDistance(features=PixelFeatures(), kernel="linear")
