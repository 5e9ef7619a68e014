"""Interrupted at any step, in any stage, with any setting: a run ends as if it never had been."""

import logging
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import Timer
from tiny_runs import DCGAN, DDPM, Program, fingerprint, options, state_of_training, write_plain_pages

from bootlight import PixelFeatures
from bootlight.distributed.stopping import stop_request
from bootlight.generators import dcgan
from bootlight.runs.folder import RunFolder
from bootlight.synthesis import folder as synthesis_folder
from bootlight.training import step_clock
from bootlight.training.checkpoints import AtomicCheckpointIO
from bootlight.training.stop import StopBetweenSteps

CLASSES = ["--model.num_classes=2", "--model.dropout=0.2", "--model.label_dropout=0.3"]
WARM_UP = ["--model.warmup_steps=3", "--model.linear_decay=true"]
BF16 = {"trainer.precision": "bf16-mixed"}
WORKERS = {"data.num_workers": 2}
WARM_START = {"bootstrap.warm_start": "true", "bootstrap.num_generations": 2}
TIMING = (step_clock, "append_timing")
TWO_BATCHES = {"trainer.accumulate_grad_batches": 2, "data.num_steps": 6}
VARIANTS = {
    "ddpm": (DDPM, {}),
    "ddpm-bf16-workers-classes-warmup": ([*DDPM, *CLASSES, *WARM_UP], BF16 | WORKERS),
    "ddpm-two_batches-warmup": ([*DDPM, *WARM_UP], TWO_BATCHES),
    "ddpm-workers-two_batches-classes-warmup": ([*DDPM, *CLASSES, *WARM_UP], WORKERS | TWO_BATCHES),
    "ddpm-bf16-warm_start-two_batches-classes": ([*DDPM, *CLASSES], BF16 | WARM_START | TWO_BATCHES),
    "ddpm-workers-warm_start-warmup": ([*DDPM, *WARM_UP], WORKERS | WARM_START),
    "dcgan-bf16": (DCGAN, BF16),
    "dcgan-workers-warm_start": (DCGAN, WORKERS | WARM_START),
}


@pytest.fixture
def program(bootlight, monkeypatch, pictures, tmp_path):
    """Makes a `Program`."""
    write_plain_pages(monkeypatch)
    return lambda *arguments, **changes: Program(
        bootlight, monkeypatch, *arguments, *options(pictures, tmp_path / "run", **changes)
    )


class Kept:
    """The run folder as a kill right after each checkpoint would leave it, and the state of training in each."""

    def __init__(self, run: Path, folder: Path, monkeypatch) -> None:
        self.run, self.folder, self.copy = run, folder, True
        self.states: list[tuple[str, str]] = []
        save = AtomicCheckpointIO.save_checkpoint

        def save_and_keep(io, checkpoint, path, storage_options=None):
            save(io, checkpoint, path, storage_options)
            if Path(path).name == "last.ckpt":
                self.states.append((Path(path).parts[-3], state_of_training(Path(path))))
                if self.copy:
                    shutil.copytree(run, folder / str(len(self.states)))

        monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", save_and_keep)

    def restore(self, number: int) -> None:
        """Put back what was there after checkpoint `number`, counted from 1, and forget the states."""
        self.copy, self.states = False, []
        shutil.rmtree(self.run)
        shutil.copytree(self.folder / str(number), self.run)


@pytest.mark.parametrize("variant", VARIANTS)
def test_resumed_from_every_step_it_ends_the_same(program, tmp_path, monkeypatch, variant):
    model, changes = VARIANTS[variant]
    fit = program(*model, **changes)
    kept = Kept(fit.run, tmp_path / "kept", monkeypatch)
    fit()
    calm, states = fingerprint(fit.run), kept.states
    last_generation = sum(name == states[-1][0] for name, _ in states)
    assert last_generation == 3
    for number in range(len(states) - last_generation + 1, len(states) + 1):
        kept.restore(number)
        fit()
        assert kept.states == states[number:], number  # it goes the same way, and saves at the same steps
        assert fingerprint(fit.run) == calm, number


class Asks(Callback):
    """Asks to stop in the middle of every batch, in place of a signal."""

    armed = False

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if Asks.armed:
            stop_request.reason = "SIGTERM"


