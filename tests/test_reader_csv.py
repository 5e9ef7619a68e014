"""`metadata.csv` as RFC 4180 has it, and the column that names the class."""

import csv
import io
import json
import tracemalloc
import zipfile

import pytest

from bootlight.data import reader_manifest
from bootlight.data.reader import open_images
from bootlight.data.reading import Reading
from bootlight.errors import BootlightError

NAMES = ("00/a.png", 'b, "c".png', "line\nend.png", "ä.png")


@pytest.fixture(params=["folder", "zip"])
def container(request, tmp_path):
    """Make a container of {name: text}; the reader does not decode, so anything is a picture."""

    def make(files):
        files = {name: data if isinstance(data, bytes) else data.encode() for name, data in files.items()}
        if request.param == "zip":
            with zipfile.ZipFile(tmp_path / "root.zip", "w") as archive:
                for name, data in files.items():
                    archive.writestr(name, data)
            return tmp_path / "root.zip"
        for name, data in files.items():
            (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "root" / name).write_bytes(data)
        return tmp_path / "root"

    return make


def pictures(*names):
    return dict.fromkeys(names, "")


def listing(root, column=None, split=None):
    with open_images(root, split, Reading(label_column=column)) as images:
        return dict(zip(images.names, images.labels, strict=True)), images.class_names


def refused(root, column=None):
    with pytest.raises(BootlightError) as caught:
        open_images(root, reading=Reading(label_column=column))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def table(rows, **options):
    text = io.StringIO()
    csv.writer(text, **options).writerows(rows)
    return text.getvalue()


LABELS = ("cat", 'said "no", and\nleft', "", "-1")
ROWS = [["file_name", "seed", "label"], *([name, 7, label] for name, label in zip(NAMES, LABELS, strict=True))]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("options", [{}, {"lineterminator": "\n"}, {"quoting": csv.QUOTE_ALL}])
def test_what_python_writes_is_read_back(container, encoding, options):
    """An empty label is none, and so is a negative number, as in metadata.jsonl."""
    root = container(pictures(*NAMES, "unlisted.png") | {"metadata.csv": table(ROWS, **options).encode(encoding)})
    assert listing(root) == (dict(zip(NAMES, [LABELS[0], LABELS[1], None, None], strict=True)), tuple(sorted(LABELS[:2])))


@pytest.mark.parametrize("text", ["file_name,label\ra.png,1\rb.png,10\r", "\n\nlabel,file_name\n\n1,./a.png\n\n10,b.png"])
def test_other_line_ends_empty_lines_and_another_order(container, text):
    assert listing(container(pictures("a.png", "b.png") | {"metadata.csv": text})) == (
        {"a.png": "1", "b.png": "10"},
        ("1", "10"),
    )


@pytest.mark.parametrize(
    "manifest", [("metadata.csv", "file_name\nx\\a.png\n"), ("metadata.jsonl", '{"file_name": "x\\\\a.png"}')]
)
def test_names_as_windows_writes_them(container, manifest):
    assert listing(container(pictures("x/a.png") | dict([manifest])))[0] == {"x/a.png": None}


def test_without_a_column_of_labels_there_are_none(container):
    root = container(pictures("cat/1.png", "dog/1.png") | {"metadata.csv": "file_name\ncat/1.png\ndog/1.png\n"})
    assert listing(root) == ({"cat/1.png": None, "dog/1.png": None}, ())


