"""Stages, as far as they need no configuration: what lies on the disk says whether one is done."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np

from bootlight.bootstrap.stage import Generations, Stage
from bootlight.checking.judged import StandIn
from bootlight.checking.trials import NotHere, Trials, demand
from bootlight.io.atomic import write_bytes
from bootlight.io.pictures import encode_png

PICTURES = 3


class StageTrials(Trials):
    """Of a `Stage`."""

    kind = Stage
    name = "stage"

    def __init__(self, build: Callable[[], Any]) -> None:
        super().__init__(build)
        self._folder = tempfile.TemporaryDirectory(prefix="bootlight-check-")
        self.generation = StandIn(Path(self._folder.name), 1)
        for number in range(PICTURES):
            picture = np.full((8, 8, 1), 80 * number, np.uint8)
            write_bytes(self.generation.folder.sample_file(number), encode_png(picture))

    def told(self) -> None:
        """`name` is a text, `generations` one of all, first and later, `changes` a dictionary."""
        stage = self.thing
        demand(isinstance(stage.name, str) and stage.name != "", f"name is {stage.name!r}; give a text")
        known = get_args(Generations)
        demand(stage.generations in known, f"generations is {stage.generations!r}; it must be one of {', '.join(known)}")
        demand(isinstance(stage.changes, Mapping), f"changes is {stage.changes!r}; it must be a dictionary of dotted keys")

    def undone(self) -> None:
        """Before anything was done it is not done, and asking leaves nothing on the disk."""
        before = self._files()
        done = self._asked(self.thing.is_done)
        demand(done is False, f"is_done says {done!r} of a generation in which nothing was done; it must be False")
        demand(self._files() == before, f"is_done writes {', '.join(sorted(self._files() - before)[:3])}")

    def done(self) -> None:
        """After it has run it is done, by what lies on the disk: also for a fresh one, as of another process."""
        self._asked(self.thing.run)
        demand(self._asked(self.thing.is_done) is True, "after run(generation) is_done says that it is not done")
        again = self._asked(self._fresh().is_done)
        demand(again is True, "a fresh one does not know that it is done: look at the disk, and not at an attribute")

    def _asked(self, method: Callable[[Any], Any]) -> Any:
        try:
            return method(self.generation)
        except AttributeError as error:
            if error.obj is not self.generation:
                raise
            raise NotHere(f"it asks for generation.{error.name}, which only a run has") from error

    def _files(self) -> set[str]:
        return {str(path) for path in Path(self._folder.name).rglob("*")}

    def _close(self) -> None:
        self._folder.cleanup()
