"""Two generations of many small images in a process of its own: seconds and memory of each phase. `million.py COUNT FOLDER`."""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bootlight.bootstrap import synthesize
from bootlight.cli import fit
from bootlight.data import archive, extra
from bootlight.evaluation import generation as evaluation
from bootlight.runs.folder import IMAGES_PER_FOLDER, GenerationFolder
from bootlight.synthesis import complete
from bootlight.synthesis.drawing import Drawing, draw_missing

DISTINCT = 1000  # pictures that are drawn; the others are links to them, of which a file may have 65,000
ARGUMENTS = [
    "--model=bootlight.PixelGaussian", "--data.origin=bootlight.GaussianImages", "--data.origin.count=1000",
    "--data.num_steps=20", "--data.batch_size=10", "--evaluation.features=bootlight.PixelFeatures",
    "--evaluation.judge_steps=0", "--evaluation.metrics=[fd,kid]", "--evaluation.batch_size=1000",
    "--bootstrap.num_generations=2", "--synthesis.batch_size=1000", "--trainer.accelerator=cpu", "--trainer.devices=1",
    "--trainer.enable_progress_bar=false",
]  # fmt: skip
PHASES = [
    (synthesize, "draw_missing"), (complete, "write_manifest"), (evaluation, "drawn_source"), (evaluation, "extract"),
    (evaluation, "measure_all"), (extra, "read_drawn"), (extra, "check_drawn"), (archive, "open_curated"),
]  # fmt: skip


def forged(drawing: Drawing, folder: GenerationFolder, batch_size: int, **how: Any) -> dict[int, str]:
    """In the place of `draw_missing`: some images are drawn, the others are the same once more."""
    asked, count = drawing.requests, len(drawing.requests)
    drawing.requests = asked[:DISTINCT]
    known = draw_missing(drawing, folder, batch_size, **how)
    drawing.requests = asked
    for i in range(DISTINCT, count):
        if i % IMAGES_PER_FOLDER == 0:
            folder.sample_file(i).parent.mkdir(exist_ok=True)
        os.link(folder.sample_file(i % DISTINCT), folder.sample_file(i))
    return {i: known[i % DISTINCT] for i in range(count)}


def memory(key: str) -> int:
    """MiB under a key of /proc/self/status."""
    text = Path("/proc/self/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith(key)).split()[1]) // 1024


def timed(module: Any, name: str, found: list[dict[str, Any]]) -> None:
    """Have a function note how long it takes and how much memory the process has at most meanwhile."""
    work: Callable[..., Any] = getattr(module, name)

    def noted(*args: Any, **kwargs: Any) -> Any:
        before, start, used = memory("VmRSS"), time.perf_counter(), time.process_time()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        try:
            return work(*args, **kwargs)
        finally:
            seconds, cpu = round(time.perf_counter() - start, 1), round(time.process_time() - used, 1)
            found.append({"phase": name, "seconds": seconds, "cpu": cpu, "before": before, "peak": memory("VmHWM")})
            print(json.dumps(found[-1]), file=sys.stderr, flush=True)

    setattr(module, name, noted)


def main(count: int, folder: Path) -> None:
    """Run, and write the list of phases to `phases.json`."""
    synthesize.draw_missing = forged
    found: list[dict[str, Any]] = []
    for module, name in PHASES:
        timed(module, name, found)
    os.environ["BOOTLIGHT_CACHE"] = str(folder / "cache")
    where = [f"--bootstrap.run_dir={folder / 'run'}", f"--bootstrap.num_synthetic={count}"]
    start = time.perf_counter()
    fit.main([*ARGUMENTS, *where])
    found.append({"phase": "all", "seconds": round(time.perf_counter() - start, 1)})
    (folder / "phases.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
