"""Images decoded once into one file that is mapped into memory, cached under a key made of their content."""

import hashlib
import mmap
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bootlight.data.contents import Root, Union, content_key, read_union
from bootlight.data.reading import SAFE, Reading
from bootlight.data.store_folder import check_sums, mapped, publish_folder
from bootlight.data.store_kind import check_kind
from bootlight.data.store_passes import BadPictures
from bootlight.data.store_skipped import keep_bad, known_bad
from bootlight.data.store_turn import turn
from bootlight.data.store_write import write_store
from bootlight.errors import BootlightError
from bootlight.io.atomic import read_json
from bootlight.io.cache_entries import note_use, remove_leftovers
from bootlight.io.cache_folder import can_keep, tell_not_kept, temporary_cache
from bootlight.io.cache_limit import cache_limit, keep_below
from bootlight.io.shape import Shape, shape_of

Images = NDArray[np.uint8] | NDArray[np.float32]
MAX_NAMES_BYTES = 2**30  # of the names of all images


@dataclass(frozen=True)
class Store:
    """Decoded images in a fixed order.

    Pickling a mapped store (to a worker process) sends the path of its file, not the pixels.

    Args:
        images: (N, H, W, C), read-only: uint8, or float32 whose numbers are what a network sees; mapped into memory if they
            come from `build_store`.
        labels: int64 (N,), position in `class_names`, -1 = none.
        class_names: sorted; empty where nothing is labelled.
        names: of the images, without the folders that hold all of them.
        key: hexadecimal SHA-256 of the content, the same on every machine.
        skipped: why pictures that are not among the images were left out, by their names; not kept with the store.
    """

    images: Images
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    names: tuple[str, ...]
    key: str
    skipped: dict[str, str] = field(default_factory=dict, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        images: Any = self.images
        if isinstance(images, np.memmap) and isinstance(images.base, mmap.mmap):  # the whole file, not a slice of it
            return _from_file, (Path(str(images.filename)), self.labels, self.class_names, self.names, self.key)
        return Store, (images, self.labels, self.class_names, self.names, self.key)


def build_store(
    root: Path,
    *,
    image_size: int | Sequence[int],
    channels: int,
    cache: Path,
    split: str | None = None,
    description: str = "reading images",
    note: Callable[[bytes], None] = lambda data: None,
    reading: Reading = SAFE,
) -> Store:
    """Decode all images of a folder or zip or `.npy` file, or find them decoded in the cache.

    The key is made of the labels and bytes of the images, and of their names without the folders that hold all of them: a
    changed picture gives another key; the same content in another place, in a zip instead of a folder, or a folder deeper,
    the same. So every call reads all files, but decodes them once.

    Args:
        root: folder or zip, see `reader.open_images`.
        image_size: of the images in pixels: edge of squares, or height and width.
        channels: 1 or 3 of pictures, any number of numbers.
        cache: folder of decoded images, one sub-folder for each key. Any number of processes may share it.
        split: which split; None is `train`, or everything where there are no splits.
        description: of the progress bar.
        reading: choices of the user.
        note: called once with each encoded picture, in no order and from several threads.

    Raises:
        BootlightError: no images, pictures that cannot be decoded, or no room for them, neither in the cache nor in the
            system's folder for temporary files.
    """
    how: dict[str, Any] = {"image_size": image_size, "channels": channels, "cache": cache, "reading": reading}
    return build_union([Root(str(root), root, split)], description=description, note=note, **how)


def build_union(
    parts: Sequence[Root],
    *,
    image_size: int | Sequence[int],
    channels: int,
    cache: Path,
    description: str = "reading images",
    note: Callable[[bytes], None] = lambda data: None,
    reading: Reading = SAFE,
    class_names: Iterable[str] = (),
) -> Store:
    """`build_store` for several sets as one, in whatever order they are named.

    Args:
        parts: the sets.
        image_size: of the images in pixels: edge of squares, or height and width.
        channels: 1 or 3 of pictures, any number of numbers.
        cache: folder of decoded images.
        description: of the progress bar.
        note: called once with each encoded picture, in no order and from several threads.
        reading: choices of the user.
        class_names: of several sets, classes besides those that they have.

    Raises:
        BootlightError: as `build_store`.
    """
    shape = shape_of(image_size, channels)
    cache_limit(cache)  # a wrong one is told before anything is read
    with ExitStack() as held:
        union = read_union(held, parts, description, note, reading, class_names)
        check_kind(union.contents.images, shape)
        while (store := _find_or_decode(union, shape, cache, reading.max_bad, description)) is None:
            pass  # bad pictures were left out; what is left has another key
    return replace(store, skipped=union.contents.skipped)


def _find_or_decode(union: Union, shape: Shape, cache: Path, max_bad: int, description: str) -> Store | None:
    """The store of a union; None where pictures turned out to be bad and were left out of it."""
    contents = union.contents
    channels, height, width = shape
    key = contents.key((height, width, channels))
    if (store := _open(cache / key)) is not None:
        return store
    bad = known_bad(cache, key, len(contents.images)) if max_bad else {}
    if not bad:
        try:
            return _decoded(cache, key, partial(write_store, contents.images, shape, description))
        except BadPictures as error:
            if not max_bad:
                raise
            bad = error.bad
            keep_bad(cache, key, bad)
    union.leave_out(bad)
    return None


def _decoded(cache: Path, key: str, write: Callable[[Path], None]) -> Store:
    """The store that `write` fills a folder with: in the cache, or in a temporary one where that cannot be written."""
    if can_keep(cache):
        try:
            remove_leftovers(cache)
            with turn(cache / key):
                store = _open(cache / key, tell=False) or _published(cache / key, write)
            keep_below(cache_limit(cache), cache)
            return store
        except (BootlightError, OSError) as error:
            if not isinstance(error.__cause__ or error, OSError):  # pictures that cannot be decoded
                raise
            tell_not_kept(cache, "decoded images", error)
    folder = temporary_cache() / key
    return _open(folder) or _published(folder, write)


def _published(folder: Path, write: Callable[[Path], None]) -> Store:
    publish_folder(folder, write, lambda at: _open(at, tell=False) is not None)  # told when it was looked for
    if (store := _open(folder)) is None:
        raise BootlightError(f"{folder} cannot be read back; check the disk or choose another data.cache")
    return store


def store_from_arrays(
    images: Images,
    labels: NDArray[np.int64] | None = None,
    class_names: Sequence[str] = (),
    names: Sequence[str] | None = None,
) -> Store:
    """A store in memory.

    Args:
        images: (N, H, W, C), uint8 or float32.
        labels: (N,), positions in `class_names`, -1 = none; None = no labels.
        class_names: names of the classes.
        names: of the images; their numbers if left out.

    Returns:
        A store whose key is made as in `build_store`, with raw pixels in the place of encoded files.

    Raises:
        ValueError: the arguments do not fit each other.
    """
    labels = np.full(len(images), -1, np.int64) if labels is None else labels.astype(np.int64)
    names = tuple(map(str, range(len(images)))) if names is None else tuple(names)
    if images.ndim != 4 or images.dtype not in (np.uint8, np.float32):
        raise ValueError(f"images must be uint8 or float32 (N, H, W, C), not {images.dtype} {images.shape}")
    if images.dtype == np.float32 and not np.isfinite(images).all():
        raise ValueError("images have numbers that are NaN or infinite")
    if labels.shape != (len(images),) or len(names) != len(images):
        raise ValueError(f"{len(images)} images need as many labels and names, not {len(labels)} and {len(names)}")
    if len(labels) and not -1 <= labels.min() <= labels.max() < len(class_names):
        raise ValueError(f"labels must be in -1 to {len(class_names) - 1}, the positions of the class names")
    stored: Any = np.ascontiguousarray(images).view()
    stored.setflags(write=False)
    texts = [None if label < 0 else class_names[label] for label in labels.tolist()]
    kind = () if images.dtype == np.uint8 else (images.dtype.name,)
    rows = map(np.ascontiguousarray, stored.transpose(0, 3, 1, 2) if kind else stored)  # numbers lie so in .npy files
    digests = (hashlib.sha256(row.data).digest() for row in rows)
    key = content_key((*images.shape[1:], *kind), class_names, names, texts, digests)
    return Store(stored, labels, tuple(class_names), names, key)


def _open(folder: Path, tell: bool = True) -> Store | None:
    """The store in a folder; None if it is absent or damaged."""
    if not os.path.exists(folder):  # Path.exists would raise where it cannot be looked for
        return None
    try:
        about = read_json(folder / "store.json", MAX_NAMES_BYTES)
        check_sums(folder, about)
        labels = np.array(np.load(folder / "labels.npy", mmap_mode="r", allow_pickle=False))  # no larger than the file
        store = _from_file(folder / "images.npy", labels, tuple(about["class_names"]), tuple(about["names"]), folder.name)
        if list(store.images.shape) != about["shape"] or len(labels) != len(store.names):
            raise ValueError("its parts do not fit each other")
    except (BootlightError, OSError, ValueError, EOFError, LookupError, TypeError, AttributeError) as error:
        if tell:
            warnings.warn(f"{folder} is damaged ({error}); its images are decoded again", stacklevel=2)
        return None
    note_use(folder)
    return store


def _from_file(path: Path, labels: NDArray[np.int64], class_names: tuple[str, ...], names: tuple[str, ...], key: str) -> Store:
    return Store(mapped(path), labels, class_names, names, key)
