"""The table of a run: one row for each generation, as CSV, JSON and text."""

import csv
import io
import textwrap
from collections.abc import Mapping
from typing import Any

from bootlight.errors import BootlightError, safe
from bootlight.io.atomic import atomic_write, read_json, write_json
from bootlight.metrics.score import Score
from bootlight.report.legend import DIRECTIONS, arrow, legend, shown_arrows
from bootlight.report.remarks import WIDTH, failed_lines, filled, remark_lines
from bootlight.report.scores import (
    HOLDOUT,
    REAL,
    TRAIN,
    GenerationScores,
    floors_of,
    main_scores,
    moved,
    read_scores,
    same_n_name,
    score_names,
)  # fmt: skip
from bootlight.report.verdict import run_verdict
from bootlight.runs.folder import RunFolder
from bootlight.runs.trainings import read_generation_metrics

COUNTS = ("generation", "num_real", "num_synthetic", "steps", "images_seen")
GAP = "  "
FORMULAS = ("=", "+", "-", "@")
NO_FLOORS = "a table without the row of real images"
BRACKETS = "[a, b] is a 95 % interval"
LEGEND = "± is one standard error, of the loss with the correlation of its steps; n: images, or logged steps"


def write_table(run: RunFolder) -> None:
    """Write `metrics.csv` (one row for each generation) and `metrics.json` (the same with protocols, and what it all says).

    CSV columns: the counts, ``loss``, ``loss_se``, then for each score its name, ``<name>_se`` and ``<name>_n``. Numbers
    are written in full precision; what was not measured is empty.

    Raises:
        BootlightError: a generation's `metrics.json` is not complete, or the folder cannot be written.
    """
    text, content = _files(run)
    with atomic_write(run.table, "w") as file:
        file.write(text)
    write_json(run.metrics, content)


def table_is_current(run: RunFolder) -> bool:
    """Whether both files are there and say what they would if they were written now."""
    text, content = _files(run)
    try:
        return run.table.read_text(encoding="utf-8") == text and bool(read_json(run.metrics) == content)
    except (BootlightError, OSError, UnicodeDecodeError):
        return False


def _files(run: RunFolder) -> tuple[str, dict[str, Any]]:
    rows = read_scores(run)
    names = score_names(rows)
    header = [*COUNTS, "loss", "loss_se"]
    for name in names:
        header += [name, f"{name}_se", f"{name}_n"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(spreadsheet_text, header))
    writer.writerows(_csv_row(row, names) for row in rows)
    return text.getvalue(), {"generations": read_generation_metrics(run), "verdict": run_verdict(run, rows).to_json()}


def spreadsheet_text(text: str) -> str:
    """Text for a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if safe(text).lstrip().startswith(FORMULAS) else safe(text)


def _csv_row(row: GenerationScores, names: list[str]) -> list[float | int | None]:
    cells: list[float | int | None] = [getattr(row, count) for count in COUNTS]
    cells += [row.loss.value, row.loss.standard_error] if row.loss else [None, None]
    for name in names:
        score = row.scores.get(name)
        cells += [score.value, score.standard_error, score.n] if score else [None, None, None]
    return cells


def format_table(run: RunFolder) -> str:
    """The table for a terminal, at most 100 columns wide; below it what it says, what its scores are, and three remarks.

    Shows the scores of synthetic images, and in a row `real` those of real images in their place; the CSV has all. Scores that
    would be wider than the terminal are named below the table.

    Raises:
        BootlightError: a generation's `metrics.json` is not complete.
    """
    rows = read_scores(run)
    if not rows:
        return "no generation has been evaluated yet"
    floors = floors_of(rows)
    columns = [
        ["generation", *(str(row.generation) for row in rows)],
        ["real", *(str(row.num_real) for row in rows)],
        ["synthetic", *(str(row.num_synthetic) for row in rows)],
        ["steps", *(str(row.steps) for row in rows)],
        score_column("loss", [row.loss for row in rows]),
    ]
    if floors:
        columns = [[head, word, *cells] for (head, *cells), word in zip(columns, [REAL, *"----"], strict=True)]
    shown, left_out = [], []
    for name in leading(main_scores(score_names(rows))):
        column = score_column(name, [row.scores.get(name) for row in rows], floors.get(name) if floors else NO_FLOORS)
        if _width([*columns, column]) <= WIDTH:
            columns.append(column)
            shown.append(name)
        else:
            left_out.append(name)
    lines = [*align(columns), *(filled(sentence) for sentence in run_verdict(run, rows).sentences)]
    lines += below(rows, shown, floors)
    if left_out:
        lines.append(textwrap.fill(f"more in {run.table.name}: {', '.join(left_out)}", WIDTH, break_on_hyphens=False))
    main = main_scores(list(rows[-1].scores))
    remarks = remark_lines({name: rows[-1].scores[name] for name in main}, more=f"{run.metrics.name} and {run.report.name}")
    return "\n".join([*lines, *failed_lines(_failures(rows)), *remarks])


def leading(names: list[str]) -> list[str]:
    """Scores in the order of a terminal's columns: those against held-out images first, by which generations are compared."""
    return sorted(names, key=lambda name: (name != f"kid/{HOLDOUT}", name.endswith(f"/{TRAIN}")))


