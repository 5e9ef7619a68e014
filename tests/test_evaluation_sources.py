"""Sets of images for the verbs: what is found under a name, in which order, and when two are the same."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bootlight.data.resolve import resolve
from bootlight.data.store import store_from_arrays
from bootlight.errors import BootlightError
from bootlight.evaluation.sets.sources import StoreSource, open_source
from bootlight.io.pictures import decode, encode_png
from bootlight.runs.folder import RunFolder
from bootlight.runs.manifest import write_metadata


def picture(seed: int, height: int = 6, width: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write(folder, sizes):
    folder.mkdir(parents=True, exist_ok=True)
    for i, (height, width) in enumerate(sizes):
        (folder / f"{i}.png").write_bytes(encode_png(picture(i, height, width)))
    return folder


def open_whole(path, tmp_path):
    return open_source(str(path), image_size=None, cache=tmp_path / "cache")


def test_images_come_as_they_are_in_order_in_batches_of_one_size(tmp_path):
    sizes = [(6, 6), (6, 6), (6, 6), (4, 8), (6, 6)]
    source = open_whole(write(tmp_path / "images", sizes), tmp_path)
    batches = list(source.batches(2))
    assert [tuple(batch.shape) for batch in batches] == [(2, 3, 6, 6), (1, 3, 6, 6), (1, 3, 4, 8), (1, 3, 6, 6)]
    pixels = [image.permute(1, 2, 0).numpy() for batch in batches for image in batch]
    for i, (image, size) in enumerate(zip(pixels, sizes, strict=True)):
        np.testing.assert_array_equal(image, picture(i, *size))
    assert source.names == tuple(f"{i}.png" for i in range(5))
    np.testing.assert_array_equal(source.pick([3])[0], picture(3, 4, 8))


def test_with_a_size_they_are_prepared_as_for_training(tmp_path):
    folder = write(tmp_path / "images", [(9, 7), (8, 8)])
    source = open_source(str(folder), image_size=4, cache=tmp_path / "cache")
    found = np.concatenate([batch.numpy() for batch in source.batches(1)]).transpose(0, 2, 3, 1)
    expected = [decode((folder / f"{i}.png").read_bytes(), "", image_size=4, channels=3) for i in range(2)]
    np.testing.assert_array_equal(found, np.stack(expected))
    grey = open_source(str(folder), image_size=4, cache=tmp_path / "cache", channels=1)
    assert next(iter(grey.batches(2))).shape == (2, 1, 4, 4)


def test_a_key_is_the_content(tmp_path):
    folder = write(tmp_path / "images", [(6, 6)] * 3)
    key = open_whole(folder, tmp_path).key
    shutil.copytree(folder, tmp_path / "copy")
    assert open_whole(tmp_path / "copy", tmp_path).key == key
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as file:
        for image in sorted(folder.iterdir()):
            file.write(image, image.name)
    assert open_whole(tmp_path / "images.zip", tmp_path).key == key
    changed = picture(2)
    changed[0, 0, 0] ^= 1
    (folder / "2.png").write_bytes(encode_png(changed))
    assert open_whole(folder, tmp_path).key != key
    (tmp_path / "copy" / "2.png").rename(tmp_path / "copy" / "a.png")
    assert open_whole(tmp_path / "copy", tmp_path).key != key


def test_the_chosen_part_of_a_store_has_a_key_of_its_own():
    store = store_from_arrays(np.stack([picture(i) for i in range(4)]))
    some, others = (StoreSource("", store, np.array(chosen)) for chosen in ([0, 2], [2, 0]))
    assert len({some.key, others.key, StoreSource("", store).key}) == 3
    np.testing.assert_array_equal(next(some.batches(5)).numpy()[1].transpose(1, 2, 0), picture(2))
    assert others.names == ("2", "0")


def generation(run, number, count):
    folder = RunFolder(run).generation(number)
    for i in range(count):
        folder.sample_file(i).parent.mkdir(parents=True, exist_ok=True)
        folder.sample_file(i).write_bytes(encode_png(picture(100 * number + i)))
    rows = [{"file_name": str(folder.sample_file(i).relative_to(folder.samples)), "label": None} for i in range(count)]
    write_metadata(folder, rows)


def test_a_run_means_its_newest_images_unless_a_generation_is_named(tmp_path):
    run = tmp_path / "run"
    for number, count in ((0, 2), (1, 3)):
        generation(run, number, count)
    RunFolder(run).generation(2).path.mkdir()  # in training
    assert len(open_whole(run, tmp_path).names) == 3
    assert len(open_whole(f"{run}@1", tmp_path).names) == 3
    first = open_whole(f"{run}@0", tmp_path)
    np.testing.assert_array_equal(first.pick([1])[0], picture(1))
    with pytest.raises(BootlightError, match=r"run@2: no generation 2 with images; .*run has 0, 1"):
        open_whole(f"{run}@2", tmp_path)


def test_a_split_is_named_after_the_root(tmp_path):
    write(tmp_path / "images" / "train", [(6, 6)] * 3)
    write(tmp_path / "images" / "test", [(6, 6)] * 2)
    assert len(open_whole(tmp_path / "images", tmp_path).names) == 3
    assert len(open_whole(f"{tmp_path / 'images'}@test", tmp_path).names) == 2
    with pytest.raises(BootlightError, match="val"):
        open_whole(f"{tmp_path / 'images'}@val", tmp_path)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(BootlightError, match=r"nothing does not exist"):
        open_whole(tmp_path / "nothing", tmp_path)
    write(tmp_path / "a@b", [(6, 6)])  # a folder may have the sign in its name
    assert len(open_whole(tmp_path / "a@b", tmp_path).names) == 1


def test_the_folder_of_a_generation_is_its_samples(tmp_path, monkeypatch):
    run = tmp_path / "run"
    generation(run, 0, 2)
    folder = RunFolder(run).generation(0)
    folder.previews.write_bytes(encode_png(picture(9)))
    assert open_whole(folder.path, tmp_path).key == open_whole(f"{run}@0", tmp_path).key
    monkeypatch.chdir(folder.path)
    assert resolve(".") == (Path("samples"), None)
    with pytest.raises(BootlightError, match="it has no 1"):
        resolve(f"{folder.path}@1")
    moved = folder.path.rename(tmp_path / "kept")
    (moved / "model.json").write_text("{}")
    assert resolve(str(moved)) == (moved / "samples", None)
    (moved / "samples" / "metadata.jsonl").unlink()
    with pytest.raises(BootlightError, match="has not all of its images yet"):
        resolve(str(moved))
