"""What `evaluate` says, for people and for programs."""

import textwrap
from typing import Any, NamedTuple

from bootlight.metrics.score import Score, format_value
from bootlight.report.remarks import WIDTH, failed_lines, remark_lines

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
        }

    def text(self) -> str:
        """A table for people."""
        lines = [f"{role:10} {name} ({' · '.join([f'{n:,} images', *besides])})" for role, name, n, besides in self.sets]
        protocol = next(iter(self.scores.values())).protocol if self.scores else {}
        about = "; ".join(f"{key} {protocol[key]}" for key in SHOWN if key in protocol)
        lines += textwrap.wrap(f"{'measured':10} {about}", WIDTH, subsequent_indent=" " * 11)
        width = max((len(name) for name in self.scores), default=0)
        values = {
            name: format_value(score.value, None if score.is_told_by_interval else score.standard_error)
            for name, score in self.scores.items()
        }
        column = max(map(len, values.values()), default=0)
        lines += ["", f"{'score':{width}}  {'value ± standard error':>{column}}  95 % interval"]
        for name, score in self.scores.items():
            lines.append(f"{name:{width}}  {values[name]:>{max(column, 22)}}  {interval_text(score)}".rstrip())
        return "\n".join([*lines, *failed_lines(self.failed), *remark_lines(self.scores), *self.notes])


def interval_text(score: Score) -> str:
    """`[low, high]`: the score's own interval, else value ± 1.96 standard errors, else nothing."""
    interval = score.interval
    if interval is None and score.standard_error is not None:
        interval = (score.value - 1.96 * score.standard_error, score.value + 1.96 * score.standard_error)
    return "" if interval is None else f"[{interval[0]:.4g}, {interval[1]:.4g}]"
