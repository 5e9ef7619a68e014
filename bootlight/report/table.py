"""The table of a run: one row for each generation, as CSV, JSON and text."""

import csv
import io
import textwrap
from collections.abc import Mapping
from typing import Any

from bootlight.errors import BootlightError, safe
from bootlight.io.atomic import atomic_write, read_json, write_json
from bootlight.metrics.score import Score, by_remark
from bootlight.report.scores import GenerationScores, main_scores, read_scores, score_names
from bootlight.runs.folder import RunFolder
from bootlight.runs.trainings import read_generation_metrics

COUNTS = ("generation", "num_real", "num_synthetic", "steps", "images_seen")
WIDTH = 100
GAP = "  "
FORMULAS = ("=", "+", "-", "@")
BRACKETS = "[a, b] is a 95 % interval"
LEGEND = "± is one standard error, of the loss with the correlation of its steps; n: images, or logged steps"


def write_table(run: RunFolder) -> None:
    """Write `metrics.csv` (one row for each generation) and `metrics.json` (the same with protocols).

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
    return text.getvalue(), {"generations": read_generation_metrics(run)}


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
    """The table for a terminal, at most 100 columns wide, with a line that says what ± means and the last row's remarks.

    Shows the scores of synthetic images; the CSV also has those of real images, made for comparison. Scores that would
    be wider than the terminal are named below the table.

    Raises:
        BootlightError: a generation's `metrics.json` is not complete.
    """
    rows = read_scores(run)
    if not rows:
        return "no generation has been evaluated yet"
    columns = [
        ["generation", *(str(row.generation) for row in rows)],
        ["real", *(str(row.num_real) for row in rows)],
        ["synthetic", *(str(row.num_synthetic) for row in rows)],
        ["steps", *(str(row.steps) for row in rows)],
        score_column("loss", [row.loss for row in rows]),
    ]
    left_out = []
    for name in main_scores(score_names(rows)):
        column = score_column(name, [row.scores.get(name) for row in rows])
        if _width([*columns, column]) <= WIDTH:
            columns.append(column)
        else:
            left_out.append(name)
    lines = align(columns)
    told_by_interval = any(score.is_told_by_interval for row in rows for score in row.scores.values())
    lines.append(LEGEND + (f"; {BRACKETS}" if told_by_interval else ""))
    if left_out:
        lines.append(textwrap.fill(f"more in {run.table.name}: {', '.join(left_out)}", WIDTH, break_on_hyphens=False))
    return "\n".join([*lines, *failed_lines(_failures(rows)), *remark_lines(rows[-1].scores)])


def remark_lines(scores: Mapping[str, Score]) -> list[str]:
    """The remarks of scores by name, for a terminal."""
    return [remark_line(f"{', '.join(names)}: {remark}") for remark, names in by_remark(scores.items()).items()]


def _failures(rows: list[GenerationScores]) -> dict[str, str]:
    """Why something has no score, of all generations; the last reason of each, with the number of its generation."""
    return {name: f"{why} (generation {row.generation})" for row in rows for name, why in row.failed.items()}


def failed_lines(failed: Mapping[str, str]) -> list[str]:
    """What has no score and why, for a terminal."""
    return [remark_line(f"{name} failed, and has no score: {why}") for name, why in failed.items()]


def remark_line(text: str) -> str:
    """A remark for a terminal, in as many lines as it needs."""
    return textwrap.fill(f"! {text}", WIDTH, subsequent_indent="  ")


def score_column(name: str, scores: list[Score | None]) -> list[str]:
    """Header and cells of one score; n stands in the header when all rows share it, else in each cell.

    Args:
        name: name of the score; each part between slashes becomes a line of the header.
        scores: one for each row, None where it was not measured.
    """
    counts = {score.n for score in scores if score}
    header = name.replace("/", "\n")
    if len(counts) == 1:
        return [f"{header}\nn={counts.pop()}", *(str(score) if score else "-" for score in scores)]
    return [header, *(f"{score} (n={score.n})" if score else "-" for score in scores)]


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
