"""A trial: interrupt a run at random moments, let it through, and compare it with the run that nothing happened to."""

import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tiny_runs import fingerprint

from kills.attempt import Attempt
from kills.configurations import Configuration
from kills.damage import Damage, damage
from kills.interruptions import KINDS, kill
from kills.stage import stage_on_disk

IN_A_ROW = (1, 1, 1, 2, 3)  # interruptions of one trial
EARLIER = 0.9
MUCH_TO_DAMAGE = 0.3  # share of a run after which most kinds of files are there
EXACT, TOLD, WRONG = "exact", "told", "WRONG"


@dataclass
class Calm:
    """The run that nothing happened to: what it comes to, and how many seconds of processor it takes."""

    results: dict[str, str]
    seconds: float
    of_the_interpreter: float = 0.0


@dataclass
class Outcome:
    """Of a trial.

    Attributes:
        shares: of the duration, at which it was interrupted.
        stages: where it was then.
        outcome: exact, told (damage that was refused by name), or WRONG.
        wrong: why.
    """

    number: int
    configuration: str
    kind: str
    fresh: bool = False
    shares: list[float] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    damage: str = ""
    outcome: str = EXACT
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Trial:
    """One configuration, one kind of interruption.

    Args:
        configuration: what is run.
        pictures: its real images.
        folder: for the run and its cache; logs lie beside it, or a full disk would take them too.
        calm: what it must come to.
        outcome: to be filled.
        rng: decides the moments.
    """

    def __init__(
        self, configuration: Configuration, pictures: Path, folder: Path, calm: Calm, outcome: Outcome, rng: Random
    ) -> None:
        self.configuration, self.folder, self.calm, self.outcome, self.rng = configuration, folder, calm, outcome, rng
        self.arguments = configuration.arguments(pictures, folder)
        self.attempts = 0
        self.running: Attempt | None = None

    def start(self) -> Attempt:
        """The command, once more."""
        log = self.folder.parent / f"{self.attempts}.log"
        self.attempts += 1
        settings = self.configuration
        self.running = Attempt(self.arguments, log, settings.processes, fresh=self.outcome.fresh, pages=settings.pages)
        return self.running

    def run(self) -> None:
        """Interrupt, continue, compare."""
        began = time.monotonic()
        kind = self.outcome.kind
        interrupt = KINDS.get(kind, kill)
        shares = [self.rng.random() for _ in range(self.rng.choice(IN_A_ROW))]
        if kind == "damage":
            shares = [self.rng.uniform(MUCH_TO_DAMAGE, 1)]
        left = 1.0
        for share in shares:
            attempt, moment = self.start_until(share * left)
            if attempt is None:
                break
            time.sleep(self.rng.uniform(0, 0.01))  # finer than the clock, and into waiting for the disk
            self.outcome.shares.append(round(moment, 4))
            self.outcome.stages.append(stage_on_disk(self.folder / "run"))
            self.outcome.wrong += interrupt(attempt, self.folder, self.rng)
            attempt.end()
            left = max(0.1, left - moment)
        broken = damage(self.folder, self.rng) if kind == "damage" else None
        self.finish(broken)
        self.outcome.seconds = round(time.monotonic() - began, 2)
        if self.outcome.wrong:
            self.outcome.outcome = WRONG

    def start_until(self, moment: float) -> tuple[Attempt | None, float]:
        """An attempt that has come to a share of the duration; None if it was over before, though something was interrupted.

        Some runs take less than the one that was timed: one that was over is done anew with an earlier moment.
        """
        while True:
            attempt = self.start()
            if attempt.wait_for_seconds(self.calm.of_the_interpreter + moment * self.calm.seconds):
                return attempt, moment
            self.check_status(attempt)
            if self.outcome.shares or self.outcome.wrong:
                return None, moment
            self.remove("run", "cache")
            moment *= EARLIER

    def finish(self, broken: Damage | None) -> None:
        """Let it through; a damage may be refused, once, and must have changed nothing then."""
        last = self.start()
        last.wait()
        if broken:
            self.outcome.damage = f"{broken.path.relative_to(self.folder)} ({broken.kind}): {broken.what}"
            if last.status == 1 and "Traceback" not in last.said() and broken.told(last.said()):
                self.outcome.outcome = TOLD
                broken.mend()
                broken = None
                last = self.start()
                last.wait()
        self.check_status(last)
        if last.status == 0:
            self.outcome.wrong += self.differences(broken)

    def check_status(self, attempt: Attempt) -> None:
        """Of one that nobody has interrupted."""
        if set(attempt.statuses.values()) != {0}:
            lines = attempt.said().splitlines()[-3:]
            self.outcome.wrong.append(f"ended with {list(attempt.statuses.values())}: {' / '.join(lines)}")

    def differences(self, broken: Damage | None = None) -> list[str]:
        """What it has come to, and should not; a damaged file that nobody reads is left as it is."""
        run = self.folder / "run"
        found, wanted = fingerprint(run), self.calm.results
        unlike = {key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key)}
        if broken:
            left = {str(path.relative_to(self.folder / "run")) for path in broken.untouched() if run in path.parents}
            unlike = {key for key in unlike - left if not broken.may_differ(key)}
        return [f"{key} differs" for key in sorted(unlike)]

    def end(self) -> None:
        """Leave no process behind."""
        if self.running is not None:
            self.running.end()

    def remove(self, *names: str) -> None:
        """Folders of the run and its cache; with no name everything."""
        for folder in [self.folder / name for name in names] or [self.folder.parent]:
            shutil.rmtree(folder, ignore_errors=True)
