"""Files that are whole or absent."""

import errno
import os
import stat

import pytest

from bootlight.errors import BootlightError
from bootlight.io.atomic import atomic_write, read_json, write_json


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


def test_atomic_write_replaces_the_whole_file(tmp_path):
    path = tmp_path / "new" / "file.txt"
    for text in ("a long text, ünïcode", "short"):
        with atomic_write(path, "w") as file:
            file.write(text)
            assert not path.exists() or path.read_text(encoding="utf-8") != text  # not before the block ends
        assert path.read_bytes() == text.encode()
        assert entries(path.parent) == ["file.txt"]


def test_a_failing_block_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    with atomic_write(path) as file:
        file.write(b"old")

    def interrupted():
        with atomic_write(path) as file:
            file.write(b"new and unfinished")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old" and entries(tmp_path) == ["file"]


def test_the_file_is_flushed_to_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace

    def seen(number: int) -> None:
        status = os.fstat(number)
        events.append("folder" if stat.S_ISDIR(status.st_mode) else status.st_size)
        fsync(number)

    monkeypatch.setattr(os, "fsync", seen)
    monkeypatch.setattr(os, "replace", lambda *names: (events.append("renamed"), replace(*names)))
    with atomic_write(tmp_path / "file") as file:
        file.write(b"12345")
    assert events == [5, "renamed", "folder"]  # the last one makes the name outlast a power cut


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_full_disk(tmp_path, monkeypatch, function):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, function, full)
    with pytest.raises(BootlightError, match=r"^cannot write .*file: No space left on device; free space .*$") as error:
        write_json(path, {})
    assert "\n" not in str(error.value)
    assert path.read_bytes() == b"old" and entries(tmp_path) == ["file"]


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(BootlightError, match=r"^cannot write .*taken/file: .*choose another folder") as error:
        write_json(tmp_path / "taken" / "file", {})
    assert "\n" not in str(error.value)


def test_json_comes_back_in_order(tmp_path):
    value = {"z": 1, "a": [0.1, None, "ü"], "m": {}}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert list(read_json(tmp_path / "a.json")) == ["z", "a", "m"]
    assert (tmp_path / "a.json").read_text().endswith("}\n")


def test_unreadable_json_is_a_named_error(tmp_path):
    with pytest.raises(BootlightError, match=r"^cannot read .*a\.json: No such file"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"half": ')
    with pytest.raises(BootlightError, match=r"a\.json is not valid JSON .*; delete it and run the same command again$"):
        read_json(tmp_path / "a.json")
