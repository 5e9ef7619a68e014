"""`bootlight study FILE`: every arm of a study with every seed, and the tables that compare them."""

import argparse
import json
from pathlib import Path
from typing import Any

from bootlight.errors import BootlightError
from bootlight.io.paths import expanded
from bootlight.studies.job import Job, as_argument, jobs_of, with_teachers
from bootlight.studies.spec import Study
from bootlight.studies.yaml_file import is_seed
from bootlight.terminal import Usage, say

USAGE = "bootlight study FILE [--section.key VALUE ...] [--arms NAME ...] [--seeds N ...] [--dry-run]"


def main(args: list[str]) -> None:
    """Run, plan or report.

    Raises:
        SystemExit: 1 when a run has failed, 75 or 130 when it was stopped: the same command continues.
    """
    parser = Usage(prog="bootlight study", description=__doc__, usage=USAGE, allow_abbrev=False)
    parser.add_argument("file", type=expanded, help="of the study, YAML; see docs/studies.md")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="the same as --section.key VALUE")
    parser.add_argument("--arms", nargs="+", metavar="NAME", help="only these and their teachers (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="only these, or others (default: those of the file)")
    parser.add_argument("--folder", type=expanded, help="where its runs are kept (default: runs/studies/NAME)")
    parser.add_argument("--dry-run", action="store_true", help="print runs, steps, images and time, and stop")
    parser.add_argument("--report", action="store_true", help="write tables and report of what is finished, and stop")
    parser.add_argument("--check", action="store_true", help="look for wrong settings in every arm, and stop")
    overrides, others = take_overrides(args)
    options = parser.parse_args(others)
    for text in options.set:
        key, equals, value = text.partition("=")
        if not equals:
            raise BootlightError(f"--set {text} has no value; write --set data.num_steps=100")
        overrides[key] = as_value(value)
    study = load(options.file, overrides, options.folder)
    if options.report:
        if options.arms:
            raise BootlightError("--report is of all that is finished; leave out --arms")
        report(study)  # of all seeds; the command that the report names for itself may have --seeds
        return
    check_seeds(options.seeds or [])
    arms = with_teachers(study, options.arms)
    jobs = jobs_of(study, arms, options.seeds)
    if options.dry_run or options.check:
        from bootlight.studies.plan import check_arms, print_plan

        if options.check:
            check_arms(study, arms)
        else:
            print_plan(study, arms, options.seeds)
    else:
        run(study, jobs, options.seeds or [], args, repeated(options, overrides))


def load(file: Path, overrides: dict[str, Any], folder: Path | None) -> Study:
    """The study with what the command line changes."""
    from dataclasses import replace

    from bootlight.studies.spec import read_spec

    study = read_spec(file).overridden(overrides)
    for key in overrides:
        if arms := study.keeping_their_own(key):
            say(f"{key}: not for {', '.join(arms)}, which {'have' if len(arms) > 1 else 'has'} another in {file}")
    return study if folder is None else replace(study, folder=folder)


def check_seeds(seeds: list[int]) -> None:
    """Refuse what is no seed."""
    for seed in seeds:
        if not is_seed(seed):
            raise BootlightError(f"--seeds: {seed} is no seed; give numbers from 0 to 4294967295")


def repeated(options: argparse.Namespace, overrides: dict[str, Any]) -> list[str]:
    """The command for all of the study."""
    settings = [f"--{key}={as_argument(value)}" for key, value in overrides.items()]
    return ["bootlight", "study", str(options.file), *settings, *(["--folder", str(options.folder)] if options.folder else [])]


def run(study: Study, jobs: list[Job], seeds: list[int], args: list[str], command: list[str]) -> None:
    """Work on the study, then report."""
    from bootlight.studies.begin import write_record
    from bootlight.studies.child import bootlight_command
    from bootlight.studies.worker import Worker

    if not all(job.is_begun for job in jobs):  # one mistake in a file should not cost one training each
        say(f"{study.name}: looking at the settings of {len({job.arm.name for job in jobs})} arms")
        check(bootlight_command("study", [*args, "--check"]))
    write_record(study, seeds, command)
    worker = Worker(study, jobs)
    status = worker.work()
    say(worker.summary())
    if any(job.is_finished for job in [*jobs, *jobs_of(study)]):
        report(study)
    if status:
        raise SystemExit(status)


def check(command: list[str]) -> None:
    """Parse the settings of every arm in another process, which may then forget all that it had to import.

    Raises:
        BootlightError: what it has found.
    """
    import subprocess

    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or [f"the settings could not be checked (status {ended.returncode})"]
        raise BootlightError(lines[-1].removeprefix("bootlight: "))


def report(study: Study) -> None:
    """Tables and report."""
    from bootlight.studies.report import format_study_table, write_study_report

    path = write_study_report(study.folder)
    say(format_study_table(study.folder))
    say(f"report   {path}")


def take_overrides(args: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Split the arguments into settings of `fit`, which have a dot in their names, and others.

    Raises:
        BootlightError: a setting without a value.
    """
    settings: dict[str, Any] = {}
    others: list[str] = []
    waiting = iter(args)
    for arg in waiting:
        name, equals, value = arg.partition("=")
        if not name.startswith("--") or "." not in name:
            others.append(arg)
            continue
        if not equals:
            value = next(waiting, "--")
            if value.startswith("--"):
                raise BootlightError(f"{name} has no value; write {name} VALUE")
        settings[name[2:]] = as_value(value)
    return settings, others


def as_value(text: str) -> Any:
    """Numbers, true, false and null as such, so that the command line and a file mean the same; other text as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text
