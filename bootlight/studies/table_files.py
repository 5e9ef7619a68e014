"""The table of a study as files, and every score of every run as one, for analyses of one's own."""

import csv
from collections.abc import Sequence
from typing import Any

from bootlight.atomic import atomic_write, write_json
from bootlight.studies.claims import Verdict
from bootlight.studies.plateau import num_stayed
from bootlight.studies.results import StudyResults
from bootlight.studies.statistics import Summary
from bootlight.studies.table import JUDGE, Line, format_markdown, markdown_text
from bootlight.tracking.table import spreadsheet_text


def write_tables(results: StudyResults, lines: Sequence[Line], verdicts: Sequence[Verdict]) -> None:
    """Write `table.csv`, `table.json` and `table.md`, and `scores.csv` with every score of every run, into the study folder.

    Raises:
        BootlightError: the folder cannot be written.
    """
    folder = results.record.folder
    summaries = [({JUDGE: line.judge} if line.judge else {}) | line.scores for line in lines]
    with atomic_write(folder / "table.csv", "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["label", "arm", "score", *Summary._fields[:3], "low", "high", *Summary._fields[4:], "stayed"])
        for line, found in zip(lines, summaries, strict=True):
            for name, summary in found.items():
                interval = summary.interval or (None, None)
                stayed = line.stayed.get(name, 0)
                texts = map(spreadsheet_text, (line.label, line.arm or "", name))
                writer.writerow([*texts, *summary[:3], *interval, *summary[4:], stayed])
    with atomic_write(folder / "scores.csv", "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["arm", "seed", "state", "generation", "score", "value", "standard_error", "n", "censored"])
        writer.writerows(_score_rows(results))
    entries = [
        {"label": line.label, "arm": line.arm, "seeds": line.seeds, "planned": line.planned, "spread": line.spread}
        | {"scores": {name: {**summary._asdict(), "stayed": line.stayed.get(name, 0)} for name, summary in found.items()}}
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


def _score_rows(results: StudyResults) -> list[list[Any]]:
    """Every score of every run; a run without any has a line of its own."""
    rows: list[list[Any]] = []
    for (arm, seed), cell in results.cells.items():
        name = spreadsheet_text(arm)
        rows += [] if cell.generations else [[name, seed, cell.state, None, None, None, None, None, None]]
        for generation in cell.generations:
            for key, score in generation.scores.items():
                what = [score.value, score.standard_error, score.n, num_stayed([score])]
                rows.append([name, seed, cell.state, generation.generation, spreadsheet_text(key), *what])
    return rows
