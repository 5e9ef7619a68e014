"""Open the user's images, whatever their layout, and list them with labels and splits; nothing is decoded here."""

import posixpath
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from bootlight.data.layout import Layout
from bootlight.data.opening import open_files
from bootlight.data.reader_arrays import ArrayFiles, Numbers, described, is_named_image, with_rows
from bootlight.data.reader_files import Files, ZipFiles
from bootlight.data.reader_folder import FolderFiles
from bootlight.data.reader_manifest import Labels, read_manifest
from bootlight.data.reader_names import MANIFESTS
from bootlight.data.reader_one import OneFile
from bootlight.data.reader_splits import TRAINING, choose_split, first_folder, split_folders
from bootlight.data.reading import SAFE, Reading
from bootlight.errors import BootlightError

MAX_DIGITS = 18  # of a class that is a number
Listed = FolderFiles | ZipFiles | OneFile | ArrayFiles


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
        layout: what was understood of the root.
        numbers: shape and type of the images where they are numbers in `.npy` files; None where they are pictures.
    """

    names: list[str]
    labels: list[str | None]
    class_names: tuple[str, ...]
    splits: tuple[str, ...]
    files: Files
    parts: tuple[int, ...] = ()
    layout: Layout = field(default_factory=lambda: Layout(""))
    numbers: Numbers | None = None

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

    PNG, JPEG and WebP files at any depth count, or, where there is none of them, `.npy` files of numbers: (C, H, W) is one
    image, (N, C, H, W) are several, each known as `<file>#<row>`. Other files, hidden ones, folders that programs have made,
    and runs do not.
    Layouts, the first that fits:

    1. A folder around everything else is looked through, whatever its name (but see 3).
    2. `metadata.jsonl`, `metadata.csv` or `dataset.json`: labels as in `reader_manifest.read_manifest`; folders say nothing.
    3. Every image below one of `reader_splits.SPLITS`, two of them or just `train`: splits. Inside of each the other rules
       hold. Where other pictures or folders lie beside splits, nobody can tell what was meant, and all is refused.
    4. Every image in a folder, and two or more folders: the first folder is the class.
    5. Anything else: no labels.

    Args:
        root: folder or zip.
        split: which split; None is the one to train on, or everything where there are no splits.
        reading: whether links are followed, and which column has the labels.

    Raises:
        BootlightError: no images, no such split, or one of the faults that `reader_files`, `reader_splits` and
            `reader_manifest` name.
    """
    opened = open_files(root, reading.follow_links)
    try:
        files = with_rows(opened)
        return _list_images(files, split, reading.label_column)
    except BootlightError:
        opened.close()
        raise


class _Split(NamedTuple):
    """A split, or everything.

    Attributes:
        around: the folder around it.
        base: the innermost folder around all of it.
        images: names.
        listed: labels from a manifest, None where there is none.
        folders: the first folders of the images below `base`, of which "" is `base` itself; of no interest with a manifest.
    """

    around: str
    base: str
    images: list[str]
    listed: Labels | None
    folders: frozenset[str]

    @property
    def classes(self) -> frozenset[str]:
        """The folders, if each image has one and there are several."""
        return self.folders if len(self.folders) > 1 and "" not in self.folders else frozenset()

    @property
    def stray(self) -> tuple[str, ...]:
        """Images beside two or more folders, which therefore are no classes."""
        if len(self.folders) < 3 or "" not in self.folders:
            return ()
        return tuple(name for name in self.images if not first_folder(name, self.base))


