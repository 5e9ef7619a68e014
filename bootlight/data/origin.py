"""Where images come from, apart from the training set that is made of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from bootlight.data.datamodule import BootstrapData
    from bootlight.data.layout import Layout
    from bootlight.data.store import Store


class Origin(ABC):
    """Images of one kind: files, or what can be made without any. `BootstrapData` chooses, divides and mixes them.

    A subclass sets `shape` in its constructor, which reads nothing yet, and gives the images in `load`.

    Attributes:
        name: how messages call the images; the name of the class if a subclass has no other.
        shape: (C, H, W) of an image.
        dtype: uint8, or float32 for numbers that a network sees as they are.
        noise: the least and the largest sigma that its images may be trained at, as noise in them allows; None = any.
        truth: the law that the images were drawn from, where there is one that is known.
        may_flip: whether a mirrored image could be one of them, for `data.flip`.
    """

    name: str
    shape: tuple[int, int, int]
    dtype: Literal["uint8", "float32"] = "uint8"
    noise: tuple[float, float] | None = None
    truth: Any = None
    may_flip: bool = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not hasattr(cls, "name"):
            cls.name = cls.__name__

    @abstractmethod
    def load(self) -> tuple[Store, Store | None]:
        """All images, and those of a held-out split of their own (or None); the same ones, in the same order, at each call.

        Raises:
            BootlightError: there are none, or they cannot be used.
        """

    def belongs_to(self, data: BootstrapData) -> None:  # noqa: B027  (most need nothing)
        """Know whose further images these are; called for those of `data.origins`, before anything is loaded."""

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what `load` gives, where `view` makes `shape` of it."""
        return self.shape

    def view(self, images: Tensor, ids: Tensor, step: int, uniform: Callable[..., Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """What a training step sees of its images, and what else belongs to them: crops, pairs; called only if overridden.

        Args:
            images: (B, C, H, W), as stored and mirrored; not to be changed in place.
            ids: int64 (B,), see `Batch`.
            step: of the optimizer, in this generation.
            uniform: `uniform("crop", 2)` gives numbers in [0, 1), (B, 2), that depend on the seed of the step and on the place
                in the global batch alone; the only randomness of a view.

        Returns:
            Images (B, *shape) of the same type, and tensors (B, ...) by name for `Batch.cond`; uint8 ones are pictures too.
        """
        return images, {}

    def clean(self) -> tuple[Store, Store | None] | None:
        """The good images behind bad ones, in the order of `load`, where they are known: to measure by, never to train on."""
        return None

    def masks(self) -> tuple[Store, Store | None] | None:
        """Of the images of `load`: uint8 (N, H, W, 1), 1 where a pixel is seen, 0 where it is hidden; None = all are seen."""
        return None

    def record(self) -> dict[str, Any]:
        """What is wrong with the images, by what and how strongly; numbers and texts, kept with a run."""
        return {}

    def told(self) -> list[str]:
        """What was understood of the images beyond their number, after `load`; parts of a line."""
        return []

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """What folders and zips hold beside the images, to be told; none of what is no files."""
        return ()

    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; empty where images have no labels. Override where that is known without loading."""
        return self.load()[0].class_names


class StoreOrigin(Origin):
    """Images that are decoded already; from Python.

    Args:
        store: the images.
        held_out: of a split of their own.
        name: how messages call them.
    """

    def __init__(self, store: Store, held_out: Store | None = None, name: str = "a store") -> None:
        _, height, width, channels = store.images.shape
        self.shape = channels, height, width
        self.dtype = "float32" if store.images.dtype == np.float32 else "uint8"
        self.store, self.held_out, self.name = store, held_out, name

    def load(self) -> tuple[Store, Store | None]:
        """The images."""
        return self.store, self.held_out
