"""Whether the images of a generation are still the ones that it has drawn; each folder is looked at once in a process."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bootlight.errors import BootlightError
from bootlight.io.arrays import split_row
from bootlight.io.atomic import file_sha256, read_json
from bootlight.io.shape import Shape
from bootlight.runs.folder import GenerationFolder
from bootlight.runs.manifest import how_to_redraw, read_metadata

IMAGE_SHAPE = "image_shape"  # (C, H, W) of the images of a folder, in its `protocol.json`

_checked: dict[Path, bytes] = {}


class DrawnImage(NamedTuple):
    """What a manifest says of a synthetic image.

    Attributes:
        file_name: relative to the samples folder.
        label: None = no class.
        sha256: of the file, hexadecimal; None where another program has written the manifest.
    """

    file_name: str
    label: int | None
    sha256: str | None


def read_drawn(folder: GenerationFolder) -> list[DrawnImage]:
    """What the manifest of a samples folder says of all images: some 300 bytes of memory for each.

    Raises:
        BootlightError: as `manifest.read_metadata`.
    """
    return [DrawnImage(row["file_name"], row.get("label"), row.get("sha256")) for row in read_metadata(folder)]


def drawn_shape(folder: GenerationFolder, otherwise: Shape) -> Shape:
    """(C, H, W) of the images of a complete folder, as it was written down.

    Args:
        folder: of the generation, as seen from the folder of images.
        otherwise: of a folder that says nothing, as of other programs.

    Raises:
        BootlightError: what is written is no shape.
    """
    said = read_json(folder.protocol) if folder.protocol.exists() else {}
    shape = said.get(IMAGE_SHAPE) if isinstance(said, dict) else None
    if shape is None:
        return otherwise
    if not (isinstance(shape, list) and len(shape) == 3 and all(type(edge) is int and edge > 0 for edge in shape)):
        raise BootlightError(f"{folder.protocol}: {IMAGE_SHAPE} is {shape!r}, not [C, H, W]; {how_to_redraw(folder)}")
    return shape[0], shape[1], shape[2]


def check_drawn(folder: GenerationFolder, rows: Sequence[DrawnImage]) -> bytes:
    """Compare pictures with the SHA-256 that their manifest has of them.

    A folder whose files have kept size, time and inode since this process last looked is not read again.

    Args:
        folder: of the generation.
        rows: its manifest, see `read_drawn`; rows without a hash, as of other programs, are passed over.

    Returns:
        A mark that changes when a file does.

    Raises:
        BootlightError: names the first picture that is another one, or is missing.
    """
    place = folder.samples.resolve()
    mark = _mark(folder, rows)
    if _checked.get(place) != mark:
        before = digest = ""
        for row in rows:
            path = f"{folder.samples}/{split_row(row.file_name)[0]}"
            try:
                digest = digest if path == before else file_sha256(path)  # rows of one file follow each other
            except OSError as error:
                raise BootlightError(f"{path}: {error.strerror or error}; {how_to_redraw(folder)}") from error
            check_picture(folder, row, digest)
            before = path
        _checked[place] = mark
    return mark


def check_picture(folder: GenerationFolder, row: DrawnImage, digest: str) -> None:
    """Compare the SHA-256 of one picture, hexadecimal.

    Raises:
        BootlightError: it is another one.
    """
    if row.sha256 not in (None, digest):
        raise BootlightError(
            f"{folder.samples / row.file_name} is not the picture that was drawn: its SHA-256 is not the one in "
            f"{folder.metadata}; {how_to_redraw(folder)}"
        )


def _mark(folder: GenerationFolder, rows: Sequence[DrawnImage]) -> bytes:
    digest = hashlib.sha256()
    samples = str(folder.samples)  # joining paths would cost as much as looking at the files
    before, about = "", os.stat_result(range(10))
    for row in rows:
        path = f"{samples}/{split_row(row.file_name)[0]}"
        try:
            about = about if path == before else os.stat(path)
        except OSError as error:
            raise BootlightError(f"{path}: {error.strerror or error}; {how_to_redraw(folder)}") from error
        before = path
        parts = (row.file_name, row.sha256, row.label, about.st_size, about.st_mtime_ns, about.st_ino)
        digest.update(f"{parts}\n".encode())
    return digest.digest()
