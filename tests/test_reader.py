"""Layouts, splits and faults of image containers; every layout is read from a folder and from a zip."""

import json
import os
import struct
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bootlight.data import reader_files, reader_folder
from bootlight.data.reader import open_images
from bootlight.data.reader_splits import held_out_split
from bootlight.errors import BootlightError

REAL_ZIP = zipfile.ZipFile


def write_folder(root, files):
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def write_zip(path, files, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.fixture(params=["folder", "zip"])
def container(request, tmp_path):
    """Make a container of {name: bytes}; the reader does not decode, so any bytes are a picture."""

    def make(files):
        files = {name: data if isinstance(data, bytes) else data.encode() for name, data in files.items()}
        return write_folder(tmp_path / "root", files) if request.param == "folder" else write_zip(tmp_path / "root.zip", files)

    return make


def listing(root, split=None):
    with open_images(root, split) as images:
        return dict(zip(images.names, images.labels, strict=True)), images.class_names, images.splits


def pictures(*names):
    return {name: name.encode() for name in names}


def lines(*rows):
    return "\n".join(map(json.dumps, rows)) + "\n"


def refused(root, split=None):
    with pytest.raises(BootlightError) as caught:
        open_images(root, split)
    message = str(caught.value)
    assert "\n" not in message
    return message


# Layouts


def test_flat_folder_is_sorted_and_unlabelled(container):
    root = container(pictures("b.PNG", "a.jpeg", "c.WebP", "10.jpg", "9.jpg"))
    with open_images(root) as images:
        assert images.names == ["10.jpg", "9.jpg", "a.jpeg", "b.PNG", "c.WebP"]
        assert [images.read(i) for i in range(len(images))] == [name.encode() for name in images.names]
        assert images.labels == [None] * 5 and images.class_names == () and images.splits == ()
        assert images.where == str(root)


def test_what_is_not_a_visible_picture_is_ignored(container):
    extra = pictures("manifest.csv", "a.png.txt", ".a.png", ".git/a.png", "__MACOSX/a.png", "x/.thumbs/a.jpg", "movie.gif")
    assert listing(container(pictures("a.png") | extra))[0] == {"a.png": None}


def test_class_folders(container):
    root = container(pictures("dog/1.png", "cat/2.png", "cat/deep/down/3.png"))
    assert listing(root) == ({"cat/2.png": "cat", "cat/deep/down/3.png": "cat", "dog/1.png": "dog"}, ("cat", "dog"), ())


def test_numbers_as_classes_are_sorted_by_value(container):
    assert listing(container(pictures("10/a.png", "9/a.png", "2/a.png")))[1] == ("2", "9", "10")


def test_names_and_numbers_as_classes_are_sorted_as_text(container):
    assert listing(container(pictures("10/a.png", "9/a.png", "x/a.png")))[1] == ("10", "9", "x")


def test_pictures_beside_folders_mean_no_classes(container):
    root = container(pictures("a.png", "x/b.png", "y/c.png"))
    assert listing(root) == ({"a.png": None, "x/b.png": None, "y/c.png": None}, (), ())


def test_single_folder_is_no_class(container):
    assert listing(container(pictures("ffhq/1.png", "ffhq/2.png") | {"manifest.csv": b""}))[:2] == (
        {"ffhq/1.png": None, "ffhq/2.png": None},
        (),
    )


def test_folder_around_everything_is_looked_through(container):
    root = container(pictures("set/v1/cat/1.png", "set/v1/dog/1.png"))
    assert listing(root) == ({"set/v1/cat/1.png": "cat", "set/v1/dog/1.png": "dog"}, ("cat", "dog"), ())


def test_splits_in_a_folder_around_them(container):
    root = container(pictures("set/train/1.png", "set/test/2.png"))
    assert listing(root) == ({"set/train/1.png": None}, (), ("test", "train"))


# Splits


def test_train_is_the_default_split(container):
    root = container(pictures("train/1.png", "test/2.png", "val/3.png") | {"manifest.csv": b""})
    assert listing(root) == ({"train/1.png": None}, (), ("test", "train", "val"))
    assert listing(root, "test")[0] == {"test/2.png": None}
    assert listing(root, "val")[0] == {"val/3.png": None}


def test_classes_of_all_splits_share_their_numbers(container):
    """A split that lacks a class must not shift the positions of the others."""
    root = container(pictures("train/ant/1.png", "train/bee/1.png", "train/cow/1.png", "test/bee/1.png", "test/cow/2.png"))
    assert listing(root, "test") == (
        {"test/bee/1.png": "bee", "test/cow/2.png": "cow"},
        ("ant", "bee", "cow"),
        ("test", "train"),
    )


def test_lone_train_is_a_split_and_lone_test_is_not(container):
    assert listing(container(pictures("train/cat/1.png", "train/dog/1.png"))) == (
        {"train/cat/1.png": "cat", "train/dog/1.png": "dog"},
        ("cat", "dog"),
        ("train",),
    )


def test_lone_test_folder(container):
    assert listing(container(pictures("test/1.png"))) == ({"test/1.png": None}, (), ())


def test_capital_letters_in_splits(container):
    root = container(pictures("Train/1.png", "TEST/2.png"))
    assert listing(root) == ({"Train/1.png": None}, (), ("test", "train"))


@pytest.mark.parametrize("other", ["Train", "training"])
def test_one_split_under_two_names_is_refused(tmp_path, other):
    """In a zip, because not every file system can hold both."""
    message = refused(write_zip(tmp_path / "a.zip", pictures("train/1.png", f"{other}/2.png")))
    assert ", ".join(sorted([other, "train"])) in message


def test_single_folder_inside_of_splits_is_no_class(container):
    root = container(pictures("train/faces/1.png", "test/faces/2.png"))
    assert listing(root) == ({"train/faces/1.png": None}, (), ("test", "train"))


@pytest.mark.parametrize(
    ("names", "in_the_way"),
    [
        (("train/1.png", "test/2.png", "preview.png"), "preview.png"),
        (("train/1.png", "test/2.png", "unlabeled/3.png"), "unlabeled"),
        (("set/Training/1.png", "set/TEST/2.png", "set/unlabeled/3.png"), "unlabeled"),
        (("train/1.png", "bus/2.png", "car/3.png"), "bus, car"),
        (("test/1.png", "photos/2.png"), "photos"),
        (("eval/1.png", "2.png"), "2.png"),
        (("cat/train/1.png", "cat/test/2.png", "dog/train/3.png", "dog/test/4.png"), "test, train in cat"),
        (("logo.png", "data/train/1.png", "data/holdout/2.png"), "holdout, train in data"),
        (("train2017/1.png", "val2017/2.png"), "train2017, val2017"),
        (("images_train/1.png", "images_test/2.png", "unlabeled/3.png"), "images_test, images_train"),
    ],
)
def test_splits_beside_other_things_are_refused_with_the_name_of_what_is_in_the_way(container, names, in_the_way):
    assert in_the_way in refused(container(pictures(*names)))


def test_classes_of_which_one_is_called_as_a_split_can_be_listed(container):
    files = pictures("train/1.png", "bus/2.png")
    files["metadata.csv"] = "file_name,label\ntrain/1.png,train\nbus/2.png,bus\n"
    assert listing(container(files)) == ({"train/1.png": "train", "bus/2.png": "bus"}, ("bus", "train"), ())
    files = pictures("train/1.png", "test/2.png", "bus/3.png")
    rows = "".join(f"{name},\n" for name in files)
    assert "bus" in refused(container(files | {"metadata.csv": f"file_name,label\n{rows}"}))


def test_names_of_splits_inside_of_a_split_and_in_longer_names_are_classes(container):
    root = container(pictures("train/train/1.png", "train/bullet_train/2.png", "test/train/1.png", "test/test_tube/1.png"))
    assert listing(root)[1:] == (("bullet_train", "test_tube", "train"), ("test", "train"))
    assert listing(root, "test")[0] == {"test/train/1.png": "train", "test/test_tube/1.png": "test_tube"}


def test_many_classes_with_the_words_of_splits_are_classes(container):
    root = container(pictures("bullet_train/1.png", "test_tube/2.png", *(f"{i}/1.png" for i in range(9))))
    assert len(listing(root)[1]) == 11


def test_unknown_split_names_those_present(container):
    message = refused(container(pictures("train/1.png", "test/2.png")), "val")
    assert "'val'" in message and "test, train" in message


def test_no_train_among_the_splits(container):
    assert "test, val" in refused(container(pictures("val/1.png", "test/2.png")))


def test_split_of_a_set_without_splits(container):
    assert "no split 'test'" in refused(container(pictures("1.png")), "test")


# Manifests


def test_metadata_lists_and_labels(container):
    """As bootlight itself writes; the folders are no classes, and what is not listed is left out."""
    rows = [{"file_name": "00000/000001.png", "label": 10, "seed": 5}, {"file_name": "./00000/000000.png", "label": 9}]
    rows += [{"file_name": "00001/001000.png", "label": None}, {"file_name": "00001/001001.png", "label": -1}]
    files = pictures("00000/000000.png", "00000/000001.png", "00001/001000.png", "00001/001001.png", "00001/unlisted.png")
    assert listing(container(files | {"metadata.jsonl": lines(*rows) + "\n"})) == (
        {"00000/000000.png": "9", "00000/000001.png": "10", "00001/001000.png": None, "00001/001001.png": None},
        ("9", "10"),
        (),
    )


def test_metadata_without_labels(container):
    rows = [{"file_name": "cat/1.png"}, {"file_name": "dog/1.png"}]
    assert listing(container(pictures("cat/1.png", "dog/1.png") | {"metadata.jsonl": lines(*rows)}))[:2] == (
        {"cat/1.png": None, "dog/1.png": None},
        (),
    )


def test_metadata_beside_a_single_folder(container):
    """A run of fewer than 1,000 images: the folder 00000 must not be looked through before the manifest is seen."""
    root = container(pictures("00000/000000.png") | {"metadata.jsonl": lines({"file_name": "00000/000000.png", "label": "x"})})
    assert listing(root)[:2] == ({"00000/000000.png": "x"}, ("x",))


def test_metadata_inside_of_splits(container):
    files = pictures("train/1.png", "test/2.png")
    files["train/metadata.jsonl"] = lines({"file_name": "1.png", "label": "ä"})
    files["test/metadata.jsonl"] = lines({"file_name": "2.png", "label": "b"})
    assert listing(container(files), "test") == ({"test/2.png": "b"}, ("b", "ä"), ("test", "train"))


def test_metadata_above_splits(container):
    rows = [{"file_name": "train/1.png", "label": 1}, {"file_name": "test/2.png", "label": 0}]
    root = container(pictures("train/1.png", "test/2.png", "train/3.png") | {"metadata.jsonl": lines(*rows)})
    assert listing(root) == ({"train/1.png": "1"}, ("0", "1"), ("test", "train"))


def test_metadata_above_a_lone_test_folder(container):
    root = container(pictures("test/1.png") | {"metadata.jsonl": lines({"file_name": "test/1.png", "label": 4})})
    assert listing(root) == ({"test/1.png": "4"}, ("4",), ())


def test_dataset_json_labels_by_number(container):
    labels = json.dumps({"labels": [["00000/a.png", 3], ["00001/b.png", 0]]})
    root = container(pictures("00000/a.png", "00001/b.png", "00001/c.png") | {"dataset.json": labels})
    assert listing(root) == ({"00000/a.png": "3", "00001/b.png": "0", "00001/c.png": None}, ("0", "3"), ())


@pytest.mark.parametrize("content", ['{"labels": null}', "{}"])
def test_dataset_json_without_labels(container, content):
    root = container(pictures("00000/a.png", "00001/b.png") | {"dataset.json": content})
    assert listing(root)[:2] == ({"00000/a.png": None, "00001/b.png": None}, ())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "line 1 is not valid JSON"),
        ('{"file_name": "a.png"}\nnonsense', "line 2 is not valid JSON"),
        ('{"label": 1}', "line 1 has no file_name"),
        ("[1]", "line 1 has no file_name"),
        ('{"file_name": "b.png"}', "'b.png', which is not among the images"),
        ('{"file_name": "notes.txt"}', "'notes.txt', which is not among the images"),
        ('{"file_name": "/etc/a.png"}', "without '..'"),
        ('{"file_name": "../a.png"}', "without '..'"),
        ('{"file_name": "x/../a.png"}', "without '..'"),
        ('{"file_name": 7}', "not text"),
        ('{"file_name": "a.png"}\n{"file_name": "./a.png"}', "line 2 names './a.png' a second time"),
        ('{"file_name": "a.png", "label": 1.5}', "label 1.5"),
        ('{"file_name": "a.png", "label": true}', "label True"),
        ("\n", "lists no image"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_faults_of_metadata(container, content, reason):
    message = refused(container(pictures("a.png", "notes.txt") | {"metadata.jsonl": content}))
    assert reason in message and "metadata.jsonl" in message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("nope", "not valid JSON"),
        ("[]", "is not {"),
        ('{"labels": {"a.png": 1}}', "is not {"),
        ('{"labels": [["a.png"]]}', "label 1 is not a pair"),
        ('{"labels": [["a.png", 1], ["../a.png", 1]]}', "label 2 names"),
        ('{"labels": [["a.png", [0.5]]]}', "label [0.5]"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_faults_of_dataset_json(container, content, reason):
    message = refused(container(pictures("a.png") | {"dataset.json": content}))
    assert reason in message and "dataset.json" in message


# Roots


def test_faults_of_the_root(tmp_path):
    assert "does not exist" in refused(tmp_path / "missing")
    (tmp_path / "notes.txt").write_text("text")
    assert "neither a folder nor a readable zip" in refused(tmp_path / "notes.txt")
    (tmp_path / "empty").mkdir()
    assert "no PNG, JPEG or WebP image" in refused(tmp_path / "empty")


def test_truncated_zip(tmp_path):
    path = write_zip(tmp_path / "a.zip", {f"{i}.png": b"0" * 100 for i in range(50)})
    path.write_bytes(path.read_bytes()[:-200])
    assert str(path) in refused(path)


def test_zip_with_a_damaged_directory(tmp_path):
    path = write_zip(tmp_path / "a.zip", pictures("a.png"))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"PK\x01\x02", b"PK\x09\x09"))
    assert "damaged zip" in refused(path)


