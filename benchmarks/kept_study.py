"""A study as one file: what its tables, claims and charts are made of, without images and weights.

    python benchmarks/kept_study.py keep runs/studies/curve_cpu benchmarks/results/studies/curve_cpu.json
    python benchmarks/kept_study.py lay benchmarks/results/studies/curve_cpu.json FOLDER

The second writes the small files of the study into a folder, where there is none of the name, and prints its table.
"""

import json
import sys
from pathlib import Path

from bootlight.studies.report import format_study_table, write_study_report

KEPT = ("study.json", "*/seed_*/config.yaml", "*/seed_*/gen_*/metrics.json", "*/seed_*/gen_*/**/choice.json")


def keep(folder: Path, file: Path) -> None:
    """The small files by their places in the folder; those of JSON as such."""
    found = sorted({path for pattern in KEPT for path in folder.glob(pattern)})
    content = {str(path.relative_to(folder)): _read(path) for path in found}
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(f"{json.dumps(name)}:{json.dumps(value, separators=(',', ':'))}" for name, value in content.items())
    file.write_text(f"{{\n{lines}\n}}\n")
    print(f"{file}: {len(content)} files, {file.stat().st_size:,} bytes")


def _read(path: Path) -> object:
    return json.loads(path.read_text()) if path.suffix == ".json" else path.read_text()


def lay(file: Path, folder: Path) -> None:
    """The files in their places again, and the report of the study beside them."""
    folder.mkdir(parents=True)
    for name, value in json.loads(file.read_text()).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if isinstance(value, str) else json.dumps(value))
    print(format_study_table(folder))
    print(write_study_report(folder))


if __name__ == "__main__":
    verb, first, second = sys.argv[1:]
    {"keep": keep, "lay": lay}[verb](Path(first), Path(second))
