"""Trials one after the other, and what is kept of them."""

import json
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from random import Random

from tiny_runs import draw_pictures, fingerprint

from kills.attempt import Attempt, prepare
from kills.configurations import CONFIGURATIONS
from kills.interruptions import KINDS
from kills.small_disk import can_mount, small_disk
from kills.trial import EXACT, TOLD, WRONG, Calm, Outcome, Trial

KINDS_OF_TRIALS = [*KINDS, "damage"]


def chosen(text: str | None, separator: str, known: Iterable[str], what: str) -> list[str]:
    """Names in a text; all where there is none.

    Raises:
        SystemExit: one is not known.
    """
    names = [name.strip() for name in text.split(separator)] if text else list(known)
    if unknown := set(names) - set(known):
        raise SystemExit(f"{', '.join(sorted(unknown))}: no such {what}; there are {separator.join(known)}")
    return names


class Session:
    """Makes the calm runs when they are first needed, and the trials.

    Args:
        folder: for runs; emptied of those that were exact.
        output: where results and the runs that were not exact are kept.
        command: for the record.
        fresh_every: one trial in so many starts new interpreters.
    """

    def __init__(self, folder: Path, output: Path, command: str, fresh_every: int) -> None:
        self.folder, self.output, self.command, self.fresh_every = folder, output, command, fresh_every
        self.pictures = draw_pictures(folder / "pictures")
        self.calm: dict[tuple[str, bool], Calm] = {}
        self.outcomes: list[Outcome] = []
        self.has_disk = can_mount(folder / "disk")
        prepare()

    def calm_run(self, name: str, *, fresh: bool = False) -> Calm:
        """The run that nothing happens to; that of fresh interpreters must be the same.

        Raises:
            SystemExit: it fails, or comes to something else.
        """
        if (name, fresh) in self.calm:
            return self.calm[name, fresh]
        folder = self.folder / f"calm-{len(self.calm)}"
        folder.mkdir()
        configuration = CONFIGURATIONS[name]
        arguments = configuration.arguments(self.pictures, folder)
        attempt = Attempt(arguments, folder / "log", configuration.processes, fresh=fresh, pages=configuration.pages)
        attempt.wait(lambda: attempt.cpu_seconds() < 0)
        if any(attempt.statuses.values()):
            raise SystemExit(f"{name} fails where nothing happens to it:\n{attempt.said()}")
        calm = Calm(fingerprint(folder / "run"), attempt.cpu_seconds())
        if fresh:
            forked = self.calm_run(name)
            unlike = {key for key, value in forked.results.items() if calm.results.get(key) != value}
            if unlike - (set() if configuration.pages else {"strip.png"}):
                raise SystemExit(f"{name}: a fork comes to something else than a new interpreter")
            calm = Calm(calm.results, forked.seconds, max(0.0, calm.seconds - forked.seconds))
        print(f"{name}: {calm.seconds:.2f} s of processor, {len(calm.results)} results to compare", flush=True)
        shutil.rmtree(folder)
        self.calm[name, fresh] = calm
        return calm

    def try_once(self, number: int, name: str, kind: str, rng: Random) -> None:
        """One trial, told in one line."""
        if kind == "full-disk" and not self.has_disk:
            print(f"{number:4} {name}: full-disk is left out: to mount a disk in memory needs root", flush=True)
            return
        fresh = self.fresh_every > 0 and number % self.fresh_every == self.fresh_every - 1
        outcome = Outcome(number, name, kind, fresh)
        folder = self.folder / f"trial-{number}" / "disk"
        folder.mkdir(parents=True)
        calm = self.calm_run(name, fresh=fresh)
        trial = Trial(CONFIGURATIONS[name], self.pictures, folder, calm, outcome, rng)
        if kind == "full-disk":
            with small_disk(folder):
                self._run(trial)
        else:
            self._run(trial)
        trial.remove()
        self.outcomes.append(outcome)
        self.write()
        where = "; ".join(f"{share:.3f} {stage}" for share, stage in zip(outcome.shares, outcome.stages, strict=True))
        told = ": ".join(filter(None, [where or "over before the moment", outcome.damage, "; ".join(outcome.wrong)]))
        label = f"{kind}, fresh" if fresh else kind
        print(f"{number:4} {outcome.outcome:5} {outcome.seconds:5.1f} s  {name} | {label} | {told}", flush=True)

    def _run(self, trial: Trial) -> None:
        try:
            trial.run()
        except TimeoutError as error:
            trial.outcome.wrong.append(str(error))
            trial.outcome.outcome = WRONG
        finally:
            trial.end()
        if trial.outcome.outcome == WRONG:
            shutil.copytree(trial.folder.parent, self.output / f"trial-{trial.outcome.number}", dirs_exist_ok=True)

    def write(self) -> dict[str, int]:
        """All results so far, after each trial: who runs it long may stop it any time."""
        counts = Counter(outcome.outcome for outcome in self.outcomes)
        interruptions = sum(len(outcome.shares) for outcome in self.outcomes)
        summary = {"trials": len(self.outcomes), "interruptions": interruptions}
        summary |= {key: counts[key] for key in (EXACT, TOLD, WRONG)}
        head = json.dumps({"command": self.command, **summary}, indent=1).removesuffix("\n}")
        rows = ",\n  ".join(json.dumps(outcome.as_dict()) for outcome in self.outcomes)
        (self.output / "results.json").write_text(f'{head},\n "rows": [\n  {rows}\n ]\n}}\n')
        return summary

    def close(self) -> int:
        """Print the table; the status of the program."""
        summary = self.write()
        print("\n" + "\n".join(self.table()))
        print(", ".join(f"{key} {value}" for key, value in summary.items()))
        print(f"results  {self.output / 'results.json'}")
        return int(summary[WRONG] > 0 or not self.outcomes)

    def table(self) -> list[str]:
        """A row for each configuration, a column for each kind: exact / told / WRONG."""
        kinds = [kind for kind in KINDS_OF_TRIALS if any(outcome.kind == kind for outcome in self.outcomes)]
        rows = [["exact/told/WRONG", *kinds]]
        for name in CONFIGURATIONS:
            row = [name]
            for kind in kinds:
                found = Counter(o.outcome for o in self.outcomes if (o.configuration, o.kind) == (name, kind))
                row.append("/".join(str(found[key]) for key in (EXACT, TOLD, WRONG)) if found else "")
            rows.append(row)
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
