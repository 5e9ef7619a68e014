"""A full disk is one line that names the file; with space made, the same command ends as if nothing had happened."""

import builtins
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest
from tiny_runs import DCGAN, Program, draw_pictures, fingerprint, options

from bootlight.errors import BootlightError
from bootlight.io import atomic
from bootlight.loggers import history
from bootlight.training import step_clock

WRITERS = (atomic, history, step_clock)
FILES = ["last.ckpt", "trained.ckpt", "model.safetensors", "model.json", "previews.png", "000001.png", "metadata.jsonl",
         "samples.json", "train.jsonl", "timing.jsonl", "metrics.json", "metrics.csv", "strip.png", "report.html"]  # fmt: skip


def fill_disk_for(monkeypatch, file: str) -> None:
    """Have the operating system answer ENOSPC to every byte that goes into a file of this name, as /dev/full does."""

    def open_full(path, mode="r", **settings):
        written = set(mode) & set("wa")
        full = written and (Path(path).name == file or fnmatch(Path(path).name, f".{file}.*.tmp"))
        return builtins.open("/dev/full" if full else path, mode, **settings)

    for module in WRITERS:
        monkeypatch.setattr(module, "open", open_full, raising=False)


def one_line(error: BaseException, file: str) -> bool:
    text = str(error)
    return "\n" not in text and file in text and "No space left on device; free space" in text


def test_every_file(bootlight, tmp_path, monkeypatch):
    pictures = draw_pictures(tmp_path / "pictures")
    fit = Program(bootlight, monkeypatch, *DCGAN, *options(pictures, tmp_path / "run", **{"data.num_steps": 2}))
    fit()
    calm = fingerprint(fit.run)
    for file in FILES:
        shutil.rmtree(fit.run)
        with monkeypatch.context() as patch:
            fill_disk_for(patch, file)
            with pytest.raises(BootlightError) as caught:
                fit()
        assert one_line(caught.value, file), caught.value
        assert not list(fit.run.rglob("*.tmp"))
        fit()
        assert fingerprint(fit.run) == calm, file


@pytest.fixture
def disk(tmp_path):
    """A small disk in memory, and how to change its size."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(option: str) -> bool:
        return subprocess.run(["mount", "-t", "tmpfs", "-o", option, "none", folder], capture_output=True).returncode == 0

    if not shutil.which("mount") or not mount("size=64k"):
        pytest.skip("mounting a disk of a few kilobytes needs root")
    yield folder, lambda kilobytes: mount(f"remount,size={kilobytes}k")
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_grows_with_every_failure(bootlight, tmp_path, monkeypatch, disk):
    folder, resize = disk
    pictures = draw_pictures(tmp_path / "pictures")
    calm = Program(bootlight, monkeypatch, *DCGAN, *options(pictures, tmp_path / "calm"))
    calm()
    fit = Program(bootlight, monkeypatch, *DCGAN, *options(pictures, folder / "run"))
    failed = []
    for kilobytes in range(64, 2000, 24):
        assert resize(kilobytes)
        try:
            fit()
        except BootlightError as error:
            assert one_line(error, str(folder / "run")), error
            failed.append(str(error).split(": ")[0].rpartition("/")[2])
        else:
            break
    assert fingerprint(fit.run) == fingerprint(calm.run)
    assert len(failed) > 2 and any(name.endswith(".ckpt") for name in failed)


def test_a_disk_that_is_full_from_the_start(bootlight, tmp_path, disk):
    folder, _ = disk
    command = ["fit", *DCGAN, *options(draw_pictures(tmp_path / "pictures"), folder / "run")]
    (folder / "run").mkdir()
    with pytest.raises(OSError, match="No space left"), open(folder / "filler", "wb") as file:
        file.write(bytes(2**20))
    with pytest.raises(BootlightError) as caught:
        bootlight(*command)
    assert one_line(caught.value, str(folder / "run")), caught.value
