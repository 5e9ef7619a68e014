"""What a run's own files hold for a tracker: one row for each logged step, one that closes each generation."""

from collections.abc import Iterator, Mapping
from itertools import takewhile
from typing import Any, NamedTuple

from bootlight.runs.folder import MODEL, GenerationFolder, RunFolder
from bootlight.runs.history import read_rows
from bootlight.runs.trainings import Training, steps_of, trainings_of


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
        steps = steps_of(folder) if folder.is_evaluated else None
        if steps is None or start <= offset + steps + generation:
            for training in trainings_of(folder):
                for row in rows_of_training(training, generation, offset):
                    if start <= row.number:
                        yield row
        if steps is None:
            return
        offset += steps
        if start <= offset + generation:
            yield Row(generation, offset, {}, folder)


def rows_of_training(training: Training, generation: int, offset: int) -> Iterator[Row]:
    """Rows of one part.

    Args:
        training: of the part.
        generation: its number.
        offset: training steps of all generations before it.
    """
    for step, values in read_rows(training.folder.history).items():
        if step >= 0 and (training.steps is None or step <= training.steps):
            yield Row(generation, offset + training.before + step, of_part(values, training.folder.part))


def of_part(values: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Values under the name of a part: `train/loss`, of another part than `model` `auxiliary/train/loss`."""
    return {name if part == MODEL else f"{part}/{name}": value for name, value in values.items()}


def num_rows(run: RunFolder) -> int:
    """Number after that of the last closing row.

    Raises:
        BootlightError: a `metrics.json` is not complete.
    """
    evaluated = takewhile(lambda folder: folder.is_evaluated, run.generations())
    return sum(steps_of(folder) + 1 for folder in evaluated)
