"""Sections of a study's report that come from its scores: table, claims, differences, remarks."""

import math
from collections.abc import Sequence
from html import escape

from bootlight.report.page import figure, remark, section, table
from bootlight.report.scores import main_scores
from bootlight.studies.boundary import Effect, better, effects
from bootlight.studies.charts import BETTER, MAX_ROWS, UNKNOWN, WORSE, Difference, chance_note, difference_chart
from bootlight.studies.claims import CONTRADICTED, SUPPORTED, Verdict
from bootlight.studies.results import StudyResults, compare_arms
from bootlight.studies.statistics import PairedDifference
from bootlight.studies.table import HEADER, JUDGE, LEGEND, SCORES_LEGEND, Line, judge_cells, score_cells, score_columns
from bootlight.studies.times import PLATEAU_STEPS

MAX_CHARTS = 12
MARKS = {SUPPORTED: ("✓", BETTER), CONTRADICTED: ("✗", WORSE)}


def summary(results: StudyResults, verdicts: Sequence[Verdict]) -> str:
    """The study in a sentence or two."""
    record = results.record
    finished, planned = sum(cell.finished for cell in results.cells.values()), len(results.cells)
    text = f"{len(record.arms)} arms, {len(record.seeds)} seed{'s' * (len(record.seeds) != 1)}: "
    text += f"all {planned} runs are finished." if finished == planned else f"{finished} of {planned} runs are finished."
    if not verdicts:
        return text
    counts = {status: sum(verdict.status == status for verdict in verdicts) for status in (SUPPORTED, CONTRADICTED)}
    counts["open"] = len(verdicts) - sum(counts.values())
    claimed = "1 claim" if len(verdicts) == 1 else f"{len(verdicts)} claims"
    return f"{text} {claimed}: {', '.join(f'{count} {status}' for status, count in counts.items() if count)}."


def tables(lines: Sequence[Line]) -> str:
    """The paper's table, and the other scores below it."""
    parts = []
    if any(line.judge for line in lines):
        parts += [table(list(HEADER), [judge_cells(line) for line in lines]), remark(LEGEND)]
    if names := score_columns(lines):
        header = ["trained on", *(name.replace("/", "\n") for name in names), "seeds"]
        parts += [table(header, [score_cells(line, names) for line in lines if line.arm]), remark(SCORES_LEGEND)]
    if not parts:
        parts = [table(["trained on", "seeds"], [[line.label, judge_cells(line)[-1]] for line in lines])]
    return section("Results", *parts)


def claims(verdicts: Sequence[Verdict]) -> str:
    """Each claim with what the study says to it."""
    if not verdicts:
        return ""
    items = []
    for verdict in verdicts:
        mark, color = MARKS.get(verdict.status, ("?", UNKNOWN))
        badge = f'<span style="color:{color};font-weight:700">{mark}</span>'
        items.append(f"<h3>{badge} {escape(verdict.claim.text)}</h3><p>{escape(verdict.sentence)}</p>")
    note = (
        "A claim is supported or contradicted when a paired t-test over seeds (an exact permutation test of times on a plateau "
        "that are not all known), corrected for the number of claims (Holm), finds the difference at 5 %. Seeds and images "
        "needed are for finding a difference in four of five studies; ranges are those of the 95 % interval of the effect."
    )
    return section("Claims", *items, remark(note))


def differences(results: StudyResults) -> str:
    """One chart for each score: every planned comparison, and loops against their generation 0 where no map shows them."""
    charts, count, mapped = [], 0, results.record.layout == "curves"
    names = _ordered(results)
    for name in names[:MAX_CHARTS]:
        rows = [
            _row(name, results.record.label(second), results.record.label(first), difference)
            for first, second in results.record.comparisons
            if (difference := compare_arms(results, name, first, second)) is not None
        ]
        for effect in _loops(results, name):
            if effect.difference is not None and not mapped:
                label = f"{results.record.label(effect.arm)}, last generation"
                rows.append(_row(name, label, effect.reference, effect.difference))
        count += sum(row.interval is not None for row in rows)
        rows = [row for row in rows if not math.isnan(row.value)]
        charts += [figure(name, difference_chart(rows[i : i + MAX_ROWS])) for i in range(0, len(rows), MAX_ROWS)]
    if not charts:
        return ""
    note = (
        "Mean differences over the seeds that both have, with 95 % intervals (Student's t, pairs of equal seeds); an open dot "
        "has no interval. Blue: better; orange: worse; grey: the interval holds 0, or the score has no good direction. "
        + chance_note(count)
    )
    if any(results.scores(arm, PLATEAU_STEPS) for pair in results.record.comparisons for arm in pair):
        note += (
            " Times on a plateau are compared up to the end of the shortest training, without trainings that have no plateau; "
            "where some left before the margin or never, as restricted mean times, whose error is known as a p-value only."
        )
    left_out = remark(f"Not drawn: {', '.join(names[MAX_CHARTS:])}.") if len(names) > MAX_CHARTS else ""
    return section("Differences", f'<div class="curves">{"".join(charts)}</div>', remark(note), left_out)


def _ordered(results: StudyResults) -> list[str]:
    """The main scores, those with a good direction first."""
    return sorted(main_scores(results.score_names()), key=lambda name: (name != JUDGE, better(name) is None))


def _loops(results: StudyResults, name: str) -> list[Effect]:
    return [effect for effect in effects(results, name) if effect.reference == "generation 0"]


def _row(name: str, label: str, reference: str, difference: PairedDifference) -> Difference:
    direction = better(name)
    known = None if direction is None or not difference.found else (difference.value > 0) is direction
    return Difference(label, reference, difference.value, difference.interval, known)


def remarks(found: Sequence[str]) -> str:
    """Doubts, as a list."""
    items = "".join(f"<li>{escape(remark)}</li>" for remark in found)
    return section("Remarks", f"<ul>{items}</ul>") if found else ""
