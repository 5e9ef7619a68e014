"""Images of another origin, made worse for good: noisy ones, or parts."""

import pickle
from dataclasses import replace

import numpy as np
import torch

from bootlight.data.batches import image_ids
from bootlight.data.origin import Origin
from bootlight.data.store import Store, store_from_arrays
from bootlight.diffusion.corruption import Corruption
from bootlight.io.pictures import to_float

BATCH_SIZE = 256
_made: dict[tuple[str, type, object, int], Store] = {}  # by content: every generation asks for the same


class Corrupted(Origin):
    """Float32 images, each corrupted once: in every generation and in every run of a seed it is the same.

    Args:
        origin: the good images; of pictures, [0, 255] becomes [-1, 1].
        corruption: what becomes of them.
        seed: of the corruption.
    """

    dtype = "float32"

    def __init__(self, origin: Origin, corruption: Corruption, seed: int = 0) -> None:
        self.origin, self.corruption, self.seed = origin, corruption, seed
        self.shape = origin.shape
        self.name = f"{origin.name}, {type(corruption).__name__}"

    def load(self) -> tuple[Store, Store | None]:
        """The images, held-out ones corrupted alike."""
        store, held_out = self.origin.load()
        return self._corrupted(store), None if held_out is None else self._corrupted(held_out)

    def class_names(self) -> tuple[str, ...]:
        """Those of the good images."""
        return self.origin.class_names()

    def _corrupted(self, store: Store) -> Store:
        key = store.key, type(self.corruption), contents(self.corruption), self.seed
        if key not in _made:
            images = np.empty(store.images.shape, np.float32)
            ids = torch.from_numpy(image_ids(store.key, np.arange(len(images))))
            for part in (slice(start, start + BATCH_SIZE) for start in range(0, len(images), BATCH_SIZE)):
                good = torch.from_numpy(np.array(store.images[part])).permute(0, 3, 1, 2)
                bad = self.corruption(to_float(good), ids[part], self.seed)
                images[part] = bad.permute(0, 2, 3, 1).numpy()
            made = store_from_arrays(images, store.labels, store.class_names, store.names)
            _made[key] = replace(made, skipped=store.skipped)
        return _made[key]


def contents(corruption: Corruption) -> object:
    """What tells a corruption from others of its class: all that it holds, or, where that cannot be said, the object itself."""
    try:
        return pickle.dumps(vars(corruption))
    except (pickle.PicklingError, TypeError, AttributeError):  # of a function that has no name, a lock, ...
        return corruption
