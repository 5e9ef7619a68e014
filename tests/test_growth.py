"""The table of growth: exponents, and how results become the page. What it measures is run by hand."""

import importlib.util
import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmarks(monkeypatch):
    """The package's `__main__` under another name, which finds its neighbors."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("benchmarks_main", BENCHMARKS / "__main__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def growth(benchmarks):
    import growth

    return growth


@pytest.mark.parametrize("power", [0, 0.5, 1, 2])
def test_the_exponent_is_that_of_a_power(growth, power):
    sizes = [2, 10, 40, 80]
    # Logarithms and sums of four numbers near 1: some units in the last place.
    assert growth.exponent(sizes, [3 * size**power for size in sizes]) == pytest.approx(power, abs=1e-12)
    assert growth.exponent(sizes, [0.0, 0.0, 5.0, 5 * 2**power]) == pytest.approx(
        power, abs=1e-12
    )  # what is too little to tell
    assert growth.exponent(sizes, [0.0, 0.0, 0.0, 1.0]) is None


def test_results_of_growth_become_tables_with_sizes_as_columns(benchmarks, growth, tmp_path):
    cells = [{"cpu": 0.5, "wall": 1.0, "mib": 810.0, "base": 800.0}, {"cpu": 50.0, "wall": 90.0, "mib": 1800.0, "base": 800.0}]
    rows = [growth.row("images", "a store", [1000, 10_000], cells), growth.row("runs", "a page", [2, 8], cells)]
    found = {"command": "python benchmarks growth", "machine": benchmarks.machine(), "rows": rows}
    (tmp_path / "growth.json").write_text(json.dumps(found))
    ratio = {"what": "x", "peer": "y", "unit": "s"} | dict.fromkeys(("ratio", "low", "high", "bootlight", "peer_value"), 2.0)
    (tmp_path / "startup.json").write_text(json.dumps(found | {"rows": [ratio]}))
    benchmarks.write_page(tmp_path, page := tmp_path / "page.md")
    lines = page.read_text().splitlines()
    assert "| images | 1,000 | 10,000 | exponent | at the end | of memory |" in lines
    assert "| a store | 0.5 s · 810 | 50 s · 1,800 | 2.00 | 2.00 | 2.00 |" in lines  # 100 times the seconds, 10 to 1000 MiB
    assert "| runs | 2 | 8 | exponent | at the end | of memory |" in lines
    assert "| a page | 0.5 s · 810 | 50 s · 1,800 | 3.32 | 3.32 | 3.32 |" in lines  # log 100 / log 4
    assert "| x | y | 2 | 2 | 2 | 2 | 2 | s |" in lines
    assert lines.index("## startup") < lines.index("## growth")


def test_every_cell_is_there_and_has_a_line(growth):
    import growth_cells

    named = [cell for cells in growth.WHAT.values() for cell in cells]
    assert sorted(named) == sorted(growth_cells.CELLS) and len(set(named)) == len(named)
    assert growth.SIZES.keys() == growth.QUICK.keys() == growth.WHAT.keys()