# Links


def test_links_out_of_the_root_are_refused(tmp_path):
    root = write_folder(tmp_path / "root", pictures("a.png"))
    (tmp_path / "secret.png").write_bytes(b"secret")
    (root / "b.png").symlink_to(tmp_path / "secret.png")
    assert "b.png is a link that leaves" in refused(root)


def test_linked_manifest_out_of_the_root_is_refused(tmp_path):
    root = write_folder(tmp_path / "root", pictures("a.png"))
    (root / "metadata.jsonl").symlink_to("../elsewhere.jsonl")
    assert "metadata.jsonl is a link that leaves" in refused(root)


def test_a_sibling_with_the_same_beginning_is_outside(tmp_path):
    root = write_folder(tmp_path / "root", pictures("a.png"))
    write_folder(tmp_path / "root2", pictures("b.png"))
    (root / "b.png").symlink_to(tmp_path / "root2" / "b.png")
    assert "leaves" in refused(root)


def test_linked_folders_are_refused(tmp_path):
    root = write_folder(tmp_path / "root", pictures("x/a.png"))
    (root / "x" / "circle").symlink_to(root)
    assert "x/circle is a link to a folder" in refused(root)


def test_links_inside_of_the_root_and_to_it_are_followed(tmp_path):
    root = write_folder(tmp_path / "root", pictures("a.png"))
    (root / "b.png").symlink_to("a.png")
    (root / "readme.txt").symlink_to("/etc/hostname")  # never read, so never mind
    (tmp_path / "link").symlink_to(root)
    with open_images(tmp_path / "link") as images:
        assert [images.read(i) for i in range(2)] == [b"a.png", b"a.png"]