def below(rows: list[GenerationScores], shown: list[str], floors: Mapping[str, Score]) -> list[str]:
    """What the signs of the table mean, and what its scores are."""
    last = rows[-1]
    told_by_interval = any(score.is_told_by_interval for row in rows for score in row.scores.values())
    lines = [LEGEND + (f"; {BRACKETS}" if told_by_interval else "")]
    arrows = [DIRECTIONS] if shown_arrows(last.scores, shown) else []
    stand_in = [f"{REAL}: what real images score, about the best to hope for"] if floors else []
    lines += ["; ".join([*arrows, *stand_in])] if arrows or stand_in else []
    lines += legend(shown)
    for name in shown:
        score, same, floor = last.scores.get(name), last.scores.get(same_n_name(name)), floors.get(name)
        if score and same and floor and moved(score, same):
            lines.append(f"at equal n = {same.n}: {name} {same} of generation {last.generation}, {floor} of real images")
    return lines


def _failures(rows: list[GenerationScores]) -> dict[str, str]:
    """Why something has no score, of all generations; the last reason of each, with the number of its generation."""
    return {name: f"{why} (generation {row.generation})" for row in rows for name, why in row.failed.items()}


def score_column(name: str, scores: list[Score | None], floor: Score | str | None = NO_FLOORS) -> list[str]:
    """Header and cells of one score; n stands in the header when all rows share it, else in each cell.

    Args:
        name: name of the score; each part between slashes becomes a line of the header, the first with an arrow.
        scores: one for each row, None where it was not measured.
        floor: of real images, for a row of its own above the others; `NO_FLOORS` where the table has none.
    """
    counts = {score.n for score in scores if score}
    first, *others = name.split("/")
    header = "\n".join([first + arrow(scores), *others])
    shared = counts.pop() if len(counts) == 1 else None
    above = [] if isinstance(floor, str) else [floor]
    cells = [_score_cell(score, shared) for score in (*above, *scores)]
    return [header if shared is None else f"{header}\nn={shared}", *cells]


def _score_cell(score: Score | None, shared: int | None) -> str:
    if score is None:
        return "-"
    return str(score) if score.n == shared else f"{score} (n={score.n})"


def _cell_width(column: list[str]) -> int:
    return max(len(line) for cell in column for line in cell.split("\n"))


def _width(columns: list[list[str]]) -> int:
    return sum(map(_cell_width, columns)) + len(GAP) * (len(columns) - 1)


def align(columns: list[list[str]], words: int = 0) -> list[str]:
    """Lines: the header, whose cells may have several lines, a rule, the rows.

    Args:
        columns: cells, the header first.
        words: so many of the first columns are words and stand to the left; numbers stand to the right.
    """
    widths = [_cell_width(column) for column in columns]
    headers = [column[0].split("\n") for column in columns]
    height = max(map(len, headers))
    grid = [[header[i] if i < len(header) else "" for header in headers] for i in range(height)]
    grid.append(["-" * width for width in widths])
    grid += [[column[i] for column in columns] for i in range(1, len(columns[0]))]
    adjust = [str.ljust if k < words else str.rjust for k in range(len(columns))]
    return [GAP.join(to(cell, n) for to, cell, n in zip(adjust, line, widths, strict=True)).rstrip() for line in grid]
