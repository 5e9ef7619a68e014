"""Run benchmarks by name (all without one), print their tables, write `results/NAME.json` and the page docs/benchmarks.md.

    python benchmarks [--quick] [NAME ...]

Each benchmark is a module with `run(quick) -> rows`; its peers come with the extra `bench`. One that lacks a peer is skipped
with the reason. Give one thread (OMP_NUM_THREADS=1) on a machine that has other work: processor time is measured then.
"""

import argparse
import importlib
import json
import os
import platform
import sys
import time
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from tables import markdown, print_rows

HERE = Path(__file__).parent
NAMES = ("training", "dcgan", "sampling", "synthesis", "data", "features", "distances", "comparing", "startup", "growth")
PACKAGES = (
    "torch", "lightning", "torchmetrics", "torch-fidelity", "pytorch-fid", "clean-fid", "scipy", "diffusers",
    "denoising-diffusion-pytorch", "webdataset", "litdata",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := installed(name))},
        "date": time.strftime("%Y-%m-%d"),
    }


def processor() -> str:
    """Its name; Linux says it in /proc/cpuinfo."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def write_page(results: Path, page: Path) -> None:
    """All results that lie there as one page of tables."""
    parts = [
        "# Benchmarks\n",
        "Written by `make bench`; peers come with `pip install '.[bench]'`. A ratio above 1 means that bootlight is faster:\n"
        "the median over turns taken one after the other, with the least and the largest. Only ratios travel.\n",
    ]
    for file in [file for name in NAMES if (file := results / f"{name}.json").exists()]:
        found = json.loads(file.read_text())
        about, rows = found["machine"], found["rows"]
        where = about["gpu"] or f"{about['processor']} ({about['instructions']}), {about['threads']} of {about['cores']} cores"
        packages = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
        parts.append(f"## {file.stem}\n\n`{found['command']}` on {where}, {about['date']}; {packages}.\n")
        parts += markdown(rows)
        parts.append("")
    notes = results / "notes.md"  # what the figures mean, by hand
    page.write_text("\n".join(parts) + (notes.read_text() if notes.exists() else ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all if left out")
    parser.add_argument("--quick", action="store_true", help="fewer shapes and turns")
    parser.add_argument("--page", action="store_true", help="only write the page anew")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(NAMES):
        parser.error(f"{', '.join(sorted(unknown))}: there is no such benchmark; choose from {', '.join(NAMES)}")
    warnings.filterwarnings("ignore")
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    for name in () if chosen.page else chosen.names or NAMES:
        print(f"\n{name}", flush=True)
        try:
            rows = importlib.import_module(name).run(chosen.quick)
        except ImportError as error:
            print(f"skipped: {error}; pip install '.[bench]'", file=sys.stderr)
            continue
        print_rows(rows)
        command = f"python benchmarks {'--quick ' if chosen.quick else ''}{name}"
        text = json.dumps({"command": command, "machine": machine(), "rows": rows}, indent=1)
        (results / f"{name}.json").write_text(text + "\n")
    page = HERE.parent / "docs" / "benchmarks.md"
    write_page(results, page)
    print(f"\nresults  {results}\npage     {page}")


if __name__ == "__main__":
    main()
