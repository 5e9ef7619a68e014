"""Stands for `python -m bootlight fit` in tests of what runs it: leaves a finished run, or ends as it is told.

Told by the settings `data.deaf` (seconds before it hears signals), `data.wait` (seconds), `data.status` and `data.fail_once`.
"""

import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path


def main() -> None:
    given = [arg for arg in sys.argv[1:] if arg.startswith("--") and "=" in arg]
    settings = dict(arg[2:].split("=", 1) for arg in given)
    run = Path(settings["bootstrap.run_dir"])
    run.mkdir(parents=True, exist_ok=True)
    lock = os.open(run / ".lock", os.O_RDWR | os.O_CREAT)
    fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    journal(run, "begin", settings)
    time.sleep(float(settings.get("data.deaf", 0)))
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75)):
        signal.signal(number, lambda *_, status=status: asked(run, status, settings))
    (run / "config.yaml").write_text("bootstrap: {num_generations: 1}\n")
    (run / "gen_000" / "samples").mkdir(parents=True, exist_ok=True)
    time.sleep(float(settings.get("data.wait", 0)))
    if settings.get("data.fail_once") and not (run / "failed").exists():
        (run / "failed").touch()
        settings["data.status"] = "1"
    if settings.get("data.status", "0") != "0":
        print("bootlight: this arm is told to fail")
        leave(run, int(settings["data.status"]), settings)
    for name in ("gen_000/model.json", "gen_000/samples/metadata.jsonl", "gen_000/metrics.json", "report.html"):
        (run / name).write_text("{}")
    leave(run, 0, settings)


def asked(run: Path, status: int, settings: dict[str, str]) -> None:
    """Saves for a while; who asks twice would disturb that."""
    journal(run, "asked", settings)
    time.sleep(0.3)
    leave(run, status, settings)


def leave(run: Path, status: int, settings: dict[str, str]) -> None:
    journal(run, f"end {status}", settings)
    sys.stdout.flush()
    os._exit(status)


def journal(run: Path, what: str, settings: dict[str, str]) -> None:
    """One line for each begin and end, whoever writes it."""
    names = {key: os.environ.get(key) for key in ("WANDB_RUN_GROUP", "WANDB_TAGS", "WANDB_NAME")}
    line = {"arm": run.parent.name, "seed": int(run.name[5:]), "what": what, "settings": settings, **names}
    with open(run.parents[1] / "journal.jsonl", "a") as file:
        file.write(json.dumps({**line, "args": sys.argv[1:], "own_group": os.getpgrp() == os.getpid()}) + "\n")


if __name__ == "__main__":
    main()
