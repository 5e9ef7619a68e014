"""The files inside a folder or a zip, by relative name. Nothing is unpacked to disk and nothing outside the root is read."""

import io
import re
import stat
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import accumulate
from pathlib import Path
from typing import IO, Protocol

from bootlight.data.left_out import LeftOut
from bootlight.data.reader_names import MAX_FILE_BYTES, compose, is_hidden, is_image, is_long, is_wanted, plain
from bootlight.errors import BootlightError
from bootlight.io.arrays import is_array
from bootlight.runs.marks import run_folders

MAX_ZIP_ENTRIES = 2_000_000  # each costs half a kilobyte of memory before the first can be looked at
MAX_NAME = 4096  # characters, with the folders; as in file systems
LOCAL_HEADER_BYTES = 30  # without its name (APPNOTE 4.3.7)
_DRIVE = re.compile("[A-Za-z]:")
_ENCRYPTED = 0x1  # general purpose flag, bit 0 (APPNOTE 4.4.4)
_FAULTS = (OSError, EOFError, ValueError, NotImplementedError, zipfile.BadZipFile, zlib.error)
_ENTRY = b"PK\x01\x02"  # begins each entry of a zip's directory (APPNOTE 4.3.12)


class Files(Protocol):
    """Pictures and manifests below a root; hidden files, what programs have made, and folders of runs are left out."""

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

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """One file, to be read bit by bit, however large it is."""

    def close(self) -> None:
        """Give back what is held open."""


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
        BootlightError: the zip is damaged, or a picture or manifest in it has an absolute name or one with `..`, is a link or
            encrypted, claims more than `MAX_FILE_BYTES` (but see `is_long`), is packed in another way, or shares its bytes with
            another (which would let a small zip hold any amount); or there are more than `MAX_ZIP_ENTRIES`.
    """

    def __init__(self, root: Path) -> None:
        self.where = str(root)
        self.left_out = LeftOut()
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
        entries: dict[str, zipfile.ZipInfo] = {}
        names = list(map(self._name, infos))
        runs = run_folders(names)
        seen = (name for name in filter(is_image, names) if not any(map(is_hidden, name.split("/"))))
        in_runs = (any(folder in runs for folder in _folders(name.split("/"))) for name in seen)
        self._takes_arrays = all(in_runs)  # files of numbers count where there are no pictures
        for name, info in zip(names, infos, strict=True):
            if not name or self._is_left_out(name, runs):
                continue
            self._check_entry(name, info)
            if name in entries and entries[name].filename != info.filename:
                raise BootlightError(f"{self.where} has two files {name}, {info.filename!r} is one; make the zip again")
            entries[name] = info
        self._check_overlaps(entries)
        return dict(zip(compose(list(entries), {}, self.where), entries.values(), strict=True))

    def _name(self, info: zipfile.ZipInfo) -> str:
        """With forward slashes; empty for folders."""
        if len(info.filename) > MAX_NAME:
            raise BootlightError(f"{self.where}: entry {info.filename!r} has too long a name; make the zip again")
        name = info.filename.replace("\\", "/")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or (len(parts) > 1 and _DRIVE.fullmatch(parts[0])):
            if is_wanted(name):
                raise BootlightError(f"{self.where}: entry {info.filename!r} leads out of the zip; make the zip again")
            return ""
        return "" if name.endswith("/") else "/".join(parts)

    def _is_left_out(self, name: str, runs: frozenset[str]) -> bool:
        """Whether an entry is not read; noted."""
        parts = name.split("/")
        run = next((folder for folder in _folders(parts) if folder in runs), None) if runs else None
        if run is not None:
            self.left_out.note_run(plain(run))
        elif any(map(is_hidden, parts[:-1])):
            first = next(i for i, part in enumerate(parts) if is_hidden(part))
            self.left_out.note_folder(plain("/".join(parts[: first + 1])))
        elif is_hidden(parts[-1]) or not (is_wanted(name) or (self._takes_arrays and is_array(name))):
            self.left_out.note_file(plain(name), hidden=is_hidden(parts[-1]))
        else:
            return False
        return True

    def _check_entry(self, name: str, info: zipfile.ZipInfo) -> None:
        if info.flag_bits & _ENCRYPTED:
            raise BootlightError(f"{self.where}: {name} is encrypted; make the zip again without a password")
        if stat.S_ISLNK(info.external_attr >> 16):  # what the Info-ZIP programs note of a file on Unix
            raise BootlightError(
                f"{self.where}: {name} is a link; make the zip again with the files themselves (zip without -y)"
            )
        if info.file_size > MAX_FILE_BYTES and not is_long(name):
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
        except _FAULTS as error:
            raise BootlightError(f"{name}: damaged in the zip ({error}); make the zip again or remove it") from error
        if len(data) != info.file_size:
            raise BootlightError(f"{name}: cut short in the zip; make the zip again or remove it")
        return data

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """One entry, to be read bit by bit; the zip's checksum is verified at its end.

        Raises:
            BootlightError: as `read`.
        """
        try:
            with self._lock, self._zip.open(self._entries[name]) as file:
                yield io.BufferedReader(file)  # type: ignore[type-var]
        except _FAULTS as error:
            raise BootlightError(f"{name}: damaged in the zip ({error}); make the zip again or remove it") from error

    def opened(self, name: str) -> tuple[IO[bytes], int]:
        """The content of one entry, to be read at any place, and its size in bytes.

        Raises:
            BootlightError: as `read`.
        """
        data = self.read(name)
        return io.BytesIO(data), len(data)

    def close(self) -> None:
        """Close the zip."""
        self._held.close()


def _folders(parts: list[str]) -> Iterator[str]:
    """The folders that a file lies in: "" for the root, then each ending in "/"."""
    return accumulate((f"{part}/" for part in parts[:-1]), initial="")
