"""Manifests that name the labels of images: Hugging Face's `metadata.jsonl` and the `dataset.json` of StyleGAN and EDM."""

import codecs
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

from bootlight.data.reader_files import Files
from bootlight.data.reader_names import composed
from bootlight.errors import BootlightError

Labels = dict[str, str | None]  # image name -> class name
MAX_LINE_BYTES = 2**20
MAX_DATASET_BYTES = 64 * 2**20
SPARE = 100_000  # lines, or parts of JSON, beyond what the images need


def read_manifest(files: Files, base: str, images: Iterable[str]) -> Labels | None:
    """Labels from the manifest at `base`, or None where there is none.

    `metadata.jsonl` has one JSON object for each image: `file_name`, optionally `label` (int, str or null; a negative int
    means none, as in Hugging Face's unlabelled splits). Images that it does not list are left out. `dataset.json` is
    ``{"labels": [[name, int], ...]}`` or ``{"labels": null}``; images that it does not list have no label.

    Args:
        files: the container.
        base: folder of the manifest, empty or ending in "/"; the names in it are relative to that folder.
        images: images below `base`.

    Raises:
        BootlightError: a manifest cannot be parsed, or names something that is not an image below `base`.
    """
    present = frozenset(images)
    if base + "metadata.jsonl" in files.names:
        where = f"{files.where}: {base}metadata.jsonl"
        return _collect(_metadata_rows(_content(files, base + "metadata.jsonl"), where, len(present)), base, present)
    if base + "dataset.json" in files.names:
        where = f"{files.where}: {base}dataset.json"
        listed = _collect(_dataset_rows(_content(files, base + "dataset.json"), where, len(present)), base, present)
        return {name: listed.get(name) for name in present}
    return None


def _content(files: Files, name: str) -> bytes:
    return files.read(name).removeprefix(codecs.BOM_UTF8)


def _parse(data: bytes, where: str) -> Any:
    try:
        return json.loads(data.decode())
    except UnicodeDecodeError as error:
        raise BootlightError(f"{where} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise BootlightError(f"{where} is not valid JSON ({error}); correct it") from error


def _metadata_rows(data: bytes, where: str, num_images: int) -> Iterator[tuple[str, Any, Any]]:
    lines = data.count(b"\n")
    if lines > 2 * num_images + SPARE:
        raise BootlightError(f"{where} has {lines} lines for {num_images} images; remove those that name no image")
    # One line after the other, none of them long: JSON needs up to 40 times its size in memory. Split at "\n" alone, because a
    # JSON string may hold U+2028 as it is.
    for number, line in enumerate(io.BytesIO(data), start=1):
        if not line.strip():
            continue
        here = f"{where} line {number}"
        if len(line) > MAX_LINE_BYTES:
            raise BootlightError(f"{here} is longer than {MAX_LINE_BYTES} bytes; shorten it")
        row = _parse(line, here)
        if not isinstance(row, dict) or "file_name" not in row:
            raise BootlightError(f"{here} has no file_name; correct it")
        yield here, row["file_name"], row.get("label")


def _dataset_rows(data: bytes, where: str, num_images: int) -> Iterator[tuple[str, Any, Any]]:
    # A row has one bracket and two commas; what has many more could be hundreds of times larger in memory than as text.
    parts = sum(map(data.count, (b"[", b"{", b",")))
    if len(data) > MAX_DATASET_BYTES or parts > 8 * num_images + SPARE:
        raise BootlightError(f"{where} has {len(data)} bytes and {parts} parts for {num_images} images; list only these")
    content = _parse(data, where)
    labels = content.get("labels") if isinstance(content, dict) else content
    if not isinstance(content, dict) or not isinstance(labels, list | None):
        raise BootlightError(f'{where} is not {{"labels": [[name, int], ...]}} or {{"labels": null}}; correct it')
    for number, row in enumerate(labels or [], start=1):
        here = f"{where} label {number}"
        if not isinstance(row, list) or len(row) != 2:
            raise BootlightError(f"{here} is not a pair [name, int]; correct it")
        yield here, row[0], row[1]


def _collect(rows: Iterable[tuple[str, Any, Any]], base: str, present: frozenset[str]) -> Labels:
    labels: Labels = {}
    for here, file_name, label in rows:
        name = base + _relative(file_name, here)
        if name not in present:
            raise BootlightError(f"{here} names {file_name!r}, which is not among the images; correct it or add the image")
        if name in labels:
            raise BootlightError(f"{here} names {file_name!r} a second time; remove one of them")
        labels[name] = _class_name(label, here)
    return labels


def _relative(file_name: Any, here: str) -> str:
    """Normal form of a name that stays below its manifest."""
    if not isinstance(file_name, str):
        raise BootlightError(f"{here}: the file name {file_name!r} is not text; correct it")
    parts = [part for part in composed(file_name).split("/") if part not in ("", ".")]
    if file_name.startswith("/") or ".." in parts:
        raise BootlightError(f"{here} names {file_name!r}; use a name relative to the manifest, without '..'")
    return "/".join(parts)


def _class_name(label: Any, here: str) -> str | None:
    if label is None or isinstance(label, str):
        return label and composed(label)
    if isinstance(label, int) and not isinstance(label, bool):
        return str(label) if label >= 0 else None
    raise BootlightError(f"{here}: label {label!r} is neither an integer, text nor null; correct it")
