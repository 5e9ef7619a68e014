"""Origins of real images, and policies that mix them with drawn ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from bootlight.checking.trials import NotHere, Trials, demand, repeated
from bootlight.data.archive import Archive
from bootlight.data.mixing import MixingPolicy, Source
from bootlight.data.opened import checked, loaded
from bootlight.data.origin import Origin, StoreOrigin
from bootlight.data.store import Store, store_from_arrays
from bootlight.errors import BootlightError
from bootlight.rng import numpy_rng
from bootlight.runs.folder import SAMPLES

STORED, AVAILABLE, DRAWN = 200, 180, 80  # images: decoded, for training (a third in use); kept of each generation
GENERATIONS = 4
CURE = "choose by rng.numpy_rng(archive.seed, ...)"


class OriginTrials(Trials):
    """Of an `Origin`."""

    kind = Origin
    name = "origin"
    filled: ClassVar[Mapping[str, Any]] = {"image_size": 8, "channels": 1}

    def told(self) -> None:
        """`name`, `shape` (C, H, W) and `dtype` are told before anything is read."""
        shape = self.thing.shape
        whole = len(shape) == 3 and all(isinstance(n, int) and n > 0 for n in shape)
        demand(whole, f"shape is {shape!r}; it must be three whole numbers (C, H, W)")
        demand(isinstance(self.thing.name, str) and self.thing.name != "", f"name is {self.thing.name!r}; give a text")
        demand(self.thing.dtype in ("uint8", "float32"), f"dtype is {self.thing.dtype!r}; it must be 'uint8' or 'float32'")

    def loads(self) -> str:
        """`load` gives images of that shape and type, with labels and names that fit."""
        store, held_out = loaded(self.thing)
        for images in (store, held_out):
            if images is None:
                continue
            count = len(images.images)
            demand(len(images.labels) == count, f"there are {len(images.labels)} labels of {count} images")
            demand(len(images.names) == count, f"there are {len(images.names)} names of {count} images")
            demand(len(set(images.names)) == count, "several images have one name")
            inside = ((images.labels >= -1) & (images.labels < max(1, len(images.class_names)))).all()
            demand(bool(inside), f"there are labels beyond the {len(images.class_names)} names of classes, or below -1")
            finite = images.images.dtype != np.float32 or bool(np.isfinite(images.images).all())
            demand(finite, "there are numbers that are not finite")
        demand(held_out is None or held_out.class_names == store.class_names, "the held-out images have other classes")
        demand(tuple(self.thing.class_names()) == store.class_names, "class_names() are not those of the images")
        return f"{len(store.images):,} images" + ("" if held_out is None else f", {len(held_out.images):,} held out")

    def same(self) -> None:
        """The same images in the same order at each call, also of a fresh one."""
        once = repeated(lambda: loaded(self.thing), _equal, "load", "take all randomness from a seed of its own")
        fresh = self._fresh()
        demand(_equal(once, loaded(fresh)), "a fresh one loads other images: a run that was interrupted would go on with those")
        demand(fresh.shape == self.thing.shape and fresh.dtype == self.thing.dtype, "a fresh one tells another shape or dtype")


def _equal(one: tuple[Store, Store | None], other: tuple[Store, Store | None]) -> bool:
    return all(
        (a is None and b is None)
        or (
            a is not None
            and b is not None
            and (a.key, a.names, a.class_names) == (b.key, b.names, b.class_names)
            and np.array_equal(a.labels, b.labels)
            and np.array_equal(a.images, b.images)
        )
        for a, b in zip(one, other, strict=True)
    )


@dataclass(frozen=True)
class StandInArchive(Archive):
    """An archive of small random images, of which some were held out and some left out by a curator.

    Args:
        before: generations that have drawn.
        counted: whether of drawn images the number alone is known, as before a run.
        share: of all images that there are.
    """

    before: int = 0
    counted: bool = False
    share: float = 1.0

    @classmethod
    def of(cls, before: int, counted: bool = False, share: float = 1.0) -> StandInArchive:
        """With so many generations before."""
        store = _store("real", round(STORED * share))
        available = _some(store, "real", round(AVAILABLE * share), "split")
        real = available.take(np.arange(0, len(available), 3))
        return cls(5, 3, real, available, before, counted, share)

    def drawn(self, generation: int, folder: str = SAMPLES) -> Source:
        """See `Archive`."""
        demand(
            0 <= generation < self.before,
            f"generation {self.before} asks for what generation {generation} has drawn: only those from 0 to before it have",
        )
        count = round(DRAWN * self.share)
        if self.counted:
            return Source("synthetic", _store("counted", count), np.arange(count), generation)
        return replace(_some(_store(f"{folder} {generation}", count + 9), "synthetic", count, folder), generation=generation)

    def origin(self, name: str) -> Source:
        """See `Archive`."""
        store = _store(name, round(DRAWN * self.share))
        return Source("real", store, np.arange(len(store.images)))

    def teacher(self, text: str) -> Source:
        """See `Archive`."""
        return replace(self.origin(text), role="teacher")


class PolicyTrials(Trials):
    """Of a `MixingPolicy`."""

    kind = MixingPolicy
    name = "mixing policy"

    def __init__(self, build: Callable[[], Any]) -> None:
        super().__init__(build)
        self.generations = 0
        self.times = 1.0  # as many images as there are at least; some ask for many

    def starts(self) -> None:
        """Generation 0 has a training set, of what is there before anything was drawn."""
        for self.times in (1.0, 30.0, 1000.0):
            try:
                self._asked(self.thing, self._archive(0))
                break
            except BootlightError:  # it says that there are too few
                if self.times == 1000:
                    raise
        self.generations = 1

    def goes_on(self) -> str:
        """Later generations have one too."""
        self._need()
        for number in range(1, GENERATIONS):
            try:
                self._asked(self.thing, self._archive(number))
            except BootlightError as error:
                if number == 1:
                    raise
                return f"up to generation {number - 1}; then it says: {error}"
            self.generations = number + 1
        return f"up to generation {self.generations - 1}"

    def allowed(self) -> None:
        """Only images that there are: no index out of range, no held-out image, none that a curator has left out."""
        for number in self._need():
            archive = self._archive(number)
            for source in self._asked(self.thing, archive):
                where, indices = f"generation {number}, role {source.role}", np.asarray(source.indices)
                whole = indices.ndim == 1 and indices.dtype.kind in "iu"
                demand(whole, f"{where}: indices must be whole numbers (n,), not {indices.dtype} {indices.shape}")
                size = len(source.store.images)
                inside = not len(indices) or (indices.min() >= 0 and indices.max() < size)
                demand(bool(inside), f"{where}: an index is out of range, there are {size} images")
                offered = _offered(source, archive)
                strange = np.setdiff1d(indices, indices if offered is None else offered.indices)
                demand(
                    len(strange) == 0,
                    f"{where}: {len(strange)} images were held out, or left out by a curator: choose among the indices of the "
                    "archive's source (source.take), not among all images of its store",
                )

    def sure(self) -> None:
        """The same images each time, also of a fresh one."""
        for number in self._need():
            archive = self._archive(number)
            once = repeated(lambda a=archive: self._asked(self.thing, a), _alike, "sources", CURE)  # type: ignore[misc]
            again = self._asked(self._fresh(), archive)
            demand(
                _alike(once, again), f"a fresh one chooses others in generation {number}: a run that was interrupted would too"
            )

    def planned(self) -> None:
        """Before a run, when only numbers of images are known, it asks for as many as later."""
        for number in self._need():
            later = [(source.role, len(source)) for source in self._asked(self.thing, self._archive(number))]
            found = [(source.role, len(source)) for source in self._asked(self.thing, self._archive(number, counted=True))]
            demand(found == later, f"of generation {number} it plans {found}, and has {later} later")

    def smaller(self) -> None:
        """`scaled` makes it fit a trial with few images."""
        small = self.thing.scaled(0.25)
        demand(isinstance(small, MixingPolicy), f"scaled(0.25) answers {type(small).__name__}, no MixingPolicy")
        for number in self._need():
            try:
                self._asked(small, self._archive(number, share=0.25))
            except BootlightError as error:
                demand(False, f"in a trial with a quarter of all images it says: {error}; override scaled(share)")

    def _archive(self, before: int, counted: bool = False, share: float = 1.0) -> StandInArchive:
        return StandInArchive.of(before, counted, share * self.times)

    def _need(self) -> range:
        if not self.generations:
            raise NotHere("there is no training set")
        return range(self.generations)

    def _asked(self, policy: Any, archive: StandInArchive) -> list[Source]:
        found = policy.sources(archive.before, archive)
        well = isinstance(found, list) and all(isinstance(source, Source) for source in found)
        demand(well, f"sources answers {type(found).__name__}; it must be a list of Sources")
        demand(sum(map(len, found)) > 0, f"generation {archive.before} has no training images")
        return checked(found, StoreOrigin(archive.real.store))


def _store(name: str, count: int) -> Store:
    images = numpy_rng("check", name).integers(0, 256, (count, 2, 2, 1), dtype=np.uint8)
    return store_from_arrays(images, np.arange(count) % 2, ("a", "b"))


def _some(store: Store, role: Any, count: int, name: str) -> Source:
    total = len(store.images)
    return Source(role, store, np.sort(numpy_rng("check", name, total).permutation(total)[:count]))


def _offered(source: Source, archive: StandInArchive) -> Source | None:
    """What a policy may have taken a source from, where that is known by its store."""
    if source.store.key == archive.real.store.key:
        return archive.available
    if source.generation is not None and 0 <= source.generation < archive.before:
        offered = archive.drawn(source.generation)
        return offered if offered.store.key == source.store.key else None
    return None


def _alike(one: list[Source], other: list[Source]) -> bool:
    return len(one) == len(other) and all(
        (a.role, a.generation, a.store.key) == (b.role, b.generation, b.store.key)
        and np.array_equal(a.indices, b.indices)
        and np.array_equal(a.weights if a.weights is not None else [], b.weights if b.weights is not None else [])
        for a, b in zip(one, other, strict=True)
    )
