"""Private names of Lightning: each does what bootlight relies on, on a real trainer. A version that moves one fails here."""

import os
import re
import signal
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.plugins.environments import LightningEnvironment
from torch import Tensor
from torch.utils.data import DataLoader

from bootlight import compat
from bootlight.compat import (
    WatchedCheckpoint,
    cluster_environment,
    is_last_batch,
    listen_instead,
    logged_step,
    not_counted,
    set_wandb_run,
    starts_scripts,
    values_to_log,
    wandb_arguments,
    wandb_run,
)
from bootlight.io.quiet import quiet


class Recorder(Logger):
    name = version = "recorder"

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass


class TwoOptimizers(LightningModule):
    """Logs the number of its batch, and has a second optimizer whose steps are counted or not."""

    def __init__(self, counted: bool = False) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.counted = counted

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        first, second = self.optimizers()
        if not self.counted:
            not_counted(second)
        self.manual_backward(self.weight * 1.0)
        first.step()
        second.step()
        self.log("batch", float(batch_idx))

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD([self.weight], lr=1.0) for _ in range(2)]


class Watch(Callback):
    """What the functions say at the end of each batch, where bootlight asks."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.handlers: list[Any] = []

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        listen_instead(trainer, lambda: self.handlers.append(signal.getsignal(signal.SIGTERM)))

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.handlers.append(signal.getsignal(signal.SIGTERM))
        self.said.append((logged_step(trainer), values_to_log(trainer), is_last_batch(trainer)))


def trainer_in(folder: Path, *callbacks: Callback, **settings: Any) -> Trainer:
    own = {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "logger": False, "enable_checkpointing": False, **settings}
    return Trainer(
        default_root_dir=folder, callbacks=list(callbacks), enable_progress_bar=False, enable_model_summary=False, **own
    )


def train(trainer: Trainer, model: LightningModule) -> None:
    with warnings.catch_warnings():
        quiet()
        trainer.fit(model, DataLoader([torch.zeros(())] * 4, batch_size=1))


def test_a_trainer_says_what_it_will_log_and_leaves_signals_alone(tmp_path: Path) -> None:
    watch, logger = Watch(), Recorder()
    before = signal.getsignal(signal.SIGTERM)
    train(trainer_in(tmp_path, watch, logger=logger, log_every_n_steps=2), TwoOptimizers())
    assert watch.said == [(0, None, False), (1, {"batch": 1.0}, False), (2, None, False), (3, {"batch": 3.0}, True)]
    assert logger.rows == [(1, {"batch": 1.0, "epoch": 0}), (3, {"batch": 3.0, "epoch": 0})]  # and nothing else was logged
    assert watch.handlers == [before] * 5  # our own listener once, then four batches


@pytest.mark.parametrize(("counted", "steps"), [(True, 8), (False, 4)])
def test_the_steps_of_an_optimizer_can_be_left_out(tmp_path: Path, counted: bool, steps: int) -> None:
    model, trainer = TwoOptimizers(counted), trainer_in(tmp_path)
    train(trainer, model)
    assert trainer.global_step == steps
    assert model.weight.item() == -20  # gradients 1, 2, 3, 4 that nobody clears, each applied by both


def test_a_checkpoint_is_announced_before_its_file(tmp_path: Path) -> None:
    seen: list[tuple[str, int, bool]] = []

    class Own(WatchedCheckpoint):
        def before_saving(self, trainer: Any, path: Path) -> None:
            seen.append((path.name, trainer.global_step, path.exists()))

    own = Own(dirpath=tmp_path, filename="{step}", every_n_train_steps=2, save_top_k=-1)
    train(trainer_in(tmp_path, own, enable_checkpointing=True), TwoOptimizers())
    assert seen == [("step=2.ckpt", 2, False), ("step=4.ckpt", 4, False)]
    assert sorted(os.listdir(tmp_path)) == ["step=2.ckpt", "step=4.ckpt"]


@pytest.mark.parametrize(("strategy", "scripts"), [("ddp", True), ("ddp_spawn", False)])
def test_what_starts_the_processes(tmp_path: Path, strategy: str, scripts: bool) -> None:
    trainer = trainer_in(tmp_path, devices=2, strategy=strategy)
    assert isinstance(cluster_environment(trainer), LightningEnvironment)
    assert not hasattr(trainer_in(tmp_path).strategy, "cluster_environment")  # else the public way would do
    assert isinstance(cluster_environment(trainer_in(tmp_path)), LightningEnvironment)
    trainer.strategy._configure_launcher()
    assert starts_scripts(trainer.strategy.launcher) is scripts
    assert not scripts or trainer.strategy.launcher.procs == []


def test_a_wandb_logger_hands_over_its_arguments_and_its_run(tmp_path: Path) -> None:
    logger = WandbLogger(project="of mine", save_dir=str(tmp_path), id="one", mode="disabled")
    assert wandb_run(logger) is None
    found = wandb_arguments(logger)
    assert (found["project"], found["id"], found["dir"], found["mode"]) == ("of mine", "one", str(tmp_path), "disabled")
    found["id"] = "two"
    found.pop("anonymous", None)  # W&B warns of it
    run = logger.experiment  # begins it
    assert wandb_run(logger) is run and run.id == "two"
    set_wandb_run(logger, None)
    assert wandb_run(logger) is None and logger.version == "one"  # of the closed run nothing is left
    run.finish()


def test_no_other_module_has_these_names() -> None:
    package = Path(compat.__file__).parent
    private = set(re.findall(r"\W(_[A-Za-z]\w+)", Path(compat.__file__).read_text()))
    assert {"_signal_connector", "_batches_that_stepped", "_wandb_init", "_SubprocessScriptLauncher"} <= private
    for path in sorted(package.rglob("*.py")):
        found = private & set(re.findall(r"\W(_[A-Za-z]\w+)", path.read_text()))
        assert path == Path(compat.__file__) or not found, f"{path} has {found}"
