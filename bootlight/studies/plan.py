"""What a study would do and cost, and whether the settings of every arm are right; nothing is trained."""

from __future__ import annotations

import io
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import NamedTuple

from lightning.fabric.utilities.exceptions import MisconfigurationException
from tqdm import tqdm

from bootlight.bootstrap.builder import Builder
from bootlight.bootstrap.causes import root_cause
from bootlight.bootstrap.plan_stages import Costs, planned
from bootlight.bootstrap.stages import stages_of
from bootlight.data.datamodule import BootstrapData
from bootlight.errors import BootlightError
from bootlight.io.quiet import quiet
from bootlight.report.table import align
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import MODEL
from bootlight.studies.child import bootlight_command
from bootlight.studies.input_checks import InputChecks
from bootlight.studies.job import Job, jobs_of
from bootlight.studies.record import Arm
from bootlight.studies.spec import Study
from bootlight.terminal import say

HEADER = ("arm", "waits for", "runs", "done", "training sets", "steps", "images seen", "drawn", "min a run", "min in all")


class Cost(NamedTuple):
    """What one run of an arm does.

    Attributes:
        sizes: images of the training set of each generation; of several parts, those of the model.
        steps: of all generations and parts.
        seen: images in all training steps.
        drawn: images of all generations, those of which something was chosen too.
        seconds: training and drawing, on this machine.
    """

    sizes: list[int]
    steps: int
    seen: int
    drawn: int
    seconds: float


def check_arms(study: Study, names: list[str] | None = None) -> None:
    """Parse the settings of every arm, and make its objects.

    Raises:
        BootlightError: names the arm and its first mistake.
    """
    builders: dict[str, Builder] = {}
    check = InputChecks()
    jobs = _first_jobs(study, names)
    teachers = {job.arm.teacher for job in jobs}
    for job in jobs:
        if job.is_begun and job.arm.name not in teachers:
            continue
        builder = parsed(job)
        builders[job.arm.name] = builder
        if not job.is_begun:
            with named(job.arm):
                set_up(job, builder, builders)
                check(job, builder)


def print_plan(study: Study, names: list[str] | None = None, seeds: list[int] | None = None) -> None:
    """Print a row for each arm.

    Args:
        study: with all settings.
        names: of arms, their teachers among them; None = all.
        seeds: None = those of the study.

    Raises:
        BootlightError: what is wrong with an arm, or with its images.
    """
    measured: dict[str, tuple[float, float]] = {}
    builders: dict[str, Builder] = {}
    check = InputChecks()
    rows, total, start = [], 0.0, None
    for job in tqdm(_first_jobs(study, names), desc="measuring", leave=False):
        builder = parsed(job)
        cost = _cost(job, builder, builders, measured, check)
        start = startup_seconds(job) if start is None else start
        builders[job.arm.name] = builder
        runs = jobs_of(study, [job.arm.name], seeds)
        left = sum(not other.is_finished for other in runs)
        minutes = (start + cost.seconds) / 60
        total += left * minutes
        what = (len(runs), len(runs) - left, " ".join(map(str, cost.sizes)), cost.steps, cost.seen, cost.drawn)
        rows.append((job.arm.name, job.arm.teacher or "", *map(str, what), f"{minutes:.1f}", f"{left * minutes:.1f}"))
    say(f"{study.name}: seeds {', '.join(map(str, seeds or study.seeds))}; folder {study.folder}")
    say("\n".join(align([list(column) for column in zip(HEADER, *rows, strict=True)], words=2)))
    say(
        f"about {total:.0f} min in all for one worker on this machine, for what is not finished, {start or 0:.0f} s for the "
        "start of each run; judges, of which equal ones are trained once, and evaluation come on top"
    )


def startup_seconds(job: Job) -> float:
    """Seconds that a run takes to start, measured: it is a process of its own, which has to read its settings."""
    begun = time.perf_counter()
    command = bootlight_command("fit", [*job.arguments(), "--print_config"])
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    return time.perf_counter() - begun


def _first_jobs(study: Study, names: list[str] | None = None) -> list[Job]:
    return jobs_of(study, names, [study.seeds[0]])


def _cost(
    job: Job, builder: Builder, builders: dict[str, Builder], measured: dict[str, tuple[float, float]], check: InputChecks
) -> Cost:
    """What a run of an arm does; times are measured once for equal models and batches."""
    with named(job.arm):
        set_up(job, builder, builders)
        if not job.is_begun:
            check(job, builder)
        with quietly():
            rows = list(planned(Costs(builder, measured), stages_of(builder)))
    sizes = [row.size for row in rows if row.part == MODEL and row.size]
    steps, seen, drawn = (sum(getattr(row, key) for row in rows) for key in ("steps", "seen", "drawn"))
    return Cost(sizes, steps, seen, drawn, sum(row.seconds for row in rows))


def set_up(job: Job, builder: Builder, builders: dict[str, Builder]) -> None:
    """Open the images of a run; of a teacher's, which may be still to be drawn, the number is taken for them.

    Networks of the teacher, which may be still to be trained, have untrained ones in their place.

    Args:
        job: the run.
        builder: its objects.
        builders: of the arms before it, by name.

    Raises:
        BootlightError: images are missing, or the teacher will not draw enough.
    """
    data: BootstrapData = builder.datamodule
    if job.arm.teacher is not None:
        teacher = builders.get(job.arm.teacher)
        data.expected[job.taught_by] = 0 if teacher is None else teacher.num_drawn()
        if teacher is not None and job.teacher is not None:
            builder.awaited[job.teacher] = teacher
    data.attach(GenerationContext(builder.run, 0, builder.seed))
    data.setup()


@contextmanager
def named(arm: Arm) -> Iterator[None]:
    """Errors with the name of the arm."""
    try:
        yield
    except BootlightError as error:
        raise BootlightError(f"arm {arm.name}: {error}") from error


def parsed(job: Job) -> Builder:
    """The objects of a run.

    Raises:
        BootlightError: names the arm and what is wrong with its settings.
    """
    said = io.StringIO()

    def wrong(text: str) -> BootlightError:
        return BootlightError(f"arm {job.arm.name}: {text}")

    quiet()
    try:
        with redirect_stderr(said):
            return Builder(job.arguments())
    except BootlightError as error:
        raise wrong(str(error)) from error
    except MisconfigurationException as error:
        raise wrong(" ".join(str(error).split())) from error
    except ValueError as error:
        raise wrong(str(root_cause(error))) from error
    except SystemExit as error:  # the parser has said why
        raise wrong(" ".join(said.getvalue().rpartition("error:")[2].split())) from error


@contextmanager
def quietly() -> Iterator[None]:
    """Without what a short training prints."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield
