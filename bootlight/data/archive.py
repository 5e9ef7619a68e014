"""All images that a mixing policy can choose from: on the disk, or, before they are drawn, by their number."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, get_args

import numpy as np

from bootlight.data.extra import Build, open_curated, open_teacher, relabeled
from bootlight.data.mixing import Role, Source
from bootlight.data.opened import whole
from bootlight.data.store import Store
from bootlight.errors import BootlightError
from bootlight.runs.folder import SAMPLES

if TYPE_CHECKING:
    from bootlight.data.origin import Origin
    from bootlight.runs.folder import RunFolder


@dataclass(frozen=True)
class Archive(ABC):
    """What there is.

    Args:
        seed: of the run, for what a policy chooses at random.
        subset_seed: for subsets that are the same in every run.
        real: the real images in use.
        available: all real training images, in use or not.
    """

    seed: int
    subset_seed: int
    real: Source
    available: Source

    @abstractmethod
    def drawn(self, generation: int, folder: str = SAMPLES, *, curated: bool = True) -> Source:
        """The images that an earlier generation has drawn into a folder, as its curator has left them; or all, as drawn.

        Raises:
            BootlightError: there is no such folder, or it is incomplete, damaged or changed.
        """

    @abstractmethod
    def origin(self, name: str) -> Source:
        """The images of one of `data.origins`; its name is their role, where there is such a role.

        Raises:
            BootlightError: no origin has this name.
        """

    @abstractmethod
    def teacher(self, text: str) -> Source:
        """Images of a run and generation (`runs/x@0`), a folder or a zip.

        Raises:
            BootlightError: there are none, or they are of other classes.
        """


def of_origin(origins: Mapping[str, Origin], name: str) -> Source:
    """The images of one of `data.origins`; its name is their role, where there is such a role.

    Raises:
        BootlightError: no origin has this name.
    """
    if name not in origins:
        raise BootlightError(f"data.origins has no {name!r}; it has {', '.join(origins) or 'none'}")
    role: Role = name if name in get_args(Role) else "real"  # type: ignore[assignment]
    return replace(whole(origins[name], may_be_none=True)[0], role=role)


@dataclass(frozen=True)
class DiskArchive(Archive):
    """Images as they lie on the disk.

    Args:
        run: whose generations have drawn.
        build: decodes, see `Build`.
        origins: further origins, by name.
        expected: how many images a teacher will have that has none yet, by what it is called.
        opened: keys of the stores that came from outside of the run, by what they are called; filled here.
        drawn_shape: (C, H, W) of what generations draw; that of the real images if left out.
        number: of the generation that is to train; None = whichever asks for what is there.
        ahead: how many images a generation, by number, will draw into a folder, by name; for a trial before they are there.
    """

    run: RunFolder
    build: Build
    origins: Mapping[str, Origin] = field(default_factory=dict)
    expected: Mapping[str, int] = field(default_factory=dict)
    opened: dict[str, str] = field(default_factory=dict)
    drawn_shape: tuple[int, int, int] | None = None
    number: int | None = None
    ahead: Callable[[int, str], int] | None = None

    def drawn(self, generation: int, folder: str = SAMPLES, *, curated: bool = True) -> Source:
        """See `Archive`."""
        images = self.run.generation(generation).of_images(folder)
        if self.ahead is not None and not images.is_synthesized:
            return self._counted("synthetic", self.ahead(generation, folder), generation)
        self._check_drawn(generation, folder, images.is_synthesized)
        return replace(open_curated(images, self.real.store.class_names, self.build, curated), generation=generation)

    def origin(self, name: str) -> Source:
        """See `Archive`."""
        found = of_origin(self.origins, name)
        self.opened[f"data.origins.{name}"] = found.store.key
        return replace(found, store=relabeled(found.store, self.real.store.class_names))

    def teacher(self, text: str) -> Source:
        """See `Archive`."""
        if text in self.expected:
            return self._counted("teacher", self.expected[text])
        found = open_teacher(text, self.real.store.class_names, self.build)
        self.opened[f"data.mixing: {text}"] = found.store.key
        return found

    def _check_drawn(self, generation: int, folder: str, is_there: bool) -> None:
        """Of its own generation there is what a stage before has drawn, of later ones nothing."""
        latest = math.inf if self.number is None else self.number if is_there else self.number - 1
        if not 0 <= generation <= latest:
            raise BootlightError(
                f"data.mixing: generation {self.number} asks for {folder} of generation {generation}, which nobody has "
                "drawn by then; earlier ones have, from 0 on"
            )

    def _counted(self, role: Role, count: int, generation: int | None = None) -> Source:
        """So many images of which nothing else is known; they take no memory, and have some label where there are classes."""
        real = self.real.store
        channels, *size = self.drawn_shape or (real.images.shape[3], *real.images.shape[1:3])
        images = np.broadcast_to(np.zeros((), real.images.dtype), (count, *size, channels))
        labels = np.broadcast_to(np.int64(0 if real.class_names else -1), (count,))
        return Source(role, Store(images, labels, real.class_names, (), "counted"), np.arange(count), generation)


@dataclass(frozen=True)
class CountedArchive(DiskArchive):
    """The same before a run: of what will be drawn, the number alone.

    Args:
        num_drawn: images that a generation, by number, draws into a folder, by name.
    """

    num_drawn: Callable[[int, str], int] = lambda generation, folder: 0

    def drawn(self, generation: int, folder: str = SAMPLES, *, curated: bool = True) -> Source:
        """So many images as will be drawn; a curator may leave fewer."""
        # Another folder may be drawn before the training; so may the samples, where a part of its own settings trains on them.
        self._check_drawn(generation, folder, folder != SAMPLES or self.ahead is not None)
        return self._counted("synthetic", self.num_drawn(generation, folder), generation)
