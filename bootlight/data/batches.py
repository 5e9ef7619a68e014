"""Batches as a pure function of the step: no state, no worker randomness, the same images for any number of ranks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from bootlight.batch import Batch
from bootlight.data.image_ids import image_ids
from bootlight.errors import BootlightError
from bootlight.io.pictures import to_float
from bootlight.rng import derive_key, numpy_rng, random_words, split_key, to_uniform

if TYPE_CHECKING:
    from bootlight.data.eligible import LevelsFirst
    from bootlight.data.mixing import Source
    from bootlight.data.origin import Origin


def check_shares(key: str, batch_size: int, world_size: int) -> None:
    """Refuse a batch that the devices cannot share.

    Raises:
        BootlightError: names the key.
    """
    if batch_size % world_size:
        raise BootlightError(f"{key} is {batch_size}; it must be a multiple of the {world_size} devices")


def check_whole_steps(num_steps: int | None, accumulate: int) -> None:
    """Refuse batches that are no whole number of optimizer steps: the last step would count less than the others.

    Raises:
        BootlightError: names the key.
    """
    if num_steps is not None and num_steps % accumulate:
        raise BootlightError(
            f"data.num_steps is {num_steps}; it counts batches, and must be a multiple of trainer.accumulate_grad_batches, "
            f"{accumulate}"
        )


@lru_cache(maxsize=4)
def _epoch_order(seed: int, epoch: int, size: int) -> NDArray[np.int64]:
    """Order of the images in one pass over the training set."""
    return numpy_rng(seed, "order", epoch).permutation(size)


def positions(seed: int, *, start: int, count: int, size: int) -> NDArray[np.int64]:
    """Images `start` to `start + count` of an endless sequence of shuffled passes over `size` images."""
    parts = []
    while count > 0:
        epoch, offset = divmod(start, size)
        part = _epoch_order(seed, epoch, size)[offset : offset + count]
        parts.append(part)
        start, count = start + len(part), count - len(part)
    return np.concatenate(parts)


@dataclass(frozen=True)
class StepDataset(Dataset[Batch]):
    """Item s is a rank's share of batch s; `accumulate` of them are one optimizer step.

    An optimizer step sees what one batch `accumulate` times as large would: the same images, flips, seed and rows of noise.

    Args:
        sources: the training set.
        seed: of this generation's data order and flips.
        num_steps: length, in batches.
        batch_size: of one batch over all processes, a multiple of `world_size`.
        flip: mirror each image with probability 1/2.
        rank: of this process.
        world_size: number of processes.
        accumulate: batches of an optimizer step.
        origin: whose `view` says what a step sees of the images; None = the images themselves.
        levels: chooses noise levels, and an image for each; None = images in shuffled passes, and the model draws levels.
    """

    sources: list[Source]
    seed: int
    num_steps: int
    batch_size: int
    flip: bool = False
    rank: int = 0
    world_size: int = 1
    accumulate: int = 1
    origin: Origin | None = None
    levels: LevelsFirst | None = None

    def __post_init__(self) -> None:
        check_shares("data.batch_size", self.batch_size, self.world_size)
        check_whole_steps(self.num_steps, self.accumulate)

    def __len__(self) -> int:
        return self.num_steps

    def __getitem__(self, step: int) -> Batch:
        if not 0 <= step < self.num_steps:
            raise IndexError(step)
        share = self.batch_size // self.world_size
        step, part = divmod(step, self.accumulate)
        total = self.accumulate * self.batch_size
        start = part * self.batch_size + self.rank * share
        seed, size = derive_key(self.seed, "step", step), sum(map(len, self.sources))
        t = weight = None
        if self.levels is None:
            chosen = positions(self.seed, start=step * total + start, count=share, size=size)
        else:
            chosen, t, weight = self.levels.choose(seed, start, share, total)
        images, labels = gather(self.sources, chosen)
        masks = masks_of(self.sources, chosen)
        if self.flip:
            mirrored = numpy_rng(self.seed, "flip", step).random(total)[start : start + share] < 0.5
            mirror(images, mirrored)
            if masks is not None:
                mirror(masks, mirrored)
        batch = Batch(
            images=torch.from_numpy(images).permute(0, 3, 1, 2),
            labels=None if labels is None else torch.from_numpy(labels),
            seed=seed,
            start=start,
            total=total,
            t=t,
            mask=None if masks is None else torch.from_numpy(masks).permute(0, 3, 1, 2).bool(),
            **marks(self.sources, chosen),
        )
        if weight is not None:
            batch = batch._replace(weights=weight.float() if batch.weights is None else weight.float() * batch.weights)
        return batch if self.origin is None else seen(batch, self.origin, step)


def seen(batch: Batch, origin: Origin, step: int) -> Batch:
    """What a step sees of a batch; see `Origin.view`.

    Raises:
        BootlightError: images of another shape than the origin states.
    """

    def uniform(stream: str, *shape: int) -> Tensor:
        key = split_key(derive_key(batch.seed, "view", stream))
        numbers = to_uniform(random_words(key, batch.positions()[:, None], math.prod(shape)))
        return numbers.reshape(len(batch.images), *shape)

    assert batch.ids is not None
    images, cond = origin.view(batch.images, batch.ids, step, uniform)
    if tuple(images.shape) != (len(batch.images), *origin.shape):
        raise BootlightError(
            f"data.origin: {type(origin).__name__}.view gives {tuple(images.shape)} for {len(batch.images)} images; correct it "
            f"or its shape, {tuple(origin.shape)}"
        )
    return batch._replace(images=images, cond=cond)


def marks(sources: list[Source], chosen: NDArray[np.int64]) -> dict[str, Any]:
    """Ids, sources, weights and noise ranges of a `Batch`, at positions in the sources one after the other.

    Weights and ranges are left out where no source has any; else an image without a weight counts 1, and one without a range
    may be trained at any sigma.
    """
    ids, which = np.empty(len(chosen), np.int64), np.empty(len(chosen), np.int64)
    found: dict[str, NDArray[Any]] = {"ids": ids, "sources": which}
    if any(source.weights is not None for source in sources):
        found["weights"] = np.ones(len(chosen), np.float32)
    if any(source.noise is not None for source in sources):
        found["noise"] = np.tile(np.array([0, np.inf], np.float32), (len(chosen), 1))
    for number, (source, here, items) in enumerate(located(sources, chosen)):
        which[here] = number
        ids[here] = image_ids(source.store.key, source.indices[items])
        if source.weights is not None:
            found["weights"][here] = source.weights[items]
        if source.noise is not None:
            found["noise"][here] = source.noise[items] if isinstance(source.noise, np.ndarray) else source.noise
    return {name: torch.from_numpy(values) for name, values in found.items()}


def located(sources: list[Source], chosen: NDArray[np.int64]) -> Iterator[tuple[Source, NDArray[np.int64], NDArray[np.int64]]]:
    """For each source, which of some positions in the sources one after the other are its own, and where among its images."""
    low = 0
    for source in sources:
        here = np.flatnonzero((chosen >= low) & (chosen < low + len(source)))
        yield source, here, chosen[here] - low
        low += len(source)


def gather(sources: list[Source], chosen: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
    """Images (n, H, W, C) and labels (n,), -1 = none, at positions in the sources one after the other; None without classes.

    Where some sources are pictures and others float32, all are float32, pictures in [-1, 1].
    """
    dtypes = {source.store.images.dtype for source in sources}
    images = np.empty((len(chosen), *sources[0].store.images.shape[1:]), max(dtypes, key=lambda kind: kind.itemsize))
    labels = np.full(len(chosen), -1)
    for source, here, own in located(sources, chosen):
        items = source.indices[own]
        labels[here] = source.store.labels[items]
        _copy(source.store.images, items, images, here)
    return images, labels if any(source.store.class_names for source in sources) else None


def masks_of(sources: list[Source], chosen: NDArray[np.int64]) -> NDArray[np.uint8] | None:
    """Masks (n, H, W, 1) at positions in the sources, one after the other, 1 where a pixel is seen; None where all are."""
    if all(source.masks is None for source in sources):
        return None
    masks = np.ones((len(chosen), *sources[0].store.images.shape[1:3], 1), np.uint8)
    for source, here, own in located(sources, chosen):
        if source.masks is not None:
            _copy(source.masks.images, source.indices[own], masks, here)
    return masks


def _copy(stored: NDArray[Any], items: NDArray[np.int64], images: NDArray[Any], here: NDArray[np.int64]) -> None:
    """`images[here] = stored[items]`, each image once: numpy would gather them before it puts them in their places."""
    stored = np.asarray(stored)  # indexing a memory map costs microseconds each time
    if stored.dtype != images.dtype:
        images[here] = to_float(torch.from_numpy(stored[items])).numpy()
        return
    if len(here) == len(images):
        np.take(stored, items, axis=0, out=images, mode="wrap")  # the usual mode fills a buffer first
        return
    for place, item in zip(here.tolist(), items.tolist(), strict=True):
        images[place] = stored[item]


def mirror(images: NDArray[Any], chosen: NDArray[np.bool_]) -> None:
    """Turn left to right, in place, those of the images (n, H, W, C) that are chosen (n,)."""
    which = np.flatnonzero(chosen)
    # Five times faster than numpy: torch has vector instructions for channels that lie last.
    flipped = torch.from_numpy(images[which]).permute(0, 3, 1, 2).flip(3)
    images[which] = flipped.permute(0, 2, 3, 1).numpy()
