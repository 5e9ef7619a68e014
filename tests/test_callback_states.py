"""Callbacks of others: what they keep is found again, and leads nowhere else."""

import io
import os
import shutil
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch import callbacks as stock
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser
from oracle import random_batch
from torch.utils.data import DataLoader

from bootlight.errors import BootlightError
from bootlight.generators.dcgan import DCGAN
from bootlight.io.quiet import quiet
from bootlight.runs.folder import GenerationFolder
from bootlight.training.checkpoint_claims import why_unreadable
from bootlight.training.checkpoints import AtomicCheckpointIO, newest_readable, periodic_checkpoint, restoring_explained
from bootlight.training.portable_states import PortableStates

import bootlight.bootstrap.config_text  # isort: skip  what configurations can hold is said there

# All callbacks of Lightning, with arguments where they need some. A new one fails until it has a line.
STOCK: dict[str, dict[str, object]] = {
    "BackboneFinetuning": {"lambda_func": "lightning.pytorch.callbacks.finetuning.multiplicative"},
    "BaseFinetuning": {},
    "BasePredictionWriter": {"write_interval": "epoch"},
    "BatchSizeFinder": {},
    "Callback": {},
    "Checkpoint": {},
    "DeviceStatsMonitor": {},
    "EMAWeightAveraging": {"decay": 0.9},
    "EarlyStopping": {"monitor": "train/loss"},
    "GradientAccumulationScheduler": {"scheduling": {"0": 2}},
    "LambdaCallback": {},
    "LearningRateFinder": {},
    "LearningRateMonitor": {"logging_interval": "step"},
    "ModelCheckpoint": {"train_time_interval": "0:00:10", "save_top_k": -1},
    "ModelPruning": {"pruning_fn": "l1_unstructured", "amount": 0.5},
    "ModelSummary": {},
    "OnExceptionCheckpoint": {"dirpath": "."},
    "ProgressBar": {},
    "RichModelSummary": {},
    "RichProgressBar": {},
    "SpikeDetection": {},
    "StochasticWeightAveraging": {"swa_lrs": 0.1},
    "TQDMProgressBar": {},
    "ThroughputMonitor": {"batch_size_fn": "builtins.len"},
    "Timer": {"duration": "00:00:10:00"},
    "WeightAveraging": {},
}


def test_all_of_lightnings_callbacks_are_here():
    assert set(STOCK) == set(stock.__all__)


@pytest.fixture(scope="module")
def parser():
    parser = LightningArgumentParser()
    parser.add_argument("--callbacks", type=list[Callback])
    return parser


@pytest.mark.filterwarnings("ignore")  # of jsonargparse, for how Lightning calls it; `quiet` does in a run
@pytest.mark.parametrize("name", sorted(STOCK))
def test_a_stock_callback_is_written_into_a_configuration_and_resumes(parser, name):
    if name.startswith("Rich"):
        pytest.importorskip("rich")
    given = {"callbacks": [{"class_path": f"lightning.pytorch.callbacks.{name}", "init_args": STOCK[name]}]}
    config = parser.parse_object(given)
    text = bootlight.bootstrap.config_text.written(parser, config)
    assert "Unable" not in text
    again = parser.parse_string(text)
    assert bootlight.bootstrap.config_text.written(parser, again) == text
    (before,), (after,) = parser.instantiate(config).callbacks, parser.instantiate(again).callbacks
    assert type(before) is type(after) is getattr(stock, name)
    state = before.state_dict()
    assert why_unreadable(state) is None
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    if state:
        checkpoint = {"callbacks": {after.state_key: torch.load(file, weights_only=True)}}
        PortableStates(Path("x")).on_load_checkpoint(SimpleNamespace(callbacks=[after]), None, checkpoint)
        after.load_state_dict(checkpoint["callbacks"][after.state_key])
        assert str(after.state_dict()) == str(state)


# A training with several of them, in a folder that moves


class Keeping(ModelCheckpoint):
    """One that counts, as subclasses do."""

    saves = 0

    def _save_checkpoint(self, trainer, filepath):
        self.saves += 1
        super()._save_checkpoint(trainer, filepath)

    def state_dict(self):
        return super().state_dict() | {"saves": self.saves}

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        self.saves = state_dict["saves"]


