"""Density and coverage: double loops, the expectations for equal distributions, and the error of each."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bootlight.errors import BootlightError
from bootlight.metrics.features.features import PixelFeatures
from bootlight.metrics.neighbours import neighbours
from bootlight.metrics.neighbours.density_coverage import Coverage, Density, coverage, densities, expected_coverage
from bootlight.metrics.score import Score
from bootlight.metrics.uncertainty import WILSON_JACKKNIFE, jackknife_standard_error, share_interval


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


REAL, SYNTHETIC = normal(50, 3, seed=0), 0.8 * normal(31, 3, seed=1) + 0.6


def in_real_balls(real: Tensor, synthetic: Tensor, k: int) -> np.ndarray:
    """Whether synthetic image j is in the ball of real image i, (N, M), one pair at a time."""
    centres = real.tolist()
    radii = [sorted(math.dist(c, other) for i, other in enumerate(centres) if i != j)[k - 1] for j, c in enumerate(centres)]
    return np.array([[math.dist(c, p) <= r for p in synthetic.tolist()] for c, r in zip(centres, radii, strict=True)])


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("block_bytes", [8 * 50 * 3, 2**25])
def test_both_are_those_of_a_double_loop(k: int, block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", block_bytes)
    inside = in_real_balls(REAL, SYNTHETIC, k)
    np.testing.assert_allclose(densities(real=REAL, synthetic=SYNTHETIC, k=k), inside.sum(0) / k, rtol=1e-15)
    found = coverage(real=REAL, synthetic=SYNTHETIC, k=k)
    assert found.value == inside.any(1).mean()
    expected = [np.delete(inside, j, axis=1).any(1).mean() for j in range(31)]
    np.testing.assert_allclose(found.without, expected, rtol=1e-15)
    assert 0 < inside.mean() < found.value < 1 and len(set(expected)) > 1


def test_sets_made_by_hand() -> None:
    # On a line, k = 1: the balls about 0, 1, 2 and 5 are [-1, 1], [0, 2], [1, 3] and [2, 8].
    real = torch.tensor([[0.0], [1.0], [2.0], [5.0]])
    synthetic = torch.tensor([[0.5], [8.0], [-1.0], [9.0]])
    assert densities(real=real, synthetic=synthetic, k=1).tolist() == [2, 1, 1, 0]  # balls are closed
    found = coverage(real=real, synthetic=synthetic, k=1)
    assert found.value == 0.75  # all but the ball of 2
    assert found.without.tolist() == [0.5, 0.5, 0.75, 0.75]


def test_limits() -> None:
    copies = coverage(real=REAL, synthetic=REAL, k=3)
    assert copies.value == 1
    assert densities(real=REAL, synthetic=REAL, k=3).sum().item() == pytest.approx(
        50 * 4 / 3
    )  # each ball holds its centre and three neighbours
    far = coverage(real=REAL, synthetic=100 + SYNTHETIC, k=3)
    assert far.value == 0 and (far.without == 0).all()
    assert (densities(real=REAL, synthetic=100 + SYNTHETIC, k=3) == 0).all()


def test_equal_images_are_in_each_others_balls_whatever_the_rounding() -> None:
    features = 100 * normal(6, 64, seed=0)
    real = features.repeat(3, 1)  # radius 0 for k = 2
    assert coverage(real=real, synthetic=features, k=2).value == 1
    assert (densities(real=real, synthetic=features, k=2) == 1.5).all()


@pytest.mark.parametrize(("n", "m", "k"), [(12, 6, 5), (20, 6, 2), (9, 9, 1)])
def test_equal_distributions_have_the_expected_density_and_coverage(n: int, m: int, k: int) -> None:
    redraws = 100
    found = []
    for seed in range(redraws):
        points = normal(n + m, 2, seed=seed)
        real, synthetic = points[:n], points[n:]
        dense = densities(real=real, synthetic=synthetic, k=k).mean().item()
        found.append((dense, coverage(real=real, synthetic=synthetic, k=k).value))
    for values, expected in zip(np.array(found).T, (1.0, expected_coverage(n, m, k)), strict=True):
        # Four standard errors of the mean of the redraws: right draws fail once in 16,000 seeds, and the seeds are fixed.
        tolerance = 4 * values.std() / math.sqrt(redraws)
        assert values.mean() == pytest.approx(expected, abs=tolerance)
        assert tolerance < 0.2 * expected  # tight enough to tell k from k + 1 where k is 1 or 2


def test_the_expected_coverage_counts_the_orders_of_the_nearest() -> None:
    # Uncovered: all of the k nearest of N - 1 + M equal candidates are among the N - 1 real ones.
    for n, m, k in ((12, 20, 5), (7, 3, 1), (50_000, 10_000, 5)):
        assert expected_coverage(n, m, k) == pytest.approx(1 - math.comb(n - 1, k) / math.comb(n - 1 + m, k), rel=1e-12)
    assert expected_coverage(10, 10, 1) == pytest.approx(10 / 19, rel=1e-12)


def measured(real: Tensor, synthetic: Tensor, k: int = 5, size: int = 8) -> dict[str, Score]:
    """Of both metrics."""
    network = PixelFeatures(size)
    return Density(features=network, k=k).measure(real, synthetic) | Coverage(features=network, k=k).measure(real, synthetic)


def test_the_scores_say_what_they_are() -> None:
    scores = measured(REAL, SYNTHETIC, k=2, size=2)
    assert list(scores) == ["density", "coverage"]
    each, found = densities(real=REAL, synthetic=SYNTHETIC, k=2), coverage(real=REAL, synthetic=SYNTHETIC, k=2)
    assert scores["density"].value == each.mean().item()
    assert scores["density"].standard_error == pytest.approx(np.std(each.numpy(), ddof=1) / math.sqrt(31), rel=1e-12)
    assert scores["density"].interval is None
    assert scores["coverage"].value == found.value
    assert scores["coverage"].standard_error == jackknife_standard_error(found.without)
    assert scores["coverage"].interval == share_interval(found.value, scores["coverage"].standard_error)
    for name, score in scores.items():
        assert score.n == 31
        assert score.protocol == {
            "features": "pixels",
            "num_features": 3,
            "num_real": 50,
            "num_synthetic": 31,
            "resize": "mean over 2 x 2 cells",
            "k": 2,
            **({"interval": WILSON_JACKKNIFE} if name == "coverage" else {}),
        }


def test_images_reach_the_arithmetic_in_their_roles() -> None:
    rng = torch.Generator().manual_seed(0)
    real = torch.randint(0, 256, (30, 3, 8, 8), generator=rng, dtype=torch.uint8)
    synthetic = torch.randint(64, 192, (20, 3, 8, 8), generator=rng, dtype=torch.uint8)
    network = PixelFeatures(2)
    scores = {}
    for metric in (Density(features=network), Coverage(features=network)):
        metric.update(real, real=True)
        metric.update(synthetic, real=False)
        found = metric.scores()
        assert found == metric.measure(network(real), network(synthetic)) != metric.measure(network(synthetic), network(real))
        assert metric.compute().item() == found[metric.name].value
        scores |= found
    assert scores["density"].value > 1  # the middle of the real images is where most of their balls overlap


def test_what_must_be_known_is_remarked() -> None:
    few = measured(normal(60, 3, seed=0), normal(30, 3, seed=1))["coverage"]
    # 1 - 59/89 58/88 57/87 56/86 55/85 = 0.88
    assert few.remarks == ("with so few synthetic images for the real ones, equal distributions would score 0.88",)
    assert measured(normal(60, 3, seed=0), normal(60, 3, seed=1))["coverage"].remarks == ()
    far = measured(REAL, 100 + normal(50, 3, seed=1))
    assert far["density"].standard_error is None and far["coverage"].standard_error is None
    assert far["coverage"].interval is None
    assert far["coverage"].remarks == ("no single synthetic image changes coverage, so its error has no estimate",)


@pytest.mark.parametrize("kind", [Density, Coverage])
def test_too_few_images_and_bad_settings_are_refused(kind: type[Density | Coverage]) -> None:
    metric = kind(features=PixelFeatures(), k=4)
    with pytest.raises(BootlightError, match="at least 5 real images, got 4"):
        metric.measure(REAL[:4], SYNTHETIC)
    with pytest.raises(BootlightError, match="at least 2 synthetic images, got 1"):
        metric.measure(REAL, SYNTHETIC[:1])
    assert metric.measure(REAL[:5], SYNTHETIC[:2])[metric.name].n == 2
    with pytest.raises(BootlightError, match="k is 0"):
        kind(features=PixelFeatures(), k=0)
