"""What a folder of images costs beside the drawing of them: encoding, hashing, flushing to disk and naming each.

The networks are those of configs/faces_ddpm.yaml at 32x32 and 64x64, drawn from in few steps: with more, the share is less.
On a CPU in processor time of all threads, so that other work on the machine counts little: give it one by OMP_NUM_THREADS=1.
"""

import io
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from painted import painted
from PIL import Image
from ratios import compare, print_table
from torch import Tensor

from bootlight.diffusion.prediction import V
from bootlight.diffusion.sampler import Ancestral
from bootlight.generators.base import GeneratorModule
from bootlight.generators.dcgan import DCGAN
from bootlight.generators.ddpm import DDPM
from bootlight.io.atomic import write_bytes
from bootlight.io.pictures import encode_png, to_arrays, to_float
from bootlight.runs.folder import GenerationFolder
from bootlight.synthesis.batches import Share
from bootlight.synthesis.drawing import Drawing, draw_missing
from bootlight.synthesis.folder import write_manifest
from bootlight.synthesis.requests import Requests
from bootlight.synthesis.synthesizer import Draw

STEPS = 10
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
clock: Callable[[], float] = time.perf_counter if DEVICE == "cuda" else time.process_time


@cache
def faces(size: int) -> GeneratorModule:
    return DDPM(size, 3, 16, (1, 2, 4, 8), 1, (8,), noise_schedule="cosine", prediction=V(), sampler=Ancestral(STEPS)).to(
        DEVICE
    )


def draw_alone(module: GeneratorModule, count: int, batch: int) -> float:
    """Seconds to have the pixels."""
    start = clock()
    for first in range(0, count, batch):
        to_arrays(module.sample(range(first, first + batch)))
    return clock() - start


def draw_folder(module: Any, count: int, batch: int, timer: Callable[[], float] = clock) -> float:
    """Seconds to have a complete folder."""
    with tempfile.TemporaryDirectory() as path:
        folder = GenerationFolder(Path(path))
        start = timer()
        digests = draw_missing(Drawing(module, Draw(), Requests(range(count))), folder, batch)
        write_manifest(folder, range(count), None, generation=0, protocol=module.protocol(), digests=digests)
        return timer() - start


def draw_share(path: str, count: int, rank: int, processes: int) -> None:
    """What one of several processes draws of a folder, on one thread."""
    torch.set_num_threads(1)
    drawing = Drawing(faces(32), Draw(), Requests(range(count)))
    draw_missing(drawing, GenerationFolder(Path(path)), 8, share=Share(rank, processes))


def draw_by(pool: ProcessPoolExecutor, count: int, processes: int) -> float:
    """Wall seconds until so many processes have drawn a folder together."""
    with tempfile.TemporaryDirectory() as path:
        start = time.perf_counter()
        for share in [pool.submit(draw_share, path, count, rank, processes) for rank in range(processes)]:
            share.result()
        return time.perf_counter() - start


def paint(images: NDArray[np.uint8], seeds: range, labels: None) -> Tensor:
    """A network that takes no time."""
    return to_float(torch.from_numpy(images[: len(seeds)]).permute(0, 3, 1, 2))


def draw_then_write(module: GeneratorModule, count: int, batch: int) -> float:
    """Wall seconds with each picture encoded by Pillow and written where it is drawn, in the same way otherwise."""
    with tempfile.TemporaryDirectory() as path:
        start = time.perf_counter()
        for first in range(0, count, batch):
            for i, image in enumerate(to_arrays(module.sample(range(first, first + batch)))):
                write_bytes(Path(path) / f"{first + i}.png", pillow_png(image))
        return time.perf_counter() - start


def pillow_png(image: NDArray[np.uint8], level: int = 1) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=level)
    return buffer.getvalue()


def encoding(encode: Callable[[NDArray[np.uint8]], bytes], images: NDArray[np.uint8]) -> float:
    """Seconds for all."""
    start = time.process_time()
    for image in images:
        encode(image)
    return time.process_time() - start


def pictures(count: int, size: int) -> NDArray[np.uint8]:
    """Smooth colours with some noise, which compress about as photographs do."""
    rng = np.random.default_rng(0)
    coarse = [Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((size, size)) for _ in range(count)]
    noise = rng.integers(-6, 7, (count, size, size, 3))
    return (np.stack([np.asarray(c) for c in coarse]).astype(np.int16) + noise).clip(0, 255).astype(np.uint8)


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of `ratios.compare`; `ratio` of the first two: 20 are five per cent."""
    repeats, share = (2, 2) if quick else (5, 1)
    rows = []
    for size, count in ((32, 64), (64, 32)) if DEVICE == "cpu" else ((32, 1024), (64, 1024)):
        count //= share
        module, batch = faces(size), count // 4
        painter = painted(partial(paint, pictures(batch, size)), size)
        ways = partial(draw_folder, painter, count, batch), partial(draw_alone, module, count, batch)
        what = f"all but drawing, {size}x{size}"
        rows.append(compare(what, f"drawing in {STEPS} steps", *ways, repeats=repeats, count=count, unit="images/s"))
    if DEVICE == "cpu" and (os.cpu_count() or 1) > 1:
        count = 128 // share
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            ways = partial(draw_by, pool, count, 2), partial(draw_by, pool, count, 1)
            rows.append(compare("folder by 2 processes", "by 1", *ways, repeats=repeats, count=count, unit="images/s"))
    gan, count = DCGAN(64, 3, 32).to(DEVICE), 256 // share
    ways = partial(draw_folder, gan, count, 64, time.perf_counter), partial(draw_then_write, gan, count, 64)
    rows.append(
        compare("folder of a GAN, 64x64", "Pillow, after drawing", *ways, repeats=repeats, count=count, unit="images/s")
    )
    for size in (32, 64, 128):
        images = pictures(100, size)
        for level in (1, 6):
            ways = partial(encoding, encode_png, images), partial(encoding, partial(pillow_png, level=level), images)
            rows.append(
                compare(f"PNG, {size}x{size}", f"Pillow, level {level}", *ways, repeats=repeats, count=100, unit="images/s")
            )
    return rows


if __name__ == "__main__":
    print_table(run(quick="--quick" in sys.argv))
