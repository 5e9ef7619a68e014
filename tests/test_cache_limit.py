"""The size of the cache: what is bootlight's own in it, what goes first, what stays."""

import fcntl
import os
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bootlight.data.store import build_store
from bootlight.data.store_turn import turn
from bootlight.errors import BootlightError
from bootlight.io import cache_entries
from bootlight.io import cache_limit as module
from bootlight.io.cache_entries import entries, leftovers, remove, remove_leftovers
from bootlight.io.cache_limit import LEAST, cache_limit, keep_below
from bootlight.io.lock import try_lock
from bootlight.io.owner import owner_lives, temporary_name
from bootlight.io.pictures import encode_png
from bootlight.io.sizes import parse_size, size_text

KEYS = [letter * 64 for letter in "0123456789"]


def put(path: Path, size: int, days: float) -> Path:
    """A file of so many bytes, used so many days ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    for place in (path, path.parent):
        os.utime(place, (time.time() - days * 86400,) * 2)
    return path


def a_store(cache: Path, key: str, days: float, size: int = 100) -> Path:
    for name, share in (("images.npy", size - 20), ("labels.npy", 10), ("store.json", 10)):
        put(cache / key / name, share, days)
    return cache / key


@pytest.fixture
def cache(tmp_path):
    """Entries of 100 bytes, the last three days ago; among them things that are somebody else's."""
    cache = tmp_path / "cache"
    a_store(cache, KEYS[0], 5)
    put(cache / "features" / f"{KEYS[1]}.safetensors", 100, 4)
    a_store(cache, KEYS[2], 3)
    put(cache / f"{KEYS[3]}.bad.json", 100, 6)
    put(cache / "judges" / KEYS[4] / "judge-1.safetensors", 90, 9)
    put(cache / "judges" / KEYS[4] / ".lock", 10, 9)
    a_store(cache, KEYS[5], 99)
    put(cache / KEYS[5] / "thesis.txt", 5, 99)
    (cache / KEYS[6]).symlink_to(cache / KEYS[5])
    put(cache / "features" / "mine.safetensors", 500, 99)
    put(cache / "weights-inception-2015-12-05-6726825d.pth", 500, 99)
    put(cache / "features" / KEYS[7] / "x.safetensors", 500, 99)
    return cache


def names(found):
    return [str(entry.path).split("cache/")[1] for entry in found]


OWN = [
    f"judges/{KEYS[4]}", f"{KEYS[3]}.bad.json", KEYS[0], f"features/{KEYS[1]}.safetensors", KEYS[2]
]  # fmt: skip


def test_entries_are_known_by_all_that_lies_in_them_and_come_in_the_order_of_their_use(cache):
    assert names(entries(cache)) == OWN
    assert [entry.size for entry in entries(cache)] == [100] * 5
    assert entries(cache / "missing") == [] == leftovers(cache)


@pytest.mark.parametrize(("limit", "gone"), [(500, 0), (499, 1), (400, 1), (399, 2), (201, 3), (0, 4)])
def test_what_was_not_used_for_the_longest_time_goes_until_the_rest_fits_and_networks_stay(cache, limit, gone):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        keep_below(limit, cache)
    assert names(entries(cache)) == [OWN[0], *OWN[1 + gone :]]
    assert len(told) == (gone > 0) and (not gone or f"{gone}00 bytes in {gone} of its entries" in str(told[0].message))
    for kept in (
        f"{KEYS[5]}/thesis.txt",
        f"{KEYS[5]}/images.npy",
        "features/mine.safetensors",
        f"features/{KEYS[7]}/x.safetensors",
    ):
        assert (cache / kept).exists()
    assert (cache / KEYS[6]).is_symlink() and list(cache.glob("*.pth")) and not list(cache.rglob("*.tmp"))


def test_what_is_in_use_stays(cache):
    a_store(cache, KEYS[8], 0)  # a moment ago
    with open(cache / KEYS[0] / "images.npy", "rb") as lock, pytest.warns(UserWarning, match="300 bytes in 3 of its"):
        fcntl.flock(lock, fcntl.LOCK_SH)
        keep_below(0, cache)
    assert set(names(entries(cache))) == {OWN[0], KEYS[0], KEYS[8]}


def test_without_locks_what_was_used_within_a_day_is_in_use(cache, monkeypatch):
    a_store(cache, KEYS[8], 0.9)
    monkeypatch.setattr(cache_entries.fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(37, "No locks available")))
    with pytest.warns(UserWarning, match="400 bytes in 4"):
        keep_below(0, cache)
    assert names(entries(cache)) == [OWN[0], KEYS[8]]


