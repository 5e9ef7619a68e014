"""Drawing a folder of synthetic images: resumable, shared between ranks, one seed = one image."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from bootlight.atomic import file_sha256, write_bytes
from bootlight.clock import clock
from bootlight.generators.base import GeneratorModule
from bootlight.images import encode_png, row_of_tiles, to_arrays
from bootlight.rng import derive_seed, numpy_rng
from bootlight.run_folder import GenerationContext, GenerationFolder, sample_name, write_metadata

WRITERS = 4  # threads; mostly they wait for the disk, which can flush several files at a time


def image_seeds(context: GenerationContext, count: int) -> list[int]:
    """Seeds of the synthetic images of a generation, each used once in a run."""
    return [derive_seed(context.seed, context.generation, "image", i) for i in range(count)]


def preview_seeds(context: GenerationContext, count: int) -> list[int]:
    """Seeds of the previews: the same in every generation, so that columns can be compared, and none of `image_seeds`."""
    return [derive_seed(context.seed, "preview", i) for i in range(count)]


def stratified_labels(real: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """`count` labels in the proportions of the `real` ones, each class within one of its share, in random order."""
    quantiles = ((np.arange(count) + 0.5) * len(real) / count).astype(np.int64)
    return np.sort(real)[quantiles][numpy_rng(seed, "labels").permutation(count)]


def draw_missing(
    module: GeneratorModule,
    folder: GenerationFolder,
    seeds: Sequence[int],
    labels: torch.Tensor | None,
    *,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    description: str = "synthesis",
    check: Callable[[], None] = lambda: None,
) -> dict[int, str]:
    """Draw the images that are not yet in the folder; while one batch is drawn, the one before is encoded and written.

    Image i always belongs to batch i // batch_size, whichever images are missing: the network sees the same batch after an
    interruption, so that not even its rounding differs. Batches go round the ranks.

    Args:
        module: the trained generator.
        folder: where `samples/` lies.
        seeds: one for each image.
        labels: int64 (n,), or None.
        batch_size: images of one network call.
        rank: of this process.
        world_size: number of processes.
        description: of the progress bar.
        check: called before each batch; raises to stop. What was drawn until then is written.

    Returns:
        SHA-256 of each file that was written, by the number of its image.

    Raises:
        BootlightError: the network diverged, or an image cannot be written; of a batch, the rest may be there.
    """
    batches = [range(start, min(start + batch_size, len(seeds))) for start in range(0, len(seeds), batch_size)]
    mine = batches[rank::world_size]
    digests: dict[int, str] = {}
    waiting: dict[int, Future[str]] = {}  # of one batch: more would only be lost in a kill
    with (
        tqdm(total=sum(map(len, mine)), desc=description, unit="image", disable=rank > 0, leave=False) as bar,
        ThreadPoolExecutor(WRITERS) as pool,  # when it ends, whatever is waiting has been written
    ):
        for batch in mine:
            check()
            if all(folder.sample_file(i).exists() for i in batch):
                bar.update(len(batch))
                continue
            with clock.part("synthesis"):
                chosen = None if labels is None else labels[batch.start : batch.stop]
                images = to_arrays(module.sample(seeds[batch.start : batch.stop], labels=chosen))
            digests |= collect(waiting, bar)
            waiting = {
                i: pool.submit(write_image, folder.sample_file(i), image) for i, image in zip(batch, images, strict=True)
            }
        digests |= collect(waiting, bar)
    return digests


def write_image(path: Path, image: NDArray[np.uint8]) -> str:
    """Write a picture of an array (H, W, C); the SHA-256 of the file."""
    data = encode_png(image)
    write_bytes(path, data)
    return hashlib.sha256(data).hexdigest()


def collect(waiting: Mapping[int, Future[str]], bar: tqdm) -> dict[int, str]:
    """Wait until all are written; if one is not, what has not begun is left."""
    try:
        with clock.part("files"):
            return {i: future.result() for i, future in waiting.items()}
    finally:
        for future in waiting.values():
            future.cancel()
        bar.update(len(waiting))


def write_manifest(
    folder: GenerationFolder,
    seeds: Sequence[int],
    labels: torch.Tensor | None,
    *,
    generation: int,
    protocol: dict[str, Any],
    digests: Mapping[int, str] | None = None,
) -> None:
    """Write `metadata.jsonl`, which declares the folder complete.

    Args:
        folder: with all images.
        seeds: of the images.
        labels: int64 (n,), or None.
        generation: that drew them.
        protocol: how they were drawn.
        digests: SHA-256 of files that were just written, by number; the others are read.
    """
    known = digests or {}
    sums = [known.get(i) or file_sha256(folder.sample_file(i)) for i in range(len(seeds))]
    rows = (
        {
            "file_name": sample_name(i),
            "seed": seed,
            "label": None if labels is None else int(labels[i]),
            "parent": None,
            "generation": generation,
            **protocol,
            "sha256": sums[i],
        }
        for i, seed in enumerate(seeds)
    )
    write_metadata(folder, rows)


def write_previews(module: GeneratorModule, path: Path, seeds: Sequence[int], labels: torch.Tensor | None) -> None:
    """Draw images and write them side by side into one picture."""
    write_bytes(path, encode_png(row_of_tiles(to_arrays(module.sample(seeds, labels=labels)))))
