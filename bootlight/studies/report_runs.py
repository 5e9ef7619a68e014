"""Sections of a study's report that come from the files of its runs: pictures, configurations, commands."""

from html import escape
from pathlib import Path
from urllib.parse import quote

import yaml  # type: ignore[import-untyped]

from bootlight.io.atomic import read_text
from bootlight.report.page import embedded_png, remark, section, table
from bootlight.report.report_run import MAX_CONFIG_BYTES, format_duration
from bootlight.runs.history import read_timing
from bootlight.studies.results import Cell, StudyResults

MAX_PICTURES = 24  # of one kind on the page; each has up to half a megabyte
STATES = {
    "finished": "finished",
    "failed": "failed",
    "unfinished": "unfinished",
    "missing": "not begun",
    "unreadable": "unreadable",
}


def strips(results: StudyResults) -> str:
    """The strip of the first finished run of each arm, one below the other."""
    shown = _first_runs(results)
    parts = []
    for label, cell in shown[:MAX_PICTURES]:
        if cell.run.strip.exists():
            picture = embedded_png(cell.run.strip, f"images of {label}")
            parts.append(f'<h3>{escape(label)}</h3><div class="scroll strip">{picture}</div>')
    if not parts:
        return ""
    note = "Columns have the same seed of the drawing in every generation, and in every arm that is shown with the same seed."
    return section("Images", *parts, remark(note + _left_out(len(shown))))


def neighbours(results: StudyResults) -> str:
    """Pictures of nearest real images that `bootlight evaluate --neighbours` left in the first finished run of an arm."""
    parts = []
    for label, cell in _first_runs(results)[:MAX_PICTURES]:
        for path in sorted(cell.run.path.glob("neighbours*.png"))[:2]:
            picture = embedded_png(path, f"synthetic images of {label} and the real ones nearest to them")
            parts.append(f'<h3>{escape(label)}</h3><div class="scroll strip">{picture}</div>')
    return section("Nearest real images", *parts) if parts else ""


def _first_runs(results: StudyResults) -> list[tuple[str, Cell]]:
    """Of each arm one finished run, of the same seed where there is one that all have."""
    finished = {arm.name: cells for arm in results.record.arms if (cells := results.finished(arm.name))}
    common = [seed for seed in results.record.seeds if all(seed in cells for cells in finished.values())]
    chosen = {name: (common or list(cells))[0] for name, cells in finished.items()}
    return [(f"{results.record.label(name)} (seed {seed})", finished[name][seed]) for name, seed in chosen.items()]


def _left_out(count: int) -> str:
    return f" {count - MAX_PICTURES} arms more are left out." if count > MAX_PICTURES else ""


def runs(results: StudyResults) -> str:
    """The state of every run, with a link to its own report and the time that it took."""
    rows = []
    for arm in results.record.arms:
        cells = "".join(f"<td>{_run(results, results.cells[arm.name, seed])}</td>" for seed in results.record.seeds)
        rows.append(f"<tr><td>{escape(arm.label)}</td>{cells}</tr>")
    head = "".join(f"<th>seed {seed}</th>" for seed in results.record.seeds)
    body = f"<thead><tr><th>arm</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    note = "Links lead to the runs' own reports, where the study folder is at hand."
    return section("Runs", f'<div class="scroll"><table>{body}</table></div>', remark(note))


def _run(results: StudyResults, cell: Cell) -> str:
    seconds = sum(sum(read_timing(folder.timing).values()) for folder in cell.run.generations())
    text = STATES[cell.state] + (f", {format_duration(seconds)}" if seconds else "")
    if not cell.run.report.exists():
        return escape(text)
    target = quote(cell.run.report.relative_to(results.record.folder).as_posix())
    return f'<a href="{escape(target)}">{escape(text)}</a>'


def configuration(results: StudyResults) -> str:
    """Commands, what the arms change, and the resolved configurations."""
    record = results.record
    command = record.command or "bootlight study"
    commands = [f"{command}   # continue, or run again", f"{command} --report   # write this page again"]
    rows = [[arm.label, arm.name, " ".join(arm.base), arm.teacher or "-", _settings(arm.settings)] for arm in record.arms]
    parts = [f"<pre>{escape(chr(10).join(commands))}</pre>"]
    parts.append(table(["arm", "folder", "base", "teacher", "settings"], rows))
    for label, cell in _first_runs(results)[:MAX_PICTURES]:
        parts.append(_folded(f"{label}: {cell.run.config.name}", cell.run.config))
    study = record.folder / "study.json"
    return section("Again", *parts, _folded(study.name, study))


def _settings(settings: dict[str, object]) -> str:
    return " ".join(f"--{key} {yaml.safe_dump(value, default_flow_style=True).removesuffix('...' + chr(10)).strip()}"
                    for key, value in settings.items())  # fmt: skip


def _folded(title: str, path: Path) -> str:
    return f"<details><summary>{escape(title)}</summary><pre>{escape(read_text(path, MAX_CONFIG_BYTES))}</pre></details>"
