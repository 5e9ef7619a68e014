"""A stand-in for training that logs to W&B as a run does, and is killed at chosen moments.

`python wandb_attempts.py FOLDER 3 17 ...`: one attempt for each number, killed at that event of it, then one to the end. A
process that has imported everything is forked for each.
"""

import itertools
import json
import os
import signal
import sys
import time
from pathlib import Path

import wandb.sdk.launch  # noqa: F401 - or each attempt would, at the cost of all the rest
from tracking_run import metrics, write_previews

from bootlight.io.atomic import write_json
from bootlight.loggers import wandb_logger
from bootlight.loggers.history import HistoryLogger
from bootlight.loggers.wandb_logger import BootstrapWandbLogger
from bootlight.runs.folder import RunFolder

GENERATIONS, STEPS, EVERY = 2, 10, 4
EVENTS_OF_A_STEP = 4  # before it, after its first values, between its checkpoint and its row, after it


def loss(generation: int, step: int) -> float:
    return 1 / (3 + STEPS * generation + step)


def rate(generation: int, step: int) -> float:
    return 0.1 * (1 + generation) / (1 + step)


def train(run: RunFolder, logger: BootstrapWandbLogger, generation: int, event) -> None:
    """Values at the beginning of a step and at its end; a checkpoint brings its own row to the disk before it."""
    folder = run.generation(generation)
    history = HistoryLogger(folder.history)
    state = folder.checkpoints / "step.json"
    logger.start_generation(generation, STEPS * generation)
    for step in range(json.loads(state.read_text()) if state.exists() else 0, STEPS):
        event()
        for tracker in (history, logger):
            tracker.log_metrics({"lr": rate(generation, step)}, step)
        event()
        values = {"train/loss": loss(generation, step)}
        if step % EVERY == EVERY - 1 or step == STEPS - 1:
            history.log_metrics(values, step)
            history.sync()
            state.parent.mkdir(parents=True, exist_ok=True)
            write_json(state, step + 1)
        event()
        for tracker in (history, logger):
            tracker.log_metrics(values, step)
        event()
    history.finalize("success")


def attempt(run: RunFolder, event) -> None:
    logger = BootstrapWandbLogger(offline=True, save_dir=str(run.path))
    logger.attach(run.path)
    for generation in range(GENERATIONS):
        folder = run.generation(generation)
        if not folder.is_evaluated:
            train(run, logger, generation, event)
            folder.samples.mkdir(exist_ok=True)
            folder.weights.write_bytes(b"weights")
            folder.metadata.write_text("{}\n")
            write_previews(folder.previews, generation)
            event()
            write_json(folder.metrics, metrics(generation) | {"steps": STEPS})
            event()
            logger.log_generation(folder, STEPS * (generation + 1))
            event()
    logger.catch_up()
    event()
    logger.finish()
    event()


def main(folder: str, *kills: str) -> None:
    wandb_logger.FLUSH_SECONDS = 0.05
    run = RunFolder(Path(folder))
    run.path.mkdir(parents=True, exist_ok=True)
    for kill in [*map(int, kills), None]:
        pid = os.fork()
        if pid == 0:
            count = itertools.count()

            def event(count=count, kill=kill) -> None:
                time.sleep(0.005)
                if next(count) == kill:
                    os.kill(os.getpid(), signal.SIGKILL)

            attempt(run, event)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status == (0 if kill is None else -signal.SIGKILL), f"killed at {kill}: {status}"
        time.sleep(0.1)  # in which W&B's own process notices


if __name__ == "__main__":
    main(*sys.argv[1:])
