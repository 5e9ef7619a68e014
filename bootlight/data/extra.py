"""Images that join the training set of every generation: drawn by a teacher, or copies of real ones as a null control."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bootlight.data.mixing import MixingPolicy, Source
from bootlight.data.reading import SAFE
from bootlight.data.resolve import resolve
from bootlight.data.store import Store
from bootlight.errors import BootlightError, check_named, check_range
from bootlight.io.atomic import read_json
from bootlight.rng import numpy_rng
from bootlight.runs.curation import noise_of, read_curation, weights_of
from bootlight.runs.drawn import check_drawn, read_drawn
from bootlight.runs.folder import SAMPLES, GenerationFolder
from bootlight.runs.manifest import how_to_redraw
from bootlight.runs.trainings import parts_of

_built_before: dict[tuple[Path, str], tuple[bytes, Store]] = {}
Build = Callable[..., Store]  # `build_store` with image size, channels and cache already given


@dataclass(frozen=True)
class Extra:
    """Which images, and how many; see `BootstrapData` for the settings.

    Raises:
        BootlightError: settings that contradict each other.
    """

    teacher: str | None = None
    num_teacher: int | None = None
    teacher_fraction: float | None = None
    duplicate_fraction: float = 0.0
    num_duplicates: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.teacher is not None:
            check_named("data.teacher", self.teacher)
        check_range("data.duplicate_fraction", self.duplicate_fraction, 0)
        if self.num_duplicates is not None:
            check_range("data.num_duplicates", self.num_duplicates, 0)
            if self.duplicate_fraction:
                raise BootlightError("set either data.num_duplicates or data.duplicate_fraction")
        if self.num_teacher is not None:
            check_range("data.num_teacher", self.num_teacher, 1)
        if self.teacher_fraction is not None:
            check_range("data.teacher_fraction", self.teacher_fraction, 0)
        if self.num_teacher is not None and self.teacher_fraction is not None:
            raise BootlightError("set either data.num_teacher or data.teacher_fraction")
        if self.teacher is None and (self.num_teacher, self.teacher_fraction) != (None, None):
            raise BootlightError("data.teacher is missing: a run such as runs/x@0, a folder or a zip of images")

    def wanted(self, num_available: int) -> int | None:
        """Images of the teacher, where `num_available` real ones are there to train on; None = all that it has."""
        return self.num_teacher if self.teacher_fraction is None else round(self.teacher_fraction * num_available)

    def size(self, num_available: int, num_drawn: int | None = None) -> int:
        """Images that will join.

        Args:
            num_available: real images that are there to train on.
            num_drawn: images that the teacher has or will have; None where nobody knows.

        Raises:
            BootlightError: the teacher will not have so many.
        """
        if self.teacher is None:
            return self.num_copies(num_available)
        taught = self.wanted(num_available)
        if taught is not None and num_drawn is not None:
            self.check_enough(taught, num_drawn)
        return self.num_copies(num_available) + (num_drawn or 0 if taught is None else taught)

    def check_enough(self, wanted: int, found: int) -> None:
        """Refuse to take more images than a teacher has."""
        if wanted > found:
            key = "num_teacher" if self.teacher_fraction is None else f"teacher_fraction is {self.teacher_fraction:g}: it"
            raise BootlightError(f"data.{key} asks for {wanted} images, but {self.teacher} has {found}; draw more there")

    def num_copies(self, num_available: int) -> int:
        """Real images that join a second time."""
        return round(self.duplicate_fraction * num_available) if self.num_duplicates is None else self.num_duplicates

    def copies(self, mixed: list[Source], num_available: int, seed: int) -> list[Source]:
        """Real images of a mixture for a second time, in the place of synthetic ones: nothing in them is new.

        Raises:
            BootlightError: not so many take part in it.
        """
        count = self.num_copies(num_available)
        real = next((source for source in mixed if source.role == "real"), None)
        found = 0 if real is None else len(real)
        if count > found:
            raise BootlightError(f"data.{self._copies_key}: {count} copies, but only {found} real images are in use; lower it")
        if real is None or count == 0:
            return []
        chosen = np.sort(numpy_rng(seed, "duplicates").permutation(found)[:count])
        return [replace(real.take(chosen), role="copy")]

    def check_copies(self, num_available: int, mixing: MixingPolicy) -> None:
        """Refuse copies beside a mixture that may lack in later generations what generation 0 has.

        Raises:
            BootlightError: says so.
        """
        if self.num_copies(num_available) > 0 and not mixing.has_fixed_real:
            raise BootlightError(
                f"data.{self._copies_key}: later generations of data.mixing may have fewer real images to copy; leave the "
                "copies out, or take a mixture that keeps the real images"
            )

    @property
    def _copies_key(self) -> str:
        return "num_duplicates" if self.num_duplicates is not None else f"duplicate_fraction is {self.duplicate_fraction:g}"

    def taught(self, real: Source, num_available: int, seed: int, build: Build) -> list[Source]:
        """Images of the teacher, a random subset where not all are wanted; a smaller one is a subset of a larger one.

        Args:
            real: the real images in use.
            num_available: real images that are there to train on.
            seed: of the subset.
            build: decodes, see `Build`.

        Raises:
            BootlightError: there are none, or not so many.
        """
        if self.teacher is None:
            return []
        store, kept = open_teacher(self.teacher, real.store.class_names, build)
        count = self.wanted(num_available)
        found = len(kept)
        if count is not None:
            self.check_enough(count, found)
        chosen = np.sort(kept[numpy_rng(seed, "teacher").permutation(found)[:count]])
        return [Source("teacher", store, chosen)] * (len(chosen) > 0)


def open_teacher(text: str, class_names: tuple[str, ...], build: Build) -> tuple[Store, NDArray[np.int64]]:
    """All images of a teacher, with labels as positions in `class_names`; and the positions of those that may be used.

    Labels are known by the names of their classes. A generation that was drawn before runs noted these has positions already.

    Raises:
        BootlightError: no such images, or a generation's are of a class that is not in `class_names`.
    """
    try:
        root, split = resolve(text)
        folder = GenerationFolder(root.parent, into=root.name)
        if class_names and split is None and (root.name == SAMPLES or folder.drawn.exists()) and folder.is_synthesized:
            store, kept = open_drawn(folder, noted_classes(folder) or class_names, build)
            lacking = [name for i, name in enumerate(store.class_names) if i in store.labels and name not in class_names]
            if lacking:
                raise BootlightError(
                    f"{text} has images of class {lacking[0]!r}, which the real images lack; take a teacher of the same classes"
                )
        else:
            store = build(root, split=split)
            kept = np.arange(len(store.images))
    except BootlightError as error:
        raise BootlightError(f"data.teacher: {error}") from error
    known = {name: position for position, name in enumerate(class_names)}
    positions = np.array([known.get(name, -1) for name in store.class_names] + [-1], np.int64)  # the last: no label
    return replace(store, labels=positions[store.labels], class_names=class_names), kept


def noted_classes(folder: GenerationFolder) -> tuple[str, ...]:
    """What the labels of a generation's images stand for, by position; empty where that was not noted."""
    for part in parts_of(folder):
        published = read_json(part.model_config) if part.is_trained else {}
        names = published.get("class_names") if isinstance(published, dict) else None
        if isinstance(names, list):
            return tuple(map(str, names))
    return ()


