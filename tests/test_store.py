"""The store of decoded images: pixels, keys, cache, failures and several processes at once."""

import io
import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
import unicodedata
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bootlight.data import contents, store_passes, store_turn, store_write
from bootlight.data import store as store_module
from bootlight.data.reader import open_images
from bootlight.data.store import build_store, store_from_arrays
from bootlight.data.store_folder import publish_folder
from bootlight.data.store_passes import over_images
from bootlight.errors import BootlightError
from bootlight.evaluation.sets.sources import open_source
from bootlight.io import atomic
from bootlight.io.cache_folder import temporary_cache
from bootlight.io.lock import try_lock
from bootlight.io.owner import temporary_name
from bootlight.io.pictures import encode_png

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (40, 6, 6, 3), dtype=np.uint8)
FILES = {f"{'cat' if i % 3 else 'dog'}/{i:02d}.png": encode_png(image) for i, image in enumerate(PIXELS)}
NAMES = sorted(FILES)
ORDER = [int(name[4:6]) for name in NAMES]


def write(root, files=FILES):
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def build(root, cache, **options):
    return build_store(root, **{"image_size": 6, "channels": 3, "cache": cache, **options})


def entries(cache):
    return sorted(path.name for path in cache.iterdir())


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "root")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


# What a store holds


def test_pixels_labels_and_names_in_order(root, cache):
    store = build(root, cache)
    assert np.array_equal(store.images, PIXELS[ORDER])
    assert store.names == tuple(NAMES)
    assert store.class_names == ("cat", "dog")
    assert store.labels.dtype == np.int64
    assert store.labels.tolist() == [0 if i % 3 else 1 for i in ORDER]


def test_unlabelled_is_minus_one(tmp_path, cache):
    store = build(write(tmp_path / "flat", {"a.png": FILES[NAMES[0]]}), cache)
    assert store.labels.tolist() == [-1] and store.class_names == ()


def test_size_and_channels(root, cache):
    store = build(root, cache, image_size=4, channels=1)
    assert store.images.shape == (40, 4, 4, 1)
    # Resizing keeps the mean up to the ripple of the window at 6 to 4; luma weights sum to 1.
    luma = (PIXELS[ORDER] @ np.array([0.299, 0.587, 0.114])).mean()
    assert store.images.mean() == pytest.approx(luma, abs=2)


def test_images_are_mapped_and_read_only(root, cache):
    for store in (build(root, cache), build(root, cache)):  # built, then found
        assert isinstance(store.images, np.memmap)
        assert Path(store.images.filename) == cache / store.key / "images.npy"
        with pytest.raises(ValueError, match="read-only"):
            store.images[0] = 0


def test_only_the_chosen_split_is_decoded(tmp_path, cache):
    files = {"train/a.png": FILES[NAMES[0]], "test/b.png": FILES[NAMES[1]], "test/c.png": FILES[NAMES[2]]}
    root = write(tmp_path / "splits", files)
    assert build(root, cache).names == ("a.png",)
    held_out = build(root, cache, split="test")
    assert held_out.names == ("b.png", "c.png")
    assert np.array_equal(held_out.images, PIXELS[ORDER[1:3]])
    assert len(entries(cache)) == 2


def test_pickle_of_a_mapped_store_has_no_pixels(tmp_path, cache):
    image = encode_png(RNG.integers(0, 256, (256, 256, 3), dtype=np.uint8))
    store = build(write(tmp_path / "large", {"a.png": image}), cache, image_size=256)
    data = pickle.dumps(store)
    assert len(data) < 2000 < store.images.nbytes
    again = pickle.loads(data)
    assert isinstance(again.images, np.memmap) and np.array_equal(again.images, store.images)
    assert (again.names, again.class_names, again.key) == (store.names, store.class_names, store.key)
    assert np.array_equal(again.labels, store.labels)


def test_pickle_of_a_part_of_a_store_has_its_own_pixels(root, cache):
    whole = build(root, cache)
    part = type(whole)(whole.images[5:7], whole.labels[5:7], whole.class_names, whole.names[5:7], whole.key)
    assert np.array_equal(pickle.loads(pickle.dumps(part)).images, PIXELS[ORDER[5:7]])


# Keys


