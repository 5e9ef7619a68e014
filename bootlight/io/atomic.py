"""Files that are either whole or absent: temporary name in the same folder, fsync, rename."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from bootlight.errors import BootlightError
from bootlight.io.owner import is_own, owner_lives, temporary_name

if TYPE_CHECKING:
    from torch import Tensor


MAX_JSON_BYTES = 8 * 2**20


@contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Yield an open file that becomes `path` when the block ends, and leaves no trace when the block fails.

    Args:
        path: final place; its folder is created.
        mode: `wb` or `w` (UTF-8).

    Raises:
        BootlightError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(temporary_name(path.name))
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
    """Remove what killed processes left half-written below `folder`; of this run nobody may be writing there."""
    for path in list(folder.rglob(".*.tmp")):
        if owner_lives(path.name) and not is_own(path.name):  # another run, where both have their cache in this folder
            continue
        if path.is_dir():  # of decoded images, where `data.cache` lies in the run folder
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def file_sha256(path: Path | str) -> str:
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


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """Read a file of no more than `max_bytes`: what is made of them in memory can be a multiple of that.

    Raises:
        BootlightError: the file is missing or too large.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise BootlightError(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) > max_bytes:
        raise BootlightError(f"{path} is larger than {max_bytes} bytes; delete it and run the same command again")
    return data


def read_text(path: Path, max_bytes: int) -> str:
    """Read a UTF-8 file of no more than `max_bytes`.

    Raises:
        BootlightError: the file is missing, too large or no text.
    """
    try:
        return read_bytes(path, max_bytes).decode()
    except UnicodeDecodeError as error:
        raise BootlightError(f"{path} is no text ({error.reason}); delete it and run the same command again") from error


def read_json(path: Path, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Read a JSON file.

    Raises:
        BootlightError: the file is missing, too large or is not JSON.
    """
    try:
        return json.loads(read_text(path, max_bytes))
    except (ValueError, RecursionError) as error:
        raise BootlightError(f"{path} is not valid JSON ({error}); delete it and run the same command again") from error


def check_content(content: bytes | Path, described: Path, key: str) -> None:
    """Compare bytes, or those of a file, with the SHA-256 that a JSON file has of them; if it has none, do nothing.

    Raises:
        BootlightError: they are others, or the JSON is damaged.
    """
    about = read_json(described) if described.exists() else {}
    expected = about.get(key) if isinstance(about, dict) else None
    if expected is None:
        return
    if expected != (file_sha256(content) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()):
        raise BootlightError(f"its SHA-256 is not the one in {described}")


def read_weights(path: Path, also: str = "", described: Path | None = None) -> "dict[str, Tensor]":
    """Read a safetensors file.

    Args:
        path: of the file.
        also: what else must be deleted for it to be written again.
        described: a JSON file that has the SHA-256 of the weights under `weights_sha256`, if it has it.

    Raises:
        BootlightError: the file is missing or torn, or is another one than the JSON tells of.
    """
    import safetensors.torch  # brings torch: help does not wait for it

    try:
        if described is not None:
            check_content(path, described, "weights_sha256")
        return safetensors.torch.load_file(path)
    except BootlightError as error:
        raise BootlightError(f"{path} was changed: {error}; delete both and run bootlight fit again") from error
    except (OSError, safetensors.SafetensorError) as error:
        raise BootlightError(
            f"{path} cannot be read ({error}); delete it{also and f' and {also}'} and run bootlight fit again"
        ) from error
