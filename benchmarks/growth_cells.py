"""The cells of the table of growth, each measured in a process of its own.

A cell is a function that makes up its input, and returns the work that is measured. Cells of one size have one folder, and
come in the order of `CELLS`: what one has written the next may take.
"""

import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from growth_study import make_study
from painted import painted
from torch import Tensor, nn

from bootlight.bootstrap.begin import begin
from bootlight.bootstrap.builder import Builder
from bootlight.cli import data as data_verb
from bootlight.cli import report as report_verb
from bootlight.data.datamodule import BootstrapData
from bootlight.data.gaussian import GaussianImages
from bootlight.data.store import build_store
from bootlight.evaluation.generation import Evaluation
from bootlight.io.pictures import encode_png, to_float
from bootlight.io.quiet import quiet
from bootlight.report.strip import write_strip
from bootlight.report.table import write_table
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import RunFolder
from bootlight.studies.report import format_study_table, write_study_report
from bootlight.synthesis.drawing import Drawing, draw_missing
from bootlight.synthesis.folder import write_manifest
from bootlight.synthesis.requests import Requests
from bootlight.synthesis.synthesizer import Draw

Work = Callable[[], object]
EDGE, BATCH = 16, 1000
REFERENCES = 10_000  # real images that scores are taken against
PICTURES = 4_000  # of all classes together
DRAWN, STEPS = 100, 20  # of a generation