def test_place_and_times_do_not_enter_the_key(root, tmp_path, cache):
    key = build(root, cache).key
    assert len(key) == 64 and int(key, 16) >= 0
    moved = root.rename(tmp_path / "elsewhere")
    os.utime(moved / NAMES[0], (1, 1))
    assert build(moved, tmp_path / "other cache").key == key


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_folder_and_zip_have_the_same_key_and_pixels(root, tmp_path, cache, compression):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", compression) as archive:
        for name in reversed(NAMES):
            archive.writestr(name, FILES[name])
    unzipped, zipped = build(root, cache), build(tmp_path / "a.zip", tmp_path / "cache of the zip")
    assert zipped.key == unzipped.key
    assert np.array_equal(zipped.images, unzipped.images) and np.array_equal(zipped.labels, unzipped.labels)


def zipped(path, files, order=sorted):
    with zipfile.ZipFile(path, "w") as archive:
        for name in order(files):
            archive.writestr(name, files[name])
    return path


def below(prefix, files):
    return {prefix + name: data for name, data in files.items()}


SPLITS = below("train/", FILES) | below("test/", {f"{name}/t.png": FILES[NAMES[0]] for name in ("cat", "dog")})
FLAT = {name[4:]: data for name, data in FILES.items()}


@pytest.mark.parametrize("files", [FILES, FLAT, SPLITS], ids=["classes", "flat", "splits"])
def test_a_set_is_its_content_whatever_holds_it(tmp_path, cache, files):
    homes = [
        write(tmp_path / "faces", files),
        write(tmp_path / "outer", below("set/v1/", files)) / "set",
        zipped(tmp_path / "a.zip", files),
        zipped(tmp_path / "b.zip", files, reversed),
        zipped(tmp_path / "c.zip", below("faces/", files)),
        zipped(tmp_path / "d.zip", below("./", files)),
        zipped(tmp_path / "e.zip", below("./deep/er/", files)),
    ]
    stores = [build(home, cache) for home in homes]
    assert len({store.key for store in stores}) == 1 and len(entries(cache)) == 1
    assert stores[0].names == tuple(sorted(FLAT if files is FLAT else FILES))
    assert len({open_source(str(home), image_size=None, cache=cache).key for home in homes}) == 1


def test_a_split_is_the_same_set_as_its_folder(tmp_path, cache):
    root = write(tmp_path / "set", SPLITS)
    capital = write(tmp_path / "capital", {name.replace("train", "Train"): data for name, data in SPLITS.items()})
    assert build(root, cache).key == build(root / "train", cache).key == build(capital, cache).key


@pytest.mark.parametrize("wrap", ["", "ö/"])
def test_accents_are_one_letter_however_they_are_stored(tmp_path, cache, wrap):
    """Composed and decomposed sort differently beside "z": the order is that of the composed form, as the key's names."""
    names = ("\u00e9a/1\u00fc.png", "z/2.png", "ez/3\u0301.png")
    files = below(wrap, {name: FILES[NAMES[i]] for i, name in enumerate(names)})
    stores = []
    for form in ("NFC", "NFD"):
        spelled = {unicodedata.normalize(form, name): data for name, data in files.items()}
        stores += [build(write(tmp_path / form, spelled), cache), build(zipped(tmp_path / f"{form}.zip", spelled), cache)]
        rows = [{"file_name": name, "label": name.split("/")[-2]} for name in files]
        listed = spelled | {"metadata.jsonl": "\n".join(map(json.dumps, rows)).encode()}
        stores.append(build(write(tmp_path / f"{form} listed", listed), cache))
    assert len({store.key for store in stores}) == 1
    assert stores[0].class_names == ("ez", "z", "\u00e9a")
    assert stores[0].names == ("ez/3\u0301.png", "z/2.png", "\u00e9a/1\u00fc.png")
    assert all(np.array_equal(store.images, PIXELS[[ORDER[2], ORDER[1], ORDER[0]]]) for store in stores)


def test_two_names_that_look_the_same_are_refused(tmp_path, cache):
    files = {unicodedata.normalize(form, "\u00e9.png"): FILES[NAMES[0]] for form in ("NFC", "NFD")}
    for root in (write(tmp_path / "folder", files), zipped(tmp_path / "a.zip", files)):
        with pytest.raises(BootlightError, match="accents"):
            build(root, cache)


