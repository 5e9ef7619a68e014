"""The files inside a folder or a zip, by relative name. Nothing is unpacked to disk and nothing outside the root is read."""

import os
import threading
import zipfile
import zlib
from pathlib import Path
from typing import Protocol

from bootlight.errors import BootlightError
from bootlight.images import SUFFIXES

MANIFESTS = ("metadata.jsonl", "dataset.json")
MAX_ENTRIES = 10_000_000
MAX_FILE_BYTES = 256 * 2**20  # larger than any picture of images.MAX_PIXELS pixels
_ENCRYPTED = 0x1  # general purpose flag, bit 0 (APPNOTE 4.4.4)


class Files(Protocol):
    """Pictures and manifests below a root, hidden files left out."""

    @property
    def where(self) -> str:
        """The root as it is called in messages."""

    @property
    def names(self) -> list[str]:
        """Relative names with forward slashes, in no order."""

    def read(self, name: str) -> bytes:
        """The content of one file; may be called from several threads."""

    def close(self) -> None:
        """Give back what is held open."""


def open_files(root: Path) -> Files:
    """Open a folder or a zip.

    Raises:
        BootlightError: `root` is missing, is neither, or holds what must not be read (see the two classes).
    """
    if root.is_dir():
        return FolderFiles(root)
    if not root.exists():
        raise BootlightError(f"{root} does not exist; give a folder or a zip of images")
    if not zipfile.is_zipfile(root):
        raise BootlightError(f"{root} is neither a folder nor a readable zip; give a folder or a zip of images")
    return ZipFiles(root)


def is_image(name: str) -> bool:
    """Whether the name ends like a picture, in any case of letters."""
    return name.lower().endswith(SUFFIXES)


def _is_wanted(name: str) -> bool:
    return is_image(name) or name.rpartition("/")[2] in MANIFESTS


def _is_hidden(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"


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
        self._root = root.resolve()
        self.names: list[str] = []
        self._list("")

    def _list(self, prefix: str) -> None:
        try:
            with os.scandir(self._root / prefix) as entries:
                visible = [entry for entry in entries if not _is_hidden(entry.name)]
        except OSError as error:
            raise BootlightError(f"{self.where}/{prefix} cannot be listed ({error.strerror}); allow it") from error
        for entry in visible:
            name = prefix + entry.name
            is_folder = entry.is_dir()
            if entry.is_symlink() and (is_folder or _is_wanted(name)):
                self._check_link(name, is_folder)
            if is_folder:
                self._list(name + "/")
            elif _is_wanted(name) and entry.is_file():
                self.names.append(name)
        if len(self.names) > MAX_ENTRIES:
            raise BootlightError(f"{self.where} has more than {MAX_ENTRIES} images; split it")

    def _check_link(self, name: str, is_folder: bool) -> None:
        if is_folder:
            raise BootlightError(f"{self.where}/{name} is a link to a folder; put the folder itself there")
        if not (self._root / name).resolve().is_relative_to(self._root):
            raise BootlightError(f"{self.where}/{name} is a link that leaves {self.where}; put a copy of the file there")

    def read(self, name: str) -> bytes:
        """The content of one file.

        Raises:
            BootlightError: it cannot be read or is larger than `MAX_FILE_BYTES`.
        """
        try:
            with open(self._root / name, "rb", buffering=0) as file:
                if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
                    raise BootlightError(f"{name}: larger than {MAX_FILE_BYTES} bytes; shrink or remove it")
                return file.readall()
        except OSError as error:
            raise BootlightError(f"{name}: cannot be read ({error.strerror}); repair or remove it") from error

    def close(self) -> None:
        """Nothing is held open."""


class ZipFiles:
    """Files in a zip, stored or deflated.

    Args:
        root: the zip.

    Raises:
        BootlightError: the zip is damaged, or a picture or manifest in it has an absolute name or one with `..`, is
            encrypted, claims more than `MAX_FILE_BYTES`, or is packed in another way; or there are more than `MAX_ENTRIES`.
    """

    def __init__(self, root: Path) -> None:
        self.where = str(root)
        self._lock = threading.Lock()
        try:
            self._zip = zipfile.ZipFile(root)
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
            raise BootlightError(f"{root} is a damaged zip ({error}); copy or download it again") from error
        try:
            self._entries = self._check(self._zip.infolist())
        except BootlightError:
            self._zip.close()
            raise
        self.names = list(self._entries)

    def _check(self, infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
        if len(infos) > MAX_ENTRIES:
            raise BootlightError(f"{self.where} has more than {MAX_ENTRIES} entries; split it")
        entries = {}
        for info in infos:
            parts = [part for part in info.filename.split("/") if part not in ("", ".")]
            name = "/".join(parts)
            if info.is_dir() or not _is_wanted(name):
                continue
            if info.filename.startswith("/") or ".." in parts:
                raise BootlightError(f"{self.where}: entry {info.filename!r} leads out of the zip; make the zip again")
            if any(map(_is_hidden, parts)):
                continue
            self._check_entry(name, info)
            entries[name] = info
        return entries

    def _check_entry(self, name: str, info: zipfile.ZipInfo) -> None:
        if info.flag_bits & _ENCRYPTED:
            raise BootlightError(f"{self.where}: {name} is encrypted; make the zip again without a password")
        if info.file_size > MAX_FILE_BYTES:
            raise BootlightError(f"{self.where}: {name} claims {info.file_size} bytes, over {MAX_FILE_BYTES}; remove it")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BootlightError(f"{self.where}: {name} is neither stored nor deflated; make the zip again with deflate")

    def read(self, name: str) -> bytes:
        """The content of one entry; the zip's checksum is verified.

        Raises:
            BootlightError: the entry is damaged.
        """
        info = self._entries[name]
        try:
            with self._lock, self._zip.open(info) as file:
                # Never read() without a limit: an entry that claims to be small could inflate to gigabytes.
                data = file.read(info.file_size)
        except (OSError, EOFError, ValueError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
            raise BootlightError(f"{name}: damaged in the zip ({error}); make the zip again or remove it") from error
        if len(data) != info.file_size:
            raise BootlightError(f"{name}: cut short in the zip; make the zip again or remove it")
        return data

    def close(self) -> None:
        """Close the zip."""
        self._zip.close()
