"""Every row of a run's own files is in W&B's offline files exactly once, in order, whatever was killed when."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("wandb", reason="W&B is optional: pip install bootlight[wandb]")

from ranks import DDPM, Ranks, settings
from tracking_run import metrics
from wandb_attempts import EVENTS_OF_A_STEP, GENERATIONS, STEPS, loss, rate
from wandb_file import finished_logs

from bootlight.report.scores import read_generation
from bootlight.runs.folder import RunFolder
from bootlight.runs.history import read_rows

ATTEMPTS = Path(__file__).with_name("wandb_attempts.py")
QUICK = {
    "WANDB_SILENT": "true",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_X_SAVE_REQUIREMENTS": "false",
    "WANDB_X_DISABLE_META": "true",
}
OWN = ("_step", "_runtime", "_timestamp")


def expected_rows(run: RunFolder) -> list[dict]:
    """What the run's own files say, read apart from the code that logs it."""
    rows, offset = [], 0
    for generation, folder in enumerate(run.generations()):
        scores = read_generation(folder)
        for step, values in read_rows(folder.history).items():
            rows.append({**values, "generation": generation, "total_step": offset + step})
        offset += scores.steps
        flat = {f"generation/{name}": value for name, value in scores.flat().items()}
        rows.append({**flat, "generation": generation, "total_step": offset})
    return rows


def logged_rows(folder: Path) -> list[dict]:
    rows = [row for log in finished_logs(folder, exited=False) for row in log.rows]
    numbers = [number for number, _ in rows]
    assert numbers == sorted(set(numbers))
    previews = "generation/previews/"
    return [{key: value for key, value in row.items() if key not in OWN and not key.startswith(previews)} for _, row in rows]


@pytest.fixture
def environment(tmp_path):
    """W&B's own variables."""
    return QUICK | {f"WANDB_{name}_DIR": str(tmp_path / name.lower()) for name in ("DATA", "CACHE", "CONFIG", "ARTIFACT")}


@pytest.fixture
def attempts(tmp_path, environment):
    """Runs the stand-in; the folder of its run."""

    def run(*kills: int) -> RunFolder:
        others = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        command = [sys.executable, str(ATTEMPTS), str(tmp_path / "run"), *map(str, kills)]
        subprocess.run(command, check=True, env=others | environment, cwd=tmp_path)
        return RunFolder(tmp_path / "run")

    return run


def test_killed_at_chosen_moments(attempts):
    whole = EVENTS_OF_A_STEP * STEPS  # events of a training
    run = attempts(
        EVENTS_OF_A_STEP * 3 + 2,  # between the checkpoint of step 3 and its row
        EVENTS_OF_A_STEP * 3 + 2,  # the checkpoint of step 7; no row of this attempt was flushed, perhaps
        EVENTS_OF_A_STEP * 1 + 1,  # the row of step 9 is half there
        EVENTS_OF_A_STEP * 2 + 1,  # the scores are on the disk, W&B was not told
        whole + 2,  # W&B was told of the last scores, and may not have written them
    )
    expected = expected_rows(run)
    steps = [(generation, step) for generation in range(GENERATIONS) for step in range(STEPS)]
    assert [(row["train/loss"], row["lr"]) for row in expected if "lr" in row] == [(loss(*at), rate(*at)) for at in steps]
    assert [row["generation/loss"] for row in expected if "generation/loss" in row] == [
        metrics(generation)["loss"]["value"] for generation in range(GENERATIONS)
    ]
    assert logged_rows(run.path) == expected
    assert json.loads((run.path / "wandb_rows.json").read_text())["rows"] == GENERATIONS * (STEPS + 1)


KILLS = 8  # of a variant, at least
SLOW_AND_RATED = '[{"class_path": "ranks.Slowly"}, {"class_path": "lightning.pytorch.callbacks.LearningRateMonitor"}]'


def wandb_processes(parent: int) -> list[int]:
    """W&B's own process of a run; it has a session of its own."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _, values = stat.read_text().rpartition(")")
            if "wandb-core" in name and int(values.split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def run_until_killed(ranks: Ranks, run: Path, rng: random.Random) -> bool:
    """Kill a run at some moment, often in training, in half of the cases W&B's own process before it; whether it was alive."""
    known = set(run.glob("wandb/offline-run-*"))
    begun = rng.random() < 0.8
    rest = rng.uniform(0, 5)
    end = None if begun else time.monotonic() + rest
    while end is None or time.monotonic() < end:
        if not any(process.is_alive() for process in ranks.processes):
            return False
        if end is None and set(run.glob("wandb/offline-run-*")) - known:
            end = time.monotonic() + rest
        time.sleep(0.002)
    first = rng.random() < 0.5
    for number in wandb_processes(ranks.processes[0].pid) if first else ():
        os.kill(number, signal.SIGKILL)
    alive = any(process.is_alive() for process in ranks.processes)
    ranks.kill()
    return alive


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_whole_runs_killed_at_any_moment(tmp_path, environment, processes):
    rng, kills = random.Random(processes), []
    logger = [
        f"--trainer.callbacks={SLOW_AND_RATED}",
        "--trainer.logger=bootlight.BootstrapWandbLogger",
        "--trainer.logger.offline=true",
    ]
    while sum(kills) < KILLS:
        run = RunFolder(tmp_path / f"run {len(kills)}")
        arguments = [*DDPM, *settings(), *logger, f"--trainer.logger.save_dir={run.path}"]
        kills.append(0)
        start = partial(Ranks, arguments, [run.path], processes, **environment)
        while run_until_killed(ranks := start(), run.path, rng):
            kills[-1] += 1
            if kills[-1] == KILLS:  # on a busy machine it may never come to its end
                ranks = start()
                break
        assert ranks.wait() == [0] * processes, ranks.said()
        expected, logged = expected_rows(run), logged_rows(run.path)
        trained = [row for row in expected if "train/loss" in row]
        assert len(trained) == 24 and all("lr-AdamW" in row for row in trained)  # two generations of 12 steps
        pieces = [len(log.rows) for log in finished_logs(run.path, exited=False)]
        print(f"{processes} processes, {kills[-1]} kills: {len(logged)} of {len(expected)} rows, in pieces of {pieces}")
        assert logged == expected
