"""The table of a study in the layout of the paper's table 1, with what it lacked: standard errors, seeds, other measures."""

import re
import textwrap
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from bootlight.errors import safe
from bootlight.metrics.score import Score, format_value
from bootlight.report.remarks import WIDTH
from bootlight.report.scores import main_scores
from bootlight.report.table import GAP, align
from bootlight.studies.plateau import LEFT
from bootlight.studies.record import arm_and_folder
from bootlight.studies.results import StudyResults
from bootlight.studies.settings import is_number
from bootlight.studies.statistics import Summary, summarise
from bootlight.studies.times import count_states, describe

JUDGE = "discriminator_score"
REAL = {f"{JUDGE}/train": "real images, trained on", f"{JUDGE}/holdout": "real images, held out"}
MAX_LABEL = 46  # characters of the first column in a terminal
DASH = "-"
HEADER = ("trained on", "mean", "sd", "SE images", "SE seeds", "n", "seeds")
LEGEND = (
    "mean: over seeds, of the judge's probability of being real; sd: spread over images within a run, which the paper gives as "
    "±; SE images: standard error of one run's mean over its n images; SE seeds: standard error of the mean over seeds, which "
    "is what a comparison needs."
)
SCORES_LEGEND = "± is the standard error over seeds; without one there is a single seed."


class Line(NamedTuple):
    """One line of the table.

    Attributes:
        label: of the arm, or of a kind of real images.
        arm: its name, or `arm/folder`; None for real images.
        seeds: runs that are finished.
        planned: runs that there are to be; None for real images.
        judge: the judge's score over seeds, None where it was not asked.
        spread: standard deviation of the judge's answers over images, root mean square of the runs.
        scores: other scores over seeds, by name.
        states: of times on a plateau, by name: how many trainings left it, never left it and so on.
        bounds: what is known of such times in words, where not all are known; they have no mean then.
    """

    label: str
    arm: str | None
    seeds: int
    planned: int | None
    judge: Summary | None
    spread: float | None
    scores: dict[str, Summary]
    states: dict[str, dict[str, int]]
    bounds: dict[str, str]


def table_lines(results: StudyResults) -> list[Line]:
    """The arms in their order, by the last generation of each run, then real images; unfinished arms are there too."""
    names = [name for name in main_scores(results.score_names()) if name != JUDGE]
    lines = []
    places = [place for arm in results.record.arms for place in _places(results, arm.name)]
    for place in places:
        runs = {name: list(results.scores(place, name).values()) for name in names}
        states = {name: counts for name in names if (counts := count_states(runs[name]))}
        bounds = {name: describe(runs[name]) for name, counts in states.items() if set(counts) != {LEFT}}
        scores = {name: found for name in names if name not in bounds and (found := summarise(runs[name]))}
        answers = list(results.scores(place, JUDGE).values())
        seeds = len(results.finished(arm_and_folder(place)[0]))
        lines.append(
            Line(
                *(results.record.label(place), place, seeds, len(results.record.seeds), summarise(answers), _spread(answers)),
                *(scores, states, bounds),
            )
        )
    for name, label in REAL.items():
        if answers := list(real_answers(results, name).values()):
            lines.append(Line(label, None, len(answers), None, summarise(answers), _spread(answers), {}, {}, {}))
    return lines


def _places(results: StudyResults, arm: str) -> list[str]:
    """The arm, and each further folder of its images."""
    return [arm, *(f"{arm}/{folder}" for folder in results.folders(arm))]


def real_answers(results: StudyResults, name: str) -> dict[int, Score]:
    """The judge's score of real images by seed, from the baseline or the first arm that has it."""
    names = [arm.name for arm in results.record.arms]
    order = sorted(names, key=lambda arm: arm != results.record.baseline)
    found: dict[int, Score] = {}
    for arm in reversed(order):
        found |= results.scores(arm, name, 0)
    return {seed: found[seed] for seed in results.record.seeds if seed in found}


