"""Memorization-informed FID: nearest neighbours, penalty, error, and the metric."""

import json
import math
import warnings

import pytest
import torch
from random_inception import noise
from torch import Tensor, nn
from torchmetrics.image.mifid import MemorizationInformedFrechetInceptionDistance

from bootlight.errors import BootlightError
from bootlight.metrics import exact
from bootlight.metrics.distances.frechet import frechet_distance
from bootlight.metrics.distances.mifid import MemorizationInformedFrechetDistance, mifid, nearest_cosine_distances, penalised
from bootlight.metrics.distances.statistics import feature_statistics
from bootlight.metrics.features.features import PixelFeatures


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def frechet(real: Tensor, synthetic: Tensor) -> float:
    return frechet_distance(real=feature_statistics(real), synthetic=feature_statistics(synthetic))


def by_hand(real: Tensor, synthetic: Tensor) -> list[float]:
    """Nearest distances with one cosine at a time."""
    cosines = [[abs(torch.dot(a, b) / (a.norm() * b.norm())).item() for b in real] for a in synthetic]
    return [1 - max(row) for row in cosines]


@pytest.mark.parametrize("block", [1, 4, 2048])
def test_distances_are_those_to_the_nearest_real_image(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(exact, "BLOCK", block)
    real, synthetic = normal(7, 3, seed=0), normal(10, 3, seed=1)
    distances = nearest_cosine_distances(real=real, synthetic=synthetic)
    assert distances.tolist() == pytest.approx(by_hand(real, synthetic), abs=1e-15)  # 1 - a number near 1


def test_copies_opposites_and_zeros() -> None:
    real = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    synthetic = torch.tensor([[3.0, 6.0, 0.0], [-1.0, -2.0, 0.0], [0.0, 0.0, 5.0], [0.0, 0.0, 0.0]])
    distances = nearest_cosine_distances(real=real, synthetic=synthetic)
    assert distances.tolist() == pytest.approx([0, 0, 1, 0], abs=1e-15)
    assert nearest_cosine_distances(real=real[:1], synthetic=synthetic[3:]).tolist() == [1]


def other_mifid(real: Tensor, synthetic: Tensor) -> float:
    """torchmetrics' answer. It measures from its first set to the nearest of its second."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of its buffer
        metric = MemorizationInformedFrechetInceptionDistance(feature=nn.Identity())
    metric.update(real, real=True)
    metric.update(synthetic, real=False)
    return metric.compute().item()


@pytest.mark.parametrize("shift", [0.0, 3.0])  # a mean distance above and below the threshold
def test_it_is_the_answer_of_torchmetrics_with_the_sides_exchanged(shift: float) -> None:
    real, synthetic = normal(40, 5, seed=2) + shift, 1.2 * normal(60, 5, seed=3) + shift
    estimate = mifid(real=real, synthetic=synthetic)
    assert (estimate.memorization < 0.1) == (shift > 0)
    # Theirs takes roots of eigenvalues of an unsymmetric product, right to about √1e-16.
    assert estimate.value == pytest.approx(other_mifid(synthetic, real), rel=1e-6)


def test_the_distance_runs_from_synthetic_to_real_images() -> None:
    # A generator that copies two of forty images: every synthetic image has a near one, most real images have not.
    real = normal(40, 6, seed=4)
    synthetic = real[:2].repeat(10, 1) + 1e-3 * normal(20, 6, seed=5)
    estimate = mifid(real=real, synthetic=synthetic)
    assert estimate.memorization < 1e-5
    assert estimate.value > 1e5 * frechet(real, synthetic)
    assert other_mifid(real, synthetic) == pytest.approx(frechet(real, synthetic), rel=1e-6)  # unpenalised there


def test_above_the_threshold_it_is_the_frechet_distance() -> None:
    real, synthetic = normal(50, 4, seed=6), 1.5 * normal(30, 4, seed=7)
    assert mifid(real=real, synthetic=synthetic, threshold=0.0).value == pytest.approx(frechet(real, synthetic), rel=1e-12)


def test_the_penalty_is_the_mean_below_the_threshold_and_one_from_there_on() -> None:
    distances = torch.tensor([0.02, 0.06], dtype=torch.float64)  # mean 0.04
    assert penalised(3.0, distances, 0.1) == pytest.approx(75, rel=1e-12)
    assert penalised(3.0, distances, 0.041) == pytest.approx(75, rel=1e-12)
    assert penalised(3.0, distances, distances.mean().item()) == 3
    assert penalised(3.0, distances, 0.01) == 3
    assert penalised(3.0, torch.zeros(2), 0.1) == pytest.approx(3e14, rel=1e-12)  # finite
    assert penalised(0.0, torch.zeros(2), 0.1) == 0


@pytest.mark.parametrize("threshold", [0.0, 0.1])
def test_the_error_is_the_jackknife_over_ten_groups(threshold: float) -> None:
    real, synthetic = 0.3 * normal(40, 3, seed=8) + 1, 0.5 * normal(43, 3, seed=9) + 1
    estimate = mifid(real=real, synthetic=synthetic, threshold=threshold)
    order = torch.randperm(43, generator=torch.Generator().manual_seed(0)).tolist()
    values, start = [], 0
    for size in (5, 5, 5, 4, 4, 4, 4, 4, 4, 4):
        kept = order[:start] + order[start + size :]
        values.append(mifid(real=real, synthetic=synthetic[kept], threshold=threshold).value)
        start += size
    mean = sum(values) / 10
    expected = math.sqrt(0.9 * sum((value - mean) ** 2 for value in values))
    assert estimate.memorization < 0.1
    assert estimate.standard_error == pytest.approx(expected, rel=1e-9)  # rounding of differences of 1 %, 1e-14, and sums


def test_the_error_is_that_of_redraws() -> None:
    # All images lie near the half-line through (1, 1, 1): the penalty applies and varies from draw to draw.
    real, draws = 0.3 * normal(40, 3, seed=8) + 1, 0.5 * normal(40, 100, 3, seed=9) + 1
    found = [mifid(real=real, synthetic=draw) for draw in draws]
    assert max(estimate.memorization for estimate in found) < 0.1
    spread = torch.tensor([estimate.value for estimate in found]).std().item()
    error = torch.tensor([estimate.standard_error or 0.0 for estimate in found]).square().mean().sqrt().item()
    assert error == pytest.approx(spread, rel=0.35)  # the spread of 40 values is right to 1/√80 = 11 %, thrice that


def test_few_images_have_a_value_but_no_error() -> None:
    real = normal(30, 3, seed=10)
    assert mifid(real=real, synthetic=normal(19, 3, seed=11)).standard_error is None
    assert mifid(real=real, synthetic=normal(20, 3, seed=11)).standard_error is not None


def test_the_metric_gives_the_estimate_with_its_protocol() -> None:
    metric = MemorizationInformedFrechetDistance(features=PixelFeatures(2), threshold=0.2)
    metric.update(noise(30, 0), real=True)
    metric.update(noise(25, 1) // 2, real=False)
    scores = metric.scores()
    network = PixelFeatures(2)
    expected = mifid(real=network(noise(30, 0)), synthetic=network(noise(25, 1) // 2), threshold=0.2)
    assert list(scores) == ["mifid"]
    assert (scores["mifid"].value, scores["mifid"].standard_error, scores["mifid"].n) == (*expected[:2], 25)
    assert json.loads(json.dumps(scores["mifid"].protocol)) == {
        "features": "pixels",
        "num_features": 12,
        "num_real": 30,
        "num_synthetic": 25,
        "resize": "mean over 2 x 2 cells",
        "threshold": 0.2,
    }
    assert scores["mifid"].remarks == (
        f"Synthetic images lie at a mean cosine distance of {expected.memorization:.2g} from real ones, below 0.2.",
    )


def test_the_threshold_is_the_one_that_was_set() -> None:
    real, synthetic = 0.3 * normal(40, 3, seed=8) + 1, 0.5 * normal(43, 3, seed=9) + 1
    near = mifid(real=real, synthetic=synthetic).memorization
    for threshold in (0.9 * near, 1.1 * near):
        score = MemorizationInformedFrechetDistance(features=PixelFeatures(2), threshold=threshold).measure(real, synthetic)
        expected = mifid(real=real, synthetic=synthetic, threshold=threshold)
        assert (score["mifid"].value, score["mifid"].standard_error) == expected[:2]
        assert len(score["mifid"].remarks) == (threshold > near)


def test_without_copies_there_is_no_remark() -> None:
    metric = MemorizationInformedFrechetDistance(features=PixelFeatures(2))
    assert metric.measure(normal(30, 20, seed=12), normal(30, 20, seed=13))["mifid"].remarks == ()


@pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan])
def test_thresholds_that_are_no_cosine_distance_are_refused(threshold: float) -> None:
    with pytest.raises(BootlightError, match="threshold is"):
        MemorizationInformedFrechetDistance(features=PixelFeatures(), threshold=threshold)


def test_one_image_is_refused() -> None:
    with pytest.raises(BootlightError, match="at least 2 images"):
        mifid(real=normal(5, 3, seed=14), synthetic=normal(1, 3, seed=15))
