"""Ways to interrupt an attempt, and what each must come to before the same command is started again."""

import errno
import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from bootlight.errors import INTERRUPTED, RUN_AGAIN
from bootlight.runs.folder import RunFolder
from kills.attempt import Attempt

NOTICED_SECONDS = 30.0  # within which a process notices that another one is gone, on a machine that has other work
# (attempt, folder of the run and its cache, random numbers) -> what is wrong; the attempt has ended afterwards
Interrupt = Callable[[Attempt, Path, Random], list[str]]


def kill(attempt: Attempt, folder: Path, rng: Random) -> list[str]:
    """SIGKILL to all processes."""
    attempt.signal(signal.SIGKILL)
    attempt.wait()
    return []


def kill_one(attempt: Attempt, folder: Path, rng: Random) -> list[str]:
    """SIGKILL to one process: loaders and other ranks are left to themselves, and notice."""
    victim = rng.choice(attempt.pids)
    attempt.signal(signal.SIGKILL, victim)
    deadline = time.monotonic() + NOTICED_SECONDS
    if attempt.wait(lambda: time.monotonic() > deadline):
        begun = bool(attempt.said())
        attempt.end()  # before all have met, a rank waits for the others; torchrun ends it
        return ["another process waits for the one that was killed"] if begun else []
    others = [status for pid, status in attempt.statuses.items() if pid != victim]
    # A rank that lost the other says so; one that had nothing left to ask it has finished.
    return [f"another process ended with {status}" for status in others if status not in (0, 1)] + no_traceback(attempt)


def stop_and_go(attempt: Attempt, folder: Path, rng: Random) -> list[str]:
    """SIGSTOP, and SIGCONT after a while: nothing has happened."""
    attempt.signal(signal.SIGSTOP)
    time.sleep(rng.uniform(0.1, 1))
    attempt.signal(signal.SIGCONT)
    attempt.wait()
    return [] if set(attempt.statuses.values()) == {0} else [f"ended with {attempt.statuses}"]


def stop_and_kill(attempt: Attempt, folder: Path, rng: Random) -> list[str]:
    """SIGSTOP, and SIGKILL after a while."""
    attempt.signal(signal.SIGSTOP)
    time.sleep(rng.uniform(0.1, 1))
    return kill(attempt, folder, rng)


def terminate(attempt: Attempt, folder: Path, rng: Random) -> list[str]:
    """SIGTERM to one process: it saves, and says that the same command continues."""
    listened = attempt.listens(signal.SIGTERM)
    asked_at = time.time()
    asked = rng.choice(attempt.pids)
    attempt.signal(signal.SIGTERM, asked)
    deadline = math.inf if listened else time.monotonic() + NOTICED_SECONDS
    if attempt.wait(lambda: time.monotonic() > deadline):
        attempt.end()  # before all have met, a rank waits for the others; torchrun ends it
        return []
    if not listened and attempt.statuses[asked] == -signal.SIGTERM:  # before the run began, or after its last file
        return []
    return stopped(attempt, folder, RUN_AGAIN, "SIGTERM", asked_at)


def press_control_c(attempt: Attempt, folder: Path, rng: Random) -> list[str]:
    """SIGINT to all, as a terminal sends it."""
    asked_at = time.time() if attempt.listens(signal.SIGTERM) else None
    attempt.signal(signal.SIGINT)
    attempt.wait()
    return stopped(attempt, folder, INTERRUPTED, "Ctrl-C", asked_at)


def fill_the_disk(attempt: Attempt, folder: Path, rng: Random) -> list[str]:
    """Take all space that is left; where something is written after that, it is told, and the space is given back."""
    filler = folder / "filler"
    fill(filler)
    attempt.wait()
    filler.unlink()
    said = attempt.said()
    wrong = no_traceback(attempt)
    if any(attempt.statuses.values()) and ("No space left on device" not in said or attempt.status not in (0, 1)):
        wrong.append(f"ended with {attempt.statuses} and no word of the disk")
    return wrong


def fill(filler: Path) -> None:
    """Write until nothing can be written."""
    with open(filler, "ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(2**16))
        except OSError as full:
            if full.errno != errno.ENOSPC:
                raise


def stopped(attempt: Attempt, folder: Path, status: int, name: str, asked_at: float | None) -> list[str]:
    """What is wrong with how a request to stop was answered."""
    wrong = no_traceback(attempt)
    if attempt.status == 0:  # nothing was left to do
        return wrong
    if attempt.status != status or {*attempt.statuses.values()} - {0, status}:
        wrong.append(f"ended with {list(attempt.statuses.values())}, not {status}")
    if asked_at is not None and f"stopped by {name}; run the same command again" not in attempt.said():
        wrong.append("does not say that the same command continues")
    generations = RunFolder(folder / "run").generations()
    if generations and asked_at is not None and generations[-1].history.exists() and not generations[-1].is_trained:
        saved = [os.path.getmtime(path) for path in generations[-1].checkpoints.glob("*.ckpt")]
        if not saved or max(saved) < asked_at - 0.1:  # the clock of a file system may lag by a tick
            wrong.append("was asked in the middle of training, and has saved nothing")
    return wrong


def no_traceback(attempt: Attempt) -> list[str]:
    return ["a traceback"] if "Traceback" in attempt.said() else []


KINDS: dict[str, Interrupt] = {
    "sigkill": kill, "sigkill-one": kill_one, "sigstop": stop_and_go, "sigstop-sigkill": stop_and_kill, "sigterm": terminate,
    "sigint": press_control_c, "full-disk": fill_the_disk,
}  # fmt: skip
