"""The first steps on trial: what they find, what they leave alone, and what of it is the user's business."""

import random
import signal
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from few_digits import FewDigits
from gaussian import Gaussian
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.strategies import SingleDeviceStrategy
from oracle import tiny_ddpm

from bootlight.bootstrap.rehearsal import is_written_in, rehearse, watched_by
from bootlight.bootstrap.trainers import TRIAL_STEPS, trial_trainer
from bootlight.errors import BootlightError

CONFIG = {"accelerator": "cpu", "plugins": None, "limit_val_batches": None, "use_distributed_sampler": False, "max_epochs": 1}


class Plain(Gaussian):
    """Counts its steps, and can be told to be wrong."""

    steps = 0

    def training_step(self, batch, batch_idx):
        super().training_step(batch, batch_idx)
        Plain.steps += 1
        if batch_idx == 37:
            self.log("now/and_then", 1.0)


class Logs(Callback):
    seen = 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        Logs.seen += 1
        pl_module.log("mine", 1.0)


class Watches(Callback):
    def __init__(self, monitor):
        self.monitor = monitor


@pytest.fixture
def data():
    return FewDigits(batch_size=4, num_steps=5)


def trial(model, data, *callbacks, **changes):
    rehearse(model, data, callbacks, partial(trial_trainer, CONFIG | changes))


def test_two_steps_are_taken_and_no_random_number_is_missed(data, monkeypatch):
    monkeypatch.setattr(Plain, "steps", 0)
    draws, handler = [], signal.getsignal(signal.SIGTERM)
    for rehearsed in (False, True):
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)
        if rehearsed:
            trial(Plain(8, 1), data)
        draws.append((torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()))
    assert draws[0] == draws[1]
    assert signal.getsignal(signal.SIGTERM) == handler  # a trainer sets its own, and leaves them
    assert Plain.steps == TRIAL_STEPS
    assert data.num_steps == 5 and data.trainer is None  # as it was


@pytest.mark.parametrize(
    "callback",
    [
        EarlyStopping("val_loss"),
        ModelCheckpoint(monitor="train/los"),
        type("MyStopping", (EarlyStopping,), {})("loss"),
        Watches("accuracy"),
    ],
    ids=lambda callback: type(callback).__name__,
)
def test_a_value_that_is_never_logged_is_named(data, callback):
    with pytest.raises(BootlightError, match=rf"{type(callback).__name__} watches {callback.monitor}, which is never logged"):
        trial(Plain(8, 1), data, callback)


def test_values_that_are_logged_may_be_watched(data, capsys, monkeypatch):
    monkeypatch.setattr(Logs, "seen", 0)
    trial(Plain(8, 1), data, EarlyStopping("train/loss"), ModelCheckpoint(monitor="step"), ModelCheckpoint(), Logs())
    assert Logs.seen == 0  # callbacks of the user are left alone where nothing is missing
    trial(Plain(8, 1), data, EarlyStopping("mine"), EarlyStopping("never", strict=False), Logs())
    assert Logs.seen == TRIAL_STEPS
    assert capsys.readouterr().out == ""
    trial(Plain(8, 1), data, EarlyStopping("now/and_then"))
    assert "watches now/and_then, which the first steps do not log" in capsys.readouterr().out


def test_only_code_of_others_may_log_now_and_then():
    assert is_written_in("now/and_then", [Plain(8, 1)])
    assert not is_written_in("train/vlb", [tiny_ddpm()])  # logs it at each step, or never
    assert not is_written_in("now/and_the", [Plain(8, 1)])
    assert watched_by([SimpleNamespace(monitor=None), SimpleNamespace(monitor=3)]) == {}


class Plateau(Plain):
    monitor = "val_loss"

    def __init__(self):
        super().__init__(8, 1)
        self.automatic_optimization = True
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch, batch_idx):
        super().training_step(batch, batch_idx)
        return self.weight**2

    def configure_optimizers(self):
        optimizer = torch.optim.SGD([self.weight], lr=0.1)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        # Every hundred steps: Lightning itself would find it there.
        plan = {"scheduler": scheduler, "monitor": self.monitor, "interval": "step", "frequency": 100}
        return {"optimizer": optimizer, "lr_scheduler": plan}


@pytest.mark.parametrize("frequency", [1, 100])
def test_a_schedule_that_waits_for_a_value_in_vain_is_named(data, frequency):
    model = Plateau()
    configure = model.configure_optimizers

    def configured():
        told = configure()
        told["lr_scheduler"]["frequency"] = frequency
        return told

    model.configure_optimizers = configured
    with pytest.raises(BootlightError, match="ReduceLROnPlateau watches val_loss, which is never logged"):
        trial(model, data)
    model.monitor = "train/loss"
    trial(model, data)


class WrongShape(Plain):
    def training_step(self, batch, batch_idx):
        torch.zeros(2) @ torch.zeros(3)


class NoMemory(Plain):
    def training_step(self, batch, batch_idx):
        raise torch.OutOfMemoryError("CUDA out of memory")


class FailsInTheSecond(Plain):
    def training_step(self, batch, batch_idx):
        if batch_idx:
            raise KeyError("second")
        super().training_step(batch, batch_idx)


class CannotDraw(Plain):
    def draw(self, noise, labels):
        raise RuntimeError("no sampler")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (WrongShape, r"first steps of training fail: RuntimeError: .*\(.*test_rehearsal\.py, line \d+\); correct it$"),
        (NoMemory, r"memory of cpu is too small .* lower data\.batch_size"),
        (FailsInTheSecond, r"KeyError: 'second' \(.*test_rehearsal\.py, line \d+\)"),
        (CannotDraw, r"RuntimeError: no sampler \(.*test_rehearsal\.py, line \d+\)"),
    ],
)
def test_a_fault_of_a_model_is_one_line_with_its_place(data, model, message):
    with pytest.raises(BootlightError, match=message) as error:
        trial(model(8, 1), data)
    assert "\n" not in str(error.value)


def test_a_class_conditional_model_draws_with_labels(data):
    trial(tiny_ddpm(num_classes=10, image_size=8, channels=1), data)


def test_trainers_of_one_configuration_do_not_share_a_strategy():
    config = CONFIG | {"strategy": SingleDeviceStrategy(), "accelerator": "cpu"}
    one, other = (trial_trainer(config, [], []) for _ in range(2))
    assert type(one.strategy) is SingleDeviceStrategy and one.strategy is not other.strategy