def test_every_change_of_content_changes_the_key(root, tmp_path, cache):
    keys = {build(root, cache).key, build(root, cache, image_size=5).key, build(root, cache, channels=1).key}
    first, second = NAMES[:2]
    variants = [
        FILES | {first: encode_png(255 - PIXELS[ORDER[0]])},  # another picture
        FILES | {first: FILES[second], second: FILES[first]},  # two pictures swapped
        FILES | {"cat/more.png": FILES[first]},  # one more
        {name: data for name, data in FILES.items() if name != first},  # one less
        {name.replace("01", "x1"): data for name, data in FILES.items()},  # another name
        {name.replace("cat", "cow"): data for name, data in FILES.items()},  # another class
    ]
    names = list(FILES)
    manifest = [{"file_name": name, "label": name[:3]} for name in names]
    variants.append(
        FILES
        | {"metadata.jsonl": "\n".join(json.dumps(row) for row in [*manifest[:-1], manifest[-1] | {"label": "cow"}]).encode()}
    )
    for i, files in enumerate(variants):
        keys.add(build(write(tmp_path / str(i), files), cache).key)
    assert len(keys) == 3 + len(variants)


def test_where_the_labels_come_from_does_not_enter_the_key(root, tmp_path, cache):
    rows = [json.dumps({"file_name": name, "label": name[:3]}) for name in NAMES]
    listed = write(tmp_path / "listed", FILES | {"metadata.jsonl": "\n".join(rows).encode()})
    assert build(listed, cache).key == build(root, cache).key


def test_a_new_format_changes_the_key(root, cache, monkeypatch):
    key = build(root, cache).key
    monkeypatch.setattr(contents, "FORMAT", contents.FORMAT + 1)
    assert build(root, cache).key != key


# Cache


def test_second_call_decodes_nothing(root, cache, monkeypatch):
    first = build(root, cache)
    monkeypatch.setattr(store_write, "decode", lambda *_, **__: pytest.fail("decoded again"))
    second = build(root, cache)
    assert second.key == first.key and np.array_equal(second.images, first.images)
    assert (second.names, second.class_names) == (first.names, first.class_names)
    assert np.array_equal(second.labels, first.labels)
    assert entries(cache) == [first.key] and entries(cache / first.key) == ["images.npy", "labels.npy", "store.json"]


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def change(path):
    path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: cut(folder / "images.npy"),
        lambda folder: change(folder / "images.npy"),
        lambda folder: change(folder / "labels.npy"),
        lambda folder: (folder / "images.npy").write_bytes(b""),
        lambda folder: np.save(folder / "images.npy", PIXELS[:39]),
        lambda folder: np.save(folder / "images.npy", PIXELS.astype(np.int8)),
        lambda folder: np.save(folder / "images.npy", np.array([{}], dtype=object)),
        lambda folder: cut(folder / "labels.npy"),
        lambda folder: np.save(folder / "labels.npy", np.zeros(39, np.int64)),
        lambda folder: (folder / "labels.npy").unlink(),
        lambda folder: cut(folder / "store.json") or cut(folder / "store.json"),
        lambda folder: (folder / "store.json").write_text("[]"),
        lambda folder: (folder / "store.json").write_text("{}"),
        lambda folder: (folder / "store.json").unlink(),
    ],
)
def test_damaged_store_is_built_again(root, cache, damage):
    key = build(root, cache).key
    damage(cache / key)
    with pytest.warns(UserWarning, match=f"{key} is damaged .*decoded again") as told:
        store = build(root, cache)
    assert store.key == key and np.array_equal(store.images, PIXELS[ORDER])
    assert entries(cache) == [key] and len(told) == 1


def test_a_store_in_use_survives_being_replaced(root, cache):
    used = build(root, cache)
    (cache / used.key / "store.json").unlink()
    with pytest.warns(UserWarning, match="is damaged"):
        build(root, cache)
    assert np.array_equal(used.images, PIXELS[ORDER])


def half_written(cache, name):
    (cache / name).mkdir(parents=True)
    (cache / name / "images.npy").write_bytes(b"half")
    return cache / name


