"""Rows of results as tables of the page and of a terminal: ratios to other tools, and growth."""

from typing import Any

from ratios import print_table

HEAD = ("measured", "against", "ratio", "from", "to", "bootlight", "peer", "unit")


def ratio_lines(rows: list[dict[str, Any]]) -> list[str]:
    """A Markdown table of `ratios.compare`."""
    lines = [line(HEAD), "|---" * len(HEAD) + "|"]
    for row in rows:
        numbers = [f"{row[key]:.3g}" for key in ("ratio", "low", "high")]
        values = [f"{row[key]:,.4g}" for key in ("bootlight", "peer_value")]
        lines.append(line([row["what"], row["peer"], *numbers, *values, row["unit"]]))
    return lines


def growth_lines(rows: list[dict[str, Any]]) -> list[str]:
    """A Markdown table for each thing that grows: processor seconds and peak memory, `seconds · MiB`, and exponents."""
    lines = [
        f"Processor seconds and peak MiB of a process of its own; libraries are {rows[0]['base']:,.0f} of them.",
        "Exponent: slope of the logarithms of seconds over all sizes; at the end: over the last two; of memory: of what is",
        "beyond libraries and input, over the last two. 1 where cost is in proportion, 2 where it is quadratic.",
    ]
    for by in dict.fromkeys(row["by"] for row in rows):
        mine = [row for row in rows if row["by"] == by]
        head = [by, *(f"{size:,}" for size in mine[0]["sizes"]), "exponent", "at the end", "of memory"]
        lines += ["", line(head), "|---" * len(head) + "|"]
        for row in mine:
            cells = [f"{seconds:,.3g} s · {mib:,.0f}" for seconds, mib in zip(row["cpu"], row["mib"], strict=True)]
            slopes = [slope(row[key]) for key in ("exponent", "last", "memory_exponent")]
            lines.append(line([row["what"], *cells, *slopes]))
    return lines


def slope(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def line(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"


def markdown(rows: list[dict[str, Any]]) -> list[str]:
    """Whichever fits the rows."""
    return growth_lines(rows) if rows and "sizes" in rows[0] else ratio_lines(rows)


def print_growth(rows: list[dict[str, Any]]) -> None:
    print("\n".join(growth_lines(rows)), flush=True)


def print_rows(rows: list[dict[str, Any]]) -> None:
    """On a terminal."""
    (print_growth if rows and "sizes" in rows[0] else print_table)(rows)
