"""Images as numbers in `.npy` files: understood, bounded before they are read, and never rounded."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bootlight.data.reader import open_images
from bootlight.data.reading import Reading
from bootlight.data.store import build_store, store_from_arrays
from bootlight.errors import BootlightError
from bootlight.io.arrays import encode_array, row_name, split_row

RNG = np.random.default_rng(0)
# Beyond [-1, 1], smaller than the steps of 8 bits, a subnormal number and both zeros: nothing of it may change.
NUMBERS = np.concatenate([RNG.normal(0, 30, (5, 2, 3, 4)), np.full((1, 2, 3, 4), 1e-40), np.full((1, 2, 3, 4), -0.0)])
NUMBERS = NUMBERS.astype(np.float32)
HOW = {"image_size": [3, 4], "channels": 2}


def bits(images):
    return np.ascontiguousarray(images).view(np.uint8).tolist()


@pytest.fixture(params=["folder", "zip"])
def place(request, tmp_path):
    """Writes arrays by their names into a folder or a zip."""

    def write(arrays):
        root = tmp_path / "set"
        for name, array in arrays.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.write(array) if isinstance(array, bytes) else np.save(file, array)
        if request.param == "folder":
            return root
        with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as packed:
            for path in sorted(root.rglob("*")):
                packed.write(path, path.relative_to(root)) if path.is_file() else None
        return tmp_path / "set.zip"

    return write


def build(root, cache, **how):
    return build_store(root, cache=cache, **{**HOW, **how})


def refused(root, cache, **how):
    with pytest.raises(BootlightError) as error:
        build(root, cache, **how)
    return str(error.value)


def test_numbers_come_back_bit_for_bit(place, tmp_path):
    """Written, found again in the cache, and mapped by a worker process; one file of several and files of one alike."""
    root = place({"a.npy": NUMBERS[:3], "x/b.NPY": NUMBERS[3], "x/c.npy": NUMBERS[4:]})
    for _ in range(2):
        store = build(root, tmp_path / "cache")
        assert store.images.dtype == np.float32 and store.images.shape == (7, 3, 4, 2)
        assert bits(store.images) == bits(NUMBERS.transpose(0, 2, 3, 1))
        assert not store.images.flags.writeable
    assert bits(pickle.loads(pickle.dumps(store)).images) == bits(store.images)
    names = [row_name("a.npy", i) for i in range(3)] + ["x/b.NPY"] + [row_name("x/c.npy", i) for i in range(3)]
    assert list(store.names) == names


def test_a_store_that_was_changed_is_decoded_again(tmp_path):
    np.save(tmp_path / "a.npy", NUMBERS)
    file = Path(build(tmp_path / "a.npy", tmp_path / "cache").images.filename)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.warns(UserWarning, match="damaged"):
        store = build(tmp_path / "a.npy", tmp_path / "cache")
    assert bits(store.images) == bits(NUMBERS.transpose(0, 2, 3, 1))


def test_a_file_alone_is_a_set(tmp_path):
    np.save(tmp_path / "points.npy", NUMBERS)
    with open_images(tmp_path / "points.npy") as images:
        assert len(images) == 7 and images.layout.numbers == "numbers (2, 3, 4) of float32"
    assert bits(build(tmp_path / "points.npy", tmp_path / "cache").images) == bits(NUMBERS.transpose(0, 2, 3, 1))


def test_8_bits_of_any_number_of_channels(place, tmp_path):
    images = RNG.integers(0, 256, (4, 5, 3, 4)).astype(np.uint8)
    store = build(place({"a.npy": images}), tmp_path / "cache", channels=5)
    assert store.images.dtype == np.uint8 and (store.images == images.transpose(0, 2, 3, 1)).all()


def test_classes_and_manifests(place, tmp_path):
    lines = '{"file_name": "a.npy#2", "label": 1}\n{"file_name": "a.npy#00000000", "label": 0}\n{"file_name": "b.npy"}\n'
    store = build(place({"a.npy": NUMBERS[:3], "b.npy": NUMBERS[3], "metadata.jsonl": lines.encode()}), tmp_path / "cache")
    assert store.labels.tolist() == [0, 1, -1] and bits(store.images) == bits(NUMBERS[[0, 2, 3]].transpose(0, 2, 3, 1))


def test_class_folders(place, tmp_path):
    store = build(place({"cat/a.npy": NUMBERS[:2], "dog/b.npy": NUMBERS[2]}), tmp_path / "cache")
    assert store.class_names == ("cat", "dog") and store.labels.tolist() == [0, 0, 1]


def test_the_key_knows_the_numbers_and_their_type(tmp_path):
    """The same as of a store in memory with the same names; another one for another last bit."""
    np.save(tmp_path / "a.npy", NUMBERS)
    names = [row_name("a.npy", i) for i in range(7)]
    stored = store_from_arrays(NUMBERS.transpose(0, 2, 3, 1), names=names)
    assert build(tmp_path / "a.npy", tmp_path / "cache").key == stored.key
    moved = NUMBERS.copy()
    moved[0, 0, 0, 0] = np.nextafter(moved[0, 0, 0, 0], np.float32(np.inf))
    assert store_from_arrays(moved.transpose(0, 2, 3, 1), names=names).key != stored.key


def test_beside_pictures_they_are_left_out_as_before(place, tmp_path):
    """Whatever they hold, and wherever they lead."""
    root = place({"broken.npy": b"nothing", "a.npy": NUMBERS})
    if root.is_dir():
        Image.new("L", (4, 3)).save(root / "a.png")
        (root / "out.npy").symlink_to("/elsewhere.npy")
    else:
        with zipfile.ZipFile(root, "a") as packed, packed.open("a.png", "w") as file:
            Image.new("L", (4, 3)).save(file, "PNG")
    with open_images(root) as images:
        assert images.names == ["a.png"] and images.numbers is None
        assert images.layout.left_out == (f"{3 if root.is_dir() else 2} .npy",)


HEADER = "{{'descr': {}, 'fortran_order': False, 'shape': {}, }}"


def raw(kind, shape, data=b"", version=b"\x01\x00"):
    header = HEADER.format(kind, shape).encode() + b"\n"
    length = len(header).to_bytes(2 if version[0] == 1 else 4, "little")
    return b"\x93NUMPY" + version + length + header + data


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (NUMBERS.astype(np.float64), "float64"),
        (NUMBERS.astype(">f4"), ">f4"),
        (NUMBERS.astype(np.float16), "float16"),
        (NUMBERS.astype(np.int64), "int64"),
        (np.asfortranarray(NUMBERS[0]), "columns"),
        (NUMBERS[0, 0], r"(3, 4)"),
        (NUMBERS[None], r"(1, 7, 2, 3, 4)"),
        (NUMBERS[:, :0], "(7, 0, 3, 4)"),
        (raw("'|O'", "(2, 3, 4)", pickle.dumps(1)), "|O"),
        (raw("'<f4'", "(1000000000000, 2, 3, 4)"), "cut off"),
        (raw("'<f4'", "(-1, 2, 3, 4)", bytes(96)), "cut off"),
        (raw("'<f4'", "(2, 3, 4)", bytes(95)), "cut off"),
        (raw("'<f4'", "(2, 3, 4)", bytes(97)), "cut off"),
        (raw("'<f4'", "'((((('"), "header"),
        (raw("'<f4'", "(2, 3, 4)" + " " * 20_000), "not a .npy"),
        (raw("[('a', '<f4')]", "(2, 3, 4)", bytes(96)), "|V4"),
        (raw("'<f4'", "(2, 3, 4)", bytes(96), b"\x09\x00"), "not a .npy"),
        (b"", "not a .npy"),
        (b"\x93NUMPY", "not a .npy"),
        (pickle.dumps(NUMBERS), "not a .npy"),
    ],
)
def test_what_is_refused_before_a_number_is_read(place, tmp_path, content, reason):
    message = refused(place({"a.npy": content}), tmp_path / "cache")
    assert reason in message and "a.npy" in message


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none(place, tmp_path, bad):
    """Refused by name; left out where the user allows it."""
    numbers = NUMBERS.copy()
    numbers[4, 1, 2, 3] = bad
    root = place({"a.npy": numbers})
    assert row_name("a.npy", 4) in refused(root, tmp_path / "cache")
    store = build(root, tmp_path / "cache", reading=Reading(max_bad=1))
    assert bits(store.images) == bits(NUMBERS[[0, 1, 2, 3, 5, 6]].transpose(0, 2, 3, 1))
    assert list(store.skipped) == [row_name("a.npy", 4)]


@pytest.mark.parametrize("other", [NUMBERS[:, :1], NUMBERS[:, :, :2], NUMBERS.astype(np.uint8)])
def test_one_set_has_one_shape_and_type(place, tmp_path, other):
    assert "b.npy" in refused(place({"a.npy": NUMBERS, "b.npy": other}), tmp_path / "cache")


@pytest.mark.parametrize("how", [{"image_size": 3}, {"image_size": [4, 3]}, {"channels": 3}])
def test_numbers_are_not_cut_or_resized(place, tmp_path, how):
    message = refused(place({"a.npy": NUMBERS}), tmp_path / "cache", **how)
    assert "data.image_size" in message and "[3, 4]" in message and "data.channels to 2" in message


def test_a_link_is_followed_only_if_asked(tmp_path):
    np.save(tmp_path / "own.npy", NUMBERS)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.npy").symlink_to(tmp_path / "own.npy")
    assert "link" in refused(tmp_path / "set", tmp_path / "cache")
    assert len(build(tmp_path / "set", tmp_path / "cache", reading=Reading(follow_links=True)).images) == 7


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a.npy#00000003", ("a.npy", 3)),
        ("x#1/a.npy#3", ("x#1/a.npy", 3)),
        ("a#1.npy", ("a#1.npy", None)),
        ("a.npy", ("a.npy", None)),
        ("a.png#3", ("a.png#3", None)),
        ("a.npy#", ("a.npy#", None)),
        ("a.npy#-1", ("a.npy#-1", None)),
        ("a.npy#٣", ("a.npy#٣", None)),
        ("a.npy#" + "9" * 400, ("a.npy#" + "9" * 400, None)),
    ],
)
def test_names_of_rows(name, parts):
    assert split_row(name) == parts


def test_what_is_written_numpy_reads(tmp_path):
    (tmp_path / "a.npy").write_bytes(encode_array(NUMBERS.transpose(0, 1, 3, 2)))
    assert bits(np.load(tmp_path / "a.npy", allow_pickle=False)) == bits(NUMBERS.transpose(0, 1, 3, 2))
