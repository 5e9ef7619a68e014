"""`report.html`: what a run did, on one page that needs nothing else."""

from html import escape
from pathlib import Path

from bootlight.io.atomic import atomic_write
from bootlight.report import report_run, report_scores
from bootlight.report.current import scores_mark
from bootlight.report.noise_levels import noise_levels
from bootlight.report.page import page
from bootlight.report.scores import read_scores
from bootlight.report.verdict import run_verdict
from bootlight.runs.folder import RunFolder


def write_report(run: RunFolder) -> Path:
    """Write `report.html` from what is on disk: scores, strip, curves, protocols, times, configuration.

    One file, readable without network, by phone or desktop, light or dark. Equal input gives equal bytes. Parts whose
    files do not exist yet are left out.

    Returns:
        Path of the page.

    Raises:
        BootlightError: a generation's `metrics.json` is not complete, or the folder cannot be written.
    """
    rows = read_scores(run)
    title = run.path.resolve().name
    summary = escape(report_scores.summary(rows)).replace(" ± ", "&nbsp;±&nbsp;")  # no line break in a value
    sections = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="summary">{summary}</p>',
        report_scores.verdict_part(run_verdict(run, rows)),
        report_run.strip(run),
        report_scores.scores_table(rows),
        report_scores.score_curves(rows),
        report_run.training_curves(run),
        noise_levels(run),
        report_scores.protocols(rows),
        report_run.timing(run),
        report_run.files(run),
        report_run.configuration(run),
    ]
    with atomic_write(run.report, "w") as file:
        file.write(page(f"{title} - bootlight", filter(None, sections), scores_mark(run)))
    return run.report
