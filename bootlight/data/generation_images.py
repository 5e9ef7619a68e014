"""Images that those of a generation may be made of: real ones in use, those of other origins, and those drawn before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bootlight.data.extra import open_curated
from bootlight.data.leaks import Leak, find_leak
from bootlight.data.mixing import Source
from bootlight.errors import BootlightError
from bootlight.io.pictures import to_float
from bootlight.runs.drawn import read_drawn
from bootlight.runs.folder import GenerationFolder, RunFolder
from bootlight.runs.manifest import parents_of, read_metadata

if TYPE_CHECKING:
    from bootlight.data.datamodule import BootstrapData
    from bootlight.data.store import Store

REAL = "real"  # what names of real images begin with, as those of drawn ones do with their folder
BEFORE = "@-1/"  # what the name of a folder of the generation before begins with
Opened = tuple["Store", dict[str, int]]  # images, and the place of each name among them


class NotDrawnYet(BootlightError):
    """The folder will have images when the stage before has drawn them.

    Args:
        message: what to do.
        into: name of the folder; `@-1/` begins that of one of the generation before.
    """

    def __init__(self, message: str, into: str) -> None:
        super().__init__(message)
        self.into = into


class GenerationImages:
    """Images by name.

    `real/<name>` is one of the real images in use, `<origin>/<name>` one of `data.origins`, `<folder>/<file_name>` one of a
    folder of this generation, and `@-1/<folder>/<file_name>` one of the generation before.

    Args:
        labels: int64 (n,), of the real images in use; where there are none, classes in the proportions to be drawn.
        class_names: what the labels stand for; empty where nobody knows.
        real: the real images in use; None where nobody knows them.
        open_folder: opens a complete folder of this generation: images, and the place of each file name among them.
        origins: what opens each of `data.origins`, by its name.
        made_before: of a folder of the generation before, what each image was made of and its name, in the order of their
            numbers; None where there is no such folder.
        held_out: the real images that nothing may be made of; None where nobody knows them.
    """

    def __init__(
        self,
        labels: NDArray[np.int64],
        class_names: Sequence[str] = (),
        real: Source | None = None,
        open_folder: Callable[[str], Opened] | None = None,
        origins: Mapping[str, Callable[[], Source]] | None = None,
        made_before: Callable[[str], list[tuple[tuple[str, ...], str]]] | None = None,
        held_out: Source | None = None,
    ) -> None:
        self.labels = labels
        self.class_names = tuple(class_names)
        self.real = real
        self._origins = origins or {}
        self._open_folder = open_folder
        self._made_before = made_before
        self._held_out = held_out
        self._sources: dict[str, Source] = {}
        self._opened: dict[str, Opened] = {}

    @classmethod
    def of(cls, data: BootstrapData, folder: GenerationFolder) -> GenerationImages:
        """Those that data, open, and a generation have."""
        store = data.real.store

        def open_folder(into: str) -> Opened:
            images = _folder(folder, into)
            if not images.is_synthesized:
                raise NotDrawnYet(f"{images.samples} has not all images; put the Synthesize that draws them before", into)
            kept = open_curated(images, store.class_names, data._build)
            names = sorted(row.file_name for row in read_drawn(images))
            return kept.store, {names[i]: i for i in kept.indices.tolist()}

        # An archive of its own: what it opens is no part of the mixture.
        archive = data.opened_archive(folder.number)
        origins = {name: partial(archive.origin, name) for name in data.origins}
        of_real = store.labels[data.real.indices], store.class_names, data.real
        return cls(*of_real, open_folder, origins, partial(_made_before, folder), data.holdout)

    @property
    def real_names(self) -> list[str]:
        """Of the real images in use, in the order of `labels`."""
        store, _ = self._set(REAL)
        return [f"{REAL}/{store.names[i]}" for i in (self.real.indices.tolist() if self.real is not None else ())]

    def origin(self, name: str) -> Source:
        """The images of one of `data.origins`, with labels as positions among `class_names`.

        Raises:
            BootlightError: no origin has this name.
        """
        if name not in self._sources:
            if name not in self._origins:
                raise BootlightError(f"data.origins has no {name!r}; it has {', '.join(self._origins) or 'none'}")
            self._sources[name] = self._origins[name]()
        return self._sources[name]

    def origin_names(self, name: str) -> list[str]:
        """Of all images of one of `data.origins`, in their order.

        Raises:
            BootlightError: no origin has this name.
        """
        source = self.origin(name)
        return [f"{name}/{source.store.names[i]}" for i in source.indices.tolist()]

    def made_before(self, into: str) -> list[tuple[tuple[str, ...], str]]:
        """What each image in a folder of the generation before was made of, and its name; none where there is no such folder.

        Those that a curator has left out are not among them.
        """
        found = [] if self._made_before is None else self._made_before(into)
        kept = self._set(f"{BEFORE}{into}")[1] if found else {}
        return [(parents, f"{BEFORE}{into}/{name}") for parents, name in found if name in kept]

    def drawn_names(self, into: str) -> list[str]:
        """Of the images in a folder of this generation, in the order of their numbers, without those that a curator left out.

        Raises:
            BootlightError: the folder is not complete, or damaged.
        """
        return [f"{into}/{name}" for name in self._set(into)[1]]

    def names(self, of: str) -> list[str]:
        """Of the real images in use (`real`), of one of `data.origins`, or of a folder of this generation.

        Raises:
            BootlightError: there is no such origin, and no such folder that is complete.
        """
        if of == REAL:
            return self.real_names
        return self.origin_names(of) if of in self._origins else self.drawn_names(of)

    def leak(self, of: str) -> Leak | None:
        """Images of `names(of)` that are held-out ones, pixel by pixel."""
        if self._held_out is None:
            return None
        store, places = self._set(of)
        return find_leak(Source("real", store, np.fromiter(places.values(), np.int64)), self._held_out)

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
        start = len(BEFORE) if name.startswith(BEFORE) else 0
        into, _, own = name[start:].partition("/")
        into = name[:start] + into
        store, places = self._set(into)
        if own not in places:
            raise BootlightError(
                f"parent {name}: there is no such image; names are {REAL}/NAME, ORIGIN/NAME or FOLDER/FILE_NAME"
            )
        return store, places[own]

    def _set(self, into: str) -> Opened:
        if into not in self._opened:
            if into == REAL and self.real is not None:
                store = self.real.store
                self._opened[REAL] = store, {store.names[i]: i for i in self.real.indices.tolist()}
            elif into in self._origins:
                source = self.origin(into)
                store = source.store
                self._opened[into] = store, {store.names[i]: i for i in source.indices.tolist()}
            elif into != REAL and self._open_folder is not None:
                self._opened[into] = self._open_folder(into)
            else:
                raise BootlightError(f"parents of {into}: no such images are known here; run bootlight fit on a BootstrapData")
        return self._opened[into]


def _folder(folder: GenerationFolder, into: str) -> GenerationFolder:
    """A folder of images of this generation, or, where its name begins so, of the one before."""
    if not into.startswith(BEFORE):
        return folder.of_images(into)
    return RunFolder(folder.path.parent).generation(folder.number - 1).of_images(into.removeprefix(BEFORE))


def _made_before(folder: GenerationFolder, into: str) -> list[tuple[tuple[str, ...], str]]:
    """See `GenerationImages.made_before`, before any curator."""
    if folder.number == 0 or not (images := _folder(folder, BEFORE + into)).is_synthesized:
        return []
    return [(parents_of(row), row["file_name"]) for row in read_metadata(images)]
