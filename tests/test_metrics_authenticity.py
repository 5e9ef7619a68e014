"""Authenticity: a double loop, copies, and the closed form for a generator without fault."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bootlight.errors import BootlightError
from bootlight.metrics.features.features import PixelFeatures
from bootlight.metrics.neighbours.authenticity import Authenticity, authentic
from bootlight.metrics.uncertainty import WILSON, wilson_interval


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


REAL, SYNTHETIC = normal(40, 3, seed=0), 1.2 * normal(60, 3, seed=1)


def by_hand(real: Tensor, synthetic: Tensor) -> list[bool]:
    rows, answers = real.tolist(), []
    for image in synthetic.tolist():
        distance, i = min((math.dist(image, row), i) for i, row in enumerate(rows))
        answers.append(distance > min(math.dist(rows[i], row) for j, row in enumerate(rows) if j != i))
    return answers


def test_the_answers_are_those_of_a_double_loop() -> None:
    expected = by_hand(REAL, SYNTHETIC)
    assert authentic(real=REAL, synthetic=SYNTHETIC).tolist() == expected
    assert 10 < sum(expected) < 50


def test_made_by_hand() -> None:
    real = torch.tensor([[0.0], [1.0], [5.0]])
    # 5 is 4 from its nearest; 8 is nearer to it than that, 9 is as near, 9.5 is farther. 0.4 lies within 1 of 0, -1.5 does not.
    synthetic = torch.tensor([[8.0], [9.0], [9.5], [0.4], [-1.5]])
    assert authentic(real=real, synthetic=synthetic).tolist() == [False, False, True, False, True]


def test_copies_are_not_authentic_and_far_images_are() -> None:
    assert not authentic(real=REAL, synthetic=REAL).any()
    assert not authentic(real=REAL.repeat(2, 1), synthetic=REAL).any()  # though the real images have distance 0 to each other
    assert not authentic(real=REAL, synthetic=REAL + 1e-4).any()
    assert authentic(real=REAL, synthetic=REAL + 100).all()


def test_a_generator_without_fault_scores_a_third_on_a_circle() -> None:
    # On a circle gaps between neighbours are exchangeable. A synthetic image fails if the smaller of the gaps beside it is
    # smaller than the next gap behind that neighbour too: the smallest of three gaps is one of two of them, 2/3.
    shares = []
    for seed in range(200):
        angles = 2 * math.pi * torch.rand(40, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        points = torch.stack([angles.cos(), angles.sin()], 1)
        shares.append(authentic(real=points[:20], synthetic=points[20:]).double().mean().item())
    error = np.std(shares) / math.sqrt(200)  # 0.01
    assert np.mean(shares) == pytest.approx(1 / 3, abs=4 * error)  # draws without fault fail once in 16,000 seeds
    assert error < 0.015


def test_a_generator_without_fault_scores_38_per_cent_in_a_plane() -> None:
    # Two circles of radius 1, each with its centre on the other: a ball's share of their union is 6 pi / (8 pi + 3 sqrt 3).
    expected = 1 - 6 * math.pi / (8 * math.pi + 3 * math.sqrt(3))
    shares = []
    for seed in range(10):
        points = torch.rand(2000, 2, generator=torch.Generator().manual_seed(seed))
        inner = (points[1000:] - 0.5).abs().amax(1) < 0.4  # far from the border by several distances between neighbours, 0.03
        shares.append(authentic(real=points[:1000], synthetic=points[1000:][inner]).double().mean().item())
    # Some 640 images in each of ten draws: 0.006, and reference images are shared by images, so up to twice that.
    assert np.mean(shares) == pytest.approx(expected, abs=0.03)
    assert expected == pytest.approx(0.3785, abs=1e-4)


def test_the_score_says_what_it_is() -> None:
    share = np.mean(by_hand(REAL, SYNTHETIC))
    (score,) = Authenticity(features=PixelFeatures(2)).measure(REAL, SYNTHETIC).values()
    assert score.value == pytest.approx(100 * share, rel=1e-14)
    assert score.standard_error == pytest.approx(100 * math.sqrt(share * (1 - share) / 60), rel=1e-12)
    assert score.interval == pytest.approx([100 * end for end in wilson_interval(float(share), 60)], rel=1e-12)
    assert score.n == 60 and score.protocol == {
        "features": "pixels",
        "num_features": 3,
        "num_real": 40,
        "num_synthetic": 60,
        "resize": "mean over 2 x 2 cells",
        "interval": WILSON,
    }
    assert score.remarks[0].startswith("only 60 synthetic images")


def test_images_reach_the_arithmetic_in_their_roles() -> None:
    rng = torch.Generator().manual_seed(0)
    real = torch.randint(0, 256, (130, 3, 8, 8), generator=rng, dtype=torch.uint8)
    metric = Authenticity(features=PixelFeatures(2))
    metric.update(real[:120], real=True)
    metric.update(torch.cat([real[10:120], real[120:] // 8]), real=False)
    score = metric.scores()["authpct"]
    assert score.value == pytest.approx(100 * 10 / 120)  # 110 copies, and 10 dark images far from all others
    assert score.remarks == ()
    metric.reset()
    metric.update(real[:9], real=False)
    copies = metric.scores()["authpct"]
    assert copies.value == 0 and copies.standard_error is None
    assert copies.interval == pytest.approx([100 * end for end in wilson_interval(0, 9)])


def test_too_few_images_are_refused() -> None:
    metric = Authenticity(features=PixelFeatures())
    with pytest.raises(BootlightError, match="at least 2 real images, got 1"):
        metric.measure(REAL[:1], SYNTHETIC)
    with pytest.raises(BootlightError, match="at least 1 synthetic images, got 0"):
        metric.measure(REAL, SYNTHETIC[:0])
