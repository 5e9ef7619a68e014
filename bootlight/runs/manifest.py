"""The manifest of a folder of synthetic images."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bootlight.errors import BootlightError
from bootlight.io.atomic import atomic_write, check_content, write_json
from bootlight.io.lines import short_lines
from bootlight.runs.folder import GenerationFolder


def write_metadata(folder: GenerationFolder, rows: Iterable[dict[str, Any]]) -> None:
    """Write the manifest of a complete samples folder (Hugging Face imagefolder layout)."""
    digest, count = hashlib.sha256(), 0
    with atomic_write(folder.metadata) as file:
        for row in rows:
            line = json.dumps(row).encode() + b"\n"
            digest.update(line)
            file.write(line)
            count += 1
        write_json(folder.drawn, {"images": count, "sha256": digest.hexdigest()})


def read_metadata(folder: GenerationFolder) -> Iterator[dict[str, Any]]:
    """The rows of the manifest of a samples folder, one by one.

    Raises:
        BootlightError: it is missing, was changed, or has a line that is too long or not about an image below that folder.
    """
    try:
        check_content(folder.metadata, folder.drawn, "sha256")
        with open(folder.metadata, "rb") as file:
            for here, line in short_lines(file, folder.metadata.name):
                if line == b"\n":
                    continue
                row = json.loads(line.decode())
                known = isinstance(row, dict) and _is_inside(row.get("file_name"))
                if not known or not isinstance(row.get("label"), int | None):
                    raise ValueError(f"{here} is not about an image of this folder")
                yield row
    except (BootlightError, OSError, ValueError, RecursionError) as error:
        why = getattr(error, "strerror", None) or error
        raise BootlightError(f"{folder.metadata}: cannot be read ({why}); delete it and run the same command again") from error


def parents_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the images that the one of a row is made of, under `parent`, as it is written here, or `parents`."""
    named = row.get("parent") or row.get("parents") or ()
    return (named,) if isinstance(named, str) else tuple(map(str, named))


def _is_inside(name: object) -> bool:
    """Whether a file name is relative and leads nowhere else."""
    return isinstance(name, str) and name.isprintable() and not {"", ".", ".."} & set(name.split("/"))


def how_to_redraw(folder: GenerationFolder) -> str:
    """What to do about a synthetic image that is missing or torn."""
    return f"delete that image, if it is there, and {folder.metadata}, and run the same command again: it is drawn anew"