@pytest.mark.parametrize("variant", ["ddpm-workers-two_batches-classes-warmup", "dcgan-workers-warm_start"])
def test_asked_to_stop_in_every_batch_it_does_a_step_a_job(program, monkeypatch, capsys, variant):
    model, changes = VARIANTS[variant]
    monkeypatch.setattr(Asks, "armed", False)
    # Periodic checkpoints are rare: those that are found were saved on request.
    fit = program(*model, "--trainer.callbacks=test_resume.Asks", **changes, **{"bootstrap.checkpoint_every": 100})
    fit()
    calm = fingerprint(fit.run)
    shutil.rmtree(fit.run)
    Asks.armed = True
    for generation in range(fit.settings.num_generations):
        checkpoint = RunFolder(fit.run).generation(generation).checkpoints / "last.ckpt"
        for step in (1, 2):
            capsys.readouterr()
            assert fit.status() == 75
            assert "stopped by SIGTERM; run the same command again to continue\n" in capsys.readouterr().out
            assert torch.load(checkpoint, weights_only=True)["global_step"] == step  # never between two batches of a step
        assert fit.status() == 75  # after the last step training is finished first
        assert not checkpoint.exists() and RunFolder(fit.run).generation(generation).is_trained
    assert fit.status() == 0
    assert fingerprint(fit.run) == calm


class Leaves(Callback):
    """Asks to stop in the middle of every batch, by Lightning's flag or by Ctrl-C."""

    way = ""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        trainer.should_stop = trainer.should_stop or Leaves.way == "flag"
        if Leaves.way == "Ctrl-C":
            os.kill(os.getpid(), signal.SIGINT)


def test_a_callback_that_stops_and_ctrl_c_leave_a_state_to_continue_from(program, monkeypatch, capsys):
    monkeypatch.setattr(Leaves, "way", "")
    changes = TWO_BATCHES | {"bootstrap.checkpoint_every": 100, "trainer.callbacks": "test_resume.Leaves"}
    fit = program(*DDPM, **changes)
    fit()
    calm = fingerprint(fit.run)
    shutil.rmtree(fit.run)
    for step, (way, status) in enumerate({"flag": 75, "Ctrl-C": 130}.items(), start=1):
        Leaves.way = way
        capsys.readouterr()
        assert fit.status() == status
        assert "; run the same command again to continue\n" in capsys.readouterr().out
        checkpoint = RunFolder(fit.run).generation(0).checkpoints / "last.ckpt"
        assert torch.load(checkpoint, weights_only=True)["global_step"] == step  # never between two batches of a step
    Leaves.way = "flag"
    assert fit.status() == 0  # asked in the last step, which completes the generation
    assert fingerprint(fit.run) == calm


def test_callbacks_are_heard_between_optimizer_steps_only_and_not_before_the_least():
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=SimpleNamespace(is_last_batch=False)))
    trainer = SimpleNamespace(fit_loop=loop, accumulate_grad_batches=2, should_stop=True, global_step=0)
    patient, hasty = StopBetweenSteps(None, least_steps=2), StopBetweenSteps(None)
    with stop_request.listening():
        hasty.on_train_batch_end(trainer, None, None, None, 0)  # half a step
        trainer.global_step = 1
        patient._asked = True
        patient.on_train_batch_end(trainer, None, None, None, 1)
        assert not trainer.should_stop and stop_request.reason is None
        with pytest.raises(SystemExit) as stop:  # heard in the first half of the step
            hasty.on_train_batch_end(trainer, None, None, None, 1)
        assert stop.value.code == 75
    with stop_request.listening(), pytest.raises(SystemExit):
        trainer.global_step = 2
        patient.on_train_batch_end(trainer, None, None, None, 3)


def test_a_timer_begins_anew_with_each_job():
    timer, other = Timer(duration="00:00:00:01"), Asks()
    checkpoint = {"callbacks": {timer.state_key: {"time_elapsed": {"train": 5.0}}, other.state_key: {"kept": 1}}}
    StopBetweenSteps(None).on_load_checkpoint(SimpleNamespace(callbacks=[timer, other]), None, checkpoint)
    assert checkpoint == {"callbacks": {other.state_key: {"kept": 1}}}


