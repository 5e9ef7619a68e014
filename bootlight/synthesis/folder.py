"""A folder of synthetic images: seeds, labels, pictures, manifest."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bootlight.io.arrays import split_row
from bootlight.io.atomic import file_sha256, write_bytes
from bootlight.io.pictures import encode_png, to_float, to_uint8
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


def parent_seed(context: GenerationContext, parent: str) -> int:
    """Seed of what is done to a parent once: the same in every generation and folder of a run."""
    return derive_seed(context.seed, "parent", parent)


def _of(into: str) -> tuple[str, ...]:
    """What a folder adds to the names of its random streams; nothing for the first one, as in runs with one folder."""
    return () if into == SAMPLES else (into,)


def stratified_labels(real: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """`count` labels in the proportions of the `real` ones, each class within one of its share, in random order."""
    quantiles = ((np.arange(count) + 0.5) * len(real) / count).astype(np.int64)
    return np.sort(real)[quantiles][numpy_rng(seed, "labels").permutation(count)]


def shared_labels(weights: Sequence[float], count: int, seed: int) -> NDArray[np.int64]:
    """`count` labels, label i in proportion to weight i, within one of its share, in random order."""
    shares = np.cumsum(weights) / np.sum(weights)
    labels = np.searchsorted(shares, (np.arange(count) + 0.5) / count, side="right")
    return labels[numpy_rng(seed, "labels").permutation(count)]


def as_stored(images: torch.Tensor, dtype: str = "uint8") -> torch.Tensor:
    """Float images as they come back from the disk: rounded where the data are uint8, as they are where they are float32.

    Args:
        images: (B, C, H, W).
        dtype: of the data, `GeneratorModule.image_dtype`.
    """
    return to_float(to_uint8(images)) if dtype == "uint8" else images.float()


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
    parents: Sequence[tuple[str, ...]] | None = None,
    length: int = 1,
    file_names: Sequence[str] | None = None,
    dtype: str = "uint8",
) -> None:
    """Write `metadata.jsonl`, which declares the folder complete.

    Args:
        folder: with all images.
        seeds: of the images, or clips.
        labels: int64 (n,), or None.
        generation: that drew them.
        protocol: how they were drawn.
        digests: SHA-256 of files that were just written, by number; the others are read.
        parents: names of the images that each is made of, or None.
        length: images of a clip.
        file_names: of the images, where they are rows of `.npy` files.
        dtype: of the numbers in these.
    """
    known = digests or {}
    if file_names is None:
        sums = [known.get(i) or file_sha256(folder.sample_file(i)) for i in range(len(seeds) * length)]
    else:
        of_file = {
            file: file_sha256(folder.samples / file) for file in dict.fromkeys(split_row(name)[0] for name in file_names)
        }
        sums = [of_file[split_row(name)[0]] for name in file_names]
    named = [None] * len(seeds) if parents is None else parents
    of_one = all(names is None or len(names) == 1 for names in named)  # a column has one type
    rows = (
        {
            "file_name": sample_name(i * length + k) if file_names is None else file_names[i * length + k],
            "seed": seed,
            "label": None if labels is None else int(labels[i]),
            "parent": names if names is None else names[0] if of_one else list(names),
            **({} if length == 1 else {"frame": k}),
            "generation": generation,
            **protocol,
            **({} if file_names is None else {"dtype": dtype}),
            "sha256": sums[i * length + k],
        }
        for i, (seed, names) in enumerate(zip(seeds, named, strict=True))
        for k in range(length)
    )
    write_metadata(folder, rows)
