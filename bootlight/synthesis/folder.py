"""A folder of synthetic images: seeds, labels, pictures, manifest."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bootlight.generators.base import GeneratorModule
from bootlight.io.atomic import file_sha256, write_bytes
from bootlight.io.pictures import encode_png, row_of_tiles, to_arrays
from bootlight.rng import derive_seed, numpy_rng
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import SAMPLES, GenerationFolder, sample_name
from bootlight.runs.manifest import write_metadata


def image_seeds(context: GenerationContext, count: int, into: str = SAMPLES) -> list[int]:
    """Seeds of the synthetic images in a folder of a generation, each used once in a run."""
    return [derive_seed(context.seed, context.generation, "image", *_of(into), i) for i in range(count)]


def label_seed(context: GenerationContext, into: str = SAMPLES) -> int:
    """Seed of the order of their labels."""
    return derive_seed(context.seed, context.generation, *_of(into))


def preview_seeds(context: GenerationContext, count: int) -> list[int]:
    """Seeds of the previews: the same in every generation, so that columns can be compared, and none of `image_seeds`."""
    return [derive_seed(context.seed, "preview", i) for i in range(count)]


def _of(into: str) -> tuple[str, ...]:
    """What a folder adds to the names of its random streams; nothing for the first one, as in runs with one folder."""
    return () if into == SAMPLES else (into,)


def stratified_labels(real: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """`count` labels in the proportions of the `real` ones, each class within one of its share, in random order."""
    quantiles = ((np.arange(count) + 0.5) * len(real) / count).astype(np.int64)
    return np.sort(real)[quantiles][numpy_rng(seed, "labels").permutation(count)]


def write_image(path: Path, image: NDArray[np.uint8]) -> str:
    """Write a picture of an array (H, W, C); the SHA-256 of the file."""
    data = encode_png(image)
    write_bytes(path, data)
    return hashlib.sha256(data).hexdigest()


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
