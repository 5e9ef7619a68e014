"""Every row of a run's own files is in W&B's offline files exactly once, in order, whatever was killed when."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("wandb", reason="W&B is optional: pip install bootlight[wandb]")

from tracking_run import metrics
from wandb_attempts import EVENTS_OF_A_STEP, GENERATIONS, STEPS, loss, rate
from wandb_file import finished_logs

from bootlight.run_folder import RunFolder
from bootlight.tracking.history import read_rows
from bootlight.tracking.scores import read_generation

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
def attempts(tmp_path):
    """Runs the stand-in; the folder of its run."""

    def run(*kills: int) -> RunFolder:
        places = {f"WANDB_{name}_DIR": str(tmp_path / name.lower()) for name in ("DATA", "CACHE", "CONFIG", "ARTIFACT")}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")} | places
        command = [sys.executable, str(ATTEMPTS), str(tmp_path / "run"), *map(str, kills)]
        subprocess.run(command, check=True, env=environment | QUICK, cwd=tmp_path)
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
