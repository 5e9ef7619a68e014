"""The files inside a folder or a zip, by relative name. Nothing is unpacked to disk and nothing outside the root is read."""

import io
import os
import threading
import unicodedata
import zipfile
import zlib
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from bootlight.errors import BootlightError
from bootlight.images import SUFFIXES

MANIFESTS = ("metadata.jsonl", "dataset.json")
MAX_ENTRIES = 10_000_000
MAX_ZIP_ENTRIES = 2_000_000  # each costs half a kilobyte of memory before the first can be looked at
MAX_FILE_BYTES = 256 * 2**20  # larger than any picture of images.MAX_PIXELS pixels; also of a zip's directory
MAX_NAME = 4096  # characters, with the folders; as in file systems
LOCAL_HEADER_BYTES = 30  # without its name (APPNOTE 4.3.7)
_ENCRYPTED = 0x1  # general purpose flag, bit 0 (APPNOTE 4.4.4)
_ENTRY = b"PK\x01\x02"  # begins each entry of a zip's directory (APPNOTE 4.3.12)


class Files(Protocol):
    """Pictures and manifests below a root, hidden files left out."""

    @property
    def where(self) -> str:
        """The root as it is called in messages."""

    @property
    def names(self) -> list[str]:
        """Relative names with forward slashes, composed as Unicode's form NFC has them, in no order."""

    def size(self, name: str) -> int:
        """Bytes that `read` will hold, 0 where it will fail."""

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


def composed(text: str) -> str:
    """Unicode's form NFC: file systems and archives write one accented letter as one character or as two."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


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
        self.names = _compose(found, self._spelled, self.where)

    def _list(self, prefix: str, found: list[str]) -> list[str]:
        """Note the files in a folder; its folders."""
        folders = []
        with os.scandir(os.path.join(self._root, prefix)) as entries:
            visible = [entry for entry in entries if not _is_hidden(entry.name)]
        for entry in visible:
            name = prefix + entry.name
            is_folder = entry.is_dir()
            if entry.is_symlink() and (is_folder or _is_wanted(name)):
                self._check_link(name, is_folder)
            if is_folder:
                folders.append(name + "/")
            elif _is_wanted(name) and entry.is_file():
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


def _compose(found: list[str], spelled: dict[str, str], where: str) -> list[str]:
    """Names in NFC; how those are spelled that differ from it is noted.

    Raises:
        BootlightError: two files have one name then.
    """
    names = []
    for name in found:
        names.append(composed(name))
        if names[-1] != name:
            spelled[names[-1]] = name
    if spelled and len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise BootlightError(f"{where} has two files {twice}, whose names differ in how their accents are stored; rename one")
    return names


class _BoundedReader(io.BufferedReader):
    """A zip of which `zipfile`, which makes objects of a whole directory at once, gets to read none that is too large."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_FILE_BYTES:
            raise zipfile.BadZipFile(f"its directory claims {size} bytes, over {MAX_FILE_BYTES}")
        data = super().read(size)
        if data.count(_ENTRY) > MAX_ZIP_ENTRIES:
            raise BootlightError(f"{self.name} has more than {MAX_ZIP_ENTRIES} entries; split it, or give a folder")
        return data


class ZipFiles:
    """Files in a zip, stored or deflated.

    Args:
        root: the zip.

    Raises:
        BootlightError: the zip is damaged, or a picture or manifest in it has an absolute name or one with `..`, is
            encrypted, claims more than `MAX_FILE_BYTES`, is packed in another way, or shares its bytes with another (which
            would let a small zip hold any amount); or there are more than `MAX_ZIP_ENTRIES`.
    """

    def __init__(self, root: Path) -> None:
        self.where = str(root)
        self._lock = threading.Lock()
        self._held = ExitStack()
        try:
            file = self._held.enter_context(_BoundedReader(io.FileIO(root)))
            self._zip = self._held.enter_context(zipfile.ZipFile(file))
            self._entries = self._check(self._zip.infolist())
        except BootlightError:
            self.close()
            raise
        except (OSError, ValueError, OverflowError, NotImplementedError, zipfile.BadZipFile) as error:
            self.close()
            raise BootlightError(f"{root} is a damaged zip ({error}); copy or download it again") from error
        self.names = list(self._entries)

    def _check(self, infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
        entries = {}
        for info in infos:
            if len(info.filename) > MAX_NAME:
                raise BootlightError(f"{self.where}: entry {info.filename!r} has too long a name; make the zip again")
            parts = [part for part in info.filename.split("/") if part not in ("", ".")]
            name = "/".join(parts)
            if info.filename.endswith("/") or not _is_wanted(name):
                continue
            if info.filename.startswith("/") or ".." in parts:
                raise BootlightError(f"{self.where}: entry {info.filename!r} leads out of the zip; make the zip again")
            if any(map(_is_hidden, parts)):
                continue
            self._check_entry(name, info)
            entries[name] = info
        self._check_overlaps(entries)
        return dict(zip(_compose(list(entries), {}, self.where), entries.values(), strict=True))

    def _check_entry(self, name: str, info: zipfile.ZipInfo) -> None:
        if info.flag_bits & _ENCRYPTED:
            raise BootlightError(f"{self.where}: {name} is encrypted; make the zip again without a password")
        if info.file_size > MAX_FILE_BYTES:
            raise BootlightError(f"{self.where}: {name} claims {info.file_size} bytes, over {MAX_FILE_BYTES}; remove it")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BootlightError(f"{self.where}: {name} is neither stored nor deflated; make the zip again with deflate")

    def _check_overlaps(self, entries: dict[str, zipfile.ZipInfo]) -> None:
        """Every byte of a zip belongs to one entry: so it inflates to no more than 1,032 times its size, deflate's most."""
        end = 0
        for name, info in sorted(entries.items(), key=lambda item: item[1].header_offset):
            if info.header_offset < end:
                raise BootlightError(f"{self.where}: {name} shares its bytes with another entry; make the zip again")
            end = info.header_offset + LOCAL_HEADER_BYTES + info.compress_size

    def size(self, name: str) -> int:
        """Bytes that `read` will hold."""
        return self._entries[name].file_size

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
        self._held.close()