@pytest.mark.parametrize("wrap", ["", "set/"])
@pytest.mark.parametrize(
    "tables",
    [
        {"train/metadata.csv": "file_name,label\n1.png,a\n", "test/metadata.csv": "file_name,label\n2.png,b\n"},
        {"metadata.csv": "file_name,label\ntrain/1.png,a\ntest/2.png,b\n"},
    ],
)
def test_splits_with_a_table_each_and_one_above_them(container, tables, wrap):
    root = container({wrap + name: text for name, text in (pictures("train/1.png", "test/2.png") | tables).items()})
    assert listing(root, split="test") == ({f"{wrap}test/2.png": "b"}, ("a", "b"))
    assert listing(root) == ({f"{wrap}train/1.png": "a"}, ("a", "b"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "lists no image"),
        ("name,label\na.png,1\n", "'name', 'label', but not file_name"),
        ("file_name;label\na.png;1\n", "but not file_name"),
        ("file_name,label,label\na.png,1,2\n", "a name of its own"),
        ("file_name, label\na.png,1\n", "without spaces"),
        ("file_name,label\na.png\n", "line 2 has 1 values for 2 columns"),
        ("file_name,label\na.png,1,2\n", "line 2 has 3 values for 2 columns"),
        ('file_name,label\n"a.png"x,1\n', "line 2 is not a row"),
        ('file_name,label\na.png,"open\n', "line 2 is not a row"),
        ("file_name,label\nb.png,1\n", "'b.png', which is not among the images"),
        ("file_name,label\n../a.png,1\n", "without '..'"),
        ("file_name,label\na.png,1\na.png,1\n", "line 3 names 'a.png' a second time"),
        (b"file_name,label\na.png,\xff\n", "not UTF-8"),
        ("file_name\n".encode("utf-16"), "not UTF-8"),
    ],
)
def test_faults_of_the_table(container, content, reason):
    message = refused(container(pictures("a.png") | {"metadata.csv": content}))
    assert reason in message and "metadata.csv" in message


def test_two_manifests_are_refused(container):
    files = pictures("a.png") | {"metadata.csv": "file_name\na.png\n", "metadata.jsonl": '{"file_name": "a.png"}'}
    message = refused(container(files))
    assert "both metadata.jsonl and metadata.csv" in message


def test_a_table_goes_before_dataset_json(container):
    files = pictures("a.png") | {"metadata.csv": "file_name,label\na.png,x\n", "dataset.json": '{"labels": [["a.png", 3]]}'}
    assert listing(container(files))[0] == {"a.png": "x"}


@pytest.mark.parametrize("text", ['label\na.png,"' + "x\n" * 2**15, "," * 2**16, 'x\n"' + 'ab\n","' * 2**15])
def test_endless_rows_stay_small_in_memory(tmp_path, monkeypatch, text):
    """Quotation marks that do not close make one row of a whole file."""
    monkeypatch.setattr(reader_manifest, "MAX_LINE_BYTES", 2**14)
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "metadata.csv").write_text("file_name," + text)
    tracemalloc.start()
    refused(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * len(text) + 2**19  # its beginning, looked at for line ends; a row of 16 KiB, where 2**15 texts have 2 MiB


def test_too_many_rows_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reader_manifest, "SPARE", 4)
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "metadata.csv").write_text("file_name\n" + "\n" * 7)
    assert "more than 6 lines" in refused(tmp_path)


# The column of labels

TABLES = {
    "metadata.csv": "file_name,breed,label,age\na.png,pug,dog,3\nb.png,,cat,4\n",
    "metadata.jsonl": """{"file_name": "a.png", "breed": "pug", "label": "dog"}
{"file_name": "b.png", "label": "cat", "age": 4}""",
}


@pytest.mark.parametrize("manifest", TABLES)
def test_a_column_by_name(container, manifest):
    root = container(pictures("a.png", "b.png") | {manifest: TABLES[manifest]})
    assert listing(root) == listing(root, "label") == ({"a.png": "dog", "b.png": "cat"}, ("cat", "dog"))
    assert listing(root, "breed") == ({"a.png": "pug", "b.png": None}, ("pug",))
    message = refused(root, "bread")
    assert "data.label_column is 'bread'" in message and "age, breed, label" in message and manifest in message


def test_a_column_that_only_a_late_row_has(tmp_path):
    """Columns are told from the first rows, but looked for in all."""
    rows = [{"file_name": f"{i}.png", f"column {i}": 1} for i in range(50)] + [{"file_name": "50.png", "breed": "pug"}]
    for i in range(51):
        (tmp_path / f"{i}.png").write_bytes(b"")
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert listing(tmp_path, "breed")[1] == ("pug",)
    assert len(refused(tmp_path, "bread")) < 1000


@pytest.mark.parametrize("manifest", [{}, {"dataset.json": '{"labels": [["a.png", 3]]}'}])
def test_a_column_of_nothing(container, manifest):
    assert "label_column" in refused(container(pictures("a.png") | manifest), "breed")
