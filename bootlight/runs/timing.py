"""Where the time of a run goes: every second of the main thread is counted under one name."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

REST = "rest"  # what nobody has named


class Clock:
    """A stopwatch with names, of which one at a time is running; so the parts add up to the whole.

    Only the main thread may use it.
    """

    def __init__(self) -> None:
        self._name = REST
        self._since = time.perf_counter()
        self._seconds: dict[str, float] = {}

    def switch(self, name: str) -> str:
        """Count the time from now on under another name.

        Returns:
            The name that it was counted under until now.
        """
        now = time.perf_counter()
        before, self._name = self._name, name
        self._seconds[before] = self._seconds.get(before, 0.0) + now - self._since
        self._since = now
        return before

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time of a block under a name; a part inside of another is taken out of it."""
        before = self.switch(name)
        try:
            yield
        finally:
            self.switch(before)

    def take(self) -> dict[str, float]:
        """Seconds under each name since the last time they were taken."""
        self.switch(self._name)
        seconds, self._seconds = self._seconds, {}
        return seconds


clock = Clock()  # one for each process
