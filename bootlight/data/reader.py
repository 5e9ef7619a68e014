"""Open the user's images, whatever their layout, and list them with labels and splits; nothing is decoded here."""

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

from bootlight.data.reader_files import Files, open_files
from bootlight.data.reader_manifest import Labels, read_manifest
from bootlight.data.reader_names import MANIFESTS, is_image
from bootlight.data.reading import SAFE, Reading
from bootlight.errors import BootlightError

MAX_DIGITS = 18  # of a class that is a number
SPLITS = ("train", "test", "val", "valid", "validation")


@dataclass(frozen=True)
class ImageSet:
    """Encoded images in a fixed order; a context manager, because a zip is held open.

    Args:
        names: relative to the root, sorted, with forward slashes, in Unicode's form NFC.
        labels: class name of each image, None where it has none.
        class_names: all classes of all splits, sorted (by value where all are numbers); empty where nothing is labelled.
        splits: the splits of the root, in lower case; empty where there are none.
        files: the container.
        parts: where several sets are one: how many images of each, one set after the other.
    """

    names: list[str]
    labels: list[str | None]
    class_names: tuple[str, ...]
    splits: tuple[str, ...]
    files: Files
    parts: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def where(self) -> str:
        """The root, as it is called in messages."""
        return self.files.where

    @property
    def known_as(self) -> list[str]:
        """The names without the folders that hold all of the images: the same ones wherever the set lies.

        Where several sets are one, the names of each begin with its number.
        """
        if not self.parts:
            return _without_shared(self.names)
        ends = list(accumulate(self.parts))
        sets = [self.names[end - count : end] for end, count in zip(ends, self.parts, strict=True)]
        return [f"{number}/{name}" for number, names in enumerate(sets) for name in _without_shared(names)]

    def chosen(self, indices: Sequence[int]) -> Self:
        """Some of the images, at ascending positions."""
        ends = [0, *accumulate(self.parts)]
        parts = [sum(start <= i < end for i in indices) for start, end in pairwise(ends)]
        names, labels = [self.names[i] for i in indices], [self.labels[i] for i in indices]
        return replace(self, names=names, labels=labels, parts=tuple(parts))

    def size(self, i: int) -> int:
        """Bytes of the encoded file of image i."""
        return self.files.size(self.names[i])

    def read(self, i: int) -> bytes:
        """The encoded file of image i; may be called from several threads.

        Raises:
            BootlightError: it cannot be read.
        """
        return self.files.read(self.names[i])

    def close(self) -> None:
        """Close the zip, if it is one."""
        self.files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


def open_images(root: Path, split: str | None = None, reading: Reading = SAFE) -> ImageSet:
    """List the images of a folder or a zip.

    PNG, JPEG and WebP files at any depth count; hidden files and other files do not. Layouts, the first that fits:

    1. A folder around everything else is looked through, whatever its name (but see 3).
    2. `metadata.jsonl`, `metadata.csv` or `dataset.json`: labels as in `reader_manifest.read_manifest`; folders say nothing.
    3. Every image below `train`, `test`, `val`, `valid` or `validation`, two of them or just `train`: splits. Inside
       of each the other rules hold.
    4. Every image in a folder, and two or more folders: the first folder is the class.
    5. Anything else: no labels.

    Args:
        root: folder or zip.
        split: which split; None is `train`, or everything where there are no splits.
        reading: whether links are followed, and which column has the labels.

    Raises:
        BootlightError: no images, no such split, or one of the faults that `reader_files` and `reader_manifest` name.
    """
    files = open_files(root, reading.follow_links)
    try:
        return _list_images(files, split, reading.label_column)
    except BootlightError:
        files.close()
        raise


def _list_images(files: Files, split: str | None, column: str | None) -> ImageSet:
    images = [name for name in files.names if is_image(name)]
    if not images:
        raise BootlightError(f"{files.where} has no PNG, JPEG or WebP image in it; give a folder or a zip of images")
    base = _wrapper(files, images)
    listed = read_manifest(files, base, images, column)
    names = images if listed is None else list(listed)
    folders = _split_folders(names, base)
    if listed is None:
        listed = {}
        for part in folders.values() or [base]:
            listed |= _labels_below(files, part, [name for name in names if name.startswith(part)], column)
    chosen = sorted(listed)
    if folders:
        part = _choose(folders, split, files.where)
        chosen = [name for name in chosen if name.startswith(part)]
    elif split is not None:
        raise BootlightError(f"{files.where} has no split {split!r} nor any other; leave the split out")
    if not chosen:
        raise BootlightError(f"{files.where} lists no image; add lines to its metadata.jsonl or metadata.csv, or remove it")
    class_names = sorted_classes({label for label in listed.values() if label is not None})
    return ImageSet(chosen, [listed[name] for name in chosen], class_names, tuple(sorted(folders)), files)


def _without_shared(names: list[str]) -> list[str]:
    """Sorted names without the folders that they share."""
    shared = posixpath.commonpath([name.rpartition("/")[0] for name in (names[0], names[-1])]) if names else ""
    return [name[len(shared) + (shared != "") :] for name in names]


def _first_folder(name: str, base: str) -> str:
    """First folder of a name below `base`; empty for an image that lies at `base` itself."""
    return name[len(base) :].rpartition("/")[0].partition("/")[0]


def _wrapper(files: Files, images: list[str]) -> str:
    """The folder around everything, as in a zip of a folder: empty, or ending in "/"."""
    shared = posixpath.commonpath([name.rpartition("/")[0] for name in (min(images), max(images))])  # these differ most
    manifests = {name for name in files.names if not is_image(name)}
    base = ""
    for folder in filter(None, shared.split("/")):
        if folder.lower() == "train" or not manifests.isdisjoint(base + manifest for manifest in MANIFESTS):
            break
        base += folder + "/"
    return base


def _split_folders(names: list[str], base: str) -> dict[str, str]:
    """Folder of each split, by the split's name in lower case; empty where the folders are not splits."""
    found = sorted({_first_folder(name, base) for name in names})
    folders = {folder.lower(): f"{base}{folder}/" for folder in found}
    are_splits = set(folders) <= set(SPLITS) and len(folders) == len(found)
    return folders if are_splits and (len(folders) > 1 or "train" in folders) else {}


def _labels_below(files: Files, base: str, images: list[str], column: str | None) -> Labels:
    """Labels by manifest, else by class folders, else none."""
    listed = read_manifest(files, base, images, column)
    if listed is not None:
        return listed
    if column is not None:
        raise BootlightError(
            f"data.label_column is {column!r}, but {files.where}/{base} has no metadata.jsonl or metadata.csv; leave it out"
        )
    classes = {_first_folder(name, base) for name in images}
    are_classes = len(classes) > 1 and "" not in classes
    return {name: _first_folder(name, base) if are_classes else None for name in images}


def _choose(folders: dict[str, str], split: str | None, where: str) -> str:
    wanted = "train" if split is None else split.lower()
    if wanted not in folders:
        raise BootlightError(f"{where} has no split {wanted!r}; it has {', '.join(sorted(folders))}: name one of them")
    return folders[wanted]


def sorted_classes(classes: set[str]) -> tuple[str, ...]:
    """In the order of their positions: by value where all are numbers."""
    if all(name.isdecimal() and len(name) <= MAX_DIGITS for name in classes):  # int() refuses thousands of digits
        return tuple(sorted(classes, key=lambda name: (int(name), name)))
    return tuple(sorted(classes))