def test_a_pipe_is_no_picture(tmp_path):
    root = write_folder(tmp_path / "root", pictures("a.png"))
    os.mkfifo(root / "b.png")
    assert listing(root)[0] == {"a.png": None}


# Hostile zips


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png", "x/../../a.png"])
def test_entries_that_leave_the_zip(tmp_path, name):
    assert "leads out of the zip" in refused(write_zip(tmp_path / "a.zip", pictures(name, "b.png")))


def central_entry(path, offset, value):
    """Overwrite a field of the only entry in the central directory (APPNOTE 4.3.12)."""
    data = bytearray(path.read_bytes())
    start = data.index(b"PK\x01\x02") + offset
    data[start : start + len(value)] = value
    path.write_bytes(data)
    return path


def test_encrypted_entry(tmp_path):
    path = central_entry(write_zip(tmp_path / "a.zip", pictures("a.png")), 8, struct.pack("<H", 1))
    assert "a.png is encrypted" in refused(path)


def test_entry_that_claims_to_be_huge(tmp_path):
    limit = 256 * 2**20
    path = write_zip(tmp_path / "a.zip", pictures("a.png"))
    assert f"claims {limit + 1} bytes" in refused(central_entry(path, 24, struct.pack("<I", limit + 1)))
    assert listing(central_entry(path, 24, struct.pack("<I", limit)))[0] == {"a.png": None}


