"""Sections of the report that come from the files of the run."""

import shlex
from html import escape
from pathlib import Path
from urllib.parse import quote

from bootlight.io.atomic import read_text
from bootlight.report.curves import LARGEST, MAX_CHARTS, Curve, history_chart
from bootlight.report.page import embedded_png, figure, remark, section, table
from bootlight.runs.folder import GenerationFolder, RunFolder
from bootlight.runs.history import read_history, read_timing

MAX_CONFIG_BYTES = 2**20


def strip(run: RunFolder) -> str:
    """The strip of previews, inside the page."""
    if not run.strip.exists():
        return ""
    picture = embedded_png(run.strip, "real images and previews of each generation, with scores")
    note = remark("Synthetic images in one column have the same seed in every generation.")
    return section("Previews", f'<div class="scroll strip">{picture}</div>', note)


def training_curves(run: RunFolder) -> str:
    """One chart for each logged loss, one line for each generation."""
    charts: dict[str, list[Curve]] = {}
    for k, folder in enumerate(run.generations()):
        for name, (steps, values) in read_history(folder.history).items():
            points = [(x, y) for x, y in zip(steps, values, strict=True) if abs(y) < LARGEST]  # a diverged loss has others
            if "loss" in name and points:
                charts.setdefault(name, []).append(Curve(f"generation {k}", [x for x, _ in points], [y for _, y in points]))
    if not charts:
        return ""
    drawings = "".join(figure(name, history_chart(curves)) for name, curves in sorted(charts.items())[:MAX_CHARTS])
    note = remark("Long curves are drawn through means of consecutive points.")
    return section("Training", f'<div class="curves">{drawings}</div>', note)


def timing(run: RunFolder) -> str:
    """Wall-clock time of each stage of each generation, restarts added up."""
    times = [read_timing(folder.timing) for folder in run.generations()]
    stages = list(dict.fromkeys(stage for stage_times in times for stage in stage_times))
    if not stages:
        return ""
    rows = [[str(k), *_durations(stage_times, stages)] for k, stage_times in enumerate(times)]
    totals = {stage: sum(stage_times.get(stage, 0.0) for stage_times in times) for stage in stages}
    rows.append(["all", *_durations(totals, stages)])
    return section("Time", table(["generation", *stages, "total"], rows))


def _durations(times: dict[str, float], stages: list[str]) -> list[str]:
    cells = [format_duration(times[stage]) if stage in times else "-" for stage in stages]
    return [*cells, format_duration(sum(times.values()))]


def format_duration(seconds: float) -> str:
    """``4.2 s``, ``12 min 05 s`` or ``3 h 07 min``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def files(run: RunFolder) -> str:
    """Links to what lies beside the page."""
    items = [_links(run, "run", [run.table, run.metrics, run.strip, run.config])]
    items += [_links(run, f"generation {k}", _files_of(folder)) for k, folder in enumerate(run.generations())]
    return section("Files", f"<ul>{''.join(items)}</ul>")


def _files_of(folder: GenerationFolder) -> list[Path]:
    return [folder.weights, folder.samples, folder.metadata, folder.previews, folder.metrics, folder.noise_bins, folder.history]


def _links(run: RunFolder, label: str, paths: list[Path]) -> str:
    links = [_link(run, path) for path in paths if path.exists()]
    return f"<li>{escape(label)}: {' · '.join(links)}</li>"


def _link(run: RunFolder, path: Path) -> str:
    slash = "/" * path.is_dir()
    target = path.relative_to(run.path).as_posix() + slash
    return f'<a href="{escape(quote(target))}">{escape(path.name + slash)}</a>'


def configuration(run: RunFolder) -> str:
    """The resolved configuration, and the commands that continue the run and rebuild this page."""
    if not run.config.exists():
        return ""
    commands = (
        f"bootlight fit --config {shlex.quote(str(run.config))}   # continue, or run again\n"
        f"bootlight report {shlex.quote(str(run.path))}   # write this page again"
    )
    text = read_text(run.config, MAX_CONFIG_BYTES)
    folded = f"<details><summary>{run.config.name}</summary><pre>{escape(text)}</pre></details>"
    return section("Again", f"<pre>{escape(commands)}</pre>", folded)
