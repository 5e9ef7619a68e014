"""A program that a worker starts and waits for, handing on what it is asked itself."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from bootlight.errors import INTERRUPTED, RUN_AGAIN, BootlightError

POLL_SECONDS = 0.2
# What is asked of the worker, and what its program is sent: a terminal that closes is no reason to lose work.
PASSED_ON = {
    signal.SIGINT: signal.SIGINT,
    signal.SIGTERM: signal.SIGTERM,
    signal.SIGUSR1: signal.SIGUSR1,
    signal.SIGHUP: signal.SIGTERM,
}


class Children:
    """Runs programs one after the other; once it is asked to stop, the present one is told, and no other begun.

    Attributes:
        status: with which to leave when it was asked to stop; None as long as nobody has asked.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Be the handler of the signals for a while, but of those that are to be ignored (`nohup`)."""
        heard = [number for number in PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._asked) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if self.status is None:
            self.status = INTERRUPTED if number == signal.SIGINT else RUN_AGAIN
            if self._process is not None:
                self._process.send_signal(PASSED_ON[signal.Signals(number)])

    def run(self, command: list[str], log: Path, variables: dict[str, str], tick: Callable[[], None]) -> int:
        """Run a program to its end.

        Args:
            command: program and arguments.
            log: what it prints is added to this file.
            variables: of its environment, besides those of this process.
            tick: called now and then.

        Returns:
            Its exit status, as shells have it.

        Raises:
            BootlightError: the log cannot be written.
        """
        try:
            with open(log, "ab") as file:
                # A process group of its own: Ctrl-C reaches it once, through this process.
                environment = {**os.environ, **variables}
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment, process_group=0
                )
        except OSError as error:
            raise BootlightError(f"cannot start with {log}: {error.strerror or error}; free space or correct it") from error
        if self.status is not None:  # asked while it was being started
            self._process.send_signal(signal.SIGTERM)
        while self._process.poll() is None:
            time.sleep(POLL_SECONDS)
            tick()
        status = self._process.returncode
        self._process = None
        return status if status >= 0 else 128 - status


def bootlight_command(verb: str, arguments: list[str]) -> list[str]:
    """A verb in this Python environment, whatever is first on the path."""
    return [sys.executable, "-m", "bootlight", verb, *arguments]