# Where the request comes, after which call; and what is on the disk when the job has left, and what is not.
MOMENTS = {
    "judge": ((dcgan.DCGAN, "training_step"), lambda *_: True, "real_previews.png", "references/judge*"),
    "synthesis": (
        (synthesis_folder, "write_bytes"),
        lambda path, _: path.name == "000001.png",
        "gen_000/samples/00000/000001.png",
        "gen_000/samples/00000/000004.png",  # the second batch was drawn meanwhile: it is kept
    ),
    "evaluation": (
        (PixelFeatures, "forward"),
        lambda *_: any(Path("run").glob("gen_*/samples/metadata.jsonl")),
        "gen_000/samples/metadata.jsonl",
        "gen_000/metrics.json",
    ),
    "after publishing": (TIMING, lambda _, stage, __: stage == "publishing", "gen_000/model.json", "gen_000/samples/*/*"),
    "after synthesis": (
        TIMING,
        lambda _, stage, __: stage == "synthesis",
        "gen_000/samples/metadata.jsonl",
        "gen_000/metrics.json",
    ),
    "after evaluation": (
        TIMING,
        lambda _, stage, __: stage == "evaluation",
        "gen_000/metrics.json",
        "gen_001",
    ),
}


def ask_after(monkeypatch, owner: object, name: str, when) -> None:
    """Have the job asked to stop right after a certain call of a function."""
    function = getattr(owner, name)

    def call_and_ask(*args):
        answer = function(*args)
        if when(*args):
            stop_request.reason = "SIGTERM"
        return answer

    monkeypatch.setattr(owner, name, call_and_ask)


def test_asked_to_stop_in_every_stage(program, monkeypatch, capsys):
    judge = {"evaluation.judge_steps": 3, "evaluation.judge_width": 4, "evaluation.judge_batch_size": 4}
    two = {"bootstrap.num_generations": 2, "bootstrap.num_synthetic": 8, "data.num_steps": 2, "data.holdout_fraction": 0}
    fit = program(*DDPM, **judge, **two, **{"evaluation.features": "bootlight.PixelFeatures"})
    fit()
    calm = fingerprint(fit.run)
    for moment, (target, when, there, missing) in MOMENTS.items():
        shutil.rmtree(fit.run)
        shutil.rmtree(Path(os.environ["BOOTLIGHT_CACHE"]) / "judges")  # the judge is to be trained again
        capsys.readouterr()
        with monkeypatch.context() as patch:
            ask_after(patch, *target, when)
            assert fit.status() == 75, moment
        assert "stopped by SIGTERM; run the same command again to continue\n" in capsys.readouterr().out
        assert list(fit.run.glob(there)) and not list(fit.run.glob(missing)), moment
        assert fit.status() == 0
        assert fingerprint(fit.run) == calm, moment


def test_a_torn_checkpoint_gives_way_to_the_one_before(program, monkeypatch, caplog):
    monkeypatch.setattr(Asks, "armed", False)
    fit = program(*DDPM, "--trainer.callbacks=test_resume.Asks", **{"bootstrap.checkpoint_every": 2, "data.num_steps": 4})
    fit()
    calm = fingerprint(fit.run)
    shutil.rmtree(fit.run)
    checkpoints = RunFolder(fit.run).generation(0).checkpoints
    Asks.armed = True
    assert [fit.status() for _ in range(3)] == [75, 75, 75]  # the second step has a periodic checkpoint, the third none
    Asks.armed = False
    last = checkpoints / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 3
    last.write_bytes(last.read_bytes()[:-1000])
    with caplog.at_level(logging.WARNING, "bootlight"):
        fit()
    (warned,) = {record.getMessage() for record in caplog.records if record.name.startswith("bootlight")}
    assert warned.startswith(f"{last} cannot be read (") and warned.endswith("); continuing from an older checkpoint")
    assert fingerprint(fit.run) == calm


def test_what_a_kill_left_half_written_vanishes(program):
    fit = program(*DCGAN)
    fit()
    calm = fingerprint(fit.run)
    (fit.run / "report.html").unlink()
    for name in (".report.html.0123abcd.tmp", "gen_000/.model.json.0123abcd.tmp", "gen_000/samples/00000/.000001.png.ab.tmp"):
        (fit.run / name).write_bytes(b"half")
    cache = fit.run / "cache" / ".0123.tmp"  # a folder, where data.cache lies in the run folder
    cache.mkdir(parents=True)
    (cache / ".images.npy.ab.tmp").write_bytes(b"half")
    fit()
    assert not list(fit.run.rglob("*.tmp"))
    cache.parent.rmdir()
    assert fingerprint(fit.run) == calm