def test_entry_that_claims_to_be_small_does_not_inflate(tmp_path):
    """Reading stops at the claimed size, and then the checksum is wrong."""
    path = write_zip(tmp_path / "a.zip", {"a.png": bytes(20_000_000)})
    tracemalloc.start()
    with (
        open_images(central_entry(path, 24, struct.pack("<I", 1000))) as images,
        pytest.raises(BootlightError, match=r"a\.png: damaged"),
    ):
        images.read(0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000  # twenty times less than the entry


def test_damaged_entry(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"a.png": b"0123456789"}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"0123456789", b"0123456780"))
    with open_images(path) as images, pytest.raises(BootlightError, match=r"a\.png: damaged in the zip"):
        images.read(0)


def test_other_compressions_are_refused(tmp_path):
    assert "neither stored nor deflated" in refused(write_zip(tmp_path / "a.zip", pictures("a.png"), zipfile.ZIP_LZMA))


def test_too_many_entries(container, monkeypatch):
    monkeypatch.setattr(reader_folder, "MAX_IMAGES", 2)
    monkeypatch.setattr(reader_files, "MAX_ZIP_ENTRIES", 2)
    root = container(pictures("a.png", "b.png", "c.png"))
    assert "more than 2" in refused(root)


def test_large_file_in_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(reader_folder, "MAX_FILE_BYTES", 4)
    with open_images(write_folder(tmp_path / "root", {"a.png": b"1234", "b.png": b"12345"})) as images:
        assert images.read(0) == b"1234"
        with pytest.raises(BootlightError, match=r"b\.png: larger"):
            images.read(1)