def _list_images(files: Listed, split: str | None, column: str | None) -> ImageSet:
    images = sorted(filter(is_named_image, files.names))
    if not images:
        raise BootlightError(_nothing(files))
    manifests = frozenset(files.names).difference(images)
    base = _wrapper(manifests, images, "", stop=TRAINING)
    listed = read_manifest(files, base, images, column)
    names = images if listed is None else sorted(listed)
    folders = split_folders(names, base, files.where, listed=listed is not None)
    chosen = choose_split(folders, split, files.where) if folders else ""
    if not folders and split is not None:
        raise BootlightError(f"{files.where} has no split {split!r} nor any other; leave the split out")
    places = folders or {"": base}
    if listed is None:
        parts = {name: _part(files, manifests, around, names, column) for name, around in places.items()}
    else:
        below = {name: [image for image in names if image.startswith(around)] for name, around in places.items()}
        parts = {name: _Split(base, base, below[name], listed, frozenset()) for name in places}
    read, numbers = parts[chosen], getattr(files, "numbers", None)
    if not read.images:
        raise BootlightError(f"{files.where} lists no image; add lines to its metadata.jsonl or metadata.csv, or remove it")
    known = {name for part in parts.values() for name in part.classes}
    labels = {name: label for part in parts.values() for name, label in _labels(files.where, part, known, column).items()}
    class_names = sorted_classes({label for label in labels.values() if label is not None})
    layout = Layout(
        files.where,
        {name: len(part.images) for name, part in parts.items() if name},
        chosen,
        num_images=len(read.images),
        class_names=class_names,
        stray=read.stray,
        beside=tuple(sorted(read.folders - {""})) if read.stray else (),
        bare=files.left_out.bare(images),
        left_out=tuple(files.left_out.told()),
        numbers="" if numbers is None else described(numbers),
    )
    found = [labels[name] for name in read.images]
    return ImageSet(read.images, found, class_names, tuple(sorted(folders)), files, layout=layout, numbers=numbers)


def _without_shared(names: list[str]) -> list[str]:
    """Sorted names without the folders that they share."""
    shared = posixpath.commonpath([name.rpartition("/")[0] for name in (names[0], names[-1])]) if names else ""
    return [name[len(shared) + (shared != "") :] for name in names]


def _nothing(files: Listed) -> str:
    """What to say of a set without images."""
    left_out = ", ".join(files.left_out.told())
    found = f" (left out: {left_out}); convert them, or" if left_out else ";"
    return f"{files.where} has no PNG, JPEG or WebP image and no .npy file in it{found} give a folder or a zip of images"


def _wrapper(manifests: frozenset[str], images: list[str], around: str, stop: Collection[str] = ()) -> str:
    """The innermost folder around all images that begin with `around`: empty, or ending in "/".

    It is looked for no further than a manifest, or than a folder that is called as in `stop`.
    """
    if not images:
        return around
    shared = posixpath.commonpath([name[len(around) :].rpartition("/")[0] for name in (min(images), max(images))])
    for folder in filter(None, shared.split("/")):
        if folder.lower() in stop or not manifests.isdisjoint(around + manifest for manifest in MANIFESTS):
            break
        around += folder + "/"
    return around


def _part(files: Files, manifests: frozenset[str], around: str, names: list[str], column: str | None) -> _Split:
    images = [name for name in names if name.startswith(around)]
    base = _wrapper(manifests, images, around)
    listed = read_manifest(files, base, images, column)
    if listed is not None:
        return _Split(around, base, sorted(listed), listed, frozenset())
    return _Split(around, base, images, None, frozenset(first_folder(name, base) for name in images))


def _labels(where: str, part: _Split, known: set[str], column: str | None) -> Labels:
    """Labels by manifest, else by class folders, else none; the only folder of a split may be a class of another split."""
    if part.listed is not None:
        return {name: part.listed[name] for name in part.images}
    if column is not None:
        raise BootlightError(
            f"data.label_column is {column!r}, but {where}/{part.base} has no metadata.jsonl or metadata.csv; leave it out"
        )
    if part.classes:
        return {name: first_folder(name, part.base) for name in part.images}
    only = next((folder for folder in part.base[len(part.around) :].split("/") if folder in known), None)
    return dict.fromkeys(part.images, only)


def sorted_classes(classes: set[str]) -> tuple[str, ...]:
    """In the order of their positions: by value where all are numbers."""
    if all(name.isdecimal() and len(name) <= MAX_DIGITS for name in classes):  # int() refuses thousands of digits
        return tuple(sorted(classes, key=lambda name: (int(name), name)))
    return tuple(sorted(classes))
