"""Every metric as torchmetrics and Lightning use one: alone, in collections, copied, saved, logged, in several processes."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from random_inception import noise
from ranks import in_group_of_two
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics import Metric, MetricCollection

from bootlight.errors import BootlightError
from bootlight.metrics.discriminator import DiscriminatorScore
from bootlight.metrics.distances.fd_infinity import FrechetInfinity
from bootlight.metrics.distances.frechet import FrechetDistance
from bootlight.metrics.distances.inception_score import InceptionScore
from bootlight.metrics.distances.kid import KernelDistance
from bootlight.metrics.distances.mifid import MemorizationInformedFrechetDistance
from bootlight.metrics.distances.sfid import SpatialFrechetDistance
from bootlight.metrics.moments import MeanShift, VarianceRatio
from bootlight.metrics.neighbours.authenticity import Authenticity
from bootlight.metrics.neighbours.density_coverage import Coverage, Density
from bootlight.metrics.neighbours.precision_recall import Precision, Recall
from bootlight.metrics.pixel_statistics import PixelDifference
from bootlight.metrics.scored_metric import ScoredMetric
from bootlight.metrics.vendi import VendiScore

EDGE, BATCH = 16, 9
REAL, SYNTHETIC = noise(30, 0, edge=EDGE), noise(27, 1, edge=EDGE) // 2


class Colours(nn.Module):
    """Three features, with all the outputs that metrics ask for, and a count of its calls."""

    name = "colours"

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1 / 25))
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return images.float().mean((2, 3)) * self.scale

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        return {"features": self(images), "logits": images[:, :, 0, 0] / 100, "spatial": images[:, 0, 0, :4] / 255}


class Brightness(Colours):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).mean(1)


ON_FEATURES: dict[str, Callable[..., ScoredMetric]] = {
    "fd-colours": FrechetDistance, "fd-colours-infinity": FrechetInfinity, "kid": KernelDistance,
    "mmd-rbf": lambda **given: KernelDistance(kernel="rbf", **given), "precision-k3": Precision,
    "recall-k5": lambda **given: Recall(k=5, **given), "density": Density, "coverage": Coverage, "authpct": Authenticity,
    "mean-shift": MeanShift, "variance-ratio": VarianceRatio, "vendi": VendiScore,
    "mifid": MemorizationInformedFrechetDistance,
}  # fmt: skip
OF_TWO_SETS = ON_FEATURES | {
    "sfd-colours": SpatialFrechetDistance, "inception_score": InceptionScore,
    "spectrum-8of8": lambda features, **given: PixelDifference("spectrum-8of8", **given),
}  # fmt: skip
ALL = OF_TWO_SETS | {"discriminator_score": lambda features, **given: DiscriminatorScore(Brightness(), **given)}


def made(name: str, **settings: Any) -> ScoredMetric:
    return ALL[name](features=Colours(), **settings)


def given(metric: Metric, real: Tensor = REAL, synthetic: Tensor = SYNTHETIC) -> Any:
    """The same after updates with batches of both sides; a collection too."""
    for images in real.split(BATCH) if takes_real(metric) and len(real) else ():
        metric.update(images, real=True)
    for images in synthetic.split(BATCH) if len(synthetic) else ():
        add(metric, images)
    return metric


def takes_real(metric: Metric) -> bool:
    return not isinstance(metric, DiscriminatorScore)


def add(metric: Metric, images: Tensor, call: str = "update") -> Any:
    return getattr(metric, call)(images, **({"real": False} if takes_real(metric) else {}))


@pytest.fixture(params=ALL)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_one_number_to_log_and_the_scores(name: str) -> None:
    metric = given(made(name))
    value, scores = metric.compute(), metric.scores()
    assert (
        value.shape == () and value.dtype == torch.float64 and value.item() == scores[name].value == scores[metric.name].value
    )
    assert scores[name].higher_is_better is type(metric).higher_is_better
    assert metric.compute() is value and metric.scores() == scores  # computed once
    add(metric, noise(9, 5, edge=EDGE))
    assert metric.scores()[name].n == 36 and metric.compute() != value


def test_forward_answers_for_the_batch_and_accumulates(name: str) -> None:
    metric, batches = made(name), SYNTHETIC.split(BATCH)
    network = metric._features.network if takes_real(metric) else metric._judge.network
    given(metric, synthetic=SYNTHETIC[:0])
    before = network.calls if isinstance(network, Colours) else 0
    answers = [add(metric, batch, "forward") for batch in batches]
    assert not isinstance(network, Colours) or network.calls == before + len(batches)
    alone = [given(made(name), synthetic=batch).compute() for batch in batches]
    assert torch.equal(torch.stack(answers), torch.stack(alone))
    assert metric.scores() == given(made(name)).scores()
    if takes_real(metric):
        assert metric(REAL[:3], real=True).isnan()  # it has no value of its own
        assert metric.compute().item() == given(made(name), torch.cat([REAL, REAL[:3]])).compute().item()


def test_reset_forgets_the_synthetic_images_and_the_reference_if_it_shall(name: str) -> None:
    metric, other = given(made(name)), noise(20, 7, edge=EDGE)
    metric.compute()
    metric.reset()
    assert metric.update_count == 0
    assert given(metric, REAL[:0], other).scores() == given(made(name), synthetic=other).scores()
    if takes_real(metric):
        forgetful = given(made(name, reset_real_features=True))
        forgetful.reset()
        assert forgetful.real_features == []
        assert given(forgetful, other, other).scores() == given(made(name), other, other).scores()


def test_copies_go_their_own_way(name: str) -> None:
    metric = given(made(name))
    expected = metric.scores()
    for copy in (metric.clone(), pickle.loads(pickle.dumps(metric))):
        assert copy.scores() == expected
        add(copy, noise(9, 6, edge=EDGE))
        assert copy.scores() != expected == metric.scores()


def test_states_are_saved_if_asked_and_loaded(name: str) -> None:
    metric = given(made(name))
    assert metric.state_dict() == {}
    metric.persistent(True)
    saved = metric.state_dict()
    assert all("features" in key or key in ("logits", "forgets_reference") for key in saved)  # no weights
    fresh, used = made(name), given(made(name), synthetic=noise(20, 8, edge=EDGE))
    used.compute()
    for other in (fresh, used):
        other.load_state_dict(saved)
        with pytest.warns(UserWarning, match="before the ``update``") if other is fresh else no_warning():
            assert other.scores() == metric.scores()


class no_warning:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def test_types_and_devices_change_no_number(name: str) -> None:
    expected = given(made(name)).scores()
    metric = made(name)
    given(metric.half().double().to("cpu").float())
    assert metric.scores() == expected
    metric.set_dtype(torch.float64)
    assert metric.compute().item() == expected[name].value
    metric = made(name).set_dtype(torch.float64)
    assert given(metric).scores() == expected  # the network is no part of it
    assert list(metric.parameters()) == [] and list(metric.buffers()) == []


def test_states_merge(name: str) -> None:
    first, second = given(made(name), synthetic=SYNTHETIC[BATCH:]), made(name)
    given(second, REAL[:0], SYNTHETIC[:BATCH])
    first.merge_state(second)  # which torchmetrics puts in front
    assert first.scores() == given(made(name)).scores()


def collection(**settings: Any) -> tuple[MetricCollection, Colours]:
    network = Colours()
    metrics: dict[str, Any] = {name: build(features=network, **settings) for name, build in ON_FEATURES.items()}
    return MetricCollection(metrics), network


def test_metrics_of_one_network_are_one_compute_group() -> None:
    metrics, network = collection()
    given(metrics)
    assert len(metrics.compute_groups) == 1
    batches = len(REAL.split(BATCH)) + len(SYNTHETIC.split(BATCH))
    assert network.calls == batches + len(metrics) - 1  # groups are found with the first batch
    assert {name: value.item() for name, value in metrics.compute().items()} == {
        name: given(made(name)).compute().item() for name in ON_FEATURES
    }
    metrics.reset()
    given(metrics, REAL[:0], REAL)
    assert network.calls == batches + len(metrics) - 1 + len(REAL.split(BATCH))
    for name, metric in metrics.items():
        assert metric.scores() == given(made(name), synthetic=REAL).scores()  # the reference has stayed


def test_a_group_that_is_named_looks_once_at_the_first_batch_too() -> None:
    network = Colours()
    metrics = MetricCollection(
        {"kid": KernelDistance(features=network), "fd": FrechetDistance(features=network)}, compute_groups=[["kid", "fd"]]
    )
    given(metrics)
    assert network.calls == len(REAL.split(BATCH)) + len(SYNTHETIC.split(BATCH))
    assert metrics["fd"].scores() == given(made("fd-colours")).scores()


def test_a_group_goes_through_updates_and_forwards_in_any_order() -> None:
    metrics, _ = collection()
    given(metrics, synthetic=SYNTHETIC[:BATCH])
    answers = metrics(SYNTHETIC[BATCH : 2 * BATCH], real=False)
    metrics.update(SYNTHETIC[2 * BATCH :], real=False)
    copy = metrics.clone(prefix="copy/")
    for name in ON_FEATURES:
        assert answers[name].item() == given(made(name), synthetic=SYNTHETIC[BATCH : 2 * BATCH]).compute().item()
        assert metrics[name].scores() == copy[f"copy/{name}"].scores() == given(made(name)).scores()


def test_metrics_that_forget_their_reference_are_no_group_with_those_that_keep_it() -> None:
    network = Colours()
    keeps, forgets = KernelDistance(features=network), FrechetDistance(features=network, reset_real_features=True)
    metrics = MetricCollection({"forgets": forgets, "keeps": keeps})
    given(metrics)
    assert len(metrics.compute_groups) == 2
    metrics.reset()
    metrics.update(SYNTHETIC, real=False)
    assert keeps.scores() == given(made("kid")).scores()
    with pytest.raises(BootlightError, match="at least 2 images on each side, got 0"):
        forgets.compute()


def measure_apart(rank: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scores of all metrics where rank 1 has a part of the real images, and no synthetic one or some."""
    found: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for answers, few in zip(found, (0, 10), strict=True):
        for name in ALL:
            metric = made(name)
            edge, total = 20, len(SYNTHETIC) - few
            given(metric, REAL[edge:] if rank else REAL[:edge], SYNTHETIC[total:] if rank else SYNTHETIC[:total])
            answers[name] = metric.scores(), metric.compute().item(), metric.update_count
            assert len(metric.real_features if takes_real(metric) else metric.logits) > 0 or (rank and not few)
            metric.reset()
    return found