def fit(run, num_steps, *own):
    """So many steps of a GAN with callbacks of the user's, from the newest checkpoint, as `bootlight fit` does."""
    folder = GenerationFolder(run / "gen_000")
    kept = {"every_n_train_steps": 2, "mode": "max", "monitor": "step"}
    callbacks = [
        PortableStates(folder.path),
        stock.Timer("00:01:00:00"),
        ModelCheckpoint(filename="time", train_time_interval=None, every_n_train_steps=3),
        Keeping(filename="best-{step}", save_top_k=2, **kept),
        *own,
        periodic_checkpoint(folder, 2),
    ]
    silent = dict.fromkeys(["logger", "enable_progress_bar", "enable_model_summary"], False)
    disk, place = AtomicCheckpointIO(folder.path), {"default_root_dir": str(folder.path / "own")}
    trainer = Trainer(accelerator="cpu", max_epochs=1, callbacks=callbacks, plugins=[disk], **silent, **place)
    with warnings.catch_warnings():
        quiet()
        warnings.filterwarnings("ignore", message="You.re resuming")  # StepLoader can
        batches = DataLoader([random_batch(4, seed) for seed in range(num_steps)], batch_size=None)
        module, newest = DCGAN(8, 1, latent_dim=4, width=4), newest_readable(folder)
        with restoring_explained(newest, trainer):
            trainer.fit(module, batches, ckpt_path=newest, weights_only=True)
    return {type(callback).__name__: callback for callback in trainer.callbacks}


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, module, batch, step):
        if step == self.step:
            raise KeyboardInterrupt


def stopped(run, step):
    with pytest.raises(SystemExit):
        fit(run, 9, StopAt(step))
    return run


def saved(run):
    return {path.name: torch.load(path, weights_only=True)["callbacks"] for path in run.rglob("*.ckpt")}


def test_states_have_no_place_in_them_and_ours_has_none(tmp_path):
    stopped(tmp_path / "runs" / "a", 5)
    assert names(tmp_path / "runs" / "a" / "gen_000" / "checkpoints") == ["last.ckpt", "step=4.ckpt"]
    for states in saved(tmp_path).values():
        assert not any("PeriodicCheckpoint" in name for name in states) and len(states) == 3
        assert str(tmp_path) not in str(states) and "runs" not in str(states)
    (state,) = (state for name, state in saved(tmp_path)["last.ckpt"].items() if name.startswith("Keeping"))
    assert list(state["best_k_models"]) == ["best-step=2.ckpt", "best-step=4.ckpt"] and state["saves"] == 2


@pytest.mark.parametrize("moved", ["no", "renamed", "copied"])
def test_a_run_goes_on_wherever_it_lies(tmp_path, moved):
    """With the same files as one that was not interrupted: what is superseded is deleted, in this folder alone."""
    whole = tmp_path / "whole"
    fit(whole, 9)
    run = stopped(tmp_path / "a", 5)
    before = names(run)
    if moved != "no":
        run = tmp_path / "elsewhere" / "b"
        (shutil.move if moved == "renamed" else shutil.copytree)(tmp_path / "a", run)
    callbacks = fit(run, 9)
    assert names(run) == names(whole)
    assert "gen_000/own/checkpoints/best-step=6.ckpt" in names(run) and "gen_000/checkpoints/step=8.ckpt" in names(run)
    assert moved != "copied" or names(tmp_path / "a") == before
    assert callbacks["Keeping"].saves == 4 and Path(callbacks["Keeping"].best_model_path).is_relative_to(run.resolve())