class Coarse(nn.Module):
    """Features that cost next to nothing: 4x4 means of each channel."""

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, 48)."""
        return nn.functional.adaptive_avg_pool2d(images.float() / 255, 4).flatten(1)


def colours(rng: np.random.Generator, count: int) -> np.ndarray:
    """Pictures (count, EDGE, EDGE, 3): coarse colours with some noise, no two of them near."""
    coarse = rng.integers(0, 256, (count, 4, 4, 3)).repeat(EDGE // 4, 1).repeat(EDGE // 4, 2)
    return (coarse + rng.integers(-6, 7, coarse.shape)).clip(0, 255).astype(np.uint8)


def pictures(folder: Path, count: int, classes: int | None = None) -> Path:
    """A folder of pictures, 1,000 to a sub-folder, or so many classes."""
    root, rng = folder / "pictures", np.random.default_rng(0)
    if root.exists():
        return root
    for start in range(0, count, BATCH):
        for i, image in enumerate(colours(rng, min(BATCH, count - start)), start):
            file = root / f"{i // BATCH if classes is None else i % classes:04d}" / f"{i:06d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode_png(image))
    return root


def store(size: int, folder: Path, classes: int | None = None) -> Work:
    root = pictures(folder, size, classes)
    return partial(build_store, root, image_size=EDGE, channels=3, cache=folder / "cache")


def check(size: int, folder: Path) -> Work:
    return partial(data_verb.main, ["check", str(pictures(folder, size))])


def drawn(size: int, folder: Path) -> Work:
    pictures_drawn = torch.from_numpy(colours(np.random.default_rng(1), BATCH)).permute(0, 3, 1, 2)
    shift = iter(range(10**9))  # no two batches alike, though no network draws them

    def sample(seeds: Any, labels: None) -> Tensor:
        return to_float(pictures_drawn[: len(seeds)].roll(next(shift), 2))

    def work() -> None:
        network = painted(sample, int(pictures_drawn.shape[-1]))
        generation = RunFolder(folder / "drawn").generation(0)
        digests = draw_missing(Drawing(network, Draw(), Requests(range(size))), generation, BATCH)
        write_manifest(generation, range(size), None, generation=0, protocol={}, digests=digests)

    return work


def scores(size: int, folder: Path) -> Work:
    drawn(size, folder)()
    context = GenerationContext(RunFolder(folder / "drawn"), 0, 0)
    images = BootstrapData(origin=GaussianImages(EDGE, 3, REFERENCES), num_steps=1)
    images.attach(context)
    images.setup()
    evaluation = Evaluation(Coarse, judge_steps=0)  # type: ignore[arg-type]
    evaluation.use(Coarse(), None)
    return partial(evaluation.scores, context.folder, images, torch.device("cpu"))


def fit(run: Path, *settings: str) -> Work:
    """`bootlight fit` without judge; scores by coarse features."""
    usual = (
        f"--bootstrap.run_dir={run}", "--evaluation.judge_steps=0", "--evaluation.features=growth_cells.Coarse",
        "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.log_every_n_steps=1",
    )  # fmt: skip
    quiet()
    return lambda: begin(Builder([*settings, *usual]))


def whole_run(size: int, folder: Path) -> Work:
    return fit(
        folder / "run", "--model=bootlight.PixelGaussian", "--data.origin=bootlight.GaussianImages",
        f"--data.origin.image_size={EDGE}", "--data.origin.channels=3", "--data.origin.count=500",
        f"--data.num_steps={STEPS}", "--data.batch_size=32",
        f"--bootstrap.num_generations={size}", f"--bootstrap.num_synthetic={DRAWN}",
    )  # fmt: skip


def generation_end(size: int, folder: Path) -> Work:
    return lambda: (write_table(RunFolder(folder / "run")), write_strip(RunFolder(folder / "run")))


def report(size: int, folder: Path) -> Work:
    return partial(report_verb.main, [str(folder / "run")])


def mixture(size: int, folder: Path) -> Work:
    images = BootstrapData(origin=GaussianImages(EDGE, 3, 500), num_steps=1)
    images.attach(GenerationContext(RunFolder(folder / "run"), size, 0))
    return images.setup


def conditional(size: int, folder: Path, *flags: str) -> Work:
    root = pictures(folder, max(PICTURES, size), size)
    return fit(
        folder / "run", "--model=bootlight.DDPM", "--model.width=8", "--model.channel_multipliers=[1,2]",
        "--model.num_res_blocks=1", "--model.attention_resolutions=[]", "--model.num_heads=1", "--model.num_classes=auto",
        "--model.num_train_timesteps=25", "--model.sampler=bootlight.DDIM", "--model.sampler.num_steps=2",
        "--data=bootlight.BootstrapData", f"--data.root={root}", f"--data.image_size={EDGE}", "--data.num_steps=4",
        "--data.batch_size=16", "--bootstrap.num_generations=1", "--bootstrap.num_synthetic=1000", *flags,
    )  # fmt: skip


def study_table(size: int, folder: Path) -> Work:
    return partial(format_study_table, make_study(folder / "study", size))


def study_page(size: int, folder: Path) -> Work:
    return partial(write_study_report, make_study(folder / "study", size))


CELLS: dict[str, Callable[[int, Path], Work]] = {
    "store": store,
    "found": store,
    "check": check,
    "folder": drawn,
    "scores": scores,
    "run": whole_run,
    "end": generation_end,
    "report": report,
    "mixture": mixture,
    "index": lambda size, folder: store(max(PICTURES, size), folder, size),
    "plan": lambda size, folder: conditional(size, folder, "--plan"),
    "one": conditional,
    "table": study_table,
    "page": study_page,
}


def peak() -> float:
    """MiB of this process until now; Linux counts in KiB, macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def processor() -> float:
    """Seconds of this process and of those that it has waited for, in all threads."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)


def answer(cell: str, size: int, folder: Path) -> dict[str, float]:
    """`cpu` and `wall` (seconds), `mib` and `base` (peak, and before the work) of one cell."""
    os.environ["BOOTLIGHT_CACHE"] = str(folder / "cache")
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    work = CELLS[cell](size, folder)
    base, start, begun = peak(), processor(), time.perf_counter()
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        work()
    wall, cpu = time.perf_counter() - begun, processor() - start
    return {"cpu": cpu, "wall": wall, "mib": peak(), "base": base}
