"""A part of the images of another origin, and the rest of them: two origins without a common image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bootlight.data.origin import Origin
from bootlight.data.store import Store
from bootlight.data.store_made import store_of_batches
from bootlight.errors import BootlightError, check_range
from bootlight.rng import numpy_rng

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH_SIZE = 1024
_taken: dict[tuple[str, bytes], Store] = {}  # every generation asks for the same


class Subset(Origin):
    """A random share of the images of an origin, or those that this share leaves.

    With equal settings but for `rest`, two of them have each image once between them. A smaller share is part of a larger one.

    Args:
        origin: that has the images.
        fraction: share of its images for training.
        rest: take the others.
        holdout_fraction: of all images, held out by both parts, where the origin has no held-out images of its own.
        subset_seed: of the choice.
    """

    def __init__(
        self, origin: Origin, fraction: float, rest: bool = False, holdout_fraction: float = 0.0, subset_seed: int = 0
    ) -> None:
        check_range("bootlight.Subset fraction", fraction, 0, 1)
        if not 0 <= holdout_fraction < 1:
            raise BootlightError(f"bootlight.Subset holdout_fraction is {holdout_fraction}; it must be from 0 to below 1")
        self.origin, self.fraction, self.rest = origin, fraction, rest
        self.holdout_fraction, self.subset_seed = holdout_fraction, subset_seed
        self.shape, self.dtype, self.noise = origin.shape, origin.dtype, origin.noise
        self.name = f"{'all but ' if rest else ''}{fraction:g} of {origin.name}"

    def load(self) -> tuple[Store, Store | None]:
        """The images, in the order of the origin; held-out ones whole.

        Raises:
            BootlightError: the origin holds out images of its own, and `holdout_fraction` asks for others.
        """
        store, held_out = self.origin.load()
        self.dtype = self.origin.dtype
        return self._divided(store, held_out)

    def clean(self) -> tuple[Store, Store | None] | None:
        """Of the images of this part."""
        found = self.origin.clean()
        return None if found is None else self._divided(*found)

    def masks(self) -> tuple[Store, Store | None] | None:
        """Of the images of this part."""
        found = self.origin.masks()
        return None if found is None else self._divided(*found)

    def record(self) -> dict[str, Any]:
        """That of the origin."""
        return self.origin.record()

    def told(self) -> list[str]:
        """That of the origin, and which part it is."""
        part = f"{'all but ' if self.rest else ''}a share of {self.fraction:g}, at random"
        return [*self.origin.told(), part]

    def class_names(self) -> tuple[str, ...]:
        """Those of the origin."""
        return self.origin.class_names()

    def _rows(self, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions of this part, and of what is held out, of so many images."""
        order = numpy_rng(self.subset_seed, "part of an origin").permutation(count)
        num_held_out = round(self.holdout_fraction * count)
        ours = order[num_held_out:]
        size = round(self.fraction * len(ours))
        return np.sort(ours[size:] if self.rest else ours[:size]), np.sort(order[:num_held_out])

    def _divided(self, store: Store, held_out: Store | None) -> tuple[Store, Store | None]:
        if held_out is not None and self.holdout_fraction:
            raise BootlightError(
                f"{self.origin.name} holds out images of its own; leave holdout_fraction of bootlight.Subset out"
            )
        ours, others = self._rows(len(store.images))
        return taken(store, ours), taken(store, others) if len(others) else held_out


def taken(store: Store, rows: NDArray[np.int64]) -> Store:
    """Some images of a store, in the order of their positions."""
    key = store.key, rows.tobytes()
    if key not in _taken:
        blank = np.broadcast_to(np.zeros((), store.images.dtype), (len(rows), *store.images.shape[1:]))
        names = tuple(store.names[i] for i in rows.tolist())
        like = Store(blank, store.labels[rows], store.class_names, names, store.key)
        parts = (store.images[rows[start : start + BATCH_SIZE]] for start in range(0, len(rows), BATCH_SIZE))
        _taken[key] = store_of_batches(parts, like, store.images.dtype.name)
    return _taken[key]
