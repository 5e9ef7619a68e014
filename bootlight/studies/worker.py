"""Running a study: take an arm that nobody runs, run it as an ordinary `bootlight fit`, take the next."""

import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from bootlight.errors import INTERRUPTED, RUN_AGAIN, safe
from bootlight.io.lock import claimed
from bootlight.studies.child import Children, bootlight_command
from bootlight.studies.job import Job
from bootlight.studies.spec import Study

WAIT_SECONDS = 5.0  # for other workers
SHOW_SECONDS = 2.0  # between looks at how far a run is


class Worker:
    """Takes free runs until none is left that it could take. Any number of workers may share a study.

    Args:
        study: with all settings.
        jobs: those that this worker may take, teachers before those that they teach.
    """

    def __init__(self, study: Study, jobs: Sequence[Job]) -> None:
        self.study = study
        self.jobs = list(jobs)
        self.children = Children()
        self._finished: set[Path] = set()
        self.started = time.time()
        self._shown = 0.0

    def work(self) -> int:
        """Run what is free.

        Returns:
            0 when nothing was found wrong; 1 when a run has failed; 75 or 130 when this worker was asked to stop.
        """
        with self.children.listening(), tqdm(total=len(self.jobs), desc="study", unit="run", disable=None) as bar:
            self.bar = bar
            while self.children.status is None:
                open_jobs = [job for job in self.jobs if not self.is_over(job)]
                bar.n = len(self.jobs) - len(open_jobs)
                bar.refresh()
                if any(self.try_job(job) for job in open_jobs):
                    continue
                # Runs that others are at may still teach some that nobody has taken; else there is nothing to wait for.
                if not any(self.waits(job) for job in open_jobs):
                    break
                bar.set_description("waiting for other workers")
                self.sleep(WAIT_SECONDS)
        if self.children.status is not None:
            tqdm.write("stopped; run the same command again to continue")
            return self.children.status
        return 1 if any(self.has_failed(job) or self.is_blocked(job) for job in self.jobs) else 0

    def is_over(self, job: Job) -> bool:
        """Whether there is nothing to do about a run, or nothing that can be done."""
        return self.is_finished(job) or self.has_failed(job) or self.is_blocked(job)

    def is_finished(self, job: Job) -> bool:
        """Whether it is finished; looked up on the disk until it is."""
        if job.run.path not in self._finished and job.is_finished:
            self._finished.add(job.run.path)
        return job.run.path in self._finished

    def has_failed(self, job: Job) -> bool:
        """Whether this worker, or another one since this one began, has seen it fail."""
        failed = job.failed_at()
        return failed is not None and failed >= self.started and not self.is_finished(job)

    def is_blocked(self, job: Job) -> bool:
        """Whether it waits for a teacher that has failed, or that waits for such a one."""
        teacher = self.teacher(job)
        return teacher is not None and (self.has_failed(teacher) or self.is_blocked(teacher))

    def waits(self, job: Job) -> bool:
        """Whether its teacher is not finished."""
        teacher = self.teacher(job)
        return teacher is not None and not self.is_finished(teacher)

    def teacher(self, job: Job) -> Job | None:
        """The run that must be finished first."""
        arm = next((arm for arm in self.study.arms if arm.name == job.arm.teacher), None)
        return None if arm is None else Job(job.study, arm, job.seed)

    def try_job(self, job: Job) -> bool:
        """Run a job if it is free; whether it was."""
        if self.waits(job):
            return False
        with claimed(job.lock, job.run.path) as free:
            if not free or self.is_over(job):
                return False
            self.run(job)
        return True

    def run(self, job: Job) -> None:
        """Run a job to its end, and say how it ended."""
        began = time.monotonic()
        self.bar.set_description(job.name)
        job.failure.unlink(missing_ok=True)
        command = bootlight_command("fit", job.arguments())
        status = self.children.run(command, job.log, self.variables(job), lambda: self.show(job))
        self.bar.set_postfix_str("")
        minutes = f"{(time.monotonic() - began) / 60:.1f} min"
        if status == 0 and self.is_finished(job):
            tqdm.write(f"{job.name}: finished in {minutes}")
        elif self.children.status is not None:  # asked to stop, at whatever moment
            tqdm.write(f"{job.name}: stopped after {minutes}")
        elif status in (RUN_AGAIN, INTERRUPTED):  # by the clock of the run itself, or by someone who has asked the run
            self.children.status = status
        else:
            reason = job.note_failure(status, time.time())
            tqdm.write(f"{job.name}: failed with status {status} after {minutes}: {safe(reason)} (all of it in {job.log})")

    def variables(self, job: Job) -> dict[str, str]:
        """Environment of a run: trackers find its group, tags and name there; bars would fill the log."""
        tags = ",".join([*self.study.tags, job.arm.name, f"seed {job.seed}"])
        names = {"WANDB_RUN_GROUP": self.study.group, "WANDB_TAGS": tags, "WANDB_NAME": f"{self.study.name} {job.name}"}
        return {**names, "TQDM_DISABLE": "1"}

    def show(self, job: Job) -> None:
        """How far the run is."""
        if time.monotonic() - self._shown > SHOW_SECONDS:
            self._shown = time.monotonic()
            self.bar.set_postfix_str(safe(job.steps_done()))

    def sleep(self, seconds: float) -> None:
        """Wait, but not when asked to stop."""
        end = time.monotonic() + seconds
        while self.children.status is None and time.monotonic() < end:
            time.sleep(0.1)

    def summary(self) -> str:
        """What is finished, what is not, and why."""
        lines = []
        for job in self.jobs:
            if self.is_finished(job):
                continue
            if self.has_failed(job):
                lines.append(f"  {job.name}: failed; see {job.log}")
            elif self.is_blocked(job):
                lines.append(f"  {job.name}: cannot begin, because {job.arm.teacher} seed {job.seed} has failed")
            else:
                lines.append(f"  {job.name}: not finished; another worker is at it, or it is left for later")
        done = len(self.jobs) - len(lines)
        return "\n".join([f"{self.study.name}: {done} of {len(self.jobs)} runs are finished", *lines])
