"""Networks that runs share: one trains, the others wait and take it; what would be another network is trained again."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

from bootlight.distributed.stopping import stop_request
from bootlight.errors import BootlightError
from bootlight.io.atomic import read_json
from bootlight.io.cache_entries import NETWORKS, Entry, is_in_use, remove
from bootlight.runs import shared_cache as reference_cache
from bootlight.runs.shared_cache import shared

WEIGHTS = safetensors.torch.save({"w": torch.arange(3.0)})


def take(folder: Path, name: str, *, cache: Path | None = None, **setting) -> bool:
    """Whether it was found; if not, it is made."""
    file = folder / name / "judge.safetensors"
    file.parent.mkdir(exist_ok=True)
    with shared(file, cache or folder / "cache", setting) as found:
        if not found:
            file.with_suffix(".json").write_text(
                json.dumps({"name": name, "weights_sha256": hashlib.sha256(WEIGHTS).hexdigest()})
            )
            file.write_bytes(WEIGHTS)
    return found


def test_found_by_the_same_name_and_setting_only_and_copied_whole(tmp_path, monkeypatch):
    assert not take(tmp_path, "a", precision="32-true")
    assert take(tmp_path, "b", precision="32-true")
    assert (tmp_path / "b" / "judge.safetensors").read_bytes() == WEIGHTS
    assert read_json(tmp_path / "b" / "judge.json")["name"] == "a"
    assert not take(tmp_path, "c", precision="bf16-mixed")
    for name, other in (("describe", dict), ("_code", str)):  # another machine, another version of bootlight
        with monkeypatch.context() as patch:
            patch.setattr(reference_cache, name, other)
            assert not take(tmp_path, name, precision="32-true")


def test_a_training_that_fails_leaves_nothing_and_a_damaged_file_is_replaced(tmp_path):
    with pytest.raises(KeyError), shared(tmp_path / "x" / "judge.safetensors", tmp_path / "cache", {}):
        raise KeyError("power cut")
    assert not take(tmp_path, "a")
    (kept,) = tmp_path.glob("cache/*/judge.safetensors")
    for damaged in (WEIGHTS[:20], WEIGHTS[:-1] + b"\7"):  # cut off, another number
        kept.write_bytes(damaged)
        with pytest.warns(UserWarning, match="judge.safetensors .*it is trained again"):
            assert not take(tmp_path, "b")
        assert kept.read_bytes() == WEIGHTS and take(tmp_path, "c")


def test_looking_at_the_cache_does_not_give_up_the_lock_of_a_training(tmp_path):
    take_it = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    with shared(tmp_path / "x" / "judge.safetensors", tmp_path / "cache" / "judges", {}):
        (lock,) = tmp_path.glob("cache/judges/*/.lock")
        entry = Entry(lock.parent, NETWORKS, 0, 0.0)
        assert is_in_use(entry) and not remove(entry) and lock.exists()
        other = subprocess.run([sys.executable, "-c", take_it, lock], capture_output=True, text=True)
        assert "BlockingIOError" in other.stderr
    assert not is_in_use(entry) and remove(entry)


@pytest.mark.parametrize("where", ["cache", "cache/judges"])
def test_a_cache_that_cannot_be_written_costs_a_warning_and_a_training(tmp_path, where):
    (tmp_path / where).parent.mkdir(exist_ok=True)
    (tmp_path / where).write_text("a file")
    with pytest.warns(UserWarning, match=f"{tmp_path}/cache cannot be used.*data.cache") as told:
        for name in "ab":
            assert not take(tmp_path, name, cache=tmp_path / "cache" / "judges")
            assert (tmp_path / name / "judge.safetensors").read_bytes() == WEIGHTS
    assert len(told) == 1


def test_a_disk_that_is_full_after_a_training(tmp_path, monkeypatch):
    def full(*_):
        raise BootlightError("cannot write") from OSError(28, "No space left on device")

    monkeypatch.setattr(reference_cache, "write_bytes", full)
    with pytest.warns(UserWarning, match="No space left"):
        assert not take(tmp_path, "a")
    assert (tmp_path / "a" / "judge.safetensors").read_bytes() == WEIGHTS


def train_apart(folder: Path, name: str, seconds: float) -> int:
    """The number of a process that trains for so long, unless it finds the network."""
    number = os.fork()
    if number == 0:
        status = 1
        try:
            file = folder / name / "judge.safetensors"
            file.parent.mkdir()
            with stop_request.listening(), shared(file, folder / "cache", {}) as found:  # deaf to requests of earlier tests
                if not found:
                    (folder / f"{name} trains").touch()
                    time.sleep(seconds)
                    file.with_suffix(".json").write_text("{}")
                    file.write_bytes(WEIGHTS)
            status = 0
        finally:
            os._exit(status)
    return number


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")  # the children do not use torch's threads
def test_only_one_of_several_trains_and_when_it_is_killed_another_does(tmp_path, monkeypatch, capsys):
    first = train_apart(tmp_path, "first", 600)
    end = time.monotonic() + 60
    while not (tmp_path / "first trains").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    others = [train_apart(tmp_path, name, 0.3) for name in ("second", "third")]
    with stop_request.listening(seconds=0.2), pytest.raises(SystemExit) as stop:
        take(tmp_path, "fourth")  # who waits can be asked to stop
    assert stop.value.code == 75
    assert "waiting for another run, which trains the same network" in capsys.readouterr().out
    os.kill(first, signal.SIGKILL)
    assert [os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) for number in (*others, first)] == [0, 0, -signal.SIGKILL]
    assert len(list(tmp_path.glob("* trains"))) == 2  # the one that was killed, and one of the others
    for name in ("second", "third"):
        assert (tmp_path / name / "judge.safetensors").read_bytes() == WEIGHTS
        assert (tmp_path / name / "judge.json").read_text() == "{}"
