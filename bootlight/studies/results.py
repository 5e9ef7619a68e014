"""What a study has left on the disk: which runs are finished, and the scores of arm x seed x generation."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bootlight.errors import BootlightError
from bootlight.io.atomic import read_json
from bootlight.metrics.score import Score
from bootlight.report.scores import GenerationScores, read_generation, score_names
from bootlight.runs.ended import ends_run
from bootlight.runs.folder import RunFolder
from bootlight.runs.kept_config import read_config
from bootlight.studies.derived import with_derived
from bootlight.studies.record import Arm, StudyRecord, arm_and_folder, read_record
from bootlight.studies.settings import number
from bootlight.studies.statistics import PairedDifference, paired_difference
from bootlight.studies.times import compare_times, is_time


@dataclass(frozen=True)
class Cell:
    """One run: an arm with a seed.

    Args:
        run: its folder.
        state: `finished`, `failed` (when it was last tried), `unfinished`, `missing` or `unreadable`.
        generations: scores of the generations that are evaluated, in order.
        expected: number of generations that the run is to have; None where its configuration is not there yet.
        note: why it is unreadable or has failed.
        config: the resolved configuration, empty where there is none.
    """

    run: RunFolder
    state: str
    generations: tuple[GenerationScores, ...] = ()
    expected: int | None = None
    note: str = ""
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether every generation is evaluated; only such runs are compared."""
        return self.state == "finished"


@dataclass(frozen=True)
class StudyResults:
    """A study and its runs.

    Args:
        record: what it consists of.
        cells: runs by (arm, seed), one for each, whether it is there or not.
    """

    record: StudyRecord
    cells: dict[tuple[str, int], Cell]

    def finished(self, arm: str) -> dict[int, Cell]:
        """The finished runs of an arm by seed."""
        return {seed: cell for seed in self.record.seeds if (cell := self.cells[arm, seed]).finished}

    def unfinished(self) -> list[tuple[str, int, Cell]]:
        """Arm, seed and run of everything that is not finished."""
        return [(arm, seed, cell) for (arm, seed), cell in self.cells.items() if not cell.finished]

    def num_generations(self) -> int:
        """Generations of the longest finished run; 0 where there is none."""
        return max((len(cell.generations) for cell in self.cells.values() if cell.finished), default=0)

    def scores(self, arm: str, name: str, generation: int | None = None) -> dict[int, Score]:
        """A score of an arm by seed, in its finished runs.

        Args:
            arm: its name, or `arm/folder` for a further folder of images.
            name: of the score.
            generation: from 0; None takes the last one of each run.
        """
        arm, folder = arm_and_folder(arm)
        found: dict[int, Score] = {}
        for seed, cell in self.finished(arm).items():
            index = len(cell.generations) - 1 if generation is None else generation
            if 0 <= index < len(cell.generations) and name in (scores := cell.generations[index].of(folder)):
                found[seed] = scores[name]
        return found

    def folders(self, arm: str) -> list[str]:
        """Further folders of images that the last generations of its finished runs were measured by."""
        last = [cell.generations[-1] for cell in self.finished(arm).values() if cell.generations]
        return list(dict.fromkeys(folder for row in last for folder in row.folders))

    def score_names(self) -> list[str]:
        """Every score that occurs in a finished run, in order of first appearance."""
        rows = (row for cell in self.cells.values() if cell.finished for row in cell.generations)
        return score_names(rows)


def compare_arms(results: StudyResults, score: str, first: str, second: str) -> PairedDifference | None:
    """Second - first in the last generation, over common seeds; times on a plateau as `times.compare_times` does."""
    one, two = results.scores(first, score), results.scores(second, score)
    return (compare_times if any(map(is_time, one.values())) else paired_difference)(one, two)


def read_study(folder: Path) -> StudyResults:
    """Read a study and all of its runs; runs that are missing or torn are named, not dropped.

    Raises:
        BootlightError: `study.json` is missing, or not as the study writes it.
    """
    record = read_record(folder)
    cells = {(arm.name, seed): _read_cell(record, arm, seed) for arm in record.arms for seed in record.seeds}
    return StudyResults(record, cells)


def _read_cell(record: StudyRecord, arm: Arm, seed: int) -> Cell:
    run = RunFolder(record.folder / arm.name / f"seed_{seed}")
    failure = _failure(run)
    if not run.path.is_dir():
        return Cell(run, "failed" if failure else "missing", note=failure)
    try:
        config = read_config(run.config) if run.config.is_file() else {}
        chosen = arm.settings.get("bootstrap.num_generations")  # a run that was begun with fewer may not have gone on yet
        expected = chosen if isinstance(chosen, int) else number(config, "bootstrap", "num_generations")
        if type(other := config.get("seed_everything")) is int and other != seed:
            return Cell(
                run, "unreadable", note=f"it was made with seed_everything {other}: pairs are of equal seeds", config=config
            )
        evaluated = [folder for folder in run.generations() if folder.is_evaluated][:expected]
        rows = [read_generation(folder) for folder in evaluated]
        expected = len(rows) if evaluated and ends_run(evaluated[-1]) else expected
        if expected is None or len(rows) < max(expected, 1):
            return Cell(run, "failed" if failure else "unfinished", tuple(rows), expected, failure, config)
        return Cell(run, "finished", with_derived(run, rows, config, record.layout), expected, config=config)
    except BootlightError as error:
        return Cell(run, "unreadable", note=str(error))


def _failure(run: RunFolder) -> str:
    """What the runner of the study noted when the run last failed; empty where it did not."""
    path = run.path.with_name(f"{run.path.name}.failed.json")
    try:
        note = read_json(path) if path.exists() else {}
    except BootlightError as error:
        return str(error)
    return str(note.get("last_line") or "no reason was noted") if isinstance(note, dict) and note else ""
