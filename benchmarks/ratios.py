"""Two ways to do one thing, timed in turns, and the ratio of their times: the only figure that travels to another machine."""

import statistics
from collections.abc import Callable
from typing import Any

COLUMNS = ("what", "peer", "ratio", "low", "high", "unit", "bootlight", "peer_value")


def compare(
    what: str,
    peer: str,
    ours: Callable[[], float],
    theirs: Callable[[], float],
    *,
    repeats: int,
    count: int | None = None,
    unit: str = "s",
) -> dict[str, Any]:
    """A row of a table of results; what is not for the first time counts.

    Args:
        what: is measured.
        peer: name of the other way.
        ours: returns its seconds.
        theirs: returns its seconds.
        repeats: turns that count; one more warms up.
        count: things that each call does; then values are things in a second.
        unit: of the values.

    Returns:
        `ratio`, above 1 where bootlight is faster: median over the turns; `low` and `high`: the least and the largest; the
        medians of both sides.
    """
    seconds = [(ours(), theirs()) for _ in range(repeats + 1)][1:]
    ratios = [their / our for our, their in seconds]
    values = [statistics.median(side) for side in zip(*seconds, strict=True)]
    if count is not None:
        values = [count / value for value in values]
    spread = {"ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}
    return {"what": what, "peer": peer, **spread, "unit": unit, "bootlight": values[0], "peer_value": values[1]}


def print_table(rows: list[dict[str, Any]]) -> None:
    """Right-aligned numbers under the names of the columns."""
    cells = [list(COLUMNS)] + [[_cell(row[column]) for column in COLUMNS] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        padded = [(cell.ljust if i in (0, 1, 5) else cell.rjust)(widths[i]) for i, cell in enumerate(line)]
        print("  ".join(padded).rstrip(), flush=True)


def _cell(value: Any) -> str:
    return (
        f"{value:.4g}"
        if isinstance(value, float) and value < 1e4
        else f"{value:.0f}"
        if isinstance(value, float)
        else str(value)
    )
