"""Manifests that name the labels of images: Hugging Face's `metadata.jsonl` or `.csv`, `dataset.json` of StyleGAN and EDM."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING, Any

from bootlight.data.reader_names import MANIFESTS, MAX_FILE_BYTES, composed
from bootlight.errors import BootlightError
from bootlight.io.arrays import row_name, split_row
from bootlight.io.lines import MAX_LINE_BYTES, short_lines

if TYPE_CHECKING:
    from bootlight.data.reader_files import Files
    from bootlight.io.arrays import row_name, split_row
from bootlight.io.lines import Readable

Labels = dict[str, str | None]  # image name -> class name
Rows = Iterable[tuple[str, Any, Any]]  # where a row is, the name of an image, its label
Lines = Iterable[tuple[str, bytes]]  # see `short_lines`
LABEL = "label"  # the column of classes, if no other is named
MAX_COLUMNS = 20  # that are told
MAX_DATASET_BYTES = 64 * 2**20
SPARE = 100_000  # lines, or parts of JSON, beyond what the images need
BYTES_FOR_AN_IMAGE = 4096  # of a manifest that is larger than any other file may be: what one makes of a zip has an end


def read_manifest(files: Files, base: str, images: Iterable[str], column: str | None = None) -> Labels | None:
    """Labels from the manifest at `base`, or None where there is none.

    `metadata.jsonl` has one JSON object for each image: `file_name`, optionally `label` (int, str or null; a negative int
    means none, as in Hugging Face's unlabelled splits). `metadata.csv` has a line of column names and a row for each image
    (RFC 4180, UTF-8); an empty label is none. Images that they do not list are left out. `dataset.json` is
    ``{"labels": [[name, int], ...]}`` or ``{"labels": null}``; images that it does not list have no label.

    Args:
        files: the container.
        base: folder of the manifest, empty or ending in "/"; the names in it are relative to that folder.
        images: images below `base`.
        column: what names the class instead of `label`; then it must be there.

    Raises:
        BootlightError: a manifest cannot be parsed, lacks the column, or names something that is not an image below `base`;
            or there are both a `metadata.jsonl` and a `metadata.csv`.
    """
    present = frozenset(images)
    found = {base + manifest for manifest in MANIFESTS}.intersection(files.names)
    if not found:
        return None
    if {base + "metadata.jsonl", base + "metadata.csv"} <= found:
        raise BootlightError(f"{files.where}: {base} has both metadata.jsonl and metadata.csv; remove or rename one of them")
    name = next(base + manifest for manifest in MANIFESTS if base + manifest in found)
    where = f"{files.where}: {name}"
    if name.endswith(".json"):
        if column is not None:
            raise BootlightError(f"{where} has no columns; leave data.label_column out")
        data = files.read(name).removeprefix(codecs.BOM_UTF8)
        listed = _collect(_dataset_rows(data, where, len(present)), base, present)
        return {name: listed.get(name) for name in present}
    read = _metadata_rows if name.endswith(".jsonl") else _csv_rows
    ends = _line_ends(files, name)
    with files.open(name) as file:
        return _collect(read(_lines(file, ends, where, len(present)), where, column), base, present)


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BootlightError(f"{where} is not UTF-8 text ({error.reason}); save it as UTF-8") from error


def _parse(data: bytes, where: str) -> Any:
    try:
        return json.loads(_text(data, where))
    except (ValueError, RecursionError) as error:
        raise BootlightError(f"{where} is not valid JSON ({error}); correct it") from error


def _line_ends(files: Files, name: str) -> str:
    """What lines end with: LF alone, because a JSON string may hold U+2028 as it is, or CR in tables that have no LF."""
    with files.open(name) as file:
        start = file.read(MAX_LINE_BYTES + 1)
    return "\r" if name.endswith(".csv") and b"\n" not in start else "\n"


def _lines(file: IO[bytes], ends: str, where: str, num_images: int) -> Lines:
    """Where a line is, and its bytes: one by one and none of them long."""
    left = MAX_FILE_BYTES + BYTES_FOR_AN_IMAGE * num_images
    found: Readable = file if ends == "\n" else _Returns(file)
    for number, (here, line) in enumerate(short_lines(found, where, 2 * num_images + SPARE)):
        left -= len(line)
        if left < 0:
            raise BootlightError(f"{where} is too large for {num_images} images; leave out what is not about them")
        yield here, line if number else line.removeprefix(codecs.BOM_UTF8)


class _Returns:
    """Lines that end with a carriage return."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._held = file, b""

    def readline(self, limit: int) -> bytes:
        """The next line, with the usual end, or as much as `limit` bytes of it."""
        while b"\r" not in self._held and len(self._held) < limit and (more := self._file.read(io.DEFAULT_BUFFER_SIZE)):
            self._held += more
        end = min(self._held.find(b"\r") + 1 or limit, limit)
        line, self._held = self._held[:end], self._held[end:]
        return line.replace(b"\r", b"\n")


def _metadata_rows(lines: Lines, where: str, column: str | None) -> Rows:
    columns: dict[str, None] = {}  # in the order in which they are seen
    for here, line in lines:
        if not line.strip():
            continue
        row = _parse(line, here)
        if not isinstance(row, dict) or "file_name" not in row:
            raise BootlightError(f"{here} has no file_name; correct it")
        columns |= dict.fromkeys(row if len(columns) < MAX_COLUMNS else row.keys() & {column})
        yield here, row["file_name"], row.get(LABEL if column is None else column)
    _check_column(column, columns, where)


def _csv_rows(lines: Lines, where: str, column: str | None) -> Rows:
    held = 0  # bytes of the lines of one row: an open quotation mark would make one row of a whole file
    here = where

    def texts() -> Iterator[str]:
        nonlocal held, here
        for here, line in lines:
            held += len(line)
            if held > MAX_LINE_BYTES:
                raise BootlightError(f"{here}: its row is longer than {MAX_LINE_BYTES} bytes; is a quotation mark missing?")
            yield _text(line, here)

    columns: list[str] = []
    try:
        for row in csv.reader(texts(), strict=True):
            held = 0
            if not row:  # an empty line
                continue
            if not columns:
                columns = row
                _check_header(columns, column, here)
            elif len(row) == len(columns):
                values = dict(zip(columns, row, strict=True))
                label = values.get(LABEL if column is None else column)
                yield here, values["file_name"], None if not label or re.fullmatch(r"-[0-9]+", label) else label
            else:
                raise BootlightError(f"{here} has {len(row)} values for {len(columns)} columns; correct it")
    except csv.Error as error:
        raise BootlightError(f"{here} is not a row of values with commas between them ({error}); correct it") from error


def _check_header(columns: list[str], column: str | None, here: str) -> None:
    """The column names of a `metadata.csv`."""
    shown = ", ".join(map(repr, columns[:MAX_COLUMNS]))
    if "file_name" not in columns:
        raise BootlightError(
            f"{here} has the columns {shown}, but not file_name; name that of the images so, with commas between"
        )
    if len(set(columns)) < len(columns) or any(name != name.strip() for name in columns):
        raise BootlightError(f"{here} has the columns {shown}; give each a name of its own, without spaces around it")
    _check_column(column, columns, here)


def _check_column(column: str | None, columns: Iterable[str], where: str) -> None:
    if column is not None and column not in columns:
        there = ", ".join(sorted(set(columns) - {"file_name"})[:MAX_COLUMNS]) or "none"
        raise BootlightError(f"data.label_column is {column!r}, but {where} has no such column; there are: {there}")


def _dataset_rows(data: bytes, where: str, num_images: int) -> Rows:
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


def _collect(rows: Rows, base: str, present: frozenset[str]) -> Labels:
    labels: Labels = {}
    for here, file_name, label in rows:
        name = base + _relative(file_name, here)
        if name not in present and "\\" in name:  # as Windows has it
            name = base + _relative(file_name.replace("\\", "/"), here)
        if name not in present:  # as a person writes it
            file, row = split_row(name)
            name = name if row is None else row_name(file, row)
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
