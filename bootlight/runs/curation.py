"""What a curator has said of the images of a generation, on disk."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from bootlight.errors import BootlightError
from bootlight.io.atomic import atomic_write, file_sha256, read_json, write_json
from bootlight.io.lines import short_lines
from bootlight.runs.folder import GenerationFolder


class Row(NamedTuple):
    """What is said of one image.

    Args:
        file_name: as in the manifest.
        keep: whether later generations may train on it.
        label: position among the class names; None = none.
        why: a word or two.
    """

    file_name: str
    keep: bool = True
    label: int | None = None
    why: str = ""


def write_curation(folder: GenerationFolder, rows: Sequence[Row], num_classes: int) -> None:
    """Write `curation.jsonl`, which declares the stage done.

    Raises:
        BootlightError: no image is kept, or a label is beyond the classes.
    """
    if not any(row.keep for row in rows):
        raise BootlightError(f"{folder.samples}: no image is kept; later generations would have none to train on")
    for row in rows:
        if row.label is not None and not 0 <= row.label < num_classes:
            raise BootlightError(f"{folder.samples}: {row.file_name} gets label {row.label}, of {num_classes} classes")
    lines = [json.dumps(row._asdict()).encode() + b"\n" for row in rows]
    digest = hashlib.sha256(b"".join(lines)).hexdigest()
    write_json(_mark(folder), {"kept": sum(row.keep for row in rows), "of": file_sha256(folder.metadata), "sha256": digest})
    with atomic_write(folder.curation) as file:
        file.writelines(lines)


def read_curation(folder: GenerationFolder) -> dict[str, Row] | None:
    """What is said of each image, by its name; None where nobody has looked.

    Raises:
        BootlightError: it is damaged, or about other images than there are.
    """
    if not folder.curation.exists():
        return None
    cure = f"delete {folder.curation} and run the same command again"
    mark = read_json(_mark(folder))
    try:
        digest = hashlib.sha256()
        rows = {}
        with open(folder.curation, "rb") as file:
            for _, line in short_lines(file, str(folder.curation)):
                digest.update(line)
                row = _row(json.loads(line))
                rows[row.file_name] = row
    except (BootlightError, OSError, ValueError, TypeError, RecursionError) as error:
        raise BootlightError(f"{folder.curation} cannot be read ({error}); {cure}") from error
    if not isinstance(mark, dict) or mark.get("sha256") != digest.hexdigest():
        raise BootlightError(f"{folder.curation} was changed since it was written; {cure}")
    if mark.get("of") != file_sha256(folder.metadata):
        raise BootlightError(f"{folder.curation} is about other images than those of {folder.metadata}; {cure}")
    return rows


def _row(values: dict[str, Any]) -> Row:
    row = Row(**values)
    if not (isinstance(row.file_name, str) and isinstance(row.keep, bool) and isinstance(row.label, int | None)):
        raise TypeError("a line is not about an image")
    return row


def _mark(folder: GenerationFolder) -> Any:
    """Number of images that are kept and SHA-256 of `curation.jsonl`, beside the folder of images."""
    return folder.path / f"{folder.into}_curation.json"
