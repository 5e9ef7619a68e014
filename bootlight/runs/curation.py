"""What a curator has said of the images of a generation, on disk."""

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
        weight: how much it counts beside the others that are kept, from 0 on; see `weights_of`.
        noise: the least and the largest sigma that it may be trained at; None = any.
        accepted: whether a proposed label is believed; None = nobody has proposed one.
        guess: the proposed label, also where it is not believed.
        confidence: probability of it, from 0 to 1.
    """

    file_name: str
    keep: bool = True
    label: int | None = None
    why: str = ""
    weight: float = 1.0
    noise: tuple[float, float] | None = None
    accepted: bool | None = None
    guess: int | None = None
    confidence: float | None = None


def write_curation(folder: GenerationFolder, rows: Sequence[Row], num_classes: int) -> None:
    """Write `curation.jsonl`, which declares the stage done.

    Raises:
        BootlightError: no image is kept, all of them count nothing, or a label, weight or range cannot be.
    """
    if not any(row.keep for row in rows):
        raise BootlightError(f"{folder.samples}: no image is kept; later generations would have none to train on")
    if not any(row.keep and row.weight for row in rows):
        raise BootlightError(
            f"{folder.samples}: all images that are kept have weight 0; give one another, or keep none of them"
        )
    for row in rows:
        if row.label is not None and not 0 <= row.label < num_classes:
            raise BootlightError(f"{folder.samples}: {row.file_name} gets label {row.label}, of {num_classes} classes")
        if not 0 <= row.weight < math.inf:
            raise BootlightError(f"{folder.samples}: {row.file_name} gets weight {row.weight}; give a number from 0 on")
        if row.noise is not None and not 0 <= row.noise[0] <= row.noise[1]:
            raise BootlightError(f"{folder.samples}: {row.file_name} gets noise {row.noise}; give the least and largest sigma")
    lines = [_line(row) for row in rows]
    digest = hashlib.sha256(b"".join(lines)).hexdigest()
    write_json(
        _mark(folder), {"kept": sum(bool(row.keep) for row in rows), "of": file_sha256(folder.metadata), "sha256": digest}
    )
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


def weights_of(rows: Sequence[Row]) -> NDArray[np.float32] | None:
    """How much images count that are kept, float32 (n,) of mean 1; None where they count alike."""
    weights = np.array([row.weight for row in rows], np.float64)
    if (weights == weights[:1]).all():
        return None
    scaled = weights / weights.max()  # else their sum may be beyond what float64 holds
    return (scaled / scaled.mean()).astype(np.float32)


def noise_of(rows: Sequence[Row]) -> NDArray[np.float32] | None:
    """The least and the largest sigma that images may be trained at, float32 (n, 2); None where all may be at any."""
    if all(row.noise is None for row in rows):
        return None
    return np.array([row.noise or (0, math.inf) for row in rows], np.float32)


def _line(row: Row) -> bytes:
    """What is as usual is left out; so is infinity, which JSON lacks."""
    label = None if row.label is None else int(row.label)
    values: dict[str, Any] = {"file_name": row.file_name, "keep": bool(row.keep), "label": label, "why": str(row.why)}
    values |= {} if row.weight == 1 else {"weight": float(row.weight)}
    if row.noise is not None:
        low, high = row.noise
        values["noise"] = [float(low), None if math.isinf(high) else float(high)]
    if row.accepted is not None:
        values["accepted"] = bool(row.accepted)
    values |= {} if row.guess is None else {"guess": int(row.guess)}
    values |= {} if row.confidence is None else {"confidence": float(row.confidence)}
    return json.dumps(values).encode() + b"\n"


def _row(values: dict[str, Any]) -> Row:
    row = Row(**values)
    if row.noise is not None:
        low, high = row.noise
        row = row._replace(noise=(low, math.inf if high is None else high))
    low, high = row.noise or (0, 0)
    plain = isinstance(row.file_name, str) and isinstance(row.keep, bool) and isinstance(row.label, int | None)
    plain = plain and isinstance(row.accepted, bool | None) and isinstance(row.guess, int | None)
    if not plain or not 0 <= row.weight < math.inf or not 0 <= low <= high:
        raise TypeError("a line is not about an image")
    return row


def _mark(folder: GenerationFolder) -> Any:
    """Number of images that are kept and SHA-256 of `curation.jsonl`, beside the folder of images."""
    return folder.path / f"{folder.into}_curation.json"
