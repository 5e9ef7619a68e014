"""Stopping early without losing work: a signal or the clock asks, and between two steps, images or batches the run obeys."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from bootlight.distributed.processes import gather, pass_on, rank
from bootlight.errors import INTERRUPTED, RUN_AGAIN
from bootlight.terminal import say

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # SIGUSR1 is what batch scripts for Lightning send
CTRL_C = "Ctrl-C"
ONE_PRESS = 1.0  # seconds within which a terminal and a launcher may both send the same Ctrl-C


@contextmanager
def handlers_kept() -> Iterator[None]:
    """After the block signals are handled as before it; a trainer leaves the handlers that it has set."""
    before = {number: signal.getsignal(number) for number in (*SIGNALS, signal.SIGINT)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


class StopRequest:
    """Whether this process has been asked to stop.

    Attributes:
        reason: who asked, in words; None as long as nobody has.
        deadline: value of `time.monotonic` from which on the clock asks; None = never.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self.deadline: float | None = None
        self._process = os.getpid()
        self._saving = False
        self._pressed: float | None = None  # when Ctrl-C was

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The signal handler; processes that were started from here hear of it too, once."""
        if number == signal.SIGINT:
            self._press()
            return
        if self.reason is None:
            pass_on(number)
        self.reason = signal.Signals(number).name

    def _press(self) -> None:
        """Ctrl-C: where a state can soon be saved a request, which the second one does not wait for; elsewhere the end.

        Raises:
            KeyboardInterrupt: it is the end.
        """
        if os.getpid() != self._process:
            return  # a data loader's worker that was forked; the process that it works for decides
        now = time.monotonic()
        if not self._saving or (self._pressed is not None and now - self._pressed > ONE_PRESS):
            raise KeyboardInterrupt
        if self._pressed is None:
            self._pressed = now
            self.reason = self.reason or CTRL_C
            os.write(2, b"\nstopping as soon as the state can be saved; Ctrl-C again: at once\n")  # print is not for handlers

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Inside the block somebody looks at `made` again and again, and saves before he leaves: Ctrl-C is a request too."""
        self._saving = True
        try:
            yield
        finally:
            self._saving = False

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
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored, as behind `&`
                signal.signal(signal.SIGINT, self)

    @contextmanager
    def listening(self, seconds: float | None = None) -> Iterator[None]:
        """Be the handler for a while; requests from before and from this while are forgotten outside.

        Args:
            seconds: until the clock asks.
        """
        self._forget()
        self._process = os.getpid()
        self.deadline = None if seconds is None else time.monotonic() + seconds
        try:
            with handlers_kept():
                self.listen()
                yield
        finally:
            self._forget()

    def _forget(self) -> None:
        self.reason = self._pressed = self.deadline = None


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
        SystemExit: with 75 (130 after Ctrl-C) on rank 0, with 0 elsewhere: launchers take a failing rank for a fault of the
            whole job.
    """
    asked = stop_request.made
    reasons = gather(stop_request.reason if asked else None)
    if not any(reasons):
        return
    save()
    if rank() > 0:
        raise SystemExit(0)
    reason = next(filter(None, reasons))
    say(f"stopped by {reason}; run the same command again to continue")
    raise SystemExit(INTERRUPTED if reason == CTRL_C else RUN_AGAIN)


@contextmanager
def stops_explained() -> Iterator[None]:
    """Turn Ctrl-C, and what Lightning makes of it (status 1, silently), into a line and a status.

    Raises:
        SystemExit: with 130 after Ctrl-C.
    """
    try:
        yield
    except (SystemExit, KeyboardInterrupt) as stop:
        if isinstance(stop, KeyboardInterrupt) or isinstance(stop.__context__, KeyboardInterrupt):
            if rank() == 0:
                say(f"stopped by {CTRL_C}; run the same command again to continue")
            raise SystemExit(INTERRUPTED) from stop
        raise
