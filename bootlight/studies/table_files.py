"""The table of a study as files, and every score of every run as one, for analyses of one's own."""

import csv
import math
from collections.abc import Sequence
from typing import Any

from bootlight.io.atomic import atomic_write, write_json
from bootlight.report.table import spreadsheet_text
from bootlight.studies.claims import Verdict
from bootlight.studies.results import StudyResults
from bootlight.studies.statistics import Summary
from bootlight.studies.table import JUDGE, Line, format_markdown, markdown_text
from bootlight.studies.times import STATES


def write_tables(results: StudyResults, lines: Sequence[Line], verdicts: Sequence[Verdict]) -> None:
    """Write `table.csv`, `table.json` and `table.md`, and `scores.csv` with every score of every run, into the study folder.

    Raises:
        BootlightError: the folder cannot be written.
    """
    folder = results.record.folder
    summaries = [_summaries(line) for line in lines]
    with atomic_write(folder / "table.csv", "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["label", "arm", "score", *Summary._fields[:3], "low", "high", *Summary._fields[4:], *STATES])
        for line, found in zip(lines, summaries, strict=True):
            for name, summary in found.items():
                interval = summary["interval"] or (None, None)
                states = [line.states[name].get(state, 0) for state in STATES] if name in line.states else [None] * len(STATES)
                texts, values = map(spreadsheet_text, (line.label, line.arm or "", name)), list(summary.values())
                writer.writerow([*texts, *values[:3], *interval, *values[4:], *states])
    with atomic_write(folder / "scores.csv", "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["arm", "seed", "state", "generation", "score", "value", "standard_error", "n", "plateau"])
        writer.writerows(_score_rows(results))
    entries = [
        {"label": line.label, "arm": line.arm, "seeds": line.seeds, "planned": line.planned, "spread": line.spread}
        | {"scores": {name: {**summary, "states": line.states.get(name)} for name, summary in found.items()}}
        for line, found in zip(lines, summaries, strict=True)
    ]
    claims: list[dict[str, Any]] = [
        {**verdict.claim._asdict(), "status": verdict.status, "p_value": verdict.p_value, "sentence": verdict.sentence}
        | {"seeds_needed": verdict.seeds_needed, "images_needed": verdict.images_needed}
        | {"difference": None if verdict.difference is None else verdict.difference._asdict()}
        for verdict in verdicts
    ]
    write_json(folder / "table.json", {"name": results.record.name, "lines": entries, "claims": claims})
    with atomic_write(folder / "table.md", "w") as file:
        file.write(format_markdown(lines))
        for verdict in verdicts:
            file.write(f"\n- **{markdown_text(verdict.claim.text.rstrip('.'))}.** {markdown_text(verdict.sentence)}\n")


def _summaries(line: Line) -> dict[str, dict[str, Any]]:
    """The scores of a line; of times that are not all known there are no numbers but those of their states."""
    found = ({JUDGE: line.judge} if line.judge else {}) | line.scores
    unknown: dict[str, dict[str, Any]] = {name: dict.fromkeys(Summary._fields) for name in line.bounds}
    return {name: summary._asdict() for name, summary in found.items()} | unknown


def _score_rows(results: StudyResults) -> list[list[Any]]:
    """Every score of every run; a run without any has a line of its own."""
    rows: list[list[Any]] = []
    for (arm, seed), cell in results.cells.items():
        name = spreadsheet_text(arm)
        rows += [] if cell.generations else [[name, seed, cell.state, None, None, None, None, None, None]]
        for generation in cell.generations:
            for folder in ("", *generation.folders):
                place = spreadsheet_text(f"{arm}/{folder}" if folder else arm)
                for key, score in generation.of(folder).items():
                    value = None if math.isnan(score.value) else score.value
                    what = [value, score.standard_error, score.n, score.protocol.get("state")]
                    rows.append([place, seed, cell.state, generation.generation, spreadsheet_text(key), *what])
    return rows
