"""One start of a command: forked from this process, which has imported everything, or an interpreter of its own."""

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from kill_harness import become_program
from ranks import free_port, torchrun_environment
from tiny_runs import write_plain_pages

PATIENCE_SECONDS = 300.0  # of a run of seconds, on a machine that has other work
TICKS = os.sysconf("SC_CLK_TCK")


class Attempt:
    """A `bootlight fit` in one process or several, which are one process group.

    Args:
        arguments: of `bootlight fit`.
        log: file to which it prints.
        processes: of the run, as torchrun would start them.
        fresh: whether each is a new interpreter instead of a fork.
        pages: whether forks draw strip and report, which take half of a small run's time; interpreters do.
    """

    def __init__(
        self, arguments: list[str], log: Path, processes: int = 1, *, fresh: bool = False, pages: bool = False
    ) -> None:
        alone = len(os.listdir("/proc/self/task")) == 1
        assert alone, "a process with threads must not be forked"
        self.log = log
        self.statuses: dict[int, int] = {}
        self.pids: list[int] = []
        self._seconds = 0.0
        environment = torchrun_environment(processes, free_port())
        for rank in range(processes):
            pid = os.fork()
            if pid == 0:
                if not pages:
                    write_plain_pages(pytest.MonkeyPatch())
                _become(arguments, log, self.pids[0] if self.pids else 0, environment(rank, rank, 0), fresh)
            self.pids.append(pid)
            with suppress(OSError):  # the child does it too: who is first?
                os.setpgid(pid, self.pids[0])

    @property
    def group(self) -> int:
        """Of all its processes, those of loaders too."""
        return self.pids[0]

    def poll(self) -> bool:
        """Whether all have ended."""
        for pid in self.pids:
            if pid not in self.statuses:
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    self.statuses[pid] = os.waitstatus_to_exitcode(status)
        return len(self.statuses) == len(self.pids)

    def wait(self, until: Callable[[], bool] = lambda: False) -> bool:
        """Wait for the end, or for something before it; whether that came first.

        Raises:
            TimeoutError: neither came; all are killed.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.poll():
            if until():
                return True
            if time.monotonic() > deadline:
                self.signal(signal.SIGKILL)
                raise TimeoutError(f"{self.log}: hung")
            time.sleep(0.002)
        return False

    def wait_for_seconds(self, seconds: float) -> bool:
        """Wait until the first process has had so many seconds of processor; whether it lives."""
        return self.wait(lambda: self.cpu_seconds() >= seconds)

    def cpu_seconds(self) -> float:
        """Of the first process: a clock that does not run faster on a busy machine, in steps of a hundredth."""
        with suppress(OSError):  # it has ended: what was last seen
            user, system = Path(f"/proc/{self.pids[0]}/stat").read_text().rpartition(")")[2].split()[11:13]
            self._seconds = (int(user) + int(system)) / TICKS
        return self._seconds

    def listens(self, number: int) -> bool:
        """Whether the first process has a handler for a signal."""
        with suppress(OSError, StopIteration):
            lines = Path(f"/proc/{self.pids[0]}/status").read_text().splitlines()
            mask = int(next(line for line in lines if line.startswith("SigCgt")).split()[1], 16)
            return bool(mask >> (number - 1) & 1)
        return False

    def signal(self, number: int, pid: int | None = None) -> None:
        """Send a signal to all, or to one."""
        with suppress(ProcessLookupError):
            if pid is None:
                os.killpg(self.group, number)
            else:
                os.kill(pid, number)

    @property
    def status(self) -> int:
        """Of the first process."""
        return self.statuses[self.pids[0]]

    def said(self) -> str:
        """What all have printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def end(self) -> None:
        """Leave nobody behind."""
        self.signal(signal.SIGKILL)
        self.wait()


def _become(arguments: list[str], log: Path, group: int, environment: dict[str, str], fresh: bool) -> None:
    """In a fork: be the program. Never returns."""
    try:
        os.setpgid(0, group)
        os.environ.update(environment)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has it ignored by what it runs behind `&`
        become_program(["fit", *arguments], log, fresh=fresh)
    finally:
        os._exit(99)  # it could not even begin


def prepare() -> None:
    """Import all that a run imports, without starting a thread."""
    import matplotlib.pyplot  # noqa: F401
    import sklearn.datasets  # noqa: F401
    import torch

    import bootlight.cli.fit  # noqa: F401

    torch.set_num_threads(1)
    sys.stdout.flush()
