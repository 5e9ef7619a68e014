"""Vendi score: closed forms, both matrices, its error, and the metric."""

import json
import math

import numpy as np
import pytest
import torch
from random_inception import noise
from torch import Tensor

from bootlight.errors import BootlightError
from bootlight.metrics import exact
from bootlight.metrics.features.features import PixelFeatures
from bootlight.metrics.vendi import VendiScore, vendi_score

ORDERS = [0.5, 1.0, 2.0, math.inf]


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def diversity(values: np.ndarray, order: float) -> float:
    """Hill number of shares (R,), in numpy."""
    shares = values[values > 1e-12]
    if order == 1:
        return float(np.exp(-np.sum(shares * np.log(shares))))
    return float(1 / shares.max() if math.isinf(order) else np.sum(shares**order) ** (1 / (1 - order)))


def by_the_kernel(features: Tensor, order: float, weights: np.ndarray | None = None) -> float:
    """From the whole n x n matrix of cosines, images weighted."""
    rows = features.numpy() / np.linalg.norm(features.numpy(), axis=1, keepdims=True)
    shares = np.full(len(rows), 1 / len(rows)) if weights is None else weights
    return diversity(np.linalg.eigvalsh(np.sqrt(np.outer(shares, shares)) * (rows @ rows.T)), order)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("count", "size"), [(8, 20), (8, 8), (20, 8), (60, 8)])
def test_both_matrices_give_the_score_of_the_kernel(count: int, size: int, order: float) -> None:
    features = normal(count, size, seed=0) + 1
    # Eigenvalues of size 0.01 to 1 with rounding error 1e-16; order ½ takes roots of the smallest.
    assert vendi_score(features, order).value == pytest.approx(by_the_kernel(features, order), rel=1e-11)


@pytest.mark.parametrize("order", ORDERS)
def test_limits(order: float) -> None:
    assert vendi_score(7 * torch.eye(6, 9), order).value == pytest.approx(6, rel=1e-12)  # all orthogonal
    assert vendi_score(normal(1, 5, seed=1).expand(9, 5), order).value == pytest.approx(1, rel=1e-12)  # all alike
    assert vendi_score(normal(1, 5, seed=1), order) == (pytest.approx(1, rel=1e-12), None)


@pytest.mark.parametrize("order", ORDERS)
def test_orthogonal_kinds_count_by_their_shares(order: float) -> None:
    kinds = torch.eye(4)[torch.tensor([0] * 5 + [1] * 3 + [2] * 2)]
    expected = diversity(np.array([0.5, 0.3, 0.2]), order)
    assert vendi_score(kinds, order).value == pytest.approx(expected, rel=1e-12)


def test_lengths_and_signs_do_not_matter_but_directions_do() -> None:
    features, scale = normal(12, 5, seed=2), normal(12, 1, seed=3) * 1e3
    # 1e-160 squared is 0 in float64: lengths must not be taken of the raw rows.
    for factor in (scale, 1e-160, 1e160):
        assert vendi_score(features * factor).value == pytest.approx(vendi_score(features).value, rel=1e-11)
    assert vendi_score(features + 1).value < vendi_score(features).value - 0.1


def test_rows_of_zeros_are_one_kind_of_their_own() -> None:
    black = torch.zeros(4, 3)
    assert vendi_score(black).value == pytest.approx(1, rel=1e-12)
    assert vendi_score(torch.cat([black, torch.ones(4, 3)])).value == pytest.approx(2, rel=1e-12)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("count", "size"), [(9, 30), (25, 4)])
def test_the_error_is_the_spread_of_the_derivatives(count: int, size: int, order: float) -> None:
    features = normal(count, size, seed=4) + 0.5
    step, influences = 1e-5, []
    for image in range(count):
        moved = []
        for sign in (1, -1):
            weights = np.full(count, (1 - sign * step) / count)
            weights[image] += sign * step
            moved.append(by_the_kernel(features, order, weights))
        influences.append((moved[0] - moved[1]) / (2 * step))
    expected = np.std(influences, ddof=1) / count**0.5
    # Central differences: third derivatives times step² = 1e-10 times powers of n, rounding 1e-15 / step = 1e-10.
    assert vendi_score(features, order).standard_error == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("order", ORDERS)
