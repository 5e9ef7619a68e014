"""Inception score: closed forms, the libraries, its error and bias, and the metric."""

import math
import warnings

import pytest
import torch
from random_inception import noise
from torch import Tensor, nn
from torch_fidelity.metric_isc import isc_features_to_metric
from torchmetrics.image.inception import InceptionScore as OtherInceptionScore

from bootlight.errors import BootlightError
from bootlight.metrics import exact
from bootlight.metrics.distances.inception_score import InceptionScore, inception_score

SURE = 1e4  # a logit that leaves no doubt: exp(-1e4) is 0 in float64


def logits(count: int, classes: int, seed: int, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(count, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("splits", [1, 4, 10])
def test_it_is_the_score_of_torch_fidelity(splits: int) -> None:
    features = logits(137, 12, seed=0)  # 137 images make splits of 13 and of 14
    expected = isc_features_to_metric(features, splits=splits)
    estimate = inception_score(features, splits)
    # Float64, sums of 1,644 terms of size 1 in another order: 1e-13.
    assert estimate.value == pytest.approx(expected["inception_score_mean"], rel=1e-11)
    if splits > 1:
        assert estimate.deviation == pytest.approx(expected["inception_score_std"], rel=1e-8)
    else:
        assert estimate.deviation is None


def test_it_is_the_score_of_torchmetrics() -> None:
    features = logits(60, 7, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of its buffer, and of the deviation of one split
        metric = OtherInceptionScore(feature=nn.Identity(), splits=1)
        metric.update(features)
        expected = metric.compute()[0].item()
    assert inception_score(features).value == pytest.approx(expected, rel=1e-6)  # it may answer in float32


def test_certain_predictions_of_all_classes_score_the_number_of_classes() -> None:
    estimate = inception_score(SURE * torch.eye(9).repeat(4, 1))
    # Entropies of exact zeros and ones, the mean of 36 terms 1/9: rounding only.
    assert estimate.value == pytest.approx(9, rel=1e-12)


def test_equal_predictions_score_one() -> None:
    estimate = inception_score(logits(1, 9, seed=2).expand(20, 9))
    assert estimate.value == pytest.approx(1, rel=1e-12)
    assert estimate.standard_error == pytest.approx(0, abs=1e-12)
    assert estimate.bias == pytest.approx(0, abs=1e-12)


def test_classes_that_are_never_seen_count_nothing() -> None:
    some = torch.full((12, 1008), -SURE)
    some[torch.arange(12), torch.arange(12) % 3] = SURE
    assert inception_score(some).value == pytest.approx(3, rel=1e-12)


def test_unequal_classes_score_by_their_entropy() -> None:
    # Three quarters surely of class 0, one quarter undecided between 1 and 2: p = (3/4, 1/8, 1/8).
    rows = [[SURE, 0, 0]] * 6 + [[0, SURE, SURE]] * 2
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.125))
    assert inception_score(torch.tensor(rows)).value == pytest.approx(math.exp(entropy - 0.25 * math.log(2)), rel=1e-12)


@pytest.mark.parametrize("block", [1, 7])
def test_the_size_of_a_block_does_not_matter(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    features = logits(30, 5, seed=3)
    whole = inception_score(features, 2)
    monkeypatch.setattr(exact, "BLOCK", block)
    assert inception_score(features, 2) == pytest.approx(whole, rel=1e-11)  # the order of summation differs


def test_images_sorted_by_class_do_not_make_splits_of_one_class() -> None:
    features = SURE * torch.eye(10).repeat_interleave(50, 0)
    # Ten splits of 50 images of 10 classes: the entropy of each is log 10 less about 9/100, so the score about 9.1.
    assert 8.5 < inception_score(features, 10).value < 9.7


def test_the_error_is_that_of_the_jackknife() -> None:
    features = logits(150, 6, seed=4)
    scores = torch.tensor([inception_score(torch.cat([features[:i], features[i + 1 :]])).value for i in range(150)])
    brute = (149 / 150 * (scores - scores.mean()).square().sum()).sqrt().item()
    # Both are the same to first order in 1/n.
    assert inception_score(features).standard_error == pytest.approx(brute, rel=0.04)


@pytest.mark.parametrize(("shares", "caution"), [([0.1] * 10, 2**0.5), ([0.55] + [0.05] * 9, 1.0)])
def test_error_and_bias_are_those_of_redraws(shares: list[float], caution: float) -> None:
    draws = torch.multinomial(torch.tensor(shares), 400 * 100, True, generator=torch.Generator().manual_seed(5)).view(400, 100)
    found = [inception_score(SURE * torch.eye(10)[draw]) for draw in draws]
    values = torch.tensor([e.value for e in found], dtype=torch.float64)
    error = torch.tensor([e.standard_error for e in found]).square().mean().sqrt().item()
    # With equal shares all images have the same KL, the spread is of second order, (K - 1) / (2n²), and the noise in KL has
    # the variance (K - 1) / n. The spread of 400 values is right to 1/√800 = 4 %, 6 % for a chi-squared one.
    assert error == pytest.approx(caution * values.std().item(), rel=0.15)
    true = math.exp(-sum(p * math.log(p) for p in shares))
    bias = torch.tensor([e.bias for e in found]).mean().item()
    # K - 1 = 9 over 2n = 200, the bias of an entropy (Miller 1955); its next order is Σ 1/p / (12 n²) < 0.002.
    assert bias == pytest.approx(1 - math.exp(-9 / 200), rel=0.05)
    assert values.mean().item() == pytest.approx(true * (1 - bias), abs=4 * values.std().item() / 20 + 0.004 * true)


def test_the_error_of_splits_is_that_of_their_mean() -> None:
    features = logits(400, 6, seed=6)
    one, four = inception_score(features), inception_score(features, 4)
    # The mean of four scores of a quarter of the images each varies as the score of all, to first order.
    assert four.standard_error == pytest.approx(one.standard_error, rel=0.1)
    assert four.bias == pytest.approx(4 * one.bias, rel=0.1)


class Classifier(nn.Module):
    """Mean colours as logits of three classes; features of another kind must not be taken for them."""

    name = "colours"

    def forward(self, images: Tensor) -> Tensor:
        return torch.zeros(len(images), 8)

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        return {"features": self(images), "logits": images.float().mean((2, 3)) / 25}


def test_the_metric_needs_synthetic_images_alone() -> None:
    metric = InceptionScore(features=Classifier())
    metric.update(noise(20, 7, edge=2), real=False)
    metric.update(noise(10, 8, edge=2), real=False)
    (name, score), *others = metric.scores().items()
    expected = inception_score(Classifier().outputs(torch.cat([noise(20, 7, edge=2), noise(10, 8, edge=2)]))["logits"])
    assert (name, others) == ("inception_score", [])
    assert (score.value, score.standard_error, score.n) == (expected.value, expected.standard_error, 30)
    assert score.protocol == {"features": "colours", "num_features": 3, "num_real": 0, "num_synthetic": 30, "splits": 1}
    assert score.remarks == (f"30 images a split, fewer than 5,000: reads low, here by about {100 * expected.bias:.2g} %.",)
    metric.update(noise(10, 9, edge=2), real=True)
    assert metric.scores()["inception_score"] == score


def test_splits_leave_their_deviation_in_the_protocol() -> None:
    features = logits(40, 3, seed=10)
    score = InceptionScore(features=Classifier(), splits=4).measure(torch.empty(0, 0), features)["inception_score"]
    assert score.protocol["splits"] == 4
    assert score.protocol["standard_deviation"] == inception_score(features, 4).deviation
    assert "10 images a split" in score.remarks[0]


def test_five_thousand_images_need_no_remark() -> None:
    metric = InceptionScore(features=Classifier())
    assert metric.measure(torch.empty(0, 0), logits(5000, 3, seed=11))["inception_score"].remarks == ()
    assert len(metric.measure(torch.empty(0, 0), logits(4999, 3, seed=11))["inception_score"].remarks) == 1


def test_too_few_images_and_bad_splits_are_refused() -> None:
    with pytest.raises(BootlightError, match="needs at least 8 synthetic images, got 7"):
        inception_score(logits(7, 3, seed=12), 4)
    assert math.isfinite(inception_score(logits(8, 3, seed=12), 4).standard_error)
    with pytest.raises(BootlightError, match="splits is 0"):
        InceptionScore(features=Classifier(), splits=0)
    with pytest.raises(BootlightError, match="NaN or infinity"):
        inception_score(torch.tensor([[1.0, math.inf], [0.0, 1.0]]))