def test_file_that_vanishes(tmp_path):
    root = write_folder(tmp_path / "root", pictures("a.png"))
    with open_images(root) as images:
        (root / "a.png").unlink()
        with pytest.raises(BootlightError, match=r"a\.png: cannot be read"):
            images.read(0)


def test_reading_from_several_threads(container):
    files = {f"{i:03d}.png": bytes([i]) * (500 + 37 * i) for i in range(200)}
    with open_images(container(files)) as images, ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(images.read, range(200))) == list(files.values())


@pytest.mark.parametrize(("names", "split"), [(("train/a.png", "test/b.png"), "val"), (("../a.png",), None)])
def test_a_zip_that_is_refused_is_closed(tmp_path, monkeypatch, names, split):
    path = write_zip(tmp_path / "a.zip", pictures(*names))
    opened = []
    monkeypatch.setattr(zipfile, "ZipFile", lambda file: opened.append(REAL_ZIP(file)) or opened[0])
    refused(path, split)
    assert opened[0].fp is None  # as `close` leaves it


def test_reading_after_closing(tmp_path):
    with open_images(write_zip(tmp_path / "a.zip", pictures("a.png"))) as images:
        pass
    with pytest.raises(BootlightError, match="closed"):
        images.read(0)


SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared development images are not here")
def test_real_containers():
    labels, classes, splits = listing(SHARED / "cifar10_32_subset.zip", "test")
    assert len(labels) == 2000 and len(classes) == 10 and splits == ("test", "train")
    assert all(name.split("/")[:2] == ["test", label] for name, label in labels.items())
    labels, classes, splits = listing(SHARED / "utkface_64.zip")
    assert len(labels) == 20_000 and classes == () and splits == ("test", "train")