def process_that_writes():
    """A process, to be killed, and the name that it gives to what it writes."""
    code = (
        f"import time; from bootlight.io.owner import temporary_name as t; print(t({'ab' * 32!r}), flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    name = process.stdout.readline().strip()
    return process, name


@pytest.mark.parametrize("waited_for", [False, True])
def test_what_a_killed_process_left_is_removed_at_once_and_what_a_living_one_writes_is_not(root, cache, waited_for):
    process, name = process_that_writes()
    old, young, busy = (half_written(cache, f".{'ab' * 32}.{i}.tmp") for i in range(3))  # of nobody knows which process
    own = half_written(cache, temporary_name("cd" * 32))
    foreign = half_written(cache, ".notes.tmp")  # a user's
    theirs = half_written(cache, name)
    for path in (old, old / "images.npy", busy, foreign, foreign / "images.npy"):  # busy: its file is being written
        os.utime(path, (time.time() - 25 * 3600,) * 2)
    stay = [young.name, busy.name, own.name, foreign.name]
    os.utime(theirs / "images.npy", (0, 0))
    key = build(root, cache).key
    assert entries(cache) == sorted([*stay, theirs.name, key])
    process.kill()
    process.stdout.read()  # its end; as long as nobody waits for it, it is a zombie
    if waited_for:
        process.wait()
    build(root, cache, image_size=5)
    assert not theirs.exists() and {*stay, key} < {*entries(cache)}
    process.stdout.close()
    process.wait()


def hold_lock(path, locked, leave):
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    assert try_lock(descriptor)
    os.write(descriptor, b"process 7 on there\n")
    locked.set()
    leave.wait(30)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the child only locks
@pytest.mark.parametrize("killed", [False, True])
def test_who_finds_another_process_decoding_says_so_waits_and_reads(root, cache, tmp_path, monkeypatch, killed):
    there = build(root, tmp_path / "other").key
    context = multiprocessing.get_context("fork")
    locked, leave = context.Event(), context.Event()
    cache.mkdir()
    holder = context.Process(target=hold_lock, args=(cache / f".{there}.lock", locked, leave))
    holder.start()
    assert locked.wait(30)

    def end_of_the_other(seconds):
        if killed:
            holder.kill()
        else:
            shutil.copytree(tmp_path / "other" / there, cache / there)
            monkeypatch.setattr(store_module, "write_store", pytest.fail)  # nothing is decoded twice
            leave.set()
        holder.join(30)

    monkeypatch.setattr(store_turn.time, "sleep", end_of_the_other)
    with pytest.warns(UserWarning, match="waiting for process 7 on there, which decodes") as told:
        store = build(root, cache)
    assert len(told) == 1 and np.array_equal(store.images, PIXELS[ORDER])
    assert entries(cache) == [there]


def test_without_locks_all_decode_as_before(root, cache, monkeypatch):
    monkeypatch.setattr(store_turn, "try_lock", lambda _: (_ for _ in ()).throw(OSError(37, "No locks available")))
    assert np.array_equal(build(root, cache).images, PIXELS[ORDER])


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where temporary caches are made."""
    temporary_cache.cache_clear()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    yield tmp_path / "temporary"
    temporary_cache.cache_clear()


@pytest.mark.parametrize("name", ["file", "file/cache"])
def test_a_cache_that_cannot_be_written_costs_a_warning_and_no_image(root, tmp_path, cache, temporary, name):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match=rf"{tmp_path}/{name} cannot be used.*data\.cache") as told:
        stores = [build(root, tmp_path / name) for _ in range(2)]
    assert len(told) == 1 and all(store.key == build(root, cache).key for store in stores)
    assert (stores[1].images == build(root, cache).images).all()
    assert [Path(store.images.filename).parents[2] for store in stores] == [temporary] * 2
    assert len(list(temporary.glob("*/*"))) == 1  # decoded once


def test_a_temporary_cache_ends_with_its_process(tmp_path):
    code = "from bootlight.io.cache_folder import temporary_cache as t; (t() / 'x').write_text('x'); print(t())"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).parent == tmp_path and list(tmp_path.iterdir()) == []


def test_what_is_kept_in_a_cache_that_cannot_be_written_is_read(root, cache, monkeypatch):
    build(root, cache)
    monkeypatch.setattr(store_module, "publish_folder", pytest.fail)
    assert Path(build(root, cache).images.filename).is_relative_to(cache)


def test_a_full_disk_leaves_nothing_and_where_there_is_no_room_at_all_that_is_said(root, cache, temporary, monkeypatch):
    full_disks = [cache]

    def full(file):
        if any(str(disk) in os.readlink(f"/proc/self/fd/{file}") for disk in full_disks):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        assert Path(build(root, cache).images.filename).is_relative_to(temporary)
    assert entries(cache) == []
    full_disks.append(temporary)
    with pytest.raises(BootlightError, match="No space left on device"):
        build(root, cache, image_size=5)
    monkeypatch.setattr(tempfile, "tempdir", str(cache / "none"))
    temporary_cache.cache_clear()
    with pytest.raises(BootlightError, match=r"no room .*data\.cache"):
        build(root, cache, image_size=4)


# Failures


def test_failures_are_reported_together(root, cache):
    bad = [NAMES[i] for i in (3, 7, 8, 20, 21, 22, 39)]
    for name in bad:
        (root / name).write_bytes(b"no picture")
    with pytest.raises(BootlightError) as caught:
        build(root, cache)
    assert str(caught.value) == (
        f"{root}: 7 of 40 pictures cannot be used: {bad[0]}: not a PNG, JPEG or WebP picture; convert or remove it"
        f"; also {', '.join(bad[1:5])} and 2 more; max_bad, so many as may be left out, is 0"
    )
    assert entries(cache) == []


def test_all_fail(root, cache):
    for name in NAMES:
        (root / name).write_bytes(b"no picture")
    with pytest.raises(BootlightError, match=r"40 of 40 pictures cannot be used: .* and 35 more; max_bad, .*is 0$"):
        build(root, cache)


def test_passes_keep_the_order_and_stay_ahead_by_little(root, monkeypatch):
    monkeypatch.setattr(store_passes, "CHUNK", 1)
    monkeypatch.setattr(store_passes, "THREADS", 2)
    started = []

    def work(i):
        started.append(i)
        time.sleep(0.002 * (i % 3))  # later ones finish first
        return i * i

    with open_images(root) as images:
        results = over_images(images, work, "test")
        first = next(results)
        time.sleep(0.05)
        assert len(started) == 2 * 2 + 1  # twice the threads, and the one that is needed
        assert [first, *results] == [[i * i] for i in range(40)]


def test_single_failure(root, cache):
    (root / NAMES[3]).write_bytes(FILES[NAMES[3]][:-30])
    with pytest.raises(
        BootlightError, match=f"1 of 40 pictures cannot be used: {NAMES[3]}: cannot be decoded .*remove it; max_bad"
    ):
        build(root, cache)


def test_damaged_zip_entries_are_reported_together(tmp_path, cache):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, data in FILES.items():
            archive.writestr(name, data)
    whole = (tmp_path / "a.zip").read_bytes()
    for name in NAMES[4:6]:
        whole = whole.replace(FILES[name], FILES[name][::-1])
    (tmp_path / "a.zip").write_bytes(whole)
    with pytest.raises(BootlightError, match=f"2 of 40 pictures .*{NAMES[4]}: damaged in the zip.*also {NAMES[5]}; max_bad"):
        build(tmp_path / "a.zip", cache)


def test_notes_of_pillow_are_silenced_and_the_filters_restored(tmp_path, cache):
    """Warnings are errors in these tests, so one that escapes would refuse the picture."""
    buffer = io.BytesIO()
    Image.new("L", (6, 6), 200).save(buffer, "JPEG", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff")
    with pytest.warns(UserWarning, match="EXIF"):
        Image.open(io.BytesIO(buffer.getvalue())).close()
    before = list(warnings.filters)
    store = build(write(tmp_path / "odd", {"a.jpg": buffer.getvalue()}), cache)
    assert np.abs(store.images.astype(int) - 200).max() <= 1  # a plain field: one DC coefficient
    assert warnings.filters == before


# Several processes


def build_in_process(root, cache, barrier, results):
    barrier.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "is damaged"
        store = build(root, cache)
    results.put((store.key, store.images.tobytes()))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the children only build, and end
@pytest.mark.parametrize("damaged", [False, True])
def test_processes_that_build_at_once(root, cache, damaged):
    if damaged:
        key = build(root, cache).key
        (cache / key / "store.json").unlink()
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(3), context.Queue()
    workers = [context.Process(target=build_in_process, args=(root, cache, barrier, results)) for _ in range(3)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=30) for _ in workers]
    for worker in workers:
        worker.join(timeout=30)
        assert worker.exitcode == 0
    assert {pixels for _, pixels in found} == {PIXELS[ORDER].tobytes()}
    assert entries(cache) == [found[0][0]]


def test_another_process_that_is_faster(root, cache, monkeypatch):
    """Both have written; the second to rename finds the first one's store and keeps it."""
    write_own = store_module.write_store

    def slowly(folder, *others):
        write_own(folder, *others)
        monkeypatch.setattr(store_module, "write_store", write_own)
        faster = build(root, cache)
        slowly.inode = os.stat(cache / faster.key).st_ino

    monkeypatch.setattr(store_module, "write_store", slowly)
    store = build(root, cache)
    assert os.stat(cache / store.key).st_ino == slowly.inode
    assert entries(cache) == [store.key]
    assert np.array_equal(store.images, PIXELS[ORDER])


def test_a_damaged_folder_that_another_process_removes_first(tmp_path):
    folder = tmp_path / "cache" / "key"
    (folder / "damaged").mkdir(parents=True)
    publish_folder(folder, lambda to: (to / "whole").mkdir(), lambda at: bool(shutil.rmtree(at)))
    assert entries(tmp_path / "cache") == ["key"] and entries(folder) == ["whole"]


# In memory


def test_store_from_arrays():
    labels = np.array([1, -1, 0])
    mine = PIXELS[:3].copy()
    store = store_from_arrays(mine, labels, ("a", "b"), ("x", "y", "z"))
    assert np.array_equal(store.images, PIXELS[:3]) and not store.images.flags.writeable
    assert mine.flags.writeable  # the caller's array is left as it was
    assert store.labels.tolist() == [1, -1, 0] and store.labels.dtype == np.int64
    assert (store.class_names, store.names) == (("a", "b"), ("x", "y", "z"))
    assert np.array_equal(pickle.loads(pickle.dumps(store)).images, PIXELS[:3])


def test_store_from_arrays_without_labels():
    store = store_from_arrays(PIXELS[:3])
    assert store.labels.tolist() == [-1] * 3 and store.names == ("0", "1", "2") and store.class_names == ()


def test_keys_of_arrays():
    pixels, labels, classes, names = PIXELS[:2, :4, :3], np.array([0, 1]), ("a", "b"), ("x", "y")
    key = store_from_arrays(pixels, labels, classes, names).key
    assert store_from_arrays(pixels.copy(), labels.copy(), list(classes), list(names)).key == key
    reshaped = np.ascontiguousarray(pixels).reshape(2, 3, 4, 3)  # the same bytes
    changed = pixels.copy()
    changed[1, 3, 2, 2] ^= 1
    others = [
        store_from_arrays(reshaped, labels, classes, names),
        store_from_arrays(changed, labels, classes, names),
        store_from_arrays(pixels[::-1], labels, classes, names),
        store_from_arrays(pixels, labels[::-1], classes, names),
        store_from_arrays(pixels, labels, ("a", "c"), names),
        store_from_arrays(pixels, labels, ("a", "b", "c"), names),
        store_from_arrays(pixels, labels, classes, ("x", "z")),
        store_from_arrays(pixels, None, classes, names),
    ]
    assert len({key, *(store.key for store in others)}) == 1 + len(others)


@pytest.mark.parametrize(
    ("images", "labels", "class_names", "names", "reason"),
    [
        (PIXELS[0], None, (), None, "uint8"),
        (PIXELS.astype(np.float64), None, (), None, "float64"),
        (np.full((1, 2, 2, 1), np.nan, np.float32), None, (), None, "NaN"),
        (PIXELS, np.zeros(39, np.int64), ("a",), None, "39"),
        (PIXELS, None, (), ("x",), "names"),
        (PIXELS, np.full(40, 2), ("a", "b"), None, "-1 to 1"),
        (PIXELS, np.full(40, -2), ("a", "b"), None, "-1 to 1"),
    ],
)
def test_arrays_that_do_not_fit(images, labels, class_names, names, reason):
    with pytest.raises(ValueError, match=reason):
        store_from_arrays(images, labels, class_names, names)