def test_the_error_is_that_of_the_jackknife(order: float) -> None:
    features = normal(150, 3, seed=5) * torch.tensor([2.0, 1.0, 0.5]) + torch.tensor([0.0, 2.0, 0.0])
    scores = [vendi_score(torch.cat([features[:i], features[i + 1 :]]), order).value for i in range(150)]
    brute = (149 / 150 * np.sum((np.array(scores) - np.mean(scores)) ** 2)) ** 0.5
    assert vendi_score(features, order).standard_error == pytest.approx(brute, rel=0.02)  # equal to first order in 1/n


def test_the_error_is_that_of_redraws() -> None:
    scale, shift = torch.tensor([2.0, 1.0, 0.5, 0.5]), torch.tensor([1.0, 2.0, 0.0, 0.0])
    found = [vendi_score(draw * scale + shift) for draw in normal(300, 100, 4, seed=6)]
    spread = torch.tensor([estimate.value for estimate in found]).std().item()
    error = torch.tensor([estimate.standard_error or 0.0 for estimate in found]).square().mean().sqrt().item()
    assert error == pytest.approx(spread, rel=0.13)  # the spread of 300 values is right to 1/√600 = 4 %


def test_more_images_score_higher() -> None:
    features = normal(400, 100, seed=7)
    few = np.mean([vendi_score(part).value for part in features.split(50)])
    assert few < 50 < vendi_score(features).value < 100  # bounded by n and D


@pytest.mark.parametrize("block", [1, 7])
def test_the_size_of_a_block_does_not_matter(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    for count in (5, 30):
        monkeypatch.setattr(exact, "BLOCK", 2048)
        whole = vendi_score(normal(count, 8, seed=8))
        monkeypatch.setattr(exact, "BLOCK", block)
        assert vendi_score(normal(count, 8, seed=8)) == pytest.approx(whole, rel=1e-11)


def test_the_metric_scores_both_sides() -> None:
    metric = VendiScore(features=PixelFeatures(2))
    metric.update(noise(40, 0), real=True)
    metric.update(noise(40, 1) // 2, real=False)
    scores = metric.scores()
    synthetic, real = (vendi_score(PixelFeatures(2)(images)) for images in (noise(40, 1) // 2, noise(40, 0)))
    assert list(scores) == ["vendi", "vendi/real"]
    assert (scores["vendi"].value, scores["vendi"].standard_error) == synthetic != real
    assert (scores["vendi/real"].value, scores["vendi/real"].standard_error) == real
    assert scores["vendi"].n == scores["vendi/real"].n == 40
    assert scores["vendi"].remarks == scores["vendi/real"].remarks == ()  # 40 pictures for about one kind
    assert json.loads(json.dumps(scores["vendi"].protocol)) == {
        "features": "pixels",
        "num_features": 12,
        "num_real": 40,
        "num_synthetic": 40,
        "resize": "mean over 2 x 2 cells",
        "kernel": "cosine",
        "order": 1.0,
    }


def test_the_metric_remarks_what_does_not_compare() -> None:
    scores = VendiScore(features=PixelFeatures()).measure(normal(30, 4, seed=9), normal(20, 4, seed=10))
    for name, count in (("vendi", 20), ("vendi/real", 30)):
        assert scores[name].n == count
        assert scores[name].remarks[0].startswith(f"{count} images bound this score")  # about 4 kinds
        assert "30 real and 20 synthetic images" in scores[name].remarks[1]


def test_without_real_images_only_the_synthetic_are_scored() -> None:
    scores = VendiScore(features=PixelFeatures()).measure(torch.empty(0, 0), torch.eye(1, 4).expand(20, 4))
    assert list(scores) == ["vendi"] and scores["vendi"].remarks == ()
    with pytest.raises(BootlightError, match="at least 1 synthetic images, got 0"):
        VendiScore(features=PixelFeatures()).measure(torch.ones(3, 2), torch.empty(0, 0))


@pytest.mark.parametrize(("order", "name", "written"), [(2.0, "vendi-q2", 2.0), (math.inf, "vendi-qinf", "infinity")])
def test_other_orders_have_their_name(order: float, name: str, written: float | str) -> None:
    features = normal(30, 4, seed=11)
    scores = VendiScore(features=PixelFeatures(), order=order).measure(features, features + 1)
    assert list(scores) == [name, f"{name}/real"]
    assert scores[name].value == vendi_score(features + 1, order).value
    assert json.loads(json.dumps(scores[name].protocol))["order"] == written


@pytest.mark.parametrize("order", [0.0, -1.0, math.nan])
def test_orders_that_are_not_positive_are_refused(order: float) -> None:
    with pytest.raises(BootlightError, match="must be positive"):
        VendiScore(features=PixelFeatures(), order=order)
