"""How cost grows: with images, generations, classes and runs; processor seconds, wall seconds and memory of each size.

Pictures, runs and networks are made up, so that training costs nothing. Each cell is a process of its own; what it takes to
start and to make up its input does not count. One thread; where other work runs on the machine, processor time says more.
"""

import math
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import growth_cells
from tables import print_growth

SIZES = {
    "images": (1_000, 10_000, 100_000),
    "drawn images": (1_000, 5_000, 20_000),  # exact neighbors are quadratic
    "generations": (2, 10, 40, 80),
    "classes": (2, 10, 100, 1_000),
    "runs": (2, 8, 32, 128),
}
QUICK = {"images": (100, 400), "drawn images": (100, 400), "generations": (2, 4), "classes": (2, 10), "runs": (2, 4)}
WHAT = {
    "images": {
        "store": "indexing, checksums, decoding into a store",
        "found": "the same set, decoded before",
        "check": "`data check`",
        "folder": "folder of drawn images, without drawing",
    },
    "drawn images": {"scores": "default scores of a generation against 10,000 real images, without networks"},
    "generations": {
        "run": "whole run, Accumulate, 100 images a generation",
        "end": "table and strip at the end of a generation",
        "report": "`report`: table, strip, page",
        "mixture": "training data of the next generation",
    },
    "classes": {
        "index": "store of 4,000 images",
        "plan": "`fit --plan`, class-conditional",
        "one": "run of one generation and its pages",
    },
    "runs": {"table": "table of a study", "page": "tables and report of a study"},
}
MEMORY = Path("/dev/shm")  # where there is one: else every picture waits for a disk, on which others write too


def measure(cell: str, size: int, folder: Path) -> dict[str, float]:
    """See `growth_cells.answer`; a fork of a process that has imported everything and done nothing."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["growth_cells"])
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        return pool.submit(growth_cells.answer, cell, size, folder).result()


def exponent(sizes: list[int], values: list[float]) -> float | None:
    """Slope of the logarithms, by least squares; 1 where the cost is in proportion. None where there is nothing to fit."""
    points = [(math.log(size), math.log(value)) for size, value in zip(sizes, values, strict=True) if value > 0]
    if len(points) < 2:
        return None
    x, y = (sum(side) / len(points) for side in zip(*points, strict=True))
    return sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)


def row(by: str, what: str, sizes: list[int], cells: list[dict[str, float]]) -> dict[str, Any]:
    """One line of the table, as it is kept."""
    cpu = [cell["cpu"] for cell in cells]
    own = [cell["mib"] - cell["base"] for cell in cells]  # what libraries and input take is not the cost
    return {
        "by": by,
        "what": what,
        "sizes": sizes,
        "cpu": cpu,
        "wall": [cell["wall"] for cell in cells],
        "mib": [cell["mib"] for cell in cells],
        "base": cells[0]["base"],
        "exponent": exponent(sizes, cpu),
        "last": exponent(sizes[-2:], cpu[-2:]),
        "memory_exponent": exponent(sizes[-2:], own[-2:]),
    }


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows for `tables.growth_lines`."""
    rows = []
    for by, sizes in (QUICK if quick else SIZES).items():
        with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:  # for all cells
            found: dict[str, list[dict[str, float]]] = {cell: [] for cell in WHAT[by]}
            for size in sizes:
                for cell in WHAT[by]:
                    found[cell].append(measure(cell, size, Path(folder) / str(size)))
                    print(f"{by} {size:,}: {cell} {found[cell][-1]['cpu']:.1f} s", file=sys.stderr, flush=True)
        rows += [row(by, what, list(sizes), found[cell]) for cell, what in WHAT[by].items()]
    return rows


if __name__ == "__main__":
    print_growth(run(quick="--quick" in sys.argv))
