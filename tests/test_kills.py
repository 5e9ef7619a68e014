"""Real processes, really killed: SIGKILL, SIGTERM, Ctrl-C, the clock, and a second run in the same folder."""

import os
import signal
import warnings
from pathlib import Path

import pytest
import torch
from kill_harness import Launcher
from tiny_runs import DDPM, draw_pictures, fingerprint, options

from bootlight.__main__ import run_verb
from bootlight.bootstrap import loop
from bootlight.synthesis import folder as synthesis_folder

SETTINGS = {
    "data.num_workers": 2, "data.num_steps": 5, "bootstrap.num_generations": 2, "bootstrap.warm_start": "true",
    "bootstrap.num_synthetic": 8, "bootstrap.checkpoint_every": 2, "evaluation.judge_steps": 3, "evaluation.judge_width": 4,
    "evaluation.judge_batch_size": 4, "evaluation.features": "bootlight.PixelFeatures",
}  # fmt: skip
AGAIN = "run the same command again to continue\n"
# Moments: what is slowed down, so that none is missed; what lies on the disk then, and what does not.
JUDGE = ("bootlight.DCGAN.training_step", "real_previews.png", "references/judge*.safetensors")
TRAINING = ("bootlight.DDPM.training_step", "gen_000/checkpoints/last.ckpt", "gen_000/model.json")
CHECKPOINT = ("torch.save", "gen_001/checkpoints/.last.ckpt.*.tmp", "gen_001/model.json")
SYNTHESIS = (f"{synthesis_folder.__name__}.write_bytes", "gen_000/samples/00000/000002.png", "gen_000/samples/metadata.jsonl")
EVALUATION = ("bootlight.PixelFeatures.forward", "gen_000/samples/metadata.jsonl", "gen_000/metrics.json")


@pytest.fixture(scope="module")
def launcher(tmp_path_factory):
    launcher = Launcher(tmp_path_factory.mktemp("logs"))
    yield launcher
    launcher.close()


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """Makes the arguments of a run, each with a cache beside it: or one would find the judge of another."""
    pictures = draw_pictures(tmp_path_factory.mktemp("pictures"))
    return lambda run, model=(*DDPM, "--model.dropout=0.2"), **changes: [
        *model,
        *options(pictures, run, **SETTINGS | {"data.cache": run.parent / "cache"} | changes),
    ]


def calm_run(arguments: list[str], run: Path) -> dict[str, str]:
    """Fingerprint of a run, in this process, that nothing happens to."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        run_verb("fit", arguments)
    torch.set_num_threads(threads)
    return fingerprint(run)


@pytest.fixture(scope="module")
def calm(launcher, command, tmp_path_factory):
    run = tmp_path_factory.mktemp("calm") / "run"
    return calm_run(command(run), run)


def interrupt(launcher, arguments, run, moment, number=signal.SIGKILL):
    """Send a signal at a moment; the job, which has ended."""
    slow, there, missing = moment
    job = launcher.start(*arguments, stalls=[(slow, 0.5)])
    job.signal_when(lambda: any(run.glob(there)), number)
    job.wait()
    assert not any(run.glob(missing)), f"too late: {missing} is there"
    return job


def finish(launcher, arguments, **settings):
    job = launcher.start(*arguments, **settings)
    assert job.wait() == 0, job.output()


def test_killed_in_every_stage(launcher, command, calm, tmp_path):
    run = tmp_path / "run"
    for moment in (JUDGE, TRAINING, SYNTHESIS, EVALUATION, CHECKPOINT):
        assert interrupt(launcher, command(run), run, moment).status == -signal.SIGKILL
    assert list(run.glob(CHECKPOINT[1]))  # half-written
    finish(launcher, command(run))
    assert fingerprint(run) == calm


def test_asked_to_stop_by_signals_and_the_clock(launcher, command, calm, tmp_path):
    run = tmp_path / "run"
    sigterm, ctrl_c = (signal.SIGTERM, 75, "SIGTERM"), (signal.SIGINT, 130, "Ctrl-C")
    for moment, asked in [(JUDGE, sigterm), (TRAINING, ctrl_c), (SYNTHESIS, sigterm), (EVALUATION, ctrl_c)]:
        number, status, name = asked
        job = interrupt(launcher, command(run), run, moment, number)
        assert job.status == status and job.output().endswith(f"stopped by {name}; {AGAIN}"), job.output()
        assert "Traceback" not in job.output()
    job = launcher.start(*command(run, **{"trainer.max_time": "00:00:00:01"}), stalls=[(TRAINING[0], 0.6)])
    assert job.wait() == 75 and job.output().endswith(f"stopped by trainer.max_time; {AGAIN}"), job.output()
    finish(launcher, command(run))
    assert fingerprint(run) == calm


def test_one_run_at_a_time(launcher, command, calm, tmp_path):
    run = tmp_path / "run"
    first = launcher.start(*command(run), stalls=[(TRAINING[0], 0.2)])
    first.signal_when((run / "gen_000" / "checkpoints" / "last.ckpt").exists, signal.SIGSTOP)
    second = launcher.start(*command(run))
    assert second.wait() == 1
    (line,) = second.output().splitlines()
    assert line.startswith(f"bootlight: {run} is in use by process {first.pid} on {os.uname().nodename}; wait until ")
    assert len(first.children()) == 2
    os.kill(first.pid, signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    assert len(first.children()) == 2  # its loader workers notice after some seconds only
    finish(launcher, command(run))
    assert fingerprint(run) == calm


def test_ctrl_c_before_the_first_stage_is_told(bootlight, monkeypatch, tmp_path, capsys):
    def pressed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "open_run", pressed)
    with pytest.raises(SystemExit) as end:
        bootlight("fit", *DDPM, *options(draw_pictures(tmp_path / "pictures"), tmp_path / "run"))
    assert end.value.code == 130 and capsys.readouterr().out.endswith(f"stopped by Ctrl-C; {AGAIN}")
