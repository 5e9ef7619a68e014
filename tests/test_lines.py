"""Files of one line for each image: any number of lines, none of them long, one in memory at a time."""

import io
import json
import tracemalloc
import zipfile

import pytest

from bootlight.data import reader_files, reader_folder, reader_manifest
from bootlight.data.reader import open_images
from bootlight.errors import BootlightError
from bootlight.io.lines import MAX_LINE_BYTES, short_lines
from bootlight.runs.drawn import DrawnImage, read_drawn
from bootlight.runs.folder import GenerationFolder, sample_name
from bootlight.runs.manifest import write_metadata


def packed(tmp_path, kind, files):
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "root.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return tmp_path / "root.zip"
    (tmp_path / "root").mkdir()
    for name, data in files.items():
        (tmp_path / "root" / name).write_bytes(data)
    return tmp_path / "root"


def peak_of(work):
    tracemalloc.start()
    try:
        result = work()
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_lines_and_where_they_are():
    found = list(short_lines(io.BytesIO(b"a\n\nb\xff"), "x"))
    assert found == [("x line 1", b"a\n"), ("x line 2", b"\n"), ("x line 3", b"b\xff")]
    assert list(short_lines(io.BytesIO(b"a\nb\n"), "x", most=2)) == [("x line 1", b"a\n"), ("x line 2", b"b\n")]


@pytest.mark.parametrize(("data", "most"), [(b"a\nb\nc", 2), (b"a\n" + b"x" * (MAX_LINE_BYTES + 1), 3)])
def test_more_and_longer_lines_are_refused(data, most):
    with pytest.raises(BootlightError, match=r"^x "):
        list(short_lines(io.BytesIO(data), "x", most))


MANY = 48
FIELD = "x" * 2**16
ROWS = [{"file_name": f"{i:02d}.png", "label": i % 3, "a": FIELD, "b": FIELD, "c": FIELD, "d": FIELD} for i in range(MANY)]
CSV = [",".join(ROWS[0]), *(",".join(map(str, row.values())) for row in ROWS), ""]
TABLES = {
    "metadata.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    "metadata.csv": "\n".join(CSV).encode(),
    "returns": "\r".join(CSV).encode(),
}


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("table", TABLES)
def test_a_manifest_of_any_size_is_read_line_by_line(tmp_path, monkeypatch, kind, table):
    """At a tenth of the size that a picture may have here it would be refused, if it were read whole."""
    for module in (reader_folder, reader_files, reader_manifest):
        monkeypatch.setattr(module, "MAX_FILE_BYTES", len(TABLES[table]) // 10)
    monkeypatch.setattr(reader_manifest, "BYTES_FOR_AN_IMAGE", 2**19)
    name = "metadata.csv" if table == "returns" else table
    root = packed(tmp_path, kind, {f"{i:02d}.png": b"" for i in range(MANY)} | {name: TABLES[table]})
    images, peak = peak_of(lambda: open_images(root))
    images.close()
    assert images.labels == [str(i % 3) for i in range(MANY)]
    # To learn how lines end one looks at 2**20 bytes, which a zip has three times while it unpacks them; lines have a quarter.
    assert peak < 4 * 2**20 < len(TABLES[table])


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_what_a_zip_inflates_to_has_an_end(tmp_path, monkeypatch, kind):
    """Empty lines name no image, so that nothing else would stop them before there are too many."""
    monkeypatch.setattr(reader_manifest, "MAX_FILE_BYTES", 2**15)
    root = packed(tmp_path, kind, {"a.png": b"", "metadata.jsonl": b'{"file_name": "a.png"}\n' + b" " * 2**12 * 10 + b"\n"})
    with pytest.raises(BootlightError, match=r"metadata\.jsonl is too large for 1 images"):
        open_images(root)


def test_the_manifest_of_a_generation_takes_little_memory(tmp_path):
    folder, count = GenerationFolder(tmp_path), 2000
    settings = {"parent": None, "sampler": "Ancestral", "steps": 50, "text": "x" * 2000}
    rows = ({"file_name": sample_name(i), "seed": i, "label": i % 7, **settings, "sha256": f"{i:064x}"} for i in range(count))
    _, writing = peak_of(lambda: write_metadata(folder, rows))
    folder.drawn.unlink()  # its reader reserves what the largest record may have
    drawn, reading = peak_of(lambda: read_drawn(folder))
    assert drawn[17] == DrawnImage("00000/000017.png", 3, f"{17:064x}") and len(drawn) == count
    # A tuple of three (64 + 16 bytes for the collector), two texts (49 + length), a place in a list that grows by an eighth:
    # 80 + 65 + 113 + 9. Files are read by 128 KiB, of a line there are a few copies.
    assert reading < 300 * count + 2**18 < folder.metadata.stat().st_size
    assert writing < 2**18


def test_a_hostile_manifest_of_a_generation_is_refused_at_its_line(tmp_path):
    folder = GenerationFolder(tmp_path)
    folder.samples.mkdir()
    folder.metadata.write_bytes(b'{"file_name": "' + b"x" * 2**22)
    with pytest.raises(BootlightError, match=r"metadata\.jsonl: cannot be read \(metadata\.jsonl line 1 is longer"):
        read_drawn(folder)
