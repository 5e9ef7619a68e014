"""Images that a generation has drawn, of this run or of another one, as a store; and sets from elsewhere beside them."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from bootlight.data.mixing import Source
from bootlight.data.reading import SAFE
from bootlight.data.resolve import resolve
from bootlight.data.store import Store
from bootlight.errors import BootlightError
from bootlight.io.atomic import read_json
from bootlight.runs.curation import noise_of, read_curation, weights_of
from bootlight.runs.drawn import check_drawn, read_drawn
from bootlight.runs.folder import SAMPLES, GenerationFolder
from bootlight.runs.manifest import how_to_redraw
from bootlight.runs.trainings import parts_of

_built_before: dict[tuple[Path, str], tuple[bytes, Store]] = {}
Build = Callable[..., Store]  # `build_store` with image size, channels and cache already given


def open_teacher(text: str, class_names: tuple[str, ...], build: Build) -> Source:
    """The images of a teacher that a curator has kept, all where nobody has looked, with labels as positions in `class_names`.

    Labels are known by the names of their classes. A generation that was drawn before runs noted these has positions already.

    Raises:
        BootlightError: no such images, or a generation's are of a class that is not in `class_names`.
    """
    try:
        root, split = resolve(text)
        folder = GenerationFolder(root.parent, into=root.name)
        if class_names and split is None and (root.name == SAMPLES or folder.drawn.exists()) and folder.is_synthesized:
            found = replace(open_curated(folder, noted_classes(folder) or class_names, build), role="teacher")
            there = set(found.store.labels.tolist())
            lacking = [name for i, name in enumerate(found.store.class_names) if i in there and name not in class_names]
            if lacking:
                raise BootlightError(
                    f"{text} has images of class {lacking[0]!r}, which the real images lack; take a teacher of the same classes"
                )
        else:
            store = build(root, split=split)
            found = Source("teacher", store, np.arange(len(store.images)))
    except BootlightError as error:
        raise BootlightError(f"data.mixing.root: {error}") from error
    return replace(found, store=relabeled(found.store, class_names))


def relabeled(store: Store, class_names: tuple[str, ...]) -> Store:
    """A store whose labels are positions in other class names; -1 for classes that are not among these."""
    known = {name: position for position, name in enumerate(class_names)}
    positions = np.array([known.get(name, -1) for name in store.class_names] + [-1], np.int64)  # the last: no label
    return replace(store, labels=positions[store.labels], class_names=class_names)


def noted_classes(folder: GenerationFolder) -> tuple[str, ...]:
    """What the labels of a generation's images stand for, by position; empty where that was not noted."""
    for part in parts_of(folder):
        published = read_json(part.model_config) if part.is_trained else {}
        names = published.get("class_names") if isinstance(published, dict) else None
        if isinstance(names, list):
            return tuple(map(str, names))
    return ()


def open_curated(folder: GenerationFolder, class_names: tuple[str, ...], build: Build, curated: bool = True) -> Source:
    """The images that a generation has drawn and a curator has kept, with the labels, weights and noise that he left them.

    Args:
        folder: of the images.
        class_names: what labels stand for.
        build: see `Build`.
        curated: False = all of them, as they were drawn.

    Raises:
        BootlightError: the folder is incomplete, damaged or changed, or has labels beyond the classes.
    """
    rows = read_drawn(folder)
    mark = check_drawn(folder, rows)
    try:
        store = _built(folder, mark, build)
    except BootlightError as error:
        raise BootlightError(f"{error}; {how_to_redraw(folder)}") from error
    found = read_curation(folder) if curated else None
    said = rows if found is None else list(found.values())
    labels = {row.file_name: -1 if row.label is None else row.label for row in said}
    names = sorted(labels)  # the store holds what is listed, in this order
    numbers = [labels[name] for name in names]
    if len(numbers) != len(store.names):
        raise BootlightError(f"{folder.metadata} lists {len(numbers)} images in {len(store.names)}; {how_to_redraw(folder)}")
    if not all(-1 <= number < len(class_names) for number in numbers):
        raise BootlightError(f"{folder.metadata} has labels beyond the {len(class_names)} classes; {how_to_redraw(folder)}")
    store = Store(store.images, np.array(numbers, np.int64), class_names, store.names, store.key)
    if found is None:
        return Source("synthetic", store, np.arange(len(names)))
    kept = np.array([i for i, name in enumerate(names) if found[name].keep], np.int64)
    of = [found[names[i]] for i in kept.tolist()]
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
