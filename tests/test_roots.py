"""Several roots as one set, a split of a root, a run as a root; bad pictures that are left out."""

import re
import warnings
import zipfile

import numpy as np
import pytest

from bootlight.cli.data import main
from bootlight.data import store_write
from bootlight.data.datamodule import BootstrapData
from bootlight.data.reading import Reading
from bootlight.data.roots import load_roots
from bootlight.data.store import build_store
from bootlight.errors import BootlightError
from bootlight.evaluation.sets.real_images import check_same_images, list_skipped
from bootlight.evaluation.sets.sources import open_source
from bootlight.io.atomic import read_json, write_bytes
from bootlight.io.pictures import encode_png
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import RunFolder, sample_name
from bootlight.runs.manifest import write_metadata

BAD = b"\x89PNG\r\n\x1a\n no picture"


def grey(value):
    return encode_png(np.full((2, 2, 1), value, np.uint8))


def folder(root, files):
    """Pictures by name: a grey level, or bytes as they are."""
    for name, value in files.items():
        write_bytes(root / name, value if isinstance(value, bytes) else grey(value))
    return root


def zipped(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in files.items():
            archive.writestr(name, value if isinstance(value, bytes) else grey(value))
    return path


def opened(tmp_path, *roots, **options):
    load_roots.cache_clear()
    options = {"num_steps": 1, "batch_size": 4, "cache": str(tmp_path / "cache"), "holdout_fraction": 0.0, **options}
    data = BootstrapData(str(roots[0]) if len(roots) == 1 else [str(root) for root in roots], 2, 1, **options)
    data.attach(GenerationContext(RunFolder(tmp_path / "run"), 0, 0))
    data.setup()
    return data


def values(source):
    return sorted(source.store.images[source.indices, 0, 0, 0].tolist())


def labelled(source):
    """Class by grey level."""
    store = source.store
    names = [None if label < 0 else store.class_names[label] for label in store.labels[source.indices]]
    return dict(zip(store.images[source.indices, 0, 0, 0].tolist(), names, strict=True))


def refused(tmp_path, *roots, **options):
    with pytest.raises(BootlightError) as caught:
        opened(tmp_path, *roots, **options)
    return str(caught.value)


# Several roots


@pytest.fixture
def two(tmp_path):
    first = folder(tmp_path / "a", {"cat/1.png": 1, "dog/2.png": 2, "dog/3.png": 3})
    return first, zipped(tmp_path / "b.zip", {"wrap/cat/1.png": 11, "wrap/cow/2.png": 12})


def test_roots_are_one_set_with_classes_by_name(tmp_path, two):
    data = opened(tmp_path, *two)
    assert labelled(data.real) == {1: "cat", 2: "dog", 3: "dog", 11: "cat", 12: "cow"}
    assert data.real.store.class_names == ("cat", "cow", "dog")
    assert len(set(data.real.store.names)) == 5
    assert all(str(root) in data.root for root in two)


def test_the_set_is_its_content_in_whatever_order_and_place(tmp_path, two):
    key = opened(tmp_path, *two).real.store.key
    moved = folder(tmp_path / "x" / "moved", {"cat/1.png": 11, "cow/2.png": 12})
    packed = zipped(tmp_path / "packed.zip", {"q/cat/1.png": 1, "q/dog/2.png": 2, "q/dog/3.png": 3})
    stores = [opened(tmp_path, *roots).real.store for roots in ((two[1], two[0]), (moved, two[0]), (packed, moved))]
    assert {store.key for store in stores} == {key}
    others = [(two[0],), (two[0], folder(tmp_path / "c", {"cat/1.png": 11, "cow/2.png": 13}))]
    assert key not in {opened(tmp_path, *roots).real.store.key for roots in others}


def test_splits_are_joined(tmp_path):
    a = folder(tmp_path / "a", {"train/cat/1.png": 1, "train/dog/2.png": 2, "test/cat/3.png": 3, "test/dog/4.png": 4})
    b = zipped(tmp_path / "b.zip", {"Train/ant/1.png": 11, "Train/dog/2.png": 12, "val/ant/3.png": 13, "val/dog/4.png": 14})
    data = opened(tmp_path, a, b, holdout_fraction=0.5)
    assert labelled(data.real) == {1: "cat", 2: "dog", 11: "ant", 12: "dog"}
    assert labelled(data.holdout) == {3: "cat", 4: "dog", 13: "ant", 14: "dog"}
    assert data.real.store.class_names == data.holdout.store.class_names == ("ant", "cat", "dog")


def test_a_root_without_splits_is_trained_on_and_that_is_told(tmp_path, two):
    splits = folder(tmp_path / "c", {"train/cat/1.png": 21, "train/eel/2.png": 22, "test/eel/1.png": 23, "test/cat/2.png": 24})
    with pytest.warns(UserWarning, match=r"all of .*b\.zip is trained on") as told:
        data = opened(tmp_path, splits, two[1])
    assert len(told) == 1
    assert values(data.real) == [11, 12, 21, 22] and values(data.holdout) == [23, 24]
    assert labelled(data.holdout) == {23: "eel", 24: "cat"}
    assert data.holdout.store.class_names == data.real.store.class_names == ("cat", "cow", "eel")


def test_without_splits_a_fraction_of_all_is_held_out(tmp_path, two):
    data = opened(tmp_path, *two, holdout_fraction=0.4)
    assert len(data.holdout) == 2 and values(data.holdout) != values(data.real)
    assert sorted(values(data.holdout) + values(data.real)) == [1, 2, 3, 11, 12]


def test_the_root_that_is_wrong_is_named(tmp_path, two):
    assert "missing" in refused(tmp_path, two[0], tmp_path / "missing")
    bad = folder(tmp_path / "bad", {"1.png": BAD, "2.png": 5})
    message = refused(tmp_path, two[0], bad)
    assert f"{bad}/1.png" in message and "1 of 5 pictures" in message
    (tmp_path / "empty").mkdir()
    assert f"{tmp_path / 'empty'} has no" in refused(tmp_path, two[0], tmp_path / "empty")
    with pytest.raises(BootlightError, match=r"data\.root"):
        BootstrapData([], 2, 1, num_steps=1)


def test_a_damaged_zip_entry_is_named_with_its_root(tmp_path, two):
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("1.png", grey(5))
    (tmp_path / "c.zip").write_bytes((tmp_path / "c.zip").read_bytes().replace(grey(5), grey(5)[::-1]))
    message = refused(tmp_path, two[0], tmp_path / "c.zip")
    assert str(tmp_path / "c.zip") in message and "1.png: damaged" in message


def test_no_picture_is_there_twice_because_its_folder_is(tmp_path, two):
    a = two[0]
    (tmp_path / "link").symlink_to(a)
    for roots in ((a, a), (a, a / "cat"), (a / "cat", a), (a, tmp_path / "link"), (a, f"{a}@train")):
        assert "data.root" in refused(tmp_path, *roots)
    assert values(opened(tmp_path, a / "cat", a / "dog").real) == [1, 2, 3]


@pytest.mark.parametrize(("there", "alike"), [("train", "training"), ("training", "train"), ("eval", "TEST"), ("dev", "valid")])
def test_a_split_by_two_names_is_one(tmp_path, there, alike):
    other = "test" if "train" in there else "train"
    root = folder(tmp_path / "a", {f"{there}/1.png": 1, f"{other}/2.png": 2})
    assert "already" in refused(tmp_path, f"{root}@{there}", f"{root}@{alike}")
    assert values(opened(tmp_path, f"{root}@{alike}", f"{root}@{other}").real) == [1, 2]


def test_a_zip_below_another_root(tmp_path):
    """Names of its pictures begin like those of the folder."""
    a = folder(tmp_path / "a", {"1.png": 1})
    inside = zipped(a / "b.zip", {"1.png": 2, "2.png": 3})
    for roots in ((inside, a), (a, inside)):
        assert values(opened(tmp_path, *roots).real) == [1, 2, 3]


# A split, a run


def test_a_split_of_a_root_is_all_there_is(tmp_path):
    files = {f"train/{i}.png": i for i in range(8)} | {f"test/{i}.png": 100 + i for i in range(4)}
    for root in (folder(tmp_path / "a", files), zipped(tmp_path / "b.zip", files)):
        train, test = opened(tmp_path, f"{root}@train", holdout_fraction=0.25), opened(tmp_path, f"{root}@TEST")
        assert len(train.holdout) == 2 and sorted(values(train.holdout) + values(train.real)) == list(range(8))
        assert values(test.real) == [100, 101, 102, 103] and len(test.holdout) == 0
        both = opened(tmp_path, f"{root}@train", f"{root}@test")
        assert len(both.real) == 12
    assert "no split 'val'" in refused(tmp_path, f"{root}@val")


def test_a_run_takes_the_place_of_real_images_and_that_is_told(tmp_path):
    run = RunFolder(tmp_path / "other")
    for generation, first in ((0, 50), (1, 60)):
        samples = run.generation(generation)
        folder(samples.samples, {sample_name(i): first + i for i in range(3)})
        write_metadata(samples, [{"file_name": sample_name(i), "label": None, "seed": i} for i in range(3)])
    for text, first in ((f"{run.path}@0", 50), (f"{run.path}@1", 60), (str(run.path), 60)):
        with pytest.warns(UserWarning, match="place of real ones"):
            assert values(opened(tmp_path, text).real) == [first, first + 1, first + 2]
    assert "data.root" in refused(tmp_path, f"{run.path}@7")


# Bad pictures


@pytest.fixture
def flawed(tmp_path):
    return folder(tmp_path / "flawed", {f"{i}.png": BAD if i in (3, 5) else i for i in range(8)})


def test_bad_pictures_are_refused_unless_so_many_are_allowed(tmp_path, flawed):
    for max_bad in (0, 1):
        message = refused(tmp_path, flawed, max_bad=max_bad)
        assert "2 of 8 pictures" in message and "3.png" in message and "5.png" in message
        assert re.search(rf"max_bad\b.* {max_bad}$", message)
    assert "data.max_bad" in refused(tmp_path, flawed, max_bad=-1)
    for max_bad in (2, 7):
        with pytest.warns(UserWarning, match=r"2 of 8 pictures .*: 3\.png, 5\.png; .*skipped\.txt"):
            assert values(opened(tmp_path, flawed, max_bad=max_bad).real) == [0, 1, 2, 4, 6, 7]


@pytest.mark.filterwarnings("ignore:.*are left out")
def test_the_set_is_that_of_the_others(tmp_path, flawed):
    good = folder(tmp_path / "good", {f"{i}.png": i for i in (0, 1, 2, 4, 6, 7)})
    found, again = (opened(tmp_path, flawed, max_bad=2).real.store for _ in range(2))
    expected = opened(tmp_path, good).real.store
    assert found.key == again.key == expected.key and found.names == expected.names
    assert found.skipped == again.skipped and set(found.skipped) == {"3.png", "5.png"} and not expected.skipped


@pytest.mark.filterwarnings("ignore:.*are left out")
def test_what_is_bad_is_decoded_once(tmp_path, flawed, monkeypatch):
    opened(tmp_path, flawed, max_bad=2)
    monkeypatch.setattr(store_write, "decode", lambda *_, **__: pytest.fail("decoded again"))
    assert len(opened(tmp_path, flawed, max_bad=2).real) == 6
    assert "2 of 8" in refused(tmp_path, flawed, max_bad=1)
    (record,) = (tmp_path / "cache").glob("*.bad.json")
    assert set(read_json(record)) == {"3", "5"}
    monkeypatch.undo()
    for damaged in ("", "[]", '{"99": "x"}', '{"a": 1}'):
        record.write_text(damaged)
        assert len(opened(tmp_path, flawed, max_bad=2).real) == 6


@pytest.mark.filterwarnings("ignore:.*are left out")
def test_files_that_cannot_be_read_count_too(tmp_path):
    path = zipped(tmp_path / "a.zip", {"1.png": 1, "2.png": 2, "3.png": BAD, "4.png": 4})
    path.write_bytes(path.read_bytes().replace(grey(2), grey(2)[::-1]))
    assert "max_bad" in refused(tmp_path, path, max_bad=1)
    data = opened(tmp_path, path, max_bad=2)
    assert values(data.real) == [1, 4]
    assert data.real.store.key == opened(tmp_path, folder(tmp_path / "good", {"1.png": 1, "4.png": 4})).real.store.key


def test_nothing_is_left(tmp_path):
    root = folder(tmp_path / "a", {"1.png": BAD, "2.png": BAD})
    assert "2 of 2 pictures" in refused(tmp_path, root, max_bad=9)


@pytest.mark.filterwarnings("ignore:.*are left out")
def test_the_limit_is_that_of_all_splits_and_roots_together(tmp_path):
    a = folder(tmp_path / "a", {"train/1.png": 1, "train/2.png": BAD, "test/3.png": 3, "test/4.png": BAD})
    assert "4.png" in refused(tmp_path, a, max_bad=1)
    data = opened(tmp_path, a, max_bad=2)
    assert (values(data.real), values(data.holdout)) == ([1], [3])
    b, c = (folder(tmp_path / name, {"5.png": value, "6.png": BAD}) for name, value in (("b", 5), ("c", 6)))
    assert "6.png" in refused(tmp_path, b, c, max_bad=1)
    joined = opened(tmp_path, b, c, max_bad=2).real.store
    for root in (b, c):
        (root / "6.png").unlink()
    assert opened(tmp_path, c, b).real.store.key == joined.key and len(joined.skipped) == 2


def test_five_are_named_and_all_are_listed(tmp_path):
    root = folder(tmp_path / "a", {f"{i:02d}.png": i if i < 4 else BAD for i in range(12)})
    with pytest.warns(UserWarning, match=r"8 of 12 .*: 04\.png, 05\.png, 06\.png, 07\.png, 08\.png and 3 more; ") as told:
        data = opened(tmp_path, root, max_bad=8)
    (path,) = (tmp_path / "cache").glob("*.skipped.txt")
    assert str(path) in str(told[0].message) and path.name.startswith(data.real.store.key)
    run = RunFolder(tmp_path / "run")
    check_same_images(run, data)
    list_skipped(run, data)
    for listed in (path, run.references / "skipped.txt"):
        lines = listed.read_text().splitlines()
        assert [line.split("\t")[0] for line in lines] == [f"{i:02d}.png" for i in range(4, 12)]
        assert all("not a PNG" in line or "cannot be decoded" in line for line in lines)


def test_a_cache_that_cannot_be_written(tmp_path, flawed):
    (tmp_path / "file").write_text("")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        data = opened(tmp_path, flawed, max_bad=2, cache=str(tmp_path / "file" / "cache"))
    assert values(data.real) == [0, 1, 2, 4, 6, 7]
    assert any("left out" in str(each.message) for each in told)


@pytest.mark.parametrize("harm", ["torn", "linked"])
def test_drawn_images_are_never_left_out_nor_read_from_elsewhere(tmp_path, harm):
    """A synthetic image that is torn is drawn anew instead; a run folder may be somebody else's."""
    samples = RunFolder(tmp_path / "run").generation(0)
    folder(samples.samples, {sample_name(0): 5, sample_name(1): BAD})
    if harm == "linked":
        (samples.samples / sample_name(1)).unlink()
        (samples.samples / sample_name(1)).symlink_to(folder(tmp_path / "real", {"0.png": 1}) / "0.png")
    write_metadata(samples, [{"file_name": sample_name(i), "label": None, "seed": i} for i in range(2)])
    root = folder(tmp_path / "real", {f"{i}.png": i for i in range(3)})
    load_roots.cache_clear()
    data = BootstrapData(str(root), 2, 1, num_steps=1, cache=str(tmp_path / "cache"), max_bad=9, follow_links=True)
    data.attach(GenerationContext(RunFolder(tmp_path / "run"), 1, 0))
    with pytest.raises(BootlightError, match="drawn anew"):
        data.setup()


def test_a_store_of_its_own_takes_the_choice_too(tmp_path, flawed):
    store = build_store(flawed, image_size=2, channels=1, cache=tmp_path / "cache", reading=Reading(max_bad=2))
    assert len(store.images) == 6 and len(store.skipped) == 2


@pytest.mark.filterwarnings("ignore:.*are left out")
@pytest.mark.parametrize("size", [None, 2])
def test_sets_that_are_measured_take_the_choice_too(tmp_path, flawed, size):
    options = {"image_size": size, "cache": tmp_path / "cache"}
    good = folder(tmp_path / "good", {f"{i}.png": i for i in (0, 1, 2, 4, 6, 7)})
    expected = open_source(str(good), **options)
    for _ in range(2):
        source = open_source(str(flawed), reading=Reading(max_bad=2), **options)
        assert source.key == expected.key and source.names == expected.names and source.sizes == expected.sizes
        assert [batch[:, 0, 0, 0].tolist() for batch in source.batches(4)] == [[0, 1, 2, 4], [6, 7]]
        assert [int(image[0, 0, 0]) for image in source.pick([3, 0])] == [4, 0]
    with pytest.raises(BootlightError, match=r"2 of 8 pictures"):
        open_source(str(flawed), reading=Reading(max_bad=1), **options)


def test_duplicates_among_good_pictures(tmp_path, flawed, monkeypatch, capsys):
    monkeypatch.setenv("BOOTLIGHT_CACHE", str(tmp_path / "cache"))
    with pytest.raises(BootlightError, match="cannot be"):
        main(["check", str(flawed)])
    (flawed / "8.png").write_bytes((flawed / "1.png").read_bytes())
    with pytest.warns(UserWarning, match="2 of 9 pictures"):
        main(["check", str(flawed), "--max-bad", "2"])
    assert "7 images" in capsys.readouterr().out
    with pytest.raises(BootlightError, match="max-bad"):
        main(["check", str(flawed), "--max-bad", "-1"])