def test_locks_of_killed_processes_are_leftovers_and_those_of_living_ones_are_not(cache):
    dead, living, own = (cache / f".{key}.lock" for key in KEYS[:3])
    for path in (dead, living):
        path.write_text("process 7 on there")
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.write(write, b"1" if try_lock(os.open(living, os.O_RDWR)) else b"0")
        time.sleep(30)
        os._exit(0)
    with turn(cache / KEYS[2]):
        assert os.read(read, 1) == b"1" and own.exists()
        assert names(leftovers(cache)) == [dead.name]
        remove_leftovers(cache)
        assert (dead.exists(), living.exists(), own.exists()) == (False, True, True)
    os.kill(child, 9)
    os.waitpid(child, 0)
    assert names(leftovers(cache)) == [living.name] and not own.exists()
    for descriptor in (read, write):
        os.close(descriptor)


def test_a_store_is_in_use_as_long_as_it_is_mapped_and_its_use_is_noted(tmp_path, cache, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a.png").write_bytes(encode_png(np.zeros((4, 4, 3), np.uint8)))
    how = {"image_size": 4, "channels": 3, "cache": cache}
    store = build_store(tmp_path / "real", **how)
    folder, images = cache / store.key, store.images
    os.utime(folder, (0, 0))
    for file in folder.iterdir():
        os.utime(file, (0, 0))
    del store
    with pytest.warns(UserWarning, match="400 bytes in 4 of its"):
        keep_below(0, cache)
    assert folder.exists() and images.sum() == 0
    build_store(tmp_path / "real", **how)
    assert time.time() - os.stat(folder).st_mtime < 60
    os.utime(folder, (0, 0))
    del images
    with pytest.warns(UserWarning, match="in 1 of its"):
        keep_below(0, cache)
    assert not folder.exists()


def test_a_new_store_makes_the_cache_go_back_to_its_limit(tmp_path, cache, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a.png").write_bytes(encode_png(np.zeros((4, 4, 3), np.uint8)))
    monkeypatch.setenv(module.VARIABLE, "100")
    with pytest.warns(UserWarning, match=r"in 4 of its entries.* below 100 bytes \(BOOTLIGHT_CACHE_LIMIT\)"):
        store = build_store(tmp_path / "real", image_size=4, channels=3, cache=cache)
    assert names(entries(cache)) == [OWN[0], store.key]
    monkeypatch.setenv(module.VARIABLE, "much")
    with pytest.raises(BootlightError, match="BOOTLIGHT_CACHE_LIMIT"):
        build_store(tmp_path / "real", image_size=5, channels=3, cache=cache)


def test_limits(monkeypatch, tmp_path):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda place: SimpleNamespace(total=10**13))
    assert cache_limit(tmp_path / "not" / "there") == 10**12
    monkeypatch.setattr(module.shutil, "disk_usage", lambda place: SimpleNamespace(total=10**11))
    assert cache_limit(tmp_path) == LEAST
    for text, value in (("none", None), ("OFF", None), (" 1.5 GiB ", 3 * 2**29), ("0", 0), ("", LEAST)):
        monkeypatch.setenv(module.VARIABLE, text)
        assert cache_limit(tmp_path) == value


@pytest.mark.parametrize(
    ("text", "value"), [("20GB", 20 * 10**9), ("500 mb", 5 * 10**8), ("7", 7), ("7b", 7), ("2.5k", 2500), ("1TiB", 2**40)]
)
def test_sizes(text, value):
    assert parse_size(text, "key") == value


@pytest.mark.parametrize("text", ["", "GB", "-1", "1e9", "1 000", "nan", "inf", "1.GB", "٣", "1PB", "1" * 400])
def test_what_is_no_size(text):
    with pytest.raises(BootlightError, match="--limit"):
        parse_size(text, "--limit")


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"), (11 * 10**9, "11.0 GB")],
)
def test_sizes_in_words(count, text):
    assert size_text(count) == text


def test_a_network_that_is_being_trained_stays(cache):
    (entry, *_) = entries(cache)
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        descriptor = os.open(entry.path / ".lock", os.O_RDWR)
        os.write(write, b"1" if try_lock(descriptor) else b"0")
        time.sleep(30)
        os._exit(0)
    assert os.read(read, 1) == b"1" and not remove(entry) and entry.path.exists()
    os.kill(child, 9)
    os.waitpid(child, 0)
    assert remove(entry) and not entry.path.exists()
    for descriptor in (read, write):
        os.close(descriptor)


def test_names_tell_of_their_process_if_it_is_of_here(monkeypatch):
    assert owner_lives(temporary_name("x")) is True
    assert owner_lives(".x.0123abcd.tmp") is None
    name = temporary_name("x")
    host, pid, start, rest = name[3:].split("-")
    assert owner_lives(f".x.{host}-{pid}-{int(start, 16) + 1:x}-{rest}") is False  # its number was given to another process
    assert owner_lives(f".x.{'0' * 8}-{pid}-{start}-{rest}") is None  # another machine or container
    assert owner_lives(f".x.{host}-{2**31:x}-{start}-{rest}") is False
    long = temporary_name("ü" * 127)
    assert len(os.fsencode(long)) <= 255 and owner_lives(long)
