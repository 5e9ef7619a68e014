"""Images that those of a generation may be made of: real ones in use, and those that it has drawn before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bootlight.data.extra import open_curated
from bootlight.errors import BootlightError
from bootlight.io.pictures import to_float
from bootlight.runs.drawn import read_drawn

if TYPE_CHECKING:
    from bootlight.data.datamodule import BootstrapData
    from bootlight.data.mixing import Source
    from bootlight.data.store import Store
    from bootlight.runs.folder import GenerationFolder

REAL = "real"  # what names of real images begin with, as those of drawn ones do with their folder
Opened = tuple["Store", dict[str, int]]  # images, and the place of each name among them


class NotDrawnYet(BootlightError):
    """The folder will have images when the stage before has drawn them."""


class GenerationImages:
    """Images by name: `real/<name>` of the real images in use, `<folder>/<file_name>` of a folder of this generation.

    Args:
        labels: int64 (n,), of the real images in use; where there are none, classes in the proportions to be drawn.
        class_names: what the labels stand for; empty where nobody knows.
        real: the real images in use; None where nobody knows them.
        open_folder: opens a complete folder of this generation: images, and the place of each file name among them.
    """

    def __init__(
        self,
        labels: NDArray[np.int64],
        class_names: Sequence[str] = (),
        real: Source | None = None,
        open_folder: Callable[[str], Opened] | None = None,
    ) -> None:
        self.labels = labels
        self.class_names = tuple(class_names)
        self.real = real
        self._open_folder = open_folder
        self._opened: dict[str, Opened] = {}

    @classmethod
    def of(cls, data: BootstrapData, folder: GenerationFolder) -> GenerationImages:
        """Those that data, open, and a generation have."""
        store = data.real.store

        def open_folder(into: str) -> Opened:
            images = folder.of_images(into)
            if not images.is_synthesized:
                raise NotDrawnYet(f"{images.samples} has not all images; put the Synthesize that draws them before")
            kept = open_curated(images, store.class_names, data._build)
            names = sorted(row.file_name for row in read_drawn(images))
            return kept.store, {names[i]: i for i in kept.indices.tolist()}

        return cls(store.labels[data.real.indices], store.class_names, data.real, open_folder)

    @property
    def real_names(self) -> list[str]:
        """Of the real images in use, in the order of `labels`."""
        store, _ = self._set(REAL)
        return [f"{REAL}/{store.names[i]}" for i in (self.real.indices.tolist() if self.real is not None else ())]

    def drawn_names(self, into: str) -> list[str]:
        """Of the images in a folder of this generation, in the order of their numbers, without those that a curator left out.

        Raises:
            BootlightError: the folder is not complete, or damaged.
        """
        return [f"{into}/{name}" for name in self._set(into)[1]]

    def labels_of(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Labels int64 (n,) of images, -1 = none."""
        return np.array([store.labels[place] for store, place in map(self._find, names)], np.int64)

    def parents(self, names: Sequence[str]) -> Tensor:
        """Images float32 (n, C, H, W), in [-1, 1] unless they are stored as floats.

        Raises:
            BootlightError: there is no image of such a name.
        """
        found = [store.images[place] for store, place in map(self._find, names)]
        return to_float(torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).contiguous())

    def _find(self, name: str) -> tuple[Store, int]:
        into, _, own = name.partition("/")
        store, places = self._set(into)
        if own not in places:
            raise BootlightError(f"parent {name}: there is no such image; names are {REAL}/NAME or FOLDER/FILE_NAME")
        return store, places[own]

    def _set(self, into: str) -> Opened:
        if into not in self._opened:
            if into == REAL and self.real is not None:
                store = self.real.store
                self._opened[REAL] = store, {store.names[i]: i for i in self.real.indices.tolist()}
            elif into != REAL and self._open_folder is not None:
                self._opened[into] = self._open_folder(into)
            else:
                raise BootlightError(f"parents of {into}: no such images are known here; run bootlight fit on a BootstrapData")
        return self._opened[into]
