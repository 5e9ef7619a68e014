"""Real launchers: their signals, their exit statuses, and that nothing outlives them."""

import os
import signal
import time
from pathlib import Path

import pytest
from programs import BIN, Program
from ranks import DDPM, MODELS, PATIENCE, SLOWLY, Ranks, calm, results, settings, wait_until
from torch import nn

from bootlight.runs.folder import RunFolder


def lightning(args: list[str], run: Path) -> list[str]:
    own = ["--trainer.devices=2", "--trainer.strategy=ddp_find_unused_parameters_true", f"--bootstrap.run_dir={run}"]
    return ["bootlight", "fit", *args, *own]


def torchrun(args: list[str], run: Path) -> list[str]:
    return ["torchrun", "--standalone", "--nproc-per-node=2", str(BIN / "bootlight"), *lightning(args, run)[1:]]


@pytest.mark.slow
def test_stopped_under_one_launcher_and_continued_under_another(tmp_path):
    run = tmp_path / "run"
    folder = RunFolder(run).generation(1)
    args = [*DDPM, *settings(), SLOWLY]
    first = Program(lightning(args, run), tmp_path / "first.log")
    assert wait_until(folder.sample_file(0).exists), first.said()
    first.process.send_signal(signal.SIGTERM)  # to the first process alone
    assert first.wait() == 75, first.said()
    assert "stopped by SIGTERM; run the same command again" in first.said() and "Traceback" not in first.said()
    # The other process heard of it too: of its half of the images it has drawn few.
    assert not folder.metadata.exists() and len(list(folder.samples.rglob("*.png"))) < 15
    second = Program(torchrun(args, run), tmp_path / "second.log")
    assert second.wait() == 0, second.said()
    assert results(run) == calm("ddpm")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [lightning, torchrun])
@pytest.mark.parametrize("name", MODELS)
def test_launchers_come_to_the_same(tmp_path, launcher, name):
    program = Program(launcher([*MODELS[name], *settings()], tmp_path / "run"), tmp_path / "log")
    assert program.wait() == 0, program.said()
    assert results(tmp_path / "run") == calm(name)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["training", "synthesis"])
@pytest.mark.parametrize("launcher, number, status", [
    (lightning, signal.SIGTERM, 75),
    (lightning, signal.SIGUSR1, 75),
    (torchrun, signal.SIGTERM, 1),  # torchrun has a status, and a traceback, of its own
])  # fmt: skip
def test_a_signal_saves_and_the_same_command_continues(tmp_path, launcher, number, status, where):
    run = tmp_path / "run"
    folder = RunFolder(run).generation(1)
    command = launcher([*DDPM, *settings(), SLOWLY], run)
    first = Program(command, tmp_path / "first.log")
    there = folder.checkpoints / "last.ckpt" if where == "training" else folder.sample_file(0)
    assert wait_until(there.exists), first.said()
    first.process.send_signal(number)
    assert first.wait() == status, first.said()
    assert f"stopped by {number.name}; run the same command again" in first.said()
    assert not folder.metadata.exists()
    second = Program(command, tmp_path / "second.log")
    assert second.wait() == 0, second.said()
    assert results(run) == calm("ddpm")


@pytest.mark.slow
def test_the_first_process_is_killed_and_the_command_repeated_at_once(tmp_path):
    run = tmp_path / "run"
    command = lightning([*DDPM, *settings(), SLOWLY], run)
    first = Program(command, tmp_path / "first.log")
    assert wait_until(RunFolder(run).generation(1).sample_file(0).exists), first.said()
    first.process.kill()  # the other one draws on, until it finds itself alone
    second = Program(command, tmp_path / "second.log")
    assert second.wait() == 0, second.said()
    assert results(run) == calm("ddpm")
    first.process.wait()
    assert wait_until(lambda: not first.processes(), 30)


@pytest.mark.slow
def test_the_orphans_of_a_killed_torchrun_keep_the_run_locked(tmp_path):
    run = tmp_path / "run"
    command = torchrun([*DDPM, *settings(), SLOWLY], run)
    first = Program(command, tmp_path / "first.log")
    assert wait_until((RunFolder(run).generation(1).checkpoints / "last.ckpt").exists), first.said()
    first.process.kill()
    second = Program(command, tmp_path / "second.log")
    assert second.process.wait(PATIENCE) == 1
    assert f"bootlight: {run} is in use by process " in second.said()
    assert wait_until(lambda: not first.processes())  # they come to their end, and it is the right one
    assert results(run) == calm("ddpm")


@pytest.mark.slow
def test_control_c_ends_all(tmp_path):
    run = tmp_path / "run"
    command = lightning([*DDPM, *settings(), SLOWLY], run)
    first = Program(command, tmp_path / "first.log")
    assert wait_until((RunFolder(run).generation(1).checkpoints / "last.ckpt").exists), first.said()
    os.killpg(first.process.pid, signal.SIGINT)  # as a terminal does
    assert first.wait() == 130, first.said()
    assert "stopped by Ctrl-C; run the same command again" in first.said()
    second = Program(command, tmp_path / "second.log")
    assert second.wait() == 0, second.said()
    assert results(run) == calm("ddpm")


class SlowFeatures(nn.Module):
    """Takes longer than the other ranks are ready to wait."""

    def forward(self, images):
        time.sleep(5)
        return images.flatten(1).double()


@pytest.mark.slow
@pytest.mark.parametrize("timeout, status", [("0:00:02", 1), ("0:02:00", 0)])
def test_the_timeout_of_the_group_limits_how_long_rank_0_may_evaluate(tmp_path, timeout, status):
    args = [*DDPM, *settings(**{"bootstrap.num_generations": 1}), "--evaluation.features=test_launchers.SlowFeatures"]
    own = ["--trainer.strategy=lightning.pytorch.strategies.DDPStrategy", f"--trainer.strategy.timeout={timeout}"]
    ranks = Ranks(args, [tmp_path / "run"], per_node=2, own=(own, own))
    assert ranks.wait()[1] == status, ranks.said()
    assert ("bootlight: rank 1 has lost another process of the run (Timed out waiting 2000ms" in ranks.said()) == bool(status)
