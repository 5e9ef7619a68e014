"""The real program in processes that are killed at chosen moments.

A launcher imports everything once and forks for each run, before any thread exists, so that a run costs only itself.
"""

import itertools
import json
import os
import pkgutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

PATIENCE_SECONDS = 120.0  # of a test that waits for a process; the machine may be busy
Stall = tuple[str, float]  # dotted name of a function, and how long a call of it lasts at least


class Job:
    """A running `bootlight fit`."""

    def __init__(self, launcher: "Launcher", pid: int, log: Path) -> None:
        self.launcher, self.pid, self.log = launcher, pid, log
        self.status: int | None = None

    def poll(self) -> int | None:
        """Exit status, -9 after SIGKILL, None as long as it runs."""
        if self.status is None:
            self.status = self.launcher.ask({"poll": self.pid})
        return self.status

    def wait(self) -> int:
        """Exit status, when it has ended."""
        self.wait_for(lambda: self.poll() is not None, pause=0.02)
        assert self.status is not None
        return self.status

    def wait_for(self, condition: Callable[[], Any], pause: float = 0.002) -> None:
        """Return when the condition holds.

        Raises:
            AssertionError: it never did.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        for number in itertools.count():
            if condition():
                return
            if number % 10 == 9:  # dearer than looking at the disk
                assert time.monotonic() < deadline and (self.poll() is None or condition()), self.output()
            time.sleep(pause)

    def signal_when(self, condition: Callable[[], Any], number: int = signal.SIGKILL) -> None:
        """Wait for a condition on the disk and send a signal."""
        self.wait_for(condition)
        os.kill(self.pid, number)

    def output(self) -> str:
        """What it has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def children(self) -> list[int]:
        """Its processes but itself, such as loader workers, also after its death."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
            except OSError:  # gone meanwhile
                continue
            if int(group) == self.pid != int(stat.parent.name) and state != "Z":
                found.append(int(stat.parent.name))
        return found


class Launcher:
    """A process that starts runs.

    Args:
        folder: where logs lie.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.jobs: list[Job] = []
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        # Another seed of the string hashes than the process that it is compared with has, as two starts of a program have.
        environment = os.environ | one_thread | {"PYTHONHASHSEED": "1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__], cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, request: dict[str, Any]) -> Any:
        """Send a request, return the answer."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(self, *arguments: str, stalls: Iterable[Stall] = ()) -> Job:
        """Start `bootlight fit` with these arguments.

        Args:
            arguments: of the command line.
            stalls: functions that are to take longer, so that a moment is not missed.
        """
        log = self.folder / f"{len(self.jobs)}.log"
        request = {"arguments": ["fit", *arguments], "stalls": list(stalls), "log": str(log)}
        pid = self.ask(request)
        self.jobs.append(Job(self, pid, log))
        return self.jobs[-1]

    def close(self) -> None:
        """End it and everything that it has started."""
        for job in self.jobs:
            if job.poll() is None:
                os.kill(job.pid, signal.SIGKILL)
                job.wait()
            for orphan in job.children():
                os.kill(orphan, signal.SIGKILL)
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def serve() -> dict[str, Any]:
    """Fork for each request; returns in the new process, with what it is to do."""
    import bootlight.cli.fit  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        elif (answer := os.fork()) == 0:
            return request
        print(json.dumps(answer), flush=True)
    sys.exit()


def stall(name: str, seconds: float) -> None:
    """Let each call of a function last longer."""
    place, _, attribute = name.rpartition(".")
    owner = pkgutil.resolve_name(place)
    function = getattr(owner, attribute)

    def slow(*args: Any, **kwargs: Any) -> Any:
        answer = function(*args, **kwargs)
        time.sleep(seconds)
        return answer

    setattr(owner, attribute, slow)


def become_program(arguments: list[str], log: Path, *, fresh: bool = False) -> NoReturn:
    """Be `bootlight` in this process, which is a fork, and end with its status.

    Args:
        arguments: of the command line.
        log: file to which it prints.
        fresh: whether an interpreter is started for it.
    """
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number, target in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (output, 2)):
        os.dup2(number, target)
    if fresh:
        os.execv(sys.executable, [sys.executable, "-m", "bootlight", *arguments])
    sys.argv = ["bootlight", *arguments]
    from bootlight.__main__ import main as bootlight

    status = 0
    try:
        bootlight()
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(bool(leaving.code))
        if isinstance(leaving.code, str):
            print(leaving.code, file=sys.stderr)
    except BaseException:
        status = 1
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # at once: taking torch apart module by module costs more than a tiny run


def main() -> None:
    """Be a launcher, or, in a fork of one, a run."""
    request = serve()
    os.setpgid(0, 0)
    for name, seconds in request["stalls"]:
        stall(name, seconds)
    become_program(request["arguments"], Path(request["log"]))


if __name__ == "__main__":
    main()
