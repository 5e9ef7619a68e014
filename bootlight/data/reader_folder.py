"""The files below a folder, by relative name. Nothing outside of it is read."""

import os
from pathlib import Path

from bootlight.data.reader_names import MAX_FILE_BYTES, compose, is_hidden, is_wanted
from bootlight.errors import BootlightError

MAX_ENTRIES = 10_000_000


class FolderFiles:
    """Files below a folder, however deep.

    Args:
        root: the folder; may itself be a link.

    Raises:
        BootlightError: a folder cannot be listed, a link leads out of `root` or to a folder (which could be a circle), or
            there are more than `MAX_ENTRIES` files.
    """

    def __init__(self, root: Path) -> None:
        self.where = str(root)
        self._root = str(root.resolve())  # text: joining paths would cost as much as opening the files
        self._spelled: dict[str, str] = {}  # as the file system has it, where that is not NFC
        found: list[str] = []
        folders = [""]
        while folders:  # a loop: folders can lie deeper in each other than functions can call
            prefix = folders.pop()
            try:
                folders += self._list(prefix, found)
            except OSError as error:
                raise BootlightError(f"{self.where}/{prefix} cannot be listed ({error.strerror}); correct it") from error
        self.names = compose(found, self._spelled, self.where)

    def _list(self, prefix: str, found: list[str]) -> list[str]:
        """Note the files in a folder; its folders."""
        folders = []
        with os.scandir(os.path.join(self._root, prefix)) as entries:
            visible = [entry for entry in entries if not is_hidden(entry.name)]
        for entry in visible:
            name = prefix + entry.name
            is_folder = entry.is_dir()
            if entry.is_symlink() and (is_folder or is_wanted(name)):
                self._check_link(name, is_folder)
            if is_folder:
                folders.append(name + "/")
            elif is_wanted(name) and entry.is_file():
                found.append(name)
        if len(found) > MAX_ENTRIES:
            raise BootlightError(f"{self.where} has more than {MAX_ENTRIES} images; split it")
        return folders

    def _check_link(self, name: str, is_folder: bool) -> None:
        if is_folder:
            raise BootlightError(f"{self.where}/{name} is a link to a folder; put the folder itself there")
        if not Path(self._root, name).resolve().is_relative_to(self._root):
            raise BootlightError(f"{self.where}/{name} is a link that leaves {self.where}; put a copy of the file there")

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

    def _path(self, name: str) -> str:
        return os.path.join(self._root, self._spelled.get(name, name))

    def close(self) -> None:
        """Nothing is held open."""
