"""`report.html` of a study, and its table for the terminal."""

import textwrap
from html import escape
from pathlib import Path

from bootlight.io.atomic import atomic_write
from bootlight.report.page import page
from bootlight.report.remarks import WIDTH, remark_line
from bootlight.studies import report_curves as study_curves
from bootlight.studies import report_runs as study_runs
from bootlight.studies import report_scores as study_scores
from bootlight.studies.claims import judge_claims
from bootlight.studies.remarks import study_remarks
from bootlight.studies.results import read_study
from bootlight.studies.table import format_text, legends, table_lines
from bootlight.studies.table_files import write_tables

# Names of arms are long: they may take several lines, or on a phone they would hide the numbers.
STYLE = """
summary { margin: .4em 0; }
td:first-child, th:first-child { max-width: min(24em, 38vw); min-width: min(14em, 34vw); white-space: normal; }
"""


def write_study_report(folder: Path) -> Path:
    """Write `report.html` of a study, and its tables beside it: `table.csv`, `table.json`, `table.md`, `scores.csv`.

    One file, readable without network, by phone or desktop, light or dark. Equal input gives equal bytes. What is not there
    yet is named; sections that would be empty are left out.

    Args:
        folder: of the study.

    Returns:
        Path of the page.

    Raises:
        BootlightError: `study.json` is missing or not complete, or the folder cannot be written.
    """
    results = read_study(folder)
    lines, verdicts = table_lines(results), judge_claims(results)
    write_tables(results, lines, verdicts)
    sections = [
        f"<h1>{escape(results.record.name)}</h1>",
        f'<p class="summary">{escape(study_scores.summary(results, verdicts))}</p>',
        study_scores.claims(verdicts),
        study_scores.tables(lines),
        study_curves.boundary_map(results) if results.record.layout == "curves" else "",
        study_scores.differences(results),
        study_curves.generation_curves(results),
        study_curves.gan_losses(results) if results.record.layout == "gan" else "",
        study_runs.strips(results),
        study_runs.neighbours(results),
        study_scores.remarks(study_remarks(results)),
        study_runs.runs(results),
        study_runs.configuration(results),
    ]
    path = folder / "report.html"
    with atomic_write(path, "w") as file:
        html = page(f"{results.record.name} - bootlight", filter(None, sections))
        file.write(html.replace("</style>", f"{STYLE}</style>", 1))
    return path


def format_study_table(folder: Path) -> str:
    """The table for a terminal, with a sentence for each claim and the remarks.

    Args:
        folder: of the study.

    Raises:
        BootlightError: `study.json` is missing or not complete.
    """
    results = read_study(folder)
    lines = table_lines(results)
    parts = [format_text(lines), *(textwrap.fill(legend, WIDTH) for legend in legends(lines))]
    for verdict in judge_claims(results):
        parts.append(textwrap.fill(f"{verdict.claim.text.rstrip('.')}. {verdict.sentence}", WIDTH, subsequent_indent="  "))
    parts += map(remark_line, study_remarks(results))
    return "\n\n".join(parts)
