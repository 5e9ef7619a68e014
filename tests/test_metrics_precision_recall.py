"""Improved precision and recall: double loops, another library, hand-made sets, and the error of each."""

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_fidelity.metric_prc import prc_features_to_metric

from bootlight.errors import BootlightError
from bootlight.metrics.features.features import PixelFeatures
from bootlight.metrics.neighbours import neighbours
from bootlight.metrics.neighbours.precision_recall import USUAL_KS, Precision, Recall, precision, recall
from bootlight.metrics.once import once
from bootlight.metrics.score import Score
from bootlight.metrics.uncertainty import WILSON, WILSON_JACKKNIFE, jackknife_standard_error, share_interval, wilson_interval


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


REAL, SYNTHETIC = normal(60, 3, seed=0), 0.8 * normal(41, 3, seed=1) + 0.8


def share_in_balls(points: list[list[float]], centres: list[list[float]], k: int) -> float:
    """Share of points in the ball of at least one centre, one pair at a time."""
    radii = [sorted(math.dist(c, other) for i, other in enumerate(centres) if i != j)[k - 1] for j, c in enumerate(centres)]
    return sum(any(math.dist(p, c) <= r for c, r in zip(centres, radii, strict=True)) for p in points) / len(points)


@pytest.mark.parametrize("block_bytes", [1, 8 * 60 * 7, 2**25])
def test_both_are_those_of_a_double_loop(block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", block_bytes)
    ks = [4, 1, 2]
    real, synthetic = REAL.tolist(), SYNTHETIC.tolist()
    shares = [share_in_balls(synthetic, real, k) for k in ks]
    assert precision(real=REAL, synthetic=SYNTHETIC, ks=ks) == pytest.approx(shares, rel=1e-15)
    found = [share_in_balls(real, synthetic, k) for k in ks]
    assert [answer.value for answer in recall(real=REAL, synthetic=SYNTHETIC, ks=ks)] == pytest.approx(found, rel=1e-15)
    assert len({*shares, *found, 0.0, 1.0}) == 8  # six different numbers: none could stand for another


def measured(real: Tensor, synthetic: Tensor, ks: Sequence[int] = USUAL_KS, size: int = 8) -> dict[str, Score]:
    """Of both metrics for each k."""
    scores = {}
    for k in ks:
        for metric in (Precision, Recall):
            scores |= metric(features=PixelFeatures(size), k=k).measure(real, synthetic)
    return scores


def test_both_are_those_of_torch_fidelity() -> None:
    real, synthetic = normal(300, 40, seed=2).double(), 0.9 * normal(250, 40, seed=3).double()
    theirs = prc_features_to_metric(synthetic, real, prc_neighborhood=3, verbose=False)
    ours = measured(real, synthetic, ks=(3,))
    # Theirs is the mean of 300 float32 numbers that are 0 or 1.
    assert ours["precision-k3"].value == pytest.approx(theirs["precision"], rel=1e-6)
    assert ours["recall-k3"].value == pytest.approx(theirs["recall"], rel=1e-6)
    assert 0.1 < theirs["recall"] < theirs["precision"] < 1


def test_sets_made_by_hand() -> None:
    # On a line, k = 1: real balls of radius 1 cover [-1, 4]; the synthetic ones, of radius 0.5, cover [-0.5, 1] and [9.5, 11].
    real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    synthetic = torch.tensor([[0.0], [0.5], [10.0], [10.5]])
    assert precision(real=real, synthetic=synthetic, ks=[1]) == [0.5]
    assert recall(real=real, synthetic=synthetic, ks=[1])[0].value == 0.5  # 0, and 1 on the border of a closed ball


def test_limits() -> None:
    far = 100 + SYNTHETIC
    assert precision(real=REAL, synthetic=REAL, ks=[1, 3]) == [1, 1]
    assert [answer.value for answer in recall(real=REAL, synthetic=REAL, ks=[1, 3])] == [1, 1]
    assert precision(real=REAL, synthetic=far, ks=[3]) == [0]
    assert recall(real=REAL, synthetic=far, ks=[3])[0].value == 0


@pytest.mark.parametrize("case", ["alike", "inside", "sparse", "copies", "repeated"])
@pytest.mark.parametrize("k", [1, 3])
def test_recall_without_an_image_is_the_recall_of_the_others(case: str, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", 8 * 30 * 7)
    real, synthetic = {
        "alike": (REAL, SYNTHETIC),
        "inside": (REAL, 0.2 * SYNTHETIC),
        "sparse": (REAL, 0.4 * SYNTHETIC[:8]),
        "copies": (REAL, REAL[:20]),
        "repeated": (REAL[:25], torch.cat([REAL[:7], REAL[:7], SYNTHETIC[:6]])),
    }[case]
    found = recall(real=real, synthetic=synthetic, ks=[k])[0]
    others = [torch.cat([synthetic[:j], synthetic[j + 1 :]]) for j in range(len(synthetic))]
    expected = [share_in_balls(real.tolist(), rest.tolist(), k) for rest in others]
    np.testing.assert_allclose(found.without, expected, rtol=1e-15)
    assert len(set(expected)) > 1


def test_taking_an_image_away_can_raise_recall() -> None:
    # k = 1 on a line: the ball of 0 reaches to 1 and so to -1; without 1 it reaches to 4 and so to -4.
    synthetic = torch.tensor([[0.0], [1.0], [4.0]])
    found = recall(real=torch.tensor([[-3.0]]), synthetic=synthetic, ks=[1])[0]
    assert found.value == 0 and found.without.tolist() == [0, 1, 0]


def test_the_scores_say_what_they_are() -> None:
    real, synthetic = normal(90, 7, seed=0), 1.3 * normal(80, 7, seed=1)
    scores = measured(real, synthetic, size=2)
    with once():
        assert measured(real, synthetic, size=2) == scores  # both k in one pass
    assert list(scores) == ["precision-k3", "recall-k3", "precision-k5", "recall-k5"]
    for k in (3, 5):
        found, score = recall(real=real, synthetic=synthetic, ks=[k])[0], scores[f"recall-k{k}"]
        assert score.value == found.value
        assert score.standard_error == jackknife_standard_error(found.without)
        assert score.interval == share_interval(found.value, score.standard_error)
        share, score = precision(real=real, synthetic=synthetic, ks=[k])[0], scores[f"precision-k{k}"]
        assert score.value == share
        assert score.standard_error == pytest.approx(math.sqrt(share * (1 - share) / 80), rel=1e-14)
        assert score.interval == wilson_interval(share, 80)
        for name, how in (("recall", WILSON_JACKKNIFE), ("precision", WILSON)):
            score = scores[f"{name}-k{k}"]
            assert score.n == 80
            assert score.protocol == {
                "features": "pixels",
                "num_features": 7,
                "num_real": 90,
                "num_synthetic": 80,
                "resize": "mean over 2 x 2 cells",
                "k": k,
                "interval": how,
            }
            assert json.loads(json.dumps(score.to_json()))["interval"] == list(score.interval or ())


def test_images_reach_the_arithmetic_in_their_roles() -> None:
    rng = torch.Generator().manual_seed(0)
    real = torch.randint(0, 256, (30, 3, 8, 8), generator=rng, dtype=torch.uint8)
    synthetic = torch.randint(64, 192, (20, 3, 8, 8), generator=rng, dtype=torch.uint8)
    network = PixelFeatures(2)
    scores = {}
    for metric in (Precision(features=network, k=2), Recall(features=network, k=2)):
        metric.update(real, real=True)
        metric.update(synthetic, real=False)
        scores |= metric.scores()
        assert metric.compute().item() == scores[metric.name].value
    assert scores == measured(network(real), network(synthetic), ks=(2,), size=2)
    assert scores["precision-k2"].value == 1 > scores["recall-k2"].value  # greyer images: all plausible, not all covered
    assert scores["precision-k2"].n == 20


def test_a_share_of_all_or_nothing_has_an_interval_but_no_error() -> None:
    scores = measured(REAL, 100 + SYNTHETIC, ks=(3,))
    precise, recalled = scores["precision-k3"], scores["recall-k3"]
    assert precise.value == recalled.value == 0
    assert precise.standard_error is None and precise.interval == wilson_interval(0, 41)
    assert recalled.standard_error is None and recalled.interval is None
    assert "no single synthetic image changes recall" in recalled.remarks[-1]
    assert precise.remarks == recalled.remarks[:-1]


def test_small_and_unequal_sets_are_remarked_on() -> None:
    few = measured(REAL, SYNTHETIC, ks=(1,))["recall-k1"].remarks
    assert len(few) == 1 and few[0].startswith("only 41 images on one side: below 1,000")
    unequal = measured(REAL, SYNTHETIC[:29], ks=(1,))["precision-k1"].remarks
    assert len(unequal) == 2 and "unequal numbers" in unequal[1]
    many = normal(1000, 1, seed=0)
    assert measured(many, many[:999], ks=(1,))["precision-k1"].remarks != ()
    assert measured(many, many, ks=(1,))["precision-k1"].remarks == ()


@pytest.mark.parametrize("kind", [Precision, Recall])
def test_too_few_images_and_bad_settings_are_refused(kind: type[Precision | Recall]) -> None:
    metric = kind(features=PixelFeatures(), k=5)
    with pytest.raises(BootlightError, match="at least 7 real images, got 6"):
        metric.measure(REAL[:6], SYNTHETIC)
    with pytest.raises(BootlightError, match="at least 7 synthetic images, got 0"):
        metric.measure(REAL, torch.empty(0, 0))
    assert metric.measure(REAL[:7], SYNTHETIC[:7])[metric.name].n == 7
    with once():  # too few for k = 5, which is else answered in the same pass
        assert kind(features=PixelFeatures(), k=3).measure(REAL[:5], SYNTHETIC[:5])[f"{metric.name[:-1]}3"].n == 5
    with pytest.raises(BootlightError, match="NaN or infinity"):
        metric.measure(REAL, SYNTHETIC / 0)
    with pytest.raises(BootlightError, match="k is 0"):
        kind(features=PixelFeatures(), k=0)