def _spread(scores: Sequence[Score]) -> float | None:
    spreads = [score.protocol.get("standard_deviation") for score in scores]
    known = [float(spread) for spread in spreads if is_number(spread)]
    return float((sum(spread**2 for spread in known) / len(known)) ** 0.5) if known else None


def judge_cells(line: Line) -> list[str]:
    """A line of the paper's table: label, mean, spread, both standard errors, n, seeds."""
    judge = line.judge
    if judge is None:
        return [line.label, *[DASH] * 5, seeds_text(line)]
    digits = [judge.mean, line.spread, judge.sampling_error, judge.standard_error or None]  # one judge: real images score once
    return [line.label, *(DASH if value is None else f"{value:.4f}" for value in digits), f"{judge.n:,}", seeds_text(line)]


def seeds_text(line: Line) -> str:
    """``3``, or ``2 of 3`` where runs are unfinished."""
    return f"{line.seeds}" if line.planned in (None, line.seeds) else f"{line.seeds} of {line.planned}"


def score_cells(line: Line, names: Sequence[str]) -> list[str]:
    """A line of the other scores: label, values, seeds."""
    return [line.label, *(_score_cell(line, name) for name in names), seeds_text(line)]


def _score_cell(line: Line, name: str) -> str:
    score = line.scores.get(name)
    return line.bounds.get(name, DASH) if score is None else format_value(score.mean, score.standard_error or None)


def score_columns(lines: Sequence[Line]) -> list[str]:
    """Names of the other scores that occur."""
    return list(dict.fromkeys(name for line in lines for name in (*line.scores, *line.bounds)))


def _grids(lines: Sequence[Line]) -> list[list[list[str]]]:
    """The judge's table where a judge was asked, and the other scores of the arms; the header first."""
    names, grids = score_columns(lines), []
    if any(line.judge for line in lines) or not names:
        grids.append([list(HEADER), *(judge_cells(line) for line in lines)])
    if names:
        grids.append([["trained on", *names, "seeds"], *(score_cells(line, names) for line in lines if line.arm)])
    return grids


def format_text(lines: Sequence[Line]) -> str:
    """The table for a terminal, at most about 100 columns wide: wider ones go on below."""
    grids = [[[textwrap.shorten(row[0], MAX_LABEL, placeholder=" ..."), *row[1:]] for row in grid] for grid in _grids(lines)]
    blocks = [block for grid in grids for block in _blocks(grid)]
    return "\n\n".join("\n".join(align([list(column) for column in zip(*block, strict=True)], words=1)) for block in blocks)


def format_markdown(lines: Sequence[Line]) -> str:
    """The same for a document."""
    parts = []
    for header, *rows in _grids(lines):
        rule = ["---", *["--:"] * (len(header) - 1)]
        grid = [list(map(markdown_text, row)) for row in (header, *rows)]
        parts.append("\n".join("| " + " | ".join(row) + " |" for row in (grid[0], rule, *grid[1:])))
    return "\n\n".join([*parts, *legends(lines)]) + "\n"


def legends(lines: Sequence[Line]) -> list[str]:
    """What the columns are, for the tables that there are."""
    return [LEGEND] * any(line.judge for line in lines) + [SCORES_LEGEND] * bool(score_columns(lines))


def markdown_text(text: str) -> str:
    """Text that is neither HTML nor anything of Markdown but itself, on one line."""
    return re.sub(r"([\\`*\[\]|]|(?<!\w)_|_(?!\w))", r"\\\1", escape(safe(text.replace("\n", " ")), quote=False))


def _blocks(grid: list[list[str]]) -> list[list[list[str]]]:
    """The columns in groups that fit, each with the first column."""
    widths = [max(len(row[i]) for row in grid) + len(GAP) for i in range(len(grid[0]))]
    groups: list[list[int]] = [[0]]
    for column in range(1, len(widths)):
        if len(groups[-1]) > 1 and sum(widths[i] for i in groups[-1]) + widths[column] > WIDTH:
            groups.append([0])
        groups[-1].append(column)
    return [[[row[i] for i in group] for row in grid] for group in groups]