def test_two_processes_answer_as_one(tmp_path: Path) -> None:
    first, second = in_group_of_two(measure_apart, tmp_path)
    for here, there in zip(first, second, strict=True):
        for name in ALL:
            expected = given(made(name)).scores()
            assert here[name][:2] == there[name][:2] == (expected, expected[name].value)


class Logging(LightningModule):
    """Logs metrics of every kind of call."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        network = Colours()
        self.alone = KernelDistance(features=network)
        self.judge = DiscriminatorScore(Brightness())
        self.together = MetricCollection(
            {"fd": FrechetDistance(features=network), "density": Density(features=network)}, prefix="val/"
        )
        self.stepwise = VarianceRatio(features=network)
        for metric in (self.alone, self.together, self.stepwise):
            metric.update(REAL, real=True)

    def training_step(self, images: Tensor, batch_idx: int) -> Tensor:
        self.judge(images)
        self.log("judge", self.judge, on_step=True, on_epoch=True)
        self.stepwise(images, real=False)
        self.log("ratio", self.stepwise, on_step=True, on_epoch=True)
        return self.weight.square()

    def validation_step(self, images: Tensor, batch_idx: int) -> None:
        self.alone.update(images, real=False)
        self.log("kid", self.alone)
        self.together.update(images, real=False)
        self.log_dict(self.together)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:.*does not have many workers", "ignore:.*in eval mode")
def test_a_trainer_logs_them(tmp_path: Path) -> None:
    module = Logging()
    loader: DataLoader[Any] = DataLoader(SYNTHETIC, batch_size=BATCH)  # type: ignore[arg-type]
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(max_epochs=2, accelerator="cpu", default_root_dir=tmp_path, **quiet, enable_checkpointing=False)
    trainer.fit(module, loader, loader)
    expected = {
        "kid": given(made("kid")).compute().item(),
        "val/fd": given(made("fd-colours")).compute().item(),
        "val/density": given(made("density")).compute().item(),
        "ratio_epoch": given(made("variance-ratio")).compute().item(),
        "ratio_step": given(made("variance-ratio"), synthetic=SYNTHETIC[-BATCH:]).compute().item(),
        "judge_epoch": given(made("discriminator_score")).compute().item(),
        "judge_step": given(made("discriminator_score"), synthetic=SYNTHETIC[-BATCH:]).compute().item(),
    }
    found = {name: trainer.callback_metrics[name].item() for name in expected}
    assert found == pytest.approx(expected, rel=1e-6)  # Lightning keeps some of them in float32
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    assert set(torch.load(tmp_path / "x.ckpt", weights_only=True)["state_dict"]) == {"weight"}
