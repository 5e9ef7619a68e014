"""What `evaluate` says, for people and for programs."""

import textwrap
from typing import Any, NamedTuple

from bootlight.evaluation.floors.floors import STAND_IN
from bootlight.metrics.score import TOLD_APART, Score, format_interval, format_value
from bootlight.report.legend import DIRECTIONS, MAX_LINES, arrow, legend
from bootlight.report.remarks import WIDTH, failed_lines, filled, remark_lines
from bootlight.report.scores import SAME_N, floor_name, moved, same_n_name
from bootlight.report.table import align
from bootlight.report.verdict import Verdict, doubts, told_apart

SHOWN = ("features", "resize", "num_features", "weights_sha256", "original_weights")  # of the protocol, in the heading


class Measured(NamedTuple):
    """A set that was measured.

    Attributes:
        role: real, synthetic or held-out.
        name: as it was called.
        n: images.
        besides: what else is to be said of it: its split, and what of it is not read.
    """

    role: str
    name: str
    n: int
    besides: list[str]


class Answer(NamedTuple):
    """Scores of one set of images.

    Attributes:
        sets: what was measured.
        scores: by name.
        notes: where other results lie, one line each.
        failed: why something has no score or was not written, by its name.
    """

    sets: list[Measured]
    scores: dict[str, Score]
    notes: list[str]
    failed: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "sets": [one._asdict() for one in self.sets],
            "scores": {name: score.to_json() for name, score in self.scores.items()},
            "failed": self.failed,
            "verdict": self.verdict.to_json(),
        }

    @property
    def verdict(self) -> Verdict:
        """Whether the synthetic images can be told from real ones, and what is wrong with these."""
        return Verdict(told_apart(self.scores, "The synthetic images"), [], doubts(self.scores))

    def text(self) -> str:
        """A table for people."""
        lines = [f"{role:10} {name} ({' · '.join([f'{n:,} images', *besides])})" for role, name, n, besides in self.sets]
        protocol = next(iter(self.scores.values())).protocol if self.scores else {}
        about = "; ".join(f"{key} {protocol[key]}" for key in SHOWN if key in protocol)
        lines += textwrap.wrap(f"{'measured':10} {about}", WIDTH, subsequent_indent=" " * 11)
        shown = [name for name, score in self.scores.items() if is_shown(name, score)]
        lines += ["", *align(self._columns(shown), words=1)]
        lines += map(filled, self.verdict.sentences)
        if any(score.higher_is_better is not None for score in self.scores.values()):
            lines.append(DIRECTIONS)
        lines += legend(shown)
        lines += self._floor_lines(shown)
        remarks = remark_lines({name: self.scores[name] for name in shown})
        return "\n".join([*lines, *failed_lines(self.failed), *remarks, *self.notes])

    def _columns(self, shown: list[str]) -> list[list[str]]:
        """Names, values, intervals, and the same of real images where there are floors."""
        scores = [self.scores[name] for name in shown]
        values = [format_value(score.value, None if score.is_told_by_interval else score.standard_error) for score in scores]
        names = [name + arrow([score]) for name, score in zip(shown, scores, strict=True)]
        columns = [["score", *names], ["value ± standard error", *values], ["95 % interval", *map(interval_text, scores)]]
        floors = [self.scores.get(floor_name(name, self.scores) or "") for name in shown]
        if any(floors):
            columns.append(["real images", *(_floor_text(*pair) for pair in zip(floors, scores, strict=True))])
        return columns

    def _floor_lines(self, shown: list[str]) -> list[str]:
        """Which real images are in the place of the synthetic ones, and scores at as many images as these are."""
        floors = {name: self.scores.get(floor_name(name, self.scores) or "") for name in shown}
        who = next((score.protocol[STAND_IN] for score in floors.values() if score and STAND_IN in score.protocol), None)
        lines = [] if who is None else [filled(f"real images: about what a perfect generator would score; here {who}")]
        pairs = [(name, self.scores.get(same_n_name(name)), floor) for name, floor in floors.items()]
        equal = [
            f"at equal n = {same.n:,}: {name} {same} of the synthetic images, {floor} of real ones"
            for name, same, floor in pairs
            if same is not None and floor is not None and moved(self.scores[name], same)
        ]
        return [*lines, *equal[:MAX_LINES]]


def is_shown(name: str, score: Score) -> bool:
    """Whether a score has a row of its own."""
    parts = name.split("/")
    return parts[0] != TOLD_APART and SAME_N not in parts and STAND_IN not in score.protocol


def _floor_text(floor: Score | None, score: Score) -> str:
    if floor is None:
        return ""
    return str(floor) if floor.n == score.n else f"{floor} (n={floor.n})"


def interval_text(score: Score) -> str:
    """`[low, high]`: the score's own interval, else value ± 1.96 standard errors, else nothing."""
    interval = score.interval
    if interval is None and score.standard_error is not None:
        interval = (score.value - 1.96 * score.standard_error, score.value + 1.96 * score.standard_error)
    return "" if interval is None else format_interval(score.value, interval).partition(" ")[2]
