"""The files below a folder, by relative name. Nothing outside of it is read, unless links are to be followed."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bootlight.data.left_out import LeftOut
from bootlight.data.reader_names import MAX_FILE_BYTES, compose, is_hidden, is_image, is_wanted, plain
from bootlight.errors import BootlightError
from bootlight.io.arrays import is_array, sized_file
from bootlight.io.lines import MAX_IMAGES
from bootlight.runs.marks import is_run

FOLLOW = "set data.follow_links to true (--follow-links) if you trust where it leads"


class FolderFiles:
    """Files below a folder, however deep.

    Args:
        root: the folder; may itself be a link.
        follow_links: read what links lead to, files and folders, wherever they lie.

    Raises:
        BootlightError: a folder cannot be listed; a link leads nowhere; a link leads out of `root` or to a folder, and links
            are not followed; a link leads to a folder that is there already (which could be a circle); or there are more than
            `MAX_IMAGES` files.
    """

    def __init__(self, root: Path, follow_links: bool = False) -> None:
        self.where = str(root)
        self._follow_links = follow_links
        self._folders: dict[tuple[int, int], str] = {}  # those listed, by device and inode; only where links are followed
        self._root = str(root.resolve())  # text: joining paths would cost as much as opening the files
        self.left_out = LeftOut()
        self._arrays: list[tuple[os.DirEntry[str], str]] = []  # of interest where there are no pictures
        self._spelled: dict[str, str] = {}  # as the file system has it, where that is not NFC
        found: list[str] = []
        folders = [""]
        while folders:  # a loop: folders can lie deeper in each other than functions can call
            prefix = folders.pop()
            try:
                folders += self._list(prefix, found)
            except OSError as error:
                raise BootlightError(f"{self.where}/{prefix} cannot be listed ({error.strerror}); correct it") from error
        self._take_arrays(found)
        self.names = compose(found, self._spelled, self.where)

    def _list(self, prefix: str, found: list[str]) -> list[str]:
        """Note the files in a folder; its folders."""
        folders = []
        path = os.path.join(self._root, prefix)
        if self._follow_links:
            self._check_new(prefix, os.stat(path))
        with os.scandir(path) as listed:
            entries = list(listed)
        if is_run({entry.name for entry in entries}):
            self.left_out.note_run(plain(prefix))
            return []
        for entry in entries:
            name, shown = prefix + entry.name, plain(entry.name)
            if any(map(is_hidden, shown.split("/"))):
                self._leave_out(entry, name, hidden=True)
            elif is_array(shown) and not entry.is_dir():
                self._arrays.append((entry, name))
            elif self._link_to_folder(name) if entry.is_symlink() else entry.is_dir():
                folders.append(name + "/")
            elif not is_wanted(shown):
                self._leave_out(entry, name)
            elif entry.is_file():
                found.append(name)
        if len(found) > MAX_IMAGES:
            raise BootlightError(f"{self.where} has more than {MAX_IMAGES} images; split it")
        return folders

    def _take_arrays(self, found: list[str]) -> None:
        """Files of numbers count where there are no pictures."""
        if any(map(is_image, found)):
            for entry, name in self._arrays:
                self._leave_out(entry, name)
        else:
            for entry, name in self._arrays:
                if entry.is_symlink():
                    self._link_to_folder(name)  # whether it may be followed
            found += [name for entry, name in self._arrays if entry.is_file()]

    def _leave_out(self, entry: os.DirEntry[str], name: str, hidden: bool = False) -> None:
        """Count what is not read; pipes and the like are nothing."""
        if hidden and entry.is_dir(follow_symlinks=False):
            self.left_out.note_folder(plain(name))
        elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
            self.left_out.note_file(plain(name), hidden)

    def _check_new(self, prefix: str, found: os.stat_result) -> None:
        """Every folder is there once: so circles end, and no picture counts twice."""
        first = self._folders.setdefault((found.st_dev, found.st_ino), prefix)
        if first != prefix:
            raise BootlightError(
                f"{self.where}/{prefix} is the folder {self.where}/{first} once more, by a link; remove one of the two"
            )

    def _link_to_folder(self, name: str) -> bool:
        """Whether a link leads to a folder; refused where it must not be followed, or stands for something that is gone."""
        path = os.path.join(self._root, name)
        is_inside = Path(os.path.realpath(path)).is_relative_to(self._root)
        wanted = is_wanted(name) or is_array(name)
        if wanted and not is_inside and not self._follow_links:
            raise BootlightError(
                f"{self.where}/{name} is a link that leaves {self.where}; put a copy of the file there, or {FOLLOW}"
            )
        try:
            is_folder = stat.S_ISDIR(os.stat(path).st_mode)
        except OSError as error:
            if wanted or (self._follow_links and "." not in name.rpartition("/")[2]):  # a picture; a folder, maybe
                raise BootlightError(
                    f"{self.where}/{name} is a link that leads nowhere ({error.strerror}); restore what was there or remove it"
                ) from error
            return False
        if is_folder and not self._follow_links:
            raise BootlightError(f"{self.where}/{name} is a link to a folder; put the folder itself there, or {FOLLOW}")
        return is_folder

    def size(self, name: str) -> int:
        """Bytes that `read` will hold, 0 where it will fail."""
        try:
            size = os.stat(self._path(name)).st_size
        except OSError:
            return 0
        return size if size <= MAX_FILE_BYTES else 0

    def read(self, name: str) -> bytes:
        """The content of one file.

        Raises:
            BootlightError: it cannot be read or is larger than `MAX_FILE_BYTES`.
        """
        try:
            with open(self._path(name), "rb", buffering=0) as file:
                if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
                    raise BootlightError(f"{name}: larger than {MAX_FILE_BYTES} bytes; shrink or remove it")
                return file.readall()
        except OSError as error:
            raise BootlightError(f"{name}: cannot be read ({error.strerror}); repair or remove it") from error

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """One file, to be read bit by bit.

        Raises:
            BootlightError: it cannot be read.
        """
        try:
            with open(self._path(name), "rb") as file:
                yield file
        except OSError as error:
            raise BootlightError(f"{name}: cannot be read ({error.strerror}); repair or remove it") from error

    def opened(self, name: str) -> tuple[IO[bytes], int]:
        """One file, to be closed by the caller, and its size in bytes.

        Raises:
            BootlightError: it cannot be read.
        """
        return sized_file(self._path(name), name)

    def _path(self, name: str) -> str:
        return os.path.join(self._root, self._spelled.get(name, name))

    def close(self) -> None:
        """Nothing is held open."""
