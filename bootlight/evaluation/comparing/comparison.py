"""What `compare` says, for people and for programs."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bootlight.evaluation.comparing.difference import Difference
from bootlight.metrics.score import Score, by_remark, format_number
from bootlight.report.remarks import MAX_REMARKS, WIDTH, failed_lines, filled, importance, remark_line
from bootlight.report.table import align


class Reference(NamedTuple):
    """Real images that scores are measured against.

    Attributes:
        name: that ends the names of its scores: train or holdout; empty where a user has named the images.
        what: they are, in words.
        n: images.
    """

    name: str
    what: str
    n: int

    def has(self, score: str) -> bool:
        """Whether a score, by its name, is measured against these."""
        return not self.name or score.endswith(f"/{self.name}")


class Comparison(NamedTuple):
    """What `compare` says.

    Attributes:
        taken: what was taken from the runs themselves, in words; empty where that is nothing.
        references: what scores are measured against.
        sets: name and number of images of each set.
        besides: what else is to be said of sets, by name: the split, and what is not read.
        differences: of each further set from the first one, by score; judged together.
        remarks: on all of it.
        notes: where other results lie.
        failed: why a score of a set (A, B, ...) is missing, by both.
    """

    taken: str
    references: Sequence[Reference]
    sets: list[tuple[str, int]]
    besides: dict[str, list[str]]
    differences: list[dict[str, Difference]]
    remarks: tuple[str, ...]
    notes: list[str]
    failed: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """For programs: all that the text says, and all remarks."""
        names = [name for name, _ in self.sets]
        return {
            "taken": self.taken,
            "references": [one._asdict() for one in self.references],
            "sets": [{"name": name, "n": n, "letter": letter(i)} for i, (name, n) in enumerate(self.sets)],
            "besides": self.besides,
            "verdicts": [headline(found, letter(i)) for i, found in enumerate(self.differences, start=1)],
            "how": self._how(),
            "remarks": self._remarks(),
            "failed": self.failed,
            "notes": self.notes,
            "differences": [
                {"first": names[0], "second": second, "score": key, **_plain(found, key, names[0], second)}
                for second, differences in zip(names[1:], self.differences, strict=True)
                for key, found in differences.items()
            ],
        }

    def text(self) -> str:
        """A table for people."""
        lines = [f"{one.name or 'real':8} {one.what} ({one.n:,} images)" for one in self.references]
        lines += [f"{letter(i):8} {name} ({n:,} images)" for i, (name, n) in enumerate(self.sets)]
        lines += [f"{'':8} {name}: {' · '.join(besides)}" for name, besides in self.besides.items()]
        lines += textwrap.wrap(self.taken and f"{'taken':8} {self.taken}", WIDTH, subsequent_indent=" " * 9)
        for i, differences in enumerate(self.differences, start=1):
            if differences:
                lines += ["", *self._table(differences, letter(i)), "", headline(differences, letter(i))]
        remarks = self._remarks()
        more = len(remarks) - MAX_REMARKS
        said = [*failed_lines(self.failed), *map(remark_line, remarks[:MAX_REMARKS])]
        said += [f"! {more} more {'remark' if more == 1 else 'remarks'} in --json"] * (more > 0)
        return "\n".join([*lines, filled(self._how()), *said, *self.notes])

    def _table(self, differences: Mapping[str, Difference], name: str) -> list[str]:
        one = next(iter(differences.values()))
        how = f"{min(one.first.n, one.second.n):,} {'pairs' if one.paired else 'images of each'}"
        columns = [[how], ["A"], [name], [f"{name} - A [95 % interval]"], [f"{name} is"], ["can find"]]
        for key, found in differences.items():
            finds = "" if found.found or found.detectable is None else format_number(found.detectable, 2)
            cells = (key, _number(found.first), _number(found.second), found.numbers(), found.verdict, finds)
            for column, cell in zip(columns, cells, strict=True):
                column.append(cell)
        return align(columns, words=1)

    def _how(self) -> str:
        """How the verdicts are to be read."""
        known = [one for found in self.differences for one in found.values() if one.p_value is not None]
        if not known:
            return ""
        chance = f" In brackets: of {len(known)} lines one may look so by chance." if any(one.maybe for one in known) else ""
        told = (
            f"Verdicts are of all {len(known)} lines together: in at most 5 of 100 comparisons of equal generators is one of "
            "them false (Holm)."
            if len(known) > 1
            else "The verdict is false in at most 5 of 100 comparisons of equal generators."
        )
        what = " -: not told apart; a difference as large as can find would be told in four of five comparisons."
        finds = "" if all(one.found for one in known) else what
        return f"{told}{chance}{finds}"

    def _remarks(self) -> list[str]:
        """All remarks in order of weight: those on the comparison, then those of scores, with the letters of their sets."""
        scores = [
            (f"{letter(0 if side == 0 else i)} {key}", score)
            for i, differences in enumerate(self.differences, start=1)
            for key, found in differences.items()
            for side, score in enumerate((found.first, found.second))
        ]
        of_scores = sorted(by_remark(dict(scores).items()).items(), key=lambda item: importance(item[0]))
        return [*self.remarks, *(f"{', '.join(keys)}: {remark}" for remark, keys in of_scores)]


def letter(i: int) -> str:
    """What a set is called in tables: A to Z, then A1."""
    return chr(65 + i % 26) + (str(i // 26) if i >= 26 else "")


def headline(differences: Mapping[str, Difference], name: str) -> str:
    """The verdict on a set in a sentence."""
    if not differences:
        return f"{name} and A have no score in common."
    found = [one for one in differences.values() if one.found]
    better, worse = (sum(one.better is side for one in found) for side in (True, False))
    of = f"{len(differences)} scores" if len(differences) > 1 else "1 score"
    if all(one.same for one in differences.values()):
        return f"{name} and A score exactly the same in {of}."
    if not found:
        return f"{name} and A are not told apart by any of {of}."
    parts = [f"{word} in {count}" for word, count in (("better", better), ("worse", worse)) if count]
    parts += [f"different in {count}, where neither direction is good" for count in (len(found) - better - worse,) if count]
    return f"Compared with A, {name} is {' and '.join(parts)} of {of}."


def _number(score: Score) -> str:
    return format_number(score.value)


def _plain(found: Difference, name: str, first: str, second: str) -> dict[str, Any]:
    """A difference as JSON types."""
    values = found._asdict() | {"first_score": found.first.to_json(), "second_score": found.second.to_json()}
    del values["first"], values["second"]
    return values | {"found": found.found, "verdict": found.verdict, "sentence": found.sentence(name, first, second)}
