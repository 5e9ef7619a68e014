"""The real images of a run: what is trained on, and what splits of their own hold out; of one root or several as one set."""

import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from bootlight.data.contents import Root
from bootlight.data.layout import Layout
from bootlight.data.reader import open_images
from bootlight.data.reader_splits import held_out_split
from bootlight.data.reading import Reading
from bootlight.data.resolve import resolve, split_suffix
from bootlight.data.store import Store, build_union
from bootlight.data.store_skipped import tell_skipped
from bootlight.distributed.processes import rank
from bootlight.errors import BootlightError

Edges = int | tuple[int, int]  # can be a key of a cache, as a list cannot


class Loaded(NamedTuple):
    """Decoded images of all roots together.

    Attributes:
        train: to train on.
        held_out: of splits for it; None where there are none.
        layouts: of the roots, `where` as the user calls them.
    """

    train: Store
    held_out: Store | None
    layouts: tuple[Layout, ...]


def list_roots(texts: tuple[str, ...], reading: Reading) -> list[tuple[Root, Layout]]:
    """What each root is, without decoding anything; see `load_roots`."""
    parts = [_root(text) for text in texts]
    _check_apart(parts)
    found = []
    for part in parts:
        with open_images(part.root, part.split, reading) as images:
            held_out = held_out_split(images.splits) if part.split is None else None
            found.append((part, replace(images.layout, where=part.text, held_out=held_out or "")))
    # Again by what they are: `train` and `training` name one split.
    _check_apart([part._replace(split=layout.split or None) if part.split else part for part, layout in found])
    return found


@cache
def load_roots(texts: tuple[str, ...], image_size: Edges, channels: int, cache_folder: Path, reading: Reading) -> Loaded:
    """Training images and held-out ones (None where no root has a split for them), of all roots together.

    Of a root with splits, `train` or `training` is trained on and the first of `reader_splits.HELD_OUT` is held out; of one
    that is named with a split, that split is trained on and nothing held out; of any other, everything is trained on.
    Once for each process: every generation uses the same real images.

    Args:
        texts: a folder, a zip, `images@SPLIT`, a run (the newest generation that has images) or `RUN@GENERATION` each.
        image_size: of the images in pixels: edge of squares, or height and width.
        channels: 1 or more.
        cache_folder: of decoded images.
        reading: choices of the user.

    Raises:
        BootlightError: no images, a root that is in another one, or more bad pictures than are allowed.
    """
    listed = list_roots(texts, reading)
    layouts = tuple(layout for _, layout in listed)
    train = [part for part, _ in listed]
    held_out = [part._replace(split=layout.held_out) for part, layout in listed if layout.held_out]
    classes = sorted({name for layout in layouts for name in layout.class_names})
    store = _build(train, image_size, channels, cache_folder, reading, classes)
    if not held_out:
        return Loaded(store, None, layouts)
    if without := [text for text, *_ in train if text not in {part.text for part in held_out}]:
        _tell(f"data.root: all of {', '.join(without)} is trained on; held out is only what has a split for it")
    left = Reading(reading.follow_links, reading.label_column, reading.max_bad - len(store.skipped))
    return Loaded(store, _build(held_out, image_size, channels, cache_folder, left, classes), layouts)


def _root(text: str) -> Root:
    try:
        root, split = resolve(text)
    except BootlightError as error:
        raise BootlightError(f"data.root: {error}") from error
    if root != split_suffix(text)[0]:
        _tell(f"data.root: {text} is a run; the images that it has drawn, {root}, take the place of real ones")
    return Root(text, root, split)


def _build(
    parts: list[Root],
    image_size: int | tuple[int, int],
    channels: int,
    cache_folder: Path,
    reading: Reading,
    class_names: list[str],
) -> Store:
    store = build_union(
        parts, image_size=image_size, channels=channels, cache=cache_folder, reading=reading, class_names=class_names
    )
    where = ", ".join(part.text for part in parts)
    if rank() == 0:
        tell_skipped(where, store.skipped, len(store.images), cache_folder, store.key)
    return store


def _check_apart(parts: list[Root]) -> None:
    """No picture is there twice because its folder is. A zip in a folder is not read as a part of it."""
    places = [part.root.resolve() for part in parts]
    for i, part in enumerate(parts):
        for j, other in enumerate(parts):
            is_same = i < j and places[i] == places[j] and (part.split == other.split or None in (part.split, other.split))
            is_inside = places[i] != places[j] and places[i].is_dir() and places[i].is_relative_to(places[j])
            if is_same or (is_inside and other.split is None):
                raise BootlightError(f"data.root: {part.text} is in {other.text} already; leave one of them out")


def _tell(text: str) -> None:
    if rank() == 0:
        warnings.warn(text, stacklevel=2)
