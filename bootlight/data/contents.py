"""What a set of images is made of: the pictures that can be used, their checksums, the key that follows from both."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, NamedTuple

from bootlight.data.reader import ImageSet, open_images, sorted_classes
from bootlight.data.reader_files import Files
from bootlight.data.reading import Reading
from bootlight.data.store_kind import check_alike, marked
from bootlight.data.store_passes import bad_pictures, over_images
from bootlight.errors import BootlightError

FORMAT = 2  # goes up when the same files would give other pixels, or lie otherwise on disk


@dataclass(frozen=True)
class Contents:
    """Images that can be read, so far as is known.

    Args:
        images: the set.
        digests: SHA-256 of each encoded file.
        skipped: why a picture is left out, by its name.
    """

    images: ImageSet
    digests: Sequence[bytes]
    skipped: dict[str, str] = field(default_factory=dict)

    def key(self, shape: Sequence[int]) -> str:
        """Hash of names, labels and files, for images of a shape (H, W, C), and of their type where that is not uint8."""
        images = self.images
        return content_key(marked(shape, images), images.class_names, images.known_as, images.labels, self.digests)

    def without(self, bad: dict[int, str]) -> "Contents":
        """The same without bad pictures, of which it is known by position what is wrong with them."""
        kept = [i for i in range(len(self.images)) if i not in bad]
        skipped = self.skipped | {self.images.names[i]: reason for i, reason in sorted(bad.items())}
        return Contents(self.images.chosen(kept), [self.digests[i] for i in kept], skipped)


def read_contents(images: ImageSet, description: str, note: Callable[[bytes], None], max_bad: int) -> Contents:
    """Read all files once.

    Args:
        images: the set.
        description: of the progress bar.
        note: called once with each encoded picture, in no order and from several threads.
        max_bad: so many files may be unreadable; they are left out.

    Raises:
        BadPictures: more files cannot be read.
    """

    def checksum(i: int) -> bytes:
        data = images.read(i)
        note(data)
        return hashlib.sha256(data).digest()

    bad: dict[int, str] = {}
    passed = over_images(images, checksum, f"{description}: checksums", bad if max_bad else None)
    found = iter([digest for part in passed for digest in part])  # all of them before `bad` is looked at
    contents = Contents(images, [b"" if i in bad else next(found) for i in range(len(images))])
    check_room(contents, bad, max_bad)
    return contents.without(bad) if bad else contents


def check_room(contents: Contents, bad: dict[int, str], max_bad: int) -> None:
    """Refuse to leave out more pictures than a user allows, or all.

    Raises:
        BadPictures: says which.
    """
    if bad and (len(contents.skipped) + len(bad) > max_bad or len(bad) == len(contents.images)):
        others = f" and {len(contents.skipped)} others are left out" if contents.skipped else ""
        raise bad_pictures(contents.images, bad, f"{max_bad}{others}")


def usable(images: ImageSet, look: Callable[[int], object], description: str, max_bad: int) -> Contents:
    """The pictures that can be decoded; all of them where none may be left out.

    Args:
        images: the set.
        look: decodes one.
        description: of the progress bar.
        max_bad: so many may be left out.

    Raises:
        BadPictures: more cannot be decoded.
    """
    bad: dict[int, str] = {}
    if max_bad:  # a pass more, because what is measured is known by its content before it is decoded
        for _ in over_images(images, look, description, bad):
            pass
    contents = Contents(images, [b""] * len(images))
    check_room(contents, bad, max_bad)
    return contents.without(bad)


class Union:
    """Several sets as one, in an order of their own: which is named first makes no difference.

    Args:
        sets: how messages call each, and what it is made of.
        max_bad: so many pictures may be left out.
        class_names: classes besides those that the sets have.

    Raises:
        BootlightError: more are left out.
    """

    def __init__(self, sets: Sequence[tuple[str, Contents]], max_bad: int, class_names: Iterable[str] = ()) -> None:
        self._sets, self._max_bad, self._class_names = list(sets), max_bad, tuple(class_names)
        self.contents = self._united()
        skipped = self.contents.skipped
        if len(skipped) > max_bad:
            name, reason = next(iter(skipped.items()))
            raise BootlightError(
                f"{len(skipped)} pictures cannot be used, over max_bad, {max_bad}: {name} ({reason}) and others"
            )

    def _united(self) -> Contents:
        class_names = {name for _, contents in self._sets for name in contents.images.class_names}.union(self._class_names)
        if len(self._sets) == 1:
            only = self._sets[0][1]
            return replace(only, images=replace(only.images, class_names=sorted_classes(class_names)))
        ranked = sorted(self._sets, key=lambda named: named[1].key(()))
        images = [contents.images for _, contents in ranked]
        check_alike(ranked)
        names = [f"{text}/{name}" for text, contents in ranked for name in contents.images.names]
        union = ImageSet(
            names,
            [label for each in images for label in each.labels],
            sorted_classes(class_names),
            (),
            _JoinedFiles([(text, contents.images.files) for text, contents in ranked], names),
            tuple(map(len, images)),
            numbers=images[0].numbers,
        )
        skipped = {f"{text}/{name}": reason for text, contents in ranked for name, reason in contents.skipped.items()}
        return Contents(union, [digest for _, contents in ranked for digest in contents.digests], skipped)

    def leave_out(self, bad: dict[int, str]) -> None:
        """Go on without bad pictures, of which it is known by position what is wrong with them.

        Raises:
            BadPictures: they are too many.
        """
        check_room(self.contents, bad, self._max_bad)
        reasons = {self.contents.images.names[i]: reason for i, reason in bad.items()}
        several = len(self._sets) > 1
        for number, (text, contents) in enumerate(self._sets):
            names = [f"{text}/{name}" if several else name for name in contents.images.names]
            inner = {i: reasons[name] for i, name in enumerate(names) if name in reasons}
            check_room(contents, inner, self._max_bad)
            self._sets[number] = (text, contents.without(inner))
        self.contents = self._united()


class Root(NamedTuple):
    """One of the folders or zips that make a union.

    Args:
        text: how messages call it.
        root: folder or zip.
        split: of the root; see `build_store`.
    """

    text: str
    root: Path
    split: str | None


def read_union(
    held: ExitStack,
    parts: Sequence[Root],
    description: str,
    note: Callable[[bytes], None],
    reading: Reading,
    class_names: Iterable[str],
) -> Union:
    """Open sets, read all files once, and take them as one.

    Args:
        held: closes the sets.
        parts: the sets.
        description: of the progress bar.
        note: see `read_contents`.
        reading: choices of the user.
        class_names: see `Union`.

    Raises:
        BootlightError: no images, or too many that cannot be read.
    """
    sets = []
    for text, root, split in parts:
        images = held.enter_context(open_images(root, split, reading))
        sets.append((text, read_contents(images, description, note, reading.max_bad)))
    return Union(sets, reading.max_bad, class_names)


class _JoinedFiles:
    """Files of several containers, each under the name that its user has given it."""

    def __init__(self, containers: list[tuple[str, Files]], names: list[str]) -> None:
        self.where = ", ".join(text for text, _ in containers)
        self.names = names
        self._containers = sorted(containers, key=lambda named: len(named[0]), reverse=True)  # a/b.zip/ goes before a/

    def _find(self, name: str) -> tuple[Files, str]:
        return next((files, name[len(text) + 1 :]) for text, files in self._containers if name.startswith(text + "/"))

    def size(self, name: str) -> int:
        """Bytes of a file."""
        files, inner = self._find(name)
        return files.size(inner)

    def read(self, name: str) -> bytes:
        """Content of a file.

        Raises:
            BootlightError: it cannot be read.
        """
        files, inner = self._find(name)
        try:
            return files.read(inner)
        except BootlightError as error:
            raise BootlightError(f"{name.removesuffix(inner)}{error}") from error

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """One file, to be read bit by bit."""
        files, inner = self._find(name)
        return files.open(inner)

    def close(self) -> None:
        """Close all."""
        for _, files in self._containers:
            files.close()


def content_key(
    shape: Sequence[int | str],
    class_names: Sequence[str],
    names: Sequence[str],
    labels: Sequence[str | None],
    digests: Iterable[bytes],
) -> str:
    """SHA-256 over one line of JSON for the set and one for each image; JSON keeps neighbouring fields apart."""
    content = hashlib.sha256(json.dumps([FORMAT, list(shape), list(class_names)]).encode())
    for name, label, digest in zip(names, labels, digests, strict=True):
        content.update(f"\n{json.dumps([name, label, digest.hex()])}".encode())
    return content.hexdigest()
