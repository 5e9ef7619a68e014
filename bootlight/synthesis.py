"""Drawing a folder of synthetic images: resumable, shared between ranks, one seed = one image."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from bootlight.atomic import write_bytes
from bootlight.generators.base import GeneratorModule
from bootlight.images import encode_png, row_of_tiles, to_arrays
from bootlight.rng import derive_seed, numpy_rng
from bootlight.run_folder import GenerationContext, GenerationFolder, sample_name, write_metadata


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
) -> None:
    """Draw the images that are not yet in the folder.

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
        check: called before each batch; raises to stop.
    """
    batches = [range(start, min(start + batch_size, len(seeds))) for start in range(0, len(seeds), batch_size)]
    mine = batches[rank::world_size]
    with tqdm(total=sum(map(len, mine)), desc=description, unit="image", disable=rank > 0, leave=False) as bar:
        for batch in mine:
            check()
            if not all(folder.sample_file(i).exists() for i in batch):
                chosen = None if labels is None else labels[batch.start : batch.stop]
                images = to_arrays(module.sample(seeds[batch.start : batch.stop], labels=chosen))
                for i, image in zip(batch, images, strict=True):
                    write_bytes(folder.sample_file(i), encode_png(image))
            bar.update(len(batch))


def write_manifest(
    folder: GenerationFolder, seeds: Sequence[int], labels: torch.Tensor | None, *, generation: int, protocol: dict[str, Any]
) -> None:
    """Write `metadata.jsonl`, which declares the folder complete; the hashes are those of the files on the disk."""
    rows = [
        {
            "file_name": sample_name(i),
            "seed": seed,
            "label": None if labels is None else int(labels[i]),
            "parent": None,
            "generation": generation,
            **protocol,
            "sha256": hashlib.sha256(folder.sample_file(i).read_bytes()).hexdigest(),
        }
        for i, seed in enumerate(seeds)
    ]
    write_metadata(folder, rows)


def write_previews(module: GeneratorModule, path: Path, seeds: Sequence[int], labels: torch.Tensor | None) -> None:
    """Draw images and write them side by side into one picture."""
    write_bytes(path, encode_png(row_of_tiles(to_arrays(module.sample(seeds, labels=labels)))))
