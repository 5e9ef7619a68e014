"""What a run's own files hold for a tracker: one row for each logged step, one that closes each generation."""

from collections.abc import Iterator
from itertools import takewhile
from typing import NamedTuple

from bootlight.run_folder import GenerationFolder, RunFolder
from bootlight.tracking.history import read_rows
from bootlight.tracking.scores import read_generation


class Row(NamedTuple):
    """One row.

    Args:
        generation: number of the generation, from 0.
        total_step: training steps before it, those of all earlier generations included.
        values: training curves by name; empty in a closing row.
        closes: the generation whose scores it holds; None for a row of training.
    """

    generation: int
    total_step: int
    values: dict[str, float]
    closes: GenerationFolder | None = None

    @property
    def number(self) -> int:
        """Its own number, which rises over the whole bootstrap."""
        return self.total_step + self.generation


def rows_of(run: RunFolder, start: int = 0) -> Iterator[Row]:
    """Rows of a bootstrap from number `start` on, in order; of a generation without scores those of training only.

    Raises:
        BootlightError: a `metrics.json` is not complete.
    """
    offset = 0
    for generation, folder in enumerate(run.generations()):
        steps = read_generation(folder).steps if folder.is_evaluated else None
        if steps is None or start <= offset + steps + generation:
            for step, values in read_rows(folder.history).items():
                row = Row(generation, offset + step, values)
                if step >= 0 and (steps is None or step <= steps) and start <= row.number:
                    yield row
        if steps is None:
            return
        offset += steps
        if start <= offset + generation:
            yield Row(generation, offset, {}, folder)


def num_rows(run: RunFolder) -> int:
    """Number after that of the last closing row.

    Raises:
        BootlightError: a `metrics.json` is not complete.
    """
    evaluated = takewhile(lambda folder: folder.is_evaluated, run.generations())
    return sum(read_generation(folder).steps + 1 for folder in evaluated)
