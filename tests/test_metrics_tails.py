"""Heavy tails: the kurtosis of features, on how many images an error rests, and when that is remarked on."""

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from bootlight.evaluation.reference_stats import measure_against, save_statistics
from bootlight.metrics.distances.fd_infinity import FrechetInfinity
from bootlight.metrics.distances.frechet import FrechetDistance, frechet_distance, frechet_jackknife
from bootlight.metrics.distances.frechet_remarks import FEW_CARRIERS, HEAVY, ONE_SIDED, tails_remark
from bootlight.metrics.distances.statistics import Statistics, feature_statistics, kurtosis
from bootlight.metrics.features.features import PixelFeatures

RNG = torch.Generator().manual_seed(0)


def normal(count: int, size: int, rng: torch.Generator) -> Tensor:
    return torch.randn(count, size, generator=rng, dtype=torch.float64)


def student(count: int, size: int, rng: torch.Generator) -> Tensor:
    """With four degrees of freedom, one scale for all features of an image."""
    return normal(count, size, rng) / normal(count, 4, rng).square().mean(1, keepdim=True).sqrt()


def test_kurtosis_of_one_feature_is_that_of_scipy():
    features = student(50, 1, RNG)
    expected = scipy.stats.kurtosis(features[:, 0].numpy(), fisher=False)
    # scipy divides the variance by n, a covariance by n - 1.
    assert kurtosis(features, feature_statistics(features)) == pytest.approx(expected * (49 / 50) ** 2, rel=1e-12)


def test_kurtosis_of_several_features():
    corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    # |d|^2 = 2; the covariance is 4/3 I, so (tr C)^2 + 2 tr C^2 = 2 (8/3)^2.
    assert kurtosis(corners, feature_statistics(corners)) == pytest.approx(3 * 4 / (2 * (8 / 3) ** 2), rel=1e-12)
    features = normal(200_000, 3, RNG) * torch.tensor([3.0, 1.0, 0.1]).double()
    # Its standard error is below that of one feature, sqrt(24/n) = 0.011.
    assert kurtosis(features, feature_statistics(features)) == pytest.approx(3, abs=0.05)
    rotation = torch.linalg.qr(normal(3, 3, RNG)).Q
    few = student(40, 3, RNG)
    found = [kurtosis(f, feature_statistics(f)) for f in (few, few @ rotation, 7 * few + 100)]
    assert found == pytest.approx([found[0]] * 3, rel=1e-9)
    assert kurtosis(torch.ones(5, 3), feature_statistics(torch.ones(5, 3))) == 3


def test_carriers_are_those_of_leaving_out_each_image():
    features, real = student(12, 3, RNG), Statistics(torch.zeros(3).double(), torch.eye(3).double(), 10**9)
    kept = [torch.arange(12) != j for j in range(12)]
    changes = np.array([frechet_distance(real=real, synthetic=feature_statistics(features[k])) for k in kept])
    parts = (changes - changes.mean()) ** 2
    found = frechet_jackknife(real=real, synthetic_features=features)
    assert found.carriers == pytest.approx(parts.sum() ** 2 / (parts**2).sum(), rel=1e-6)
    assert found.kurtosis == kurtosis(features, feature_statistics(features))
    same = frechet_jackknife(real=real, synthetic_features=torch.ones(5, 3))
    assert same.carriers is None and tails_remark(same.kurtosis, same.carriers, 5) == ()


def test_when_it_is_said():
    assert tails_remark(None, None, 10) == ()
    assert tails_remark(HEAVY, 5.0, 100) == () and len(tails_remark(HEAVY + 0.1, 5.0, 100)) == 1
    assert tails_remark(100.0, FEW_CARRIERS, 5000) == ()
    assert tails_remark(3.0, 10.0, int(10 * ONE_SIDED)) == () and len(tails_remark(3.0, 10.0, int(10 * ONE_SIDED) + 1)) == 1


@pytest.mark.parametrize(("size", "count"), [(16, 80), (64, 64)])
def test_it_is_said_of_heavy_tails_and_not_of_normal_features(size, count):
    """In the benchmark's 1,200 samples each: never of normal features, of 86 % or more of the others."""
    real = Statistics(torch.zeros(size).double(), torch.eye(size).double(), 10**9)
    said = {}
    for draw in (normal, student):
        rng = torch.Generator().manual_seed(1)
        found = [frechet_jackknife(real=real, synthetic_features=draw(count, size, rng)) for _ in range(30)]
        said[draw] = sum(bool(tails_remark(one.kurtosis, one.carriers, count)) for one in found)
    assert said[normal] == 0
    assert said[student] >= 20  # of 30 with a chance of 0.86 each: fewer once in 1,000


def test_it_stands_beside_every_distance(tmp_path):
    rng = torch.Generator().manual_seed(1)
    real, drawn = normal(100, 3, rng).float(), normal(60, 3, rng).float()
    drawn[7] *= 30  # one image far out
    network = PixelFeatures(1)
    save_statistics(tmp_path / "stats.npz", feature_statistics(real))
    statistics = feature_statistics(real)
    for features, said in ((drawn, 1), (drawn[8:], 0)):
        scores = FrechetDistance(features=network).measure(real, features)
        scores |= FrechetInfinity(features=network).measure(real, features)
        scores |= {"file": next(iter(measure_against(tmp_path / "stats.npz", statistics, network, features).values()))}
        for score in scores.values():
            assert sum("heavy tails" in remark for remark in score.remarks) == said
