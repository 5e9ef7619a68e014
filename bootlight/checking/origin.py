"""Origins of real images, and what training steps see of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from bootlight.batch import Batch
from bootlight.checking.trials import NotHere, Trials, demand, repeated
from bootlight.data.batches import seen
from bootlight.data.image_ids import image_ids
from bootlight.data.opened import loaded
from bootlight.data.origin import Origin
from bootlight.data.store import Store

SEEN = 5  # images of a step


class OriginTrials(Trials):
    """Of an `Origin`."""

    kind = Origin
    name = "origin"
    filled: ClassVar[Mapping[str, Any]] = {"image_size": 8, "channels": 1}

    def told(self) -> None:
        """`name`, `shape` (C, H, W) and `dtype` are told before anything is read."""
        shape = self.thing.shape
        whole = len(shape) == 3 and all(isinstance(n, int) and n > 0 for n in shape)
        demand(whole, f"shape is {shape!r}; it must be three whole numbers (C, H, W)")
        demand(isinstance(self.thing.name, str) and self.thing.name != "", f"name is {self.thing.name!r}; give a text")
        demand(self.thing.dtype in ("uint8", "float32"), f"dtype is {self.thing.dtype!r}; it must be 'uint8' or 'float32'")

    def loads(self) -> str:
        """`load` gives images of that shape and type, with labels and names that fit."""
        store, held_out = loaded(self.thing)
        for images in (store, held_out):
            if images is None:
                continue
            count = len(images.images)
            demand(len(images.labels) == count, f"there are {len(images.labels)} labels of {count} images")
            demand(len(images.names) == count, f"there are {len(images.names)} names of {count} images")
            demand(len(set(images.names)) == count, "several images have one name")
            inside = ((images.labels >= -1) & (images.labels < max(1, len(images.class_names)))).all()
            demand(bool(inside), f"there are labels beyond the {len(images.class_names)} names of classes, or below -1")
            finite = images.images.dtype != np.float32 or bool(np.isfinite(images.images).all())
            demand(finite, "there are numbers that are not finite")
        demand(held_out is None or held_out.class_names == store.class_names, "the held-out images have other classes")
        demand(tuple(self.thing.class_names()) == store.class_names, "class_names() are not those of the images")
        return f"{len(store.images):,} images" + ("" if held_out is None else f", {len(held_out.images):,} held out")

    def same(self) -> None:
        """The same images in the same order at each call, also of a fresh one."""
        once = repeated(lambda: loaded(self.thing), _equal, "load", "take all randomness from a seed of its own")
        fresh = self._fresh(1)
        demand(_equal(once, loaded(fresh)), "a fresh one loads other images: a run that was interrupted would go on with those")
        demand(fresh.shape == self.thing.shape and fresh.dtype == self.thing.dtype, "a fresh one tells another shape or dtype")

    def views(self) -> str:
        """What a step sees of images is of the shape that is told; the images stay as they are."""
        batch = self._batch()
        before = batch.images.clone()
        found = seen(batch, self.thing, 3)
        demand(torch.equal(batch.images, before), "view changes the images that it is given; take a copy")
        demand(found.images.dtype == before.dtype, f"view makes {found.images.dtype} of {before.dtype}")
        for name, value in found.cond.items():
            whole = isinstance(value, Tensor) and len(value) == SEEN
            demand(whole, f"{name} of the view must be a tensor with a row for each of {SEEN} images")
        return f"{tuple(found.images.shape[1:])}" + "".join(f", {name}" for name in found.cond)

    def view_alone(self) -> None:
        """What a step sees is a function of counters: no random generator, the same for any number of processes."""
        batch = self._batch()
        whole = repeated(lambda: seen(batch, self.thing, 3), _equal_views, "view", "take all randomness from `uniform`")
        for low, high in ((0, 2), (2, SEEN), (1, 2)):
            part = batch._replace(images=batch.images[low:high], ids=self._ids()[low:high], start=low)
            cond = {name: value[low:high] for name, value in whole.cond.items()}
            same = _equal_views(seen(part, self.thing, 3), whole._replace(images=whole.images[low:high], cond=cond))
            demand(
                same,
                f"of images {low} to {high} of a step alone it makes others than of the whole step: `uniform` has a row each",
            )

    def _ids(self) -> Tensor:
        """Those that the images have in a training."""
        return torch.from_numpy(image_ids(loaded(self.thing)[0].key, np.arange(SEEN)))

    def _batch(self) -> Batch:
        if type(self.thing).view is Origin.view:
            raise NotHere("a step sees images as they are")
        images = np.array(loaded(self.thing)[0].images[:SEEN])
        if len(images) < SEEN:
            raise NotHere(f"there are fewer than {SEEN} images")
        return Batch(torch.from_numpy(images).permute(0, 3, 1, 2), None, 11, 0, SEEN, ids=self._ids())


def _equal(one: tuple[Store, Store | None], other: tuple[Store, Store | None]) -> bool:
    return all(
        (a is None and b is None)
        or (
            a is not None
            and b is not None
            and (a.key, a.names, a.class_names) == (b.key, b.names, b.class_names)
            and np.array_equal(a.labels, b.labels)
            and np.array_equal(a.images, b.images)
        )
        for a, b in zip(one, other, strict=True)
    )


def _equal_views(one: Batch, other: Batch) -> bool:
    same = one.cond.keys() == other.cond.keys() and all(torch.equal(one.cond[name], other.cond[name]) for name in one.cond)
    return same and torch.equal(one.images, other.images)
