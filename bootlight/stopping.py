"""Stopping early without losing work: a signal or the clock asks, and between two steps, images or batches the run obeys."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from bootlight.errors import RUN_AGAIN
from bootlight.processes import gather, pass_on, rank
from bootlight.terminal import say

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # SIGUSR1 is what batch scripts for Lightning send


class StopRequest:
    """Whether this process has been asked to stop.

    Attributes:
        reason: who asked, in words; None as long as nobody has.
        deadline: value of `time.monotonic` from which on the clock asks; None = never.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self.deadline: float | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The signal handler; processes that were started from here hear of it too, once."""
        if self.reason is None:
            pass_on(number)
        self.reason = signal.Signals(number).name

    @property
    def made(self) -> bool:
        """Whether it is time to stop."""
        if self.reason is None and self.deadline is not None and time.monotonic() >= self.deadline:
            self.reason = "trainer.max_time"
        return self.reason is not None

    def listen(self) -> None:
        """Become the handler, in place of any other; only the main thread can."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self)

    @contextmanager
    def listening(self, seconds: float | None = None) -> Iterator[None]:
        """Be the handler for a while, and forget earlier requests.

        Args:
            seconds: until the clock asks.
        """
        self.reason = None
        self.deadline = None if seconds is None else time.monotonic() + seconds
        before = {number: signal.getsignal(number) for number in SIGNALS}
        self.listen()
        try:
            yield
        finally:
            if threading.current_thread() is threading.main_thread():
                for number, handler in before.items():
                    signal.signal(number, handler)


stop_request = StopRequest()  # one for each process, as signals are


class Stopped(Exception):
    """Work was left in the middle because this process was asked to stop."""


def check_stop() -> None:
    """Leave the work of this process, if it has been asked to stop.

    Raises:
        Stopped: to be caught before the next thing that all processes do together.
    """
    if stop_request.made:
        raise Stopped


def leave_if_asked(save: Callable[[], None] = lambda: None) -> None:
    """End all processes of the run when one of them has been asked to stop; all must call this at the same point.

    Args:
        save: called before, on all ranks.

    Raises:
        SystemExit: with 75 on rank 0, with 0 elsewhere: launchers take a failing rank for a fault of the whole job.
    """
    asked = stop_request.made
    reasons = gather(stop_request.reason if asked else None)
    if not any(reasons):
        return
    save()
    if rank() == 0:
        say(f"stopped by {next(filter(None, reasons))}; run the same command again to continue")
    raise SystemExit(RUN_AGAIN if rank() == 0 else 0)
