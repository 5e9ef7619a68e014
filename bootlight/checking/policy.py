"""Mixing policies: which images a generation trains on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bootlight.checking.trials import NotHere, Trials, demand, repeated
from bootlight.data.archive import Archive
from bootlight.data.mixing import MixingPolicy, Source
from bootlight.data.opened import checked
from bootlight.data.origin import StoreOrigin
from bootlight.data.store import Store, store_from_arrays
from bootlight.errors import BootlightError
from bootlight.rng import numpy_rng
from bootlight.runs.folder import SAMPLES

STORED, AVAILABLE, DRAWN = 200, 180, 80  # images: decoded, for training (a third in use); kept of each generation
GENERATIONS = 4
CURE = "choose by rng.numpy_rng(archive.seed, ...)"


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

    def drawn(self, generation: int, folder: str = SAMPLES, *, curated: bool = True) -> Source:
        """See `Archive`."""
        latest = self.before - (folder == SAMPLES)  # into another folder it may have drawn before the training itself
        demand(
            0 <= generation <= latest,
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
            again = self._asked(self._fresh(1), archive)
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
