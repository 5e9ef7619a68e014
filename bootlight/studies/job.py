"""One run of a study: an arm with a seed, its files, its command, and how far it is."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootlight.errors import BootlightError
from bootlight.io.atomic import read_json, write_json
from bootlight.runs.ended import ends_run
from bootlight.runs.folder import RunFolder
from bootlight.runs.kept_config import read_config
from bootlight.studies.record import Arm
from bootlight.studies.spec import TEACHER, TEACHER_SETTING, Study, names_teacher

LAST_LINES_BYTES = 4096  # of a log


@dataclass(frozen=True)
class Job:
    """An arm with a seed.

    Args:
        study: the folder of the study.
        arm: what is run.
        seed: of the run.
    """

    study: Path
    arm: Arm
    seed: int

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.arm.name} seed {self.seed}"

    @property
    def run(self) -> RunFolder:
        """An ordinary run folder."""
        return RunFolder(self.study / self.arm.name / f"seed_{self.seed}")

    @property
    def log(self) -> Path:
        """What the run prints."""
        return self.run.path.with_name(f"{self.run.path.name}.log")

    @property
    def lock(self) -> Path:
        """Held by the worker that runs it."""
        return self.run.path.with_name(f".{self.run.path.name}.lock")

    @property
    def failure(self) -> Path:
        """Why it failed the last time; missing where it did not."""
        return self.run.path.with_name(f"{self.run.path.name}.failed.json")

    @property
    def teacher(self) -> Path | None:
        """Run folder of the arm that teaches this one, with the same seed."""
        return None if self.arm.teacher is None else self.study / self.arm.teacher / self.run.path.name

    @property
    def taught_by(self) -> str:
        """The generation whose images are the teacher's; the placeholder where there is none."""
        return TEACHER if self.teacher is None else f"{self.teacher}@0"

    def arguments(self) -> list[str]:
        """Of `bootlight fit`."""
        settings = {**self.arm.settings, "seed_everything": self.seed, "bootstrap.run_dir": str(self.run.path)}
        if self.teacher is not None and not names_teacher(settings):
            settings[TEACHER_SETTING] = TEACHER
        settings.setdefault("trainer.enable_progress_bar", False)
        configs = [arg for file in self.arm.base for arg in ("--config", file)]
        arguments = [f"--{key}={as_argument(value)}" for key, value in settings.items()]
        return [*configs, *(argument.replace(TEACHER, self.taught_by) for argument in arguments)]

    @property
    def is_begun(self) -> bool:
        """Whether there is a run that other settings would not fit."""
        return self.run.config.exists() and self.run.generation(0).path.is_dir()

    @property
    def is_finished(self) -> bool:
        """Whether every generation is done and its pages are written."""
        count = self.num_generations()
        return count is not None and self._is_whole(count) and self.run.report.exists()

    def _is_whole(self, count: int) -> bool:
        """Whether so many generations are done, or all up to one that has ended the run."""
        for folder in map(self.run.generation, range(count)):
            if not folder.is_done:
                return False
            if ends_run(folder):
                break
        return True

    def num_generations(self) -> int | None:
        """How many the run is to have: by the study, else by the configuration that it has resolved."""
        chosen: Any = self.arm.settings.get("bootstrap.num_generations")
        if chosen is None and self.run.config.exists():
            try:
                chosen = read_config(self.run.config)["bootstrap"]["num_generations"]
            except (BootlightError, LookupError, TypeError):
                return None  # `fit` has to say what is wrong with it
        return chosen if isinstance(chosen, int) else None

    def steps_done(self) -> str:
        """Generation and last logged step, for progress; empty where nothing is known."""
        folders = self.run.generations()
        if not folders:
            return ""
        folder = folders[-1]
        where = f"generation {len(folders) - 1}"
        if folder.is_synthesized:
            return f"{where} · evaluation"
        if folder.is_trained:
            return f"{where} · synthesis"
        lines = last_lines(folder.history)
        try:
            return f"{where} · step {json.loads(lines[-1])['step']}" if lines else where
        except (ValueError, LookupError, TypeError):  # a line that is being written
            return where

    def note_failure(self, status: int, when: float) -> str:
        """Keep why the run failed; its last line."""
        lines = last_lines(self.log)
        reason = lines[-1] if lines else "it has printed nothing"
        write_json(self.failure, {"status": status, "time": when, "last_line": reason})
        return reason

    def failed_at(self) -> float | None:
        """When it failed; None where it did not, or nobody can tell."""
        try:
            return float(read_json(self.failure)["time"])
        except (BootlightError, LookupError, TypeError, ValueError):
            return None


def jobs_of(study: Study, arms: list[str] | None = None, seeds: list[int] | None = None) -> list[Job]:
    """All runs, seed after seed, so that the first seed of every arm is there early; or those of some arms and seeds.

    Raises:
        BootlightError: there is no such arm.
    """
    known = [arm.name for arm in study.arms]
    for name in arms or []:
        if name not in known:
            raise BootlightError(f"--arms: {study.file} has no arm {name!r}; there are {', '.join(known)}")
    named = {arm.name: arm for arm in study.arms}
    chosen = [named[name] for name in study.order if arms is None or name in arms]
    return [Job(study.folder, arm, seed) for seed in seeds or study.seeds for arm in chosen]


def with_teachers(study: Study, arms: list[str] | None) -> list[str] | None:
    """Arms, and those that they cannot begin without; None = all."""
    found = list(arms or [])
    for name in found:  # grows meanwhile
        found += [arm.teacher for arm in study.arms if arm.name == name and arm.teacher and arm.teacher not in found]
    return None if arms is None else found


def as_argument(value: Any) -> str:
    """A value as it is written on the command line."""
    return value if isinstance(value, str) else json.dumps(value)


def last_lines(file: Path) -> list[str]:
    """The end of a text file; nothing where it cannot be read. A bar that overwrites itself counts as lines."""
    try:
        with open(file, "rb") as opened:
            opened.seek(max(0, opened.seek(0, 2) - LAST_LINES_BYTES))
            text = opened.read().decode(errors="replace")
    except OSError:
        return []
    return [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()]
