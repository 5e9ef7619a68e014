"""Training curves and times of a generation, as they were written line by line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MAX_LINE = 2**16  # characters
MAX_STEP = 2**53  # beyond, floats cannot tell neighbours apart
MAX_SECONDS = 1e12


def read_history(path: Path) -> dict[str, tuple[list[int], list[float]]]:
    """Read curves written by `HistoryLogger`, see `read_rows`.

    Args:
        path: file of JSON lines.

    Returns:
        For each key its steps, rising, and its values.
    """
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for step, values in read_rows(path).items():
        for key, value in values.items():
            steps, points = curves.setdefault(key, ([], []))
            steps.append(step)
            points.append(value)
    return curves


def read_rows(path: Path) -> dict[int, dict[str, float]]:
    """Read the values of each step, steps rising.

    Of two lines with the same step and key the later counts: it was written after a resume. Lines that a kill tore
    are left out. A missing file has no steps.

    Args:
        path: file of JSON lines.
    """
    rows: dict[int, dict[str, float]] = {}
    for entry in _read_lines(path):
        step = entry.pop("step", None)
        if isinstance(step, int) and abs(step) < MAX_STEP:
            rows.setdefault(step, {}).update({key: value for key, value in entry.items() if isinstance(value, float)})
    return dict(sorted(rows.items()))


def read_timing(path: Path) -> dict[str, float]:
    """Wall-clock seconds of each stage, added up over the times it was entered; empty when the file is missing.

    Args:
        path: JSON lines ``{"stage": "training", "seconds": 12.3}``.
    """
    seconds: dict[str, float] = {}
    for entry in _read_lines(path):
        stage, passed = entry.get("stage"), entry.get("seconds")
        if isinstance(stage, str) and isinstance(passed, float) and 0 <= passed < MAX_SECONDS:
            seconds[stage] = seconds.get(stage, 0.0) + passed
    return seconds


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """JSON objects, whole numbers outside of `step` as floats; what a kill tore, or nobody here has written, is left out."""
    if not path.exists():
        return
    with open(path, encoding="utf-8", errors="replace") as file:
        while line := file.readline(MAX_LINE):
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(entry, dict):
                yield {key: value if key == "step" else _number(value) for key, value in entry.items()}


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, int) and abs(value) < MAX_STEP else value
