"""Real images are divided: what is held out, what may be trained on, what is in use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bootlight.data.opened import whole
from bootlight.data.origin import Origin
from bootlight.data.store import Store
from bootlight.data.store_made import made_once, store_of_batches
from bootlight.errors import BootlightError
from bootlight.rng import numpy_rng

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bootlight.data.datamodule import BootstrapData
    from bootlight.data.mixing import Source

BATCH_SIZE = 1024


class Division(NamedTuple):
    """Of the real images.

    Attributes:
        holdout: for evaluation.
        available: for training.
        real: those of them that are in use.
    """

    holdout: Source
    available: Source
    real: Source


def divided(data: BootstrapData) -> Division:
    """The real images of a data module, by its settings; loads them.

    Raises:
        BootlightError: there are fewer than are asked for, or none is left to train on.
    """
    everything, held_out = whole(data.origin)
    order = numpy_rng(data.subset_seed, "subset").permutation(len(everything))
    if data.num_images is not None:
        if data.num_images > len(order):
            raise BootlightError(f"data.num_images is {data.num_images}, but {data.root} has only {len(order)} images")
        order = order[: data.num_images]
    num_held_out = 0 if held_out is not None else round(data.holdout_fraction * len(order))
    holdout = everything.take(np.sort(order[:num_held_out])) if held_out is None else held_out
    available = order[num_held_out:]
    real = everything.take(np.sort(available[: _num_in_use(data, len(available))]))
    if len(real) == 0:
        left = "no image is left to train on; raise data.real_fraction or lower data.holdout_fraction"
        raise BootlightError(f"{data.root}: {left}")
    return Division(holdout, everything.take(np.sort(available)), real)


def _num_in_use(data: BootstrapData, num_available: int) -> int:
    if data.limit_real is None:
        return round(data.real_fraction * num_available)
    if data.limit_real > num_available:
        raise BootlightError(f"data.num_real is {data.limit_real}, but {data.root} has {num_available} to train on")
    return data.limit_real


class Unused(Origin):
    """The real training images that are not in use.

    Args:
        data: whose.
    """

    def __init__(self, data: BootstrapData) -> None:
        self._data = data
        self.shape, self.dtype, self.noise = data.origin.shape, data.origin.dtype, data.origin.noise
        self.name = f"{data.root}, images not in use"

    def load(self) -> tuple[Store, None]:
        """The images."""
        store, rows = self._rows()
        self.dtype = self._data.origin.dtype
        return taken(store, rows), None

    def _rows(self) -> tuple[Store, NDArray[np.int64]]:
        """All real images, and which of them these are."""
        _, available, real = divided(self._data)
        return available.store, np.setdiff1d(available.indices, real.indices)

    def clean(self) -> tuple[Store, None] | None:
        """Of these images."""
        found = self._data.origin.clean()
        return None if found is None else (taken(found[0], self._rows()[1]), None)

    def masks(self) -> tuple[Store, None] | None:
        """Of these images."""
        found = self._data.origin.masks()
        return None if found is None else (taken(found[0], self._rows()[1]), None)

    def record(self) -> dict[str, Any]:
        """That of the real images."""
        return self._data.origin.record()

    def class_names(self) -> tuple[str, ...]:
        """Those of the real images."""
        return self._data.origin.class_names()


def taken(store: Store, rows: NDArray[np.int64]) -> Store:
    """Some images of a store, in the order of their positions."""

    def made() -> Store:
        blank = np.broadcast_to(np.zeros((), store.images.dtype), (len(rows), *store.images.shape[1:]))
        names = tuple(store.names[i] for i in rows.tolist())
        like = Store(blank, store.labels[rows], store.class_names, names, store.key)
        parts = (store.images[rows[start : start + BATCH_SIZE]] for start in range(0, len(rows), BATCH_SIZE))
        return store_of_batches(parts, like, store.images.dtype.name)

    return made_once(("taken", store.key, rows.tobytes()), made)