HOSTILE = {
    "a file": lambda place: str(place / "thesis.txt"),
    "a folder": lambda place: str(place),
    "a checkpoint": lambda place: str(place / "own.ckpt"),
    "relative": lambda place: f"../../../../{place.name}",
    "relative to a checkpoint": lambda place: f"../../../../{place.name}/own.ckpt",
    "a link": lambda place: "link.ckpt",
    "no text": lambda place: 3,
    "NUL": lambda place: "a\0.ckpt",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_a_checkpoint_names_outside_is_left_alone(tmp_path, kind):
    run, home = stopped(tmp_path / "run", 5), tmp_path / "home"
    home.mkdir()
    for name in ("thesis.txt", "own.ckpt"):
        (home / name).write_text("years of work")
    (run / "gen_000" / "own" / "checkpoints" / "link.ckpt").symlink_to(home / "own.ckpt")
    evil = HOSTILE[kind](home)
    for path in (run / "gen_000" / "checkpoints").iterdir():
        saved = torch.load(path, weights_only=True)
        for name, state in saved["callbacks"].items():
            if "Keeping" in name or "ModelCheckpoint" in name:
                state |= dict.fromkeys(("best_model_path", "kth_best_model_path", "last_model_path", "dirpath"), evil)
                state["best_k_models"] = {evil: torch.tensor(0), "best-step=4.ckpt": "x"}
                state |= {"kth_value": "x", "best_model_score": []}
        saved["callbacks"][periodic_checkpoint(GenerationFolder(run), 2).state_key] = {"last_model_path": evil}
        torch.save(saved, path)
    fit(run, 9)
    assert sorted(os.listdir(home)) == ["own.ckpt", "thesis.txt"]
    assert all(path.read_text() == "years of work" for path in home.iterdir())


MISSHAPEN = {
    "shape": lambda value: torch.zeros(7, 7, 7),
    "repeated": lambda value: torch.zeros(1).expand(value.shape) if value.dim() else torch.zeros(2),
    "text": lambda value: "x",
    "none": lambda value: None,
}


@pytest.mark.parametrize("key", ["exp_avg", "step"])
@pytest.mark.parametrize("kind", MISSHAPEN)
def test_an_optimizer_that_does_not_fit_the_model_is_named_with_its_file(tmp_path, kind, key):
    """torch looks at it in the first step."""
    run = stopped(tmp_path / "run", 5)
    for path in (run / "gen_000" / "checkpoints").iterdir():
        saved = torch.load(path, weights_only=True)
        for state in saved["optimizer_states"][-1]["state"].values():
            state[key] = MISSHAPEN[kind](state[key])
        torch.save(saved, path)
    with pytest.raises(BootlightError, match=r"checkpoints/last\.ckpt cannot be continued from .*; delete it"):
        fit(run, 9)


class Failing(Callback):
    def on_train_batch_start(self, *_):
        raise ValueError("mine")


def test_what_fails_in_the_first_step_for_another_reason_is_not_laid_on_the_checkpoint(tmp_path, monkeypatch):
    run = stopped(tmp_path / "run", 5)
    with pytest.raises(ValueError, match="mine"):
        fit(run, 9, Failing())
    steps = []

    def later(*_, **__):
        steps.append(1)
        if len(steps) > 4:  # two optimizers, of which one is counted
            raise ValueError("late")

    monkeypatch.setattr(sys.modules["torch.optim.adam"], "adam", later)
    with pytest.raises(ValueError, match="late"):
        fit(run, 9)


def test_a_callback_that_saves_elsewhere_leaves_there_what_is(tmp_path):
    """Its folder is the user's, and what is in it may be of other runs: no checkpoint says what is deleted there."""
    mine = tmp_path / "mine"
    kept = {"dirpath": str(mine), "every_n_train_steps": 1, "monitor": "step", "mode": "max"}
    with pytest.raises(SystemExit):
        fit(tmp_path / "run", 9, StopAt(3), ModelCheckpoint(**kept))
    (before,) = os.listdir(mine)
    fit(tmp_path / "run", 4, ModelCheckpoint(**kept))
    assert before in os.listdir(mine)


# Before the first step


class Window(Callback):
    """A state that torch does not read."""

    def state_dict(self):
        return {"where": Path("x")}


def test_a_state_that_could_not_be_read_back_is_told_before_the_first_step(tmp_path):
    with pytest.raises(BootlightError, match=r"trainer\.callbacks: the state of test_callback_states\.Window .* pathlib"):
        fit(tmp_path / "run", 9, Window())
    assert names(tmp_path) == []


class Forgetful(Callback):
    def state_dict(self):
        return {"a": 1}

    def load_state_dict(self, state):
        raise KeyError("b")


def test_a_state_that_does_not_fit_is_one_line(tmp_path):
    with pytest.raises(SystemExit):
        fit(tmp_path / "run", 9, StopAt(3), Forgetful())
    with pytest.raises(
        BootlightError, match=r"last\.ckpt cannot be continued from \(KeyError: 'b', .*test_callback_states\.py, line"
    ):
        fit(tmp_path / "run", 9, Forgetful())


def test_other_errors_stay_what_they_are(tmp_path):
    class Broken(Callback):
        def on_train_start(self, trainer, module):
            raise KeyError("mine")

    stopped(tmp_path / "run", 3)
    with pytest.raises(KeyError, match="mine"):
        fit(tmp_path / "run", 9, Broken())


def test_checkpoints_without_states_are_no_trouble():
    callback, trainer = PortableStates(Path("x")), SimpleNamespace(callbacks=[ModelCheckpoint()])
    for checkpoint in ({}, {"callbacks": []}, {"callbacks": {}}, {"callbacks": {trainer.callbacks[0].state_key: 3}}):
        before = str(checkpoint)
        callback.on_load_checkpoint(trainer, None, checkpoint)
        callback.on_save_checkpoint(trainer, None, checkpoint)
        assert str(checkpoint) == before
