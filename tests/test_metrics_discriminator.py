"""The discriminator's score: closed forms, range of the images, modes, processes."""

import math

import pytest
import torch
from torch import Tensor, nn

from bootlight.errors import BootlightError
from bootlight.io.pictures import to_float
from bootlight.metrics.discriminator import DiscriminatorScore
from bootlight.metrics.score import Score
from bootlight.metrics.uncertainty import PLUS_FOUR


def grey(*levels: int) -> Tensor:
    return torch.tensor(levels, dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 3, 4, 4)


class Brightness(nn.Module):
    """Logit = scale * mean of the images it is given, answered with the shape of DCGAN's last convolution."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, images: Tensor) -> Tensor:
        return self.scale * images.mean((1, 2, 3), keepdim=True)


class Normalised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(images).mean((1, 2, 3))


def score_of(metric: DiscriminatorScore) -> Score:
    """The only score of a metric, whose number can be logged."""
    ((name, score),) = metric.scores().items()
    assert name == "discriminator_score" and metric.compute().item() == score.value
    return score


def test_images_reach_the_judge_between_minus_one_and_one() -> None:
    score = DiscriminatorScore(Brightness(2))
    score.update(grey(0, 255))
    # Black is -1 and white 1, so the logits are -2 and 2 and the probabilities 1 / (1 + e^2) and its complement.
    low = 1 / (1 + math.exp(2))
    assert score_of(score).value == pytest.approx(0.5, abs=1e-12)
    assert score_of(score).protocol["standard_deviation"] == pytest.approx((1 - 2 * low) / math.sqrt(2), rel=1e-6)


def test_mean_deviation_and_error_have_their_closed_form() -> None:
    levels = [0, 10, 77, 128, 255]
    score = DiscriminatorScore(Brightness(3))
    score.update(grey(*levels[:2]))
    score.update(grey(*levels[2:]))
    chances = [1 / (1 + math.exp(-3 * (level / 127.5 - 1))) for level in levels]
    mean = sum(chances) / 5
    deviation = math.sqrt(sum((c - mean) ** 2 for c in chances) / 4)
    answer = score_of(score)
    # Logits are float32: relative 1e-7 of 3, times the slope of the sigmoid of at most 1/4.
    assert answer.value == pytest.approx(mean, abs=3e-7)
    assert answer.standard_error == pytest.approx(deviation / math.sqrt(5), abs=3e-7)
    about = {"standard_deviation": pytest.approx(deviation, abs=5e-7), "num_synthetic": 5, "interval": PLUS_FOUR}
    assert answer.protocol == about
    assert answer.n == 5


def test_large_logits_keep_their_difference_from_zero() -> None:
    score = DiscriminatorScore(Brightness(100))
    score.update(grey(0))
    # e^-100 is far below float32's range; the logit -100 is exact.
    assert score_of(score).value == pytest.approx(math.exp(-100), rel=1e-12)


def test_one_image_has_no_error() -> None:
    score = DiscriminatorScore(Brightness())
    score.update(grey(9))
    assert score_of(score).standard_error is None and score_of(score).protocol["standard_deviation"] is None


def test_an_image_is_scored_alike_in_any_company() -> None:
    judge = Normalised().train()
    metric = DiscriminatorScore(judge).train()
    metric.update(grey(40, 250))
    judge.train()  # batch statistics would now map each batch to mean 0
    metric.update(grey(200))
    images = to_float(grey(40, 250, 200)).double()
    # Running mean 0 and variance 1 of a fresh layer: only its epsilon 1e-5 acts. Float32 logits of size 1.
    chances = (images.mean((1, 2, 3)) / math.sqrt(1 + 1e-5)).sigmoid()
    assert score_of(metric).value == pytest.approx(chances.mean().item(), abs=1e-7)
    assert judge.norm.num_batches_tracked == 0


def test_the_judge_stays_out_of_the_module_tree() -> None:
    metric = DiscriminatorScore(Normalised())
    metric.update(grey(1, 2))
    metric.persistent(True)
    assert set(metric.state_dict()) == {"logits"} and list(metric.parameters()) == []


def test_forward_scores_the_batch_and_accumulates() -> None:
    metric = DiscriminatorScore(Brightness())
    assert metric(grey(0)).item() == pytest.approx(1 / (1 + math.e), abs=1e-7)
    assert metric(grey(255)).item() == pytest.approx(1 / (1 + math.exp(-1)), abs=1e-7)
    assert score_of(metric).value == pytest.approx(0.5, abs=1e-7)


def test_two_processes_answer_like_one() -> None:
    first, second, whole = (DiscriminatorScore(Brightness(2)) for _ in range(3))
    first.update(grey(3, 50, 90))
    second.update(grey(200))
    whole.update(grey(3, 50, 90, 200))
    first.distributed_available_fn = lambda: True
    first.dist_sync_fn = lambda own, group: [own, second.logits[0]]
    assert score_of(first) == score_of(whole)
    third = DiscriminatorScore(Brightness(2))
    third.update(grey(3, 50, 90))
    third.merge_state(second)
    # The merged logits come in another order: sums of four float64.
    assert score_of(third).value == pytest.approx(score_of(whole).value, rel=1e-14)


def test_one_process_can_measure_alone() -> None:
    metric = DiscriminatorScore(Brightness(2), sync_on_compute=False)
    metric.distributed_available_fn = lambda: True
    metric.dist_sync_fn = lambda own, group: pytest.fail("waits for processes that never come")
    metric.update(grey(3))
    assert score_of(metric).n == 1


def test_mistakes_are_named() -> None:
    metric = DiscriminatorScore(Brightness(math.nan))
    with pytest.warns(UserWarning, match="before the ``update``"), pytest.raises(BootlightError, match="no images"):
        metric.compute()
    metric.update(grey(1))
    with pytest.raises(BootlightError, match="NaN"):
        metric.compute()
    with pytest.raises(TypeError, match=r"uint8 images, not torch\.float32"):
        metric.update(grey(1).float())
    with pytest.raises(ValueError, match=r"answered \(2, 3, 4, 4\) to 2 images"):
        DiscriminatorScore(nn.Identity()).update(grey(1, 2))
