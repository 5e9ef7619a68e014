"""Parts of images as training data of their own: of whole images, or parts that somebody has kept as pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bootlight.data.origin import Origin
from bootlight.data.store import Store
from bootlight.data.store_made import made_once, store_of_batches
from bootlight.diffusion.corruption import View, contents
from bootlight.diffusion.view_checks import part_shape
from bootlight.errors import BootlightError
from bootlight.io.pictures import to_arrays, to_float

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH_SIZE = 256


class ViewOf(Origin):
    """The parts themselves, not put back among zeros: pictures where a part of a picture is one, else float32 numbers.

    Args:
        origin: the images.
        view: of them.
        is_part: the images are such parts already, as pictures or numbers in the range of the images: a folder of small
            images, of crops, of short clips. They are brought to the scale of the view and not looked at through it.
    """

    def __init__(self, origin: Origin, view: View, is_part: bool = False) -> None:
        self.origin, self.seen_through, self.is_part = origin, view, is_part
        self.name = f"{origin.name}, {type(view).__name__}"
        self.shape = origin.shape if is_part else part_shape(view, origin.shape, f"data: {type(view).__name__}")
        self.noise = origin.noise if view.scale == 1 else None
        self._set_dtype(origin.dtype)

    def load(self) -> tuple[Store, Store | None]:
        """The parts, held-out ones too, in the order of the images."""
        store, held_out = self.origin.load()
        self._set_dtype(store.images.dtype.name)
        return self._part_of(store), None if held_out is None else self._part_of(held_out)

    def class_names(self) -> tuple[str, ...]:
        """Those of the images."""
        return self.origin.class_names()

    def record(self) -> dict[str, Any]:
        """What is wrong with the images, and the view."""
        view = f"{type(self.seen_through).__module__}.{type(self.seen_through).__qualname__}"
        return self.origin.record() | {"view": view, "is_part": self.is_part, "lost": float(self.seen_through.level)}

    def told(self) -> list[str]:
        """The view, and how much of an image it leaves."""
        channels, height, width = self.shape
        what = "parts already, by" if self.is_part else "seen through"
        share = f"which leaves {1 - self.seen_through.level:.3g} of an image"
        return [
            *self.origin.told(),
            f"{what} {type(self.seen_through).__name__}, {share}: {height} x {width}, {channels} channels",
        ]

    def _set_dtype(self, of_origin: str) -> None:
        self.dtype = "uint8" if self.seen_through.keeps_pictures and of_origin == "uint8" else "float32"

    def _part_of(self, store: Store) -> Store:
        if self.is_part and self.seen_through.scale == 1 and store.images.dtype.name == self.dtype:
            return store
        channels, height, width = self.shape
        key = "part", store.key, type(self.seen_through), contents(self.seen_through), self.is_part
        return made_once(key, partial(store_of_batches, self._batches(store), store, self.dtype, (height, width, channels)))

    def _batches(self, store: Store) -> Iterator[NDArray[Any]]:
        for start in range(0, len(store.images), BATCH_SIZE):
            x = to_float(torch.from_numpy(np.array(store.images[start : start + BATCH_SIZE])).permute(0, 3, 1, 2))
            part = x * self.seen_through.scale if self.is_part else self.seen_through.project(x)
            yield to_arrays(part) if self.dtype == "uint8" else part.float().permute(0, 2, 3, 1).numpy()


def looked_at(origin: Origin, view: View | None, flip: bool) -> Origin:
    """The origin of a data section, through its view.

    Raises:
        BootlightError: mirrored parts are to be trained on, and they are none.
    """
    found = origin if view is None else ViewOf(origin, view)
    if flip and not found.may_flip:
        raise BootlightError(f"data.flip: mirrored images of {found.name} are none of them; set it to false")
    if flip and isinstance(found, ViewOf) and not _mirrors(found.seen_through, found):
        raise BootlightError(
            f"data.flip: what {type(found.seen_through).__name__} sees is another part when it is mirrored; set it to false"
        )
    return found


def _mirrors(view: View, origin: ViewOf) -> bool:
    """Whether the part of a mirrored image is the mirrored part."""
    y = torch.arange(1.0, 1 + math.prod(origin.shape)).reshape(1, *origin.shape)
    return torch.allclose(view.adjoint(y.flip(3)), view.adjoint(y).flip(3))