# What is read of the names


@pytest.mark.parametrize(
    ("folders", "asked", "found"),
    [
        (("training", "testing"), None, "training"),
        (("training", "testing"), "train", "training"),
        (("Training", "HoldOut"), "test", "holdout"),
        (("train", "valid", "eval"), "Validation", "valid"),
        (("train", "dev"), "val", "dev"),
        (("train", "test", "testing"), "testing", "testing"),
    ],
)
def test_one_name_of_a_split_stands_for_another_of_its_kind(container, folders, asked, found):
    with open_images(container(pictures(*(f"{folder}/1.png" for folder in folders))), asked) as images:
        assert [name.split("/")[0].lower() for name in images.names] == [found] == [images.layout.split]
        assert images.splits == tuple(sorted(folder.lower() for folder in folders)) == tuple(sorted(images.layout.splits))


def test_a_name_that_stands_for_two_splits_is_refused(container):
    assert "'holdout'" in refused(container(pictures("train/1.png", "test/2.png", "eval/3.png")), "holdout")


@pytest.mark.parametrize(
    ("splits", "held_out"),
    [
        ({"train", "val", "test"}, "test"),
        ({"training", "validation", "eval"}, "eval"),
        ({"train", "dev", "valid"}, "valid"),
        ({"train"}, None),
        ({"val", "test"}, None),
    ],
)
def test_the_split_that_is_held_out(splits, held_out):
    assert held_out_split(splits) == held_out


def test_folders_inside_of_a_split_are_looked_through(container):
    names = ("train/images/cat/1.png", "train/images/dog/1.png", "test/images/v1/dog/2.png", "test/images/v1/cat/2.png")
    assert listing(container(pictures(*names))) == (
        {"train/images/cat/1.png": "cat", "train/images/dog/1.png": "dog"},
        ("cat", "dog"),
        ("test", "train"),
    )


def test_the_only_folder_of_a_split_is_a_class_if_another_split_has_it(container):
    root = container(pictures("train/cat/1.png", "train/dog/1.png", "test/dog/2.png", "val/pictures/3.png"))
    assert listing(root, "test")[0] == {"test/dog/2.png": "dog"}
    assert listing(root, "val")[0] == {"val/pictures/3.png": None}


def test_names_of_windows_are_taken_as_names_with_slashes(tmp_path):
    """As PowerShell 5 and old .NET write into zips, and as Python unpacks those on Linux."""
    names = ["train\\cat\\1.png", "train/dog/2.png", "test\\dog/3.png", "test\\cat\\4.png", "__MACOSX\\._a.png", "metadata"]
    root = write_folder(tmp_path / "root", pictures(*(name for name in names if "/" not in name)))
    write_folder(root, pictures(*(name for name in names if "/" in name)))
    for where in (write_zip(tmp_path / "a.zip", pictures(*names)), root):
        with open_images(where) as images:
            assert dict(zip(images.names, images.labels, strict=True)) == {"train/cat/1.png": "cat", "train/dog/2.png": "dog"}
            assert [images.read(i) for i in range(2)] == [b"train\\cat\\1.png", b"train/dog/2.png"]
            assert images.splits == ("test", "train") and len(images.layout.left_out) == 2


@pytest.mark.parametrize("name", ["..\\a.png", "x\\..\\..\\a.png", "\\\\server\\a.png", "C:\\x\\a.png", "c:/a.png"])
def test_names_of_windows_that_leave_the_zip(tmp_path, name):
    assert "leads out of the zip" in refused(write_zip(tmp_path / "a.zip", pictures(name, "b.png")))


def test_two_names_that_come_to_one_are_refused(tmp_path):
    composed, two_marks = "caf\u00e9", "cafe\u0301"
    for names in (
        ("x\\1.png", "x/1.png"),
        (f"{composed}.png", f"{two_marks}.png"),
        (f"{composed}/1.png", f"{two_marks}/2.png"),
    ):
        message = refused(write_zip(tmp_path / "a.zip", pictures(*names)))
        assert "two f" in message and ("x/1.png" in message or composed in message)
    assert "two folders" in refused(write_folder(tmp_path / "root", pictures(f"{composed}/1.png", f"{two_marks}/2.png")))


