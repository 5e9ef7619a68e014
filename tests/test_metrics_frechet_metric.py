"""The Fréchet distance as a torchmetrics metric: states, modes, processes."""

import json
from collections.abc import Iterator

import pytest
import torch
from random_inception import noise
from torch import Tensor, nn

from bootlight.errors import BootlightError
from bootlight.metrics.distances.frechet import FrechetDistance, frechet_distance, frechet_jackknife
from bootlight.metrics.distances.statistics import feature_statistics
from bootlight.metrics.features.features import PixelFeatures
from bootlight.metrics.features.frozen import Frozen
from bootlight.metrics.score import Score

REAL, SYNTHETIC = noise(30, 0), noise(21, 1) // 2


class Probe(nn.Module):
    """A convolution with batch norm: batch statistics, autocast and gradients would all show."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            self.layers = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Dropout(0.5))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images.float() / 255).mean((2, 3))


def measured(metric: FrechetDistance, batch: int = 100, synthetic: Tensor = SYNTHETIC) -> FrechetDistance:
    for images in REAL.split(batch):
        metric.update(images, real=True)
    for images in synthetic.split(batch):
        metric.update(images, real=False)
    return metric


def score_of(metric: FrechetDistance) -> Score:
    """The only score of a metric, under its name."""
    ((name, score),) = metric.scores().items()
    assert name == metric.name and metric.compute().item() == score.value
    return score


def test_the_score_is_the_arithmetic_on_the_features() -> None:
    score = score_of(measured(FrechetDistance(features=PixelFeatures(2))))
    network = PixelFeatures(2)
    real = feature_statistics(network(REAL))
    synthetic = network(SYNTHETIC)
    found = frechet_jackknife(real=real, synthetic_features=synthetic)
    assert (score.value, score.standard_error) == found[:2]
    # Eigenvalues with and without vectors differ by rounding, 12 * 2e-16 of the largest, which is of the size of the value.
    assert score.value == pytest.approx(frechet_distance(real=real, synthetic=feature_statistics(synthetic)), rel=1e-12)
    assert json.loads(json.dumps(score.to_json())) == {
        "value": score.value,
        "standard_error": score.standard_error,
        "n": 21,
        "protocol": {
            "features": "pixels",
            "num_features": 12,
            "num_real": 30,
            "num_synthetic": 21,
            "resize": "mean over 2 x 2 cells",
        },
        "interval": None,
        "remarks": list(score.remarks),
        "higher_is_better": False,
    }


def test_the_name_follows_the_network_unless_given() -> None:
    assert FrechetDistance(features=PixelFeatures()).name == "fd-pixels"
    assert FrechetDistance(features=PixelFeatures(), name="mine").name == "mine"


@pytest.mark.parametrize("batch", [1, 4, 21])
def test_the_batch_size_does_not_matter(batch: int) -> None:
    whole, parts = (score_of(measured(FrechetDistance(features=Probe()), size)) for size in (100, batch))
    # Float32 features of size 1 may differ in the last bit with the batch, 1e-7; the value is about 0.1.
    assert parts.value == pytest.approx(whole.value, rel=1e-5)
    assert parts.standard_error == pytest.approx(whole.standard_error, rel=1e-5)


def test_train_mode_changes_nothing() -> None:
    network = Probe().train()
    metric = FrechetDistance(features=network).train()
    value = score_of(measured(metric)).value
    network.train()  # as a trainer that reaches the network by another way would do
    metric.reset()
    metric.update(SYNTHETIC, real=False)
    again = score_of(metric).value
    running = network.layers[1].running_mean
    assert value == again == score_of(measured(FrechetDistance(features=Probe().eval()))).value
    assert running is not None and running.tolist() == [0] * 5  # no image moved the running statistics


def test_the_network_stays_out_of_the_module_tree() -> None:
    metric = measured(FrechetDistance(features=Probe()))
    metric.persistent(True)
    assert set(metric.state_dict()) == {"real_features", "synthetic_features", "forgets_reference"}
    assert list(metric.parameters()) == [] and list(metric.buffers()) == []
    assert not Frozen(Probe())(SYNTHETIC).requires_grad  # forward of torchmetrics switches gradients on


def test_autocast_of_the_trainer_does_not_reach_the_features() -> None:
    with torch.no_grad():
        expected = Probe().eval()(SYNTHETIC)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        metric = measured(FrechetDistance(features=Probe()))
    assert torch.equal(metric.synthetic_features[0], expected)


def test_grey_images_are_repeated_for_a_network_of_colours() -> None:
    grey = SYNTHETIC[:, :1]
    three, one = FrechetDistance(features=PixelFeatures(2)), FrechetDistance(features=PixelFeatures(2, channels=1))
    for metric in (three, one):
        metric.update(REAL[:, :1], real=True)
        metric.update(grey, real=False)
    # A threefold copy multiplies the squared shift and every eigenvalue of both covariances by three; sums of twelve terms.
    assert score_of(three).value == pytest.approx(3 * score_of(one).value, rel=1e-6)
    assert score_of(three).protocol["num_features"] == 12 and score_of(one).protocol["num_features"] == 4


def test_reset_keeps_the_reference() -> None:
    metric = measured(FrechetDistance(features=PixelFeatures(2)), synthetic=noise(9, 3))
    first = score_of(metric).value
    metric.reset()
    metric.update(SYNTHETIC, real=False)
    assert score_of(metric).value == score_of(measured(FrechetDistance(features=PixelFeatures(2)))).value != first


def test_more_reference_images_are_taken_in_after_an_answer() -> None:
    metric = measured(FrechetDistance(features=PixelFeatures(2)))
    metric.compute()
    metric.update(noise(5, 4), real=True)
    real = feature_statistics(PixelFeatures(2)(torch.cat([REAL, noise(5, 4)])))
    synthetic = feature_statistics(PixelFeatures(2)(SYNTHETIC))
    # The order of summation is the same; nothing but the path through the metric differs.
    assert score_of(metric).value == pytest.approx(frechet_distance(real=real, synthetic=synthetic), rel=1e-12)


def test_reset_of_the_reference_forgets_it_altogether() -> None:
    metric = measured(FrechetDistance(features=PixelFeatures(2), reset_real_features=True))
    metric.compute()
    metric.reset()
    metric.update(REAL, real=False)
    with pytest.raises(BootlightError, match="at least 2 images on each side, got 0"):
        metric.compute()
    metric.update(REAL.flip(2), real=True)  # as many as before, but others
    swapped = feature_statistics(PixelFeatures(2)(REAL.flip(2)))
    expected = frechet_distance(real=swapped, synthetic=feature_statistics(PixelFeatures(2)(REAL)))
    assert score_of(metric).value == pytest.approx(expected, rel=1e-12)


def test_forward_scores_the_batch_and_accumulates() -> None:
    metric = FrechetDistance(features=PixelFeatures(2))
    metric.update(REAL, real=True)
    batches = SYNTHETIC.split(7)
    answers = [metric(batch, real=False) for batch in batches]
    alone = [measured(FrechetDistance(features=PixelFeatures(2)), synthetic=batch).compute() for batch in batches]
    assert answers == alone and metric(REAL[:3], real=True).isnan()  # which has no value of its own
    metric.real_features = metric.real_features[:1]
    assert score_of(metric).value == pytest.approx(
        score_of(measured(FrechetDistance(features=PixelFeatures(2)))).value, rel=1e-12
    )


def test_two_processes_answer_like_one() -> None:
    first, second = FrechetDistance(features=PixelFeatures(2)), FrechetDistance(features=PixelFeatures(2))
    for metric, share in ((first, slice(None, 11)), (second, slice(11, None))):
        metric.update(REAL[share], real=True)
        metric.update(SYNTHETIC[share], real=False)
    others: Iterator[Tensor] = iter([second.real_features[0], second.synthetic_features[0]])
    first.distributed_available_fn = lambda: True
    first.dist_sync_fn = lambda own, group: [own, next(others) if own.ndim else own]  # what all_gather returns on rank 0
    assert first.scores() == measured(FrechetDistance(features=PixelFeatures(2))).scores()
    assert [len(f) for f in first.real_features] == [11]  # the states are its own again


def test_one_process_can_measure_alone() -> None:
    metric = FrechetDistance(features=PixelFeatures(2), sync_on_compute=False)
    metric.distributed_available_fn = lambda: True
    metric.dist_sync_fn = lambda own, group: pytest.fail("waits for processes that never come")
    measured(metric)
    assert score_of(metric).n == 21


def test_numbers_that_are_no_images_are_refused() -> None:
    with pytest.raises(TypeError, match=r"not torch\.float64"):
        FrechetDistance(features=PixelFeatures()).update(REAL.double(), real=True)
    with pytest.raises(BootlightError, match="8-bit"):
        FrechetDistance(features=nn.Identity()).update(REAL.float(), real=True)