def open_drawn(folder: GenerationFolder, class_names: tuple[str, ...], build: Build) -> tuple[Store, NDArray[np.int64]]:
    """The images that a generation has drawn, and the positions of those that a curator has kept; see `open_curated`."""
    source = open_curated(folder, class_names, build)
    return source.store, source.indices


def open_curated(folder: GenerationFolder, class_names: tuple[str, ...], build: Build) -> Source:
    """The images that a generation has drawn and a curator has kept, with the labels, weights and noise that he left them.

    Raises:
        BootlightError: the folder is incomplete, damaged or changed, or has labels beyond the classes.
    """
    rows = read_drawn(folder)
    mark = check_drawn(folder, rows)
    try:
        store = _built(folder, mark, build)
    except BootlightError as error:
        raise BootlightError(f"{error}; {how_to_redraw(folder)}") from error
    curated = read_curation(folder)
    said = rows if curated is None else list(curated.values())
    labels = {row.file_name: -1 if row.label is None else row.label for row in said}
    names = sorted(labels)  # the store holds what is listed, in this order
    numbers = [labels[name] for name in names]
    if len(numbers) != len(store.names):
        raise BootlightError(f"{folder.metadata} lists {len(numbers)} images in {len(store.names)}; {how_to_redraw(folder)}")
    if not all(-1 <= number < len(class_names) for number in numbers):
        raise BootlightError(f"{folder.metadata} has labels beyond the {len(class_names)} classes; {how_to_redraw(folder)}")
    store = Store(store.images, np.array(numbers, np.int64), class_names, store.names, store.key)
    if curated is None:
        return Source("synthetic", store, np.arange(len(names)))
    kept = np.array([i for i, name in enumerate(names) if curated[name].keep], np.int64)
    of = [curated[names[i]] for i in kept.tolist()]
    return Source("synthetic", store, kept, weights=weights_of(of), noise=noise_of(of))


def _built(folder: GenerationFolder, mark: bytes, build: Build) -> Store:
    """The decoded images; once in a process, as long as no file changes: each generation asks for all before it."""
    settings = getattr(build, "keywords", None)
    key = (folder.samples.resolve(), repr(settings))
    known = _built_before.get(key)
    if known is None or known[0] != mark or not os.path.exists(getattr(known[1].images, "filename", "")):
        store = build(folder.samples, reading=SAFE)
        if settings is None:
            return store
        known = _built_before[key] = (mark, store)
    return known[1]
