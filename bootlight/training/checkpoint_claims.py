"""What reading a checkpoint would make, found out without making any of it: a few bytes can ask for all memory there is.

`torch.load(weights_only=True)` runs no code, but it makes byte arrays and tensors of whatever size a file names.
"""

import io
import zipfile
from pathlib import Path
from typing import IO, Any

import torch

from bootlight.training.pickle_claims import Machine, Unreadable

MAX_DIRECTORY = 16 * 2**20  # bytes of the zip's list of its entries
MAX_PICKLE = 32 * 2**20  # bytes of everything but the numbers; some kB for each hundred tensors


def check_claims(path: Path) -> None:
    """Refuse a checkpoint that would take more memory than its size accounts for, or that torch would refuse.

    Classes that the user's own code has given to `torch.serialization.add_safe_globals` are taken.

    Raises:
        Unreadable: it is packed, ambiguous, holds other objects than tensors, numbers, texts and their collections, or claims
            more numbers than it has.
        OSError, zipfile.BadZipFile: it is no zip that can be read.
    """
    with _Bounded(io.FileIO(path)) as file:
        _check(file, path.stat().st_size)


def why_unreadable(value: Any) -> str | None:
    """Why something could not be read back from a checkpoint; None where it can."""
    file = io.BytesIO()
    try:
        torch.save({"value": value}, file)
        _check(file, file.tell())
    except Exception as error:  # pickling fails in many ways
        return str(error) if isinstance(error, Unreadable) else f"{type(error).__name__}: {error}"
    return None


def _check(file: IO[bytes], size: int) -> None:
    file.seek(0)
    if file.read(4) != b"PK\x03\x04":  # torch would take it for a file of its older kinds
        raise Unreadable("it is no checkpoint")
    with zipfile.ZipFile(file) as archive:
        entries = _entries(archive, size)
        pickle = entries.get("data.pkl")
        if pickle is None or pickle.file_size > MAX_PICKLE:
            raise Unreadable("it has no data.pkl" if pickle is None else f"its data.pkl is larger than {MAX_PICKLE} bytes")
        sizes = {name[5:]: entry.file_size for name, entry in entries.items() if name.startswith("data/")}
        kind = Machine(sizes).run(archive.read(pickle))
    if kind != "dict":
        raise Unreadable(f"it holds a {kind}")


class _Bounded(io.BufferedReader):
    """A file of which `zipfile`, which makes objects of a whole directory at once, gets to read none that is too large."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY + MAX_PICKLE:
            raise Unreadable(f"its directory claims {size} bytes")
        return super().read(size)


def _entries(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """By their names below the one folder around all; what two programs could read in two ways is refused."""
    found: dict[str, zipfile.ZipInfo] = {}
    seen: set[tuple[str, str]] = set()
    for entry in archive.infolist():
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise Unreadable("it is compressed")
        folder, _, name = entry.filename.partition("/")
        found[name] = entry
        seen.add((folder, name.lower()))
    same_folder = len({folder for folder, _ in seen}) == 1
    total = sum(entry.file_size for entry in archive.infolist())
    if not same_folder or len(seen) != len(archive.infolist()) or total > size or archive.comment:
        raise Unreadable("its entries contradict each other")
    return found
