"""Few labels: so many images of each class to train on, others to test with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bootlight.data.division import taken
from bootlight.data.origin import Origin
from bootlight.errors import BootlightError, check_range
from bootlight.rng import numpy_rng

if TYPE_CHECKING:
    from bootlight.data.layout import Layout
    from bootlight.data.store import Store


class PerClass(Origin):
    """So many images of each class of another origin; what is held out are others of it, or its own held-out split.

    Args:
        origin: labelled images.
        count: images of each class to train on; a smaller number is a subset of a larger one.
        held_out: images of each class to hold out, disjoint from those for any `count`; None = a held-out split of the origin's
            own, else all others.
        seed: of the choice.
    """

    def __init__(self, origin: Origin, count: int, held_out: int | None = None, seed: int = 0) -> None:
        check_range("count", count, 1)
        if held_out is not None:
            check_range("held_out", held_out, 1)
        if type(origin).view is not Origin.view:
            raise BootlightError(
                f"data.origin: PerClass takes images as they are stored, which {origin.name} changes at each step"
            )
        self.origin, self.count, self.held_out, self.seed = origin, count, held_out, seed
        self.name = f"{origin.name}, {count} a class"
        self.shape, self.dtype, self.noise = origin.shape, origin.dtype, origin.noise

    def load(self) -> tuple[Store, Store | None]:
        """The chosen images, and those held out.

        Raises:
            BootlightError: images have no labels, or a class has too few.
        """
        store, split = self.origin.load()
        if not store.class_names:
            raise BootlightError(f"data.origin: PerClass: {self.origin.name} has no classes; use class folders")
        train, test = [], []
        for label, name in enumerate(store.class_names):
            own = np.flatnonzero(store.labels == label)
            order = numpy_rng(self.seed, "per class", name).permutation(own)
            wanted = self.count + (0 if split is not None else (self.held_out or 1))
            if len(own) < wanted:
                raise BootlightError(
                    f"data.origin: PerClass: {self.origin.name} has {len(own)} images of class {name!r}, of {wanted} that are "
                    "asked for; lower count or held_out"
                )
            # From the two ends, so that neither choice moves the other.
            train.append(order[: self.count])
            test.append(order[self.count if self.held_out is None else len(order) - self.held_out :])
        self.dtype = self.origin.dtype
        chosen = taken(store, np.sort(np.concatenate(train)))
        return chosen, taken(store, np.sort(np.concatenate(test))) if split is None else split

    def class_names(self) -> tuple[str, ...]:
        """Those of the origin."""
        return self.origin.class_names()

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """None: what the folders hold is not what is trained on."""
        return ()

    def record(self) -> dict[str, Any]:
        """That of the origin, and the choice."""
        return self.origin.record() | {"per_class": self.count, "held_out_per_class": self.held_out, "chosen_by": self.seed}

    def told(self) -> list[str]:
        """The choice."""
        return [*self.origin.told(), f"{self.count} of each class chosen"]