def test_splits_and_classes_are_known_however_accents_are_stored(container):
    root = container(pictures("train/caf\u00e9/1.png", "train/bar/2.png", "test/cafe\u0301/3.png", "test/bar/4.png"))
    assert listing(root)[1] == ("bar", "caf\u00e9")
    assert listing(root, "test")[0]["test/caf\u00e9/3.png"] == "caf\u00e9"


# What is left out


def test_everything_that_is_not_read_is_counted(container):
    names = ["cat/1.png", "dog/1.png", "cat/2.HEIC", "dog/3.heic", "owl/1.bmp", "owl/deep/2.tif", "README", "cat/.DS_Store"]
    names += ["._1.png", "@eaDir/1.jpg", "dog/@eaDir/1.jpg", "#recycle/9.png", "cat/Thumbs.db", "$RECYCLE.BIN/a/1.png"]
    names += ["System Volume Information/1.png", ".thumbnails/1.png", "cat/1.png.json", "a.long extension"]
    with open_images(container(pictures(*names))) as images:
        assert images.names == ["cat/1.png", "dog/1.png"] and images.class_names == ("cat", "dog")
        assert set(images.layout.left_out) == {
            *("2 .heic", "1 .bmp", "1 .tif", "1 .json", "3 hidden", "2 without extension"),
            *("2 folders @eaDir", "folder #recycle", "folder $RECYCLE.BIN", "folder System Volume Information"),
            "folder .thumbnails",
        }
        assert images.layout.bare == ("owl",)


def test_few_kinds_are_named_and_the_others_are_counted(container):
    files = pictures("1.png", *(f"{i}.k{j}" for j in range(9) for i in range(j + 1)))
    with open_images(container(files)) as images:
        assert images.layout.left_out == ("9 .k8", "8 .k7", "7 .k6", "6 .k5", "5 .k4", "4 .k3", "3 other kinds of files")


def test_a_set_without_a_picture_says_what_it_has(container):
    assert "(left out: 2 .bmp, 1 .npz)" in refused(container(pictures("a.bmp", "x/b.bmp", "c.npz")))


def test_pictures_beside_folders_are_known(container):
    with open_images(container(pictures("logo.png", "cat/1.png", "dog/1.png", "z.jpg"))) as images:
        assert images.layout.stray == ("logo.png", "z.jpg") and images.layout.beside == ("cat", "dog")


RUN = ("config.yaml", "environment.json", "real_previews.png", "strip.png", "gen_000/previews.png", "gen_000/model.json")
RUN += ("gen_000/samples/metadata.jsonl", "gen_000/samples/00000/000000.png", "gen_001/previews.png", ".lock")


@pytest.mark.parametrize("present", [RUN, RUN[:3], (RUN[0], *RUN[4:8]), RUN[3:8]])
@pytest.mark.parametrize("place", ["run", "runs/x", "cat/x"])
def test_runs_below_a_root_are_no_real_images(container, present, place):
    """Whole, before its first generation, and without some of what it is known by."""
    with open_images(container(pictures("cat/1.png", "dog/1.png", *(f"{place}/{name}" for name in present)))) as images:
        assert images.names == ["cat/1.png", "dog/1.png"] and images.class_names == ("cat", "dog")
        assert images.layout.left_out == (f"run {place}",)


def test_a_generation_alone_is_known_by_what_it_has(container):
    with open_images(container(pictures("1.png", "old/samples/2.png", "old/model.json", "old/previews.png"))) as images:
        assert images.names == ["1.png"] and images.layout.left_out == ("run old",)


def test_folders_that_only_look_like_runs_are_images(container):
    names = [
        "a/samples/1.png",
        "a/previews.png",
        "b/references/2.png",
        "b/strip.png",
        "c/config.yaml",
        "c/3.png",
        "gen_1/4.png",
    ]
    with open_images(container(pictures(*names))) as images:
        assert images.names == sorted(set(names) - {"c/config.yaml"})
