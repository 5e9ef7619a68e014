"""Where the time of each generation went, as a table for a terminal."""

from bootlight.report.table import align
from bootlight.runs.folder import RunFolder
from bootlight.runs.history import read_timing

NETWORK = ("training", "synthesis", "evaluation", "references")  # time in calls of networks
OTHERS = {  # column: the parts of the clock that it adds up
    "data": ("data",),
    "files": ("files", "publishing", "checkpoints"),
    "metrics": ("metrics",),
}


def format_seconds(run: RunFolder) -> str:
    """Seconds in networks by what they did, elsewhere by what they waited for, and the share of the latter; "" without any.

    Interrupted jobs count as far as they noted their time: a killed one loses that of the stage it was in. The scores are in
    `metrics.json`, which is the same for each run of a seed; the times are not, and lie beside it in `timing.jsonl`.
    """
    found = {str(i): _row(read_timing(folder.timing)) for i, folder in enumerate(run.generations())}
    rows = {name: row for name, row in found.items() if row}
    if not rows:
        return ""
    if len(rows) > 1:
        rows["all"] = {name: sum(row[name] for row in rows.values()) for name in next(iter(rows.values()))}
    columns = [["seconds in\ngeneration", *rows]]
    columns += [[name, *(f"{row[name]:.1f}" for row in rows.values())] for name in next(iter(rows.values()))]
    columns.append(["outside of\nnetworks", *(_share(row) for row in rows.values())])
    return "\n".join(align(columns))


def _row(seconds: dict[str, float]) -> dict[str, float]:
    """Seconds by column; empty where nothing is known."""
    if not seconds:
        return {}
    row = {name: seconds.get(name, 0.0) for name in NETWORK}
    row |= {column: sum(seconds.get(part, 0.0) for part in parts) for column, parts in OTHERS.items()}
    total = sum(seconds.values())
    return row | {"other": max(0.0, total - sum(row.values())), "total": total}


def _share(row: dict[str, float]) -> str:
    return f"{1 - sum(row[name] for name in NETWORK) / row['total']:.1%}" if row["total"] > 0 else "-"
