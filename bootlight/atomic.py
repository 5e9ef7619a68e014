"""Files that are either whole or absent: temporary name in the same folder, fsync, rename."""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from bootlight.errors import BootlightError

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Yield an open file that becomes `path` when the block ends, and leaves no trace when the block fails.

    Args:
        path: final place; its folder is created.
        mode: `wb` or `w` (UTF-8).

    Raises:
        BootlightError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _fsync_folder(path.parent)
    except OSError as error:
        raise BootlightError(
            f"cannot write {path}: {error.strerror or error}; free space or choose another folder, then run the same command"
        ) from error
    finally:
        with suppress(OSError):  # renamed, or never made; the error above is the one to tell
            temporary.unlink()


def _fsync_folder(folder: Path) -> None:
    """Make a rename outlast a power cut, so that no later file of a run survives without an earlier one."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_temporaries(folder: Path) -> None:
    """Remove what killed processes left half-written below `folder`; nobody may be writing there."""
    for path in folder.rglob(".*.tmp"):
        path.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically."""
    with atomic_write(path) as file:
        file.write(data)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with stable key order of insertion."""
    with atomic_write(path, "w") as file:
        json.dump(value, file, indent=1)
        file.write("\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        BootlightError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BootlightError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise BootlightError(f"{path} is not valid JSON ({error}); delete it and run the same command again") from error


def read_weights(path: Path, also: str = "") -> "dict[str, Tensor]":
    """Read a safetensors file.

    Args:
        path: of the file.
        also: what else must be deleted for it to be written again.

    Raises:
        BootlightError: the file is missing or torn.
    """
    import safetensors.torch  # brings torch: help does not wait for it

    try:
        return safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise BootlightError(
            f"{path} cannot be read ({error}); delete it{also and f' and {also}'} and run bootlight fit again"
        ) from error
