"""Images of which the user knows which pixels are missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bootlight.data.noisy import partners
from bootlight.data.origin import Origin
from bootlight.data.store_made import store_of_batches
from bootlight.errors import BootlightError
from bootlight.io.pictures import to_float

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bootlight.data.store import Store

AT_ONCE = 256
KEY = "bootlight.Masked"


class Masked(Origin):
    """Images of another origin, and for each a mask of the same name: white where its pixels are seen, black elsewhere.

    What is not seen becomes 0, so these are float32 numbers, [-1, 1] of pictures. The masks are looked at by
    `bootlight.MaskedAmbient`.

    Args:
        origin: of the images.
        masks: of the masks, grey pictures of the same size.

    Raises:
        BootlightError: masks of another size or of several channels.
    """

    dtype = "float32"

    def __init__(self, origin: Origin, masks: Origin) -> None:
        if masks.shape != (1, *origin.shape[1:]):
            raise BootlightError(
                f"{KEY}: the masks of {masks.name} are (C, H, W) = {masks.shape}, and {origin.name} {origin.shape}; give "
                "masks of one channel and of the size of the images"
            )
        self.origin, self.of = origin, masks
        self.shape, self.noise, self.name = origin.shape, origin.noise, origin.name

    def load(self) -> tuple[Store, Store | None]:
        """The images, 0 where they are not seen.

        Raises:
            BootlightError: some have no mask.
        """
        return self._both[0]

    def masks(self) -> tuple[Store, Store | None]:
        """Their masks."""
        return self._both[1]

    def class_names(self) -> tuple[str, ...]:
        """Those of the images."""
        return self.origin.class_names()

    def record(self) -> dict[str, Any]:
        """Where the masks come from."""
        return self.origin.record() | {"stated": KEY, "masks": self.of.name}

    def told(self) -> list[str]:
        """The share that is seen."""
        seen = self.masks()[0].images
        share = 100 * float(seen[: 8 * AT_ONCE].mean())
        return [*self.origin.told(), f"{share:.3g} % of the pixels seen, by {self.of.name}"]

    @cached_property
    def _both(self) -> tuple[tuple[Store, Store | None], tuple[Store, Store | None]]:
        known = [store for store in self.of.load() if store is not None]
        store, held_out = self.origin.load()
        images, masks = self._pair(store, known)
        if held_out is None:
            return (images, None), (masks, None)
        others, their_masks = self._pair(held_out, known)
        return (images, others), (masks, their_masks)

    def _pair(self, store: Store, known: list[Store]) -> tuple[Store, Store]:
        """Images and masks of a store."""
        found = partners(store, known, KEY, self.origin.name, self.of.name)
        masks = store_of_batches(_batches(found, lambda part: (found.images[part] > 127).astype(np.uint8)), found, "uint8")

        def hidden(part: slice) -> NDArray[Any]:
            return floats(store.images[part]) * masks.images[part]

        return store_of_batches(_batches(store, hidden), store, "float32"), masks


def floats(images: NDArray[Any]) -> NDArray[np.float32]:
    """Float32 images; pictures in [-1, 1]."""
    found: NDArray[np.float32] = to_float(torch.from_numpy(np.array(images))).numpy()
    return found


def _batches(store: Store, make: Callable[[slice], NDArray[Any]]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(store.images), AT_ONCE):
        yield make(slice(start, start + AT_ONCE))
