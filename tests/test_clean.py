"""`bootlight clean`: exactly what goes, how many bytes that is, what stays, and that every command works afterwards."""

import hashlib
import json
import os
import shutil
import time
import zipfile
from pathlib import Path

import pytest
from tiny_runs import DCGAN, Program, draw_pictures, fingerprint, options, write_plain_pages

from bootlight.errors import BootlightError
from bootlight.io.cache_entries import entries
from bootlight.io.lock import try_lock
from bootlight.io.owner import temporary_name
from bootlight.runs.folder import RunFolder


def checkpoint(path: Path, size: int = 300) -> Path:
    """As torch writes one, of so many bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"x" * (size - path.stat().st_size)
    assert path.stat().st_size == size
    return path


def a_run(path: Path, generations: int = 3, **settings: object) -> RunFolder:
    """A finished run, as far as its files tell."""
    run = RunFolder(path)
    for folder in map(run.generation, range(generations)):
        checkpoint(folder.trained_checkpoint)
        folder.samples.mkdir()
        folder.weights.write_bytes(b"weights")
        for file in (folder.metadata, folder.metrics):
            file.write_text("{}")
        folder.model_config.write_text(json.dumps({"weights_sha256": hashlib.sha256(b"weights").hexdigest()}))
    run.config.write_text(json.dumps({"bootstrap": settings}))
    run.environment.write_text("{}")
    return run


def files(folder: Path) -> dict[str, str]:
    """Hash of every file but locks."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != ".lock"
    }


@pytest.fixture
def clean(bootlight, capsys):
    """The lines that the verb prints."""

    def run(*args: object, status: int = 0) -> list[str]:
        capsys.readouterr()
        left = 0
        try:
            bootlight("clean", *map(str, args))
        except SystemExit as leaving:
            left = int(leaving.code or 0)
        assert left == status
        return capsys.readouterr().out.splitlines()

    return run


@pytest.mark.parametrize(
    ("args", "settings", "gone"),
    [
        ([], {}, [0, 1]),
        ([], {"keep_checkpoints": "all"}, []),
        ([], {"keep_checkpoints": "none"}, [0, 1, 2]),
        (["--keep-checkpoints=none"], {"keep_checkpoints": "all"}, [0, 1, 2]),
        (["--older-than=1"], {}, []),
        (["--older-than", "0"], {}, [0, 1]),
    ],
)
def test_a_dry_run_says_what_goes_and_the_other_one_removes_that_and_nothing_else(tmp_path, clean, args, settings, gone):
    run = a_run(tmp_path / "run", **settings)
    before = files(run.path)
    dry = clean(run.path, "--dry-run", *args)
    assert files(run.path) == before and not (run.path / ".lock").exists()
    assert [line.split()[3].rstrip(":") for line in dry if line.startswith("remove")] == [
        str(run.generation(g).trained_checkpoint) for g in gone
    ]
    assert sum(line.startswith("keep ") for line in dry) == 3 - len(gone)
    assert dry[-1] == f"{300 * len(gone)} bytes would be freed; nothing was removed"
    assert clean(run.path, *args) == [*dry[:-1], f"{300 * len(gone)} bytes were freed"]
    assert set(before) - set(files(run.path)) == {f"gen_{g:03d}/checkpoints/trained.ckpt" for g in gone}
    assert clean(run.path, *args)[-1] == "0 bytes were freed"


def test_what_is_needed_or_of_somebody_else_stays(tmp_path, clean):
    run = a_run(tmp_path / "run", 6)
    g = [run.generation(i) for i in range(6)]
    g[0].weights.write_bytes(b"damaged")
    g[1].trained_checkpoint.write_bytes(b"mine")
    g[2].trained_checkpoint.unlink()
    outside = checkpoint(tmp_path / "outside.ckpt")
    g[2].trained_checkpoint.symlink_to(g[3].trained_checkpoint)
    g[4].metrics.unlink()  # to be scored again
    g[5].model_config.unlink()  # in training
    g[5].trained_checkpoint.unlink()
    stay = [checkpoint(g[5].checkpoints / "last.ckpt"), checkpoint(g[3].checkpoints / "best-epoch=3.ckpt")]
    stay += [run.path / ".notes.tmp", g[3].path / "thesis.txt", run.path / temporary_name("report.html")]
    for path in stay[2:]:
        path.write_text("x")
    gone = [checkpoint(g[3].checkpoints / "last.ckpt"), checkpoint(g[3].checkpoints / "step=12.ckpt")]
    gone += [g[3].samples / "00000" / ".000001.png.0123abcd.tmp", g[3].checkpoints / ".last.ckpt.00000000-1-1-01234567.tmp"]
    for path in gone[2:]:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    before = set(files(run.path))
    lines = clean(run.path, "--keep-checkpoints", "none")
    gone.append(g[3].trained_checkpoint)
    assert before - set(files(run.path)) == {str(path.relative_to(run.path)) for path in gone} | {
        str(g[2].trained_checkpoint.relative_to(run.path))  # a link, which leads nowhere now
    }
    assert lines[-1] == "908 bytes were freed" and g[2].trained_checkpoint.is_symlink() and outside.exists()
    reasons = {line.split()[3].rstrip(":"): line for line in lines if line.startswith("keep")}
    for path, why in [
        (g[0].trained_checkpoint, "can make it again"), (g[1].trained_checkpoint, "no checkpoint"),
        (g[4].trained_checkpoint, "not finished"), (stay[0], "goes on from it"), (stay[4], "alive"),
    ]:  # fmt: skip
        assert why in reasons[str(path)]


def test_links_out_of_a_run_are_not_followed(tmp_path, clean):
    theirs = a_run(tmp_path / "theirs")
    mine = a_run(tmp_path / "runs" / "mine")
    shutil.rmtree(mine.generation(0).path)
    mine.generation(0).path.symlink_to(theirs.generation(0).path)
    (tmp_path / "runs" / "link").symlink_to(theirs.path)
    before = files(theirs.path), files(mine.path)
    assert "leaves" in clean(tmp_path / "runs", status=1)[0]
    assert (files(theirs.path), files(mine.path)) == before


def test_a_run_in_use_is_skipped_and_the_others_are_not(tmp_path, clean):
    busy, free = a_run(tmp_path / "study/arm/seed_0"), a_run(tmp_path / "study/arm/seed_1")
    (busy.path / ".lock").write_text("process 7 on there\n")
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.write(write, b"1" if try_lock(os.open(busy.path / ".lock", os.O_RDWR)) else b"0")
        time.sleep(30)
        os._exit(0)
    assert os.read(read, 1) == b"1"
    for args, end in ((["--dry-run"], "600 bytes would be freed; nothing was removed"), ([], "600 bytes were freed")):
        lines = clean(tmp_path / "study", free.path, *args)  # named twice, cleaned once
        assert lines[0] == f"skip {busy.path}: in use by process 7 on there" and lines[-1] == end and len(lines) == 5
    os.kill(child, 9)
    os.waitpid(child, 0)
    assert clean(tmp_path / "study")[-1] == "600 bytes were freed"
    for descriptor in (read, write):
        os.close(descriptor)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "--cache"), (["missing"], "is no run"), (["."], "is no run"), (["--cache", "--limit=much"], "--limit"),
        (["x", "--limit=1GB"], "--cache"), (["--cache", "--older-than=-1"], "--older-than"),
        (["--cache", "--older-than=nan"], "--older-than"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said(bootlight, args, message):
    with pytest.raises(BootlightError, match=message):
        bootlight("clean", *args)


def test_a_damaged_run_is_told_and_the_others_are_cleaned(tmp_path, clean):
    damaged, good = a_run(tmp_path / "a"), a_run(tmp_path / "b")
    for text in ("{", "bootstrap: 3", "bootstrap: {keep_checkpoints: some}"):
        damaged.config.write_text(text)
        before = files(damaged.path)
        lines = clean(damaged.path, good.path, status=1)
        assert lines[0].startswith(f"skip {damaged.path}: ") and files(damaged.path) == before
    assert not good.generation(1).trained_checkpoint.exists()


def test_a_cache(tmp_path, clean):
    cache = Path(os.environ["BOOTLIGHT_CACHE"])
    keys = [letter * 64 for letter in "01234"]
    for key, days in zip(keys, (4, 3, 2, 1, 0), strict=True):
        (cache / "features").mkdir(parents=True, exist_ok=True)
        file = cache / "features" / f"{key}.safetensors"
        file.write_bytes(b"x" * 1000)
        os.utime(file, (time.time() - days * 86400,) * 2)
    (cache / "features" / f".{keys[0]}.safetensors.00000000-1-1-01234567.tmp").write_bytes(b"half")
    os.utime(cache / "features" / f".{keys[0]}.safetensors.00000000-1-1-01234567.tmp", (0, 0))
    (cache / "mine.txt").write_text("mine")
    before = files(cache)
    for args, left, freed in (
        (["--limit", "5 kB"], "01234", "4 bytes"), (["--limit=4500"], "1234", "1.0 kB"),
        (["--older-than=2.5"], "234", "1.0 kB"), (["--older-than=1.5", "--limit=2kB"], "34", "1.0 kB"),
        (["--limit=0"], "4", "1.0 kB"), ([], "4", "0 bytes"),
    ):  # fmt: skip
        dry = clean("--cache", "--dry-run", *args)
        assert files(cache) == before and dry[-1] == f"{freed} would be freed; nothing was removed"
        assert clean("--cache-dir", cache, *args)[:-1] == dry[:-1]
        assert [str(entry.path.name)[0] for entry in entries(cache)] == list(left)
        before = files(cache)
    assert (cache / "mine.txt").exists()


def test_every_command_works_after_it_as_before(bootlight, tmp_path, monkeypatch, clean, capsys):
    """Two copies of one run; one is cleaned of all that goes, and its cache too. Then both do all there is to do."""
    write_plain_pages(monkeypatch)
    pictures = draw_pictures(tmp_path / "pictures")
    few = {"data.num_steps": 2, "bootstrap.num_synthetic": 8, "bootstrap.warm_start": "true", "bootstrap.num_generations": 2}
    few |= {"evaluation.features": "bootlight.PixelFeatures", "bootstrap.keep_checkpoints": "all"}
    runs = {name: tmp_path / name for name in ("whole", "cleaned")}
    fits = {name: Program(bootlight, monkeypatch, *DCGAN, *options(pictures, run, **few)) for name, run in runs.items()}
    fits["whole"]()
    shutil.copytree(runs["whole"], runs["cleaned"])
    size = sum(file.stat().st_size for file in runs["cleaned"].rglob("trained.ckpt"))
    lines = clean(runs["cleaned"], "--keep-checkpoints=none", "--cache", "--limit=0")
    shutil.rmtree(os.environ["BOOTLIGHT_CACHE"])  # what was used a moment ago too
    assert sum(line.startswith("remove") and "trained.ckpt" in line for line in lines) == 2 and size > 0
    assert not list(runs["cleaned"].rglob("*.ckpt"))
    answers = {}
    for name, run in runs.items():
        bootlight("sample", f"{run}@0", "--seeds=0-3", f"--to={tmp_path}/drawn-{name}")
        capsys.readouterr()
        bootlight("evaluate", f"--synthetic={run}@1", f"--real={pictures}", "--features=bootlight.PixelFeatures", "--json",
                  "--image-size=8", "--metrics=fd", "--device=cpu")  # fmt: skip
        scores = json.loads(capsys.readouterr().out)
        bootlight("report", run)
        fits[name].settings.num_generations = 3
        fits[name]()
        taught = tmp_path / f"taught-{name}"
        taught_fit = {"data.mixing": "bootlight.WithTeacher", "data.mixing.root": f"{run}@0"}
        taught_fit |= {"data.num_steps": 1, "bootstrap.num_synthetic": 2}
        Program(bootlight, monkeypatch, *DCGAN, *options(pictures, taught, **taught_fit))()
        answers[name] = (
            files(tmp_path / f"drawn-{name}"),
            json.dumps(scores).replace(str(run), ""),
            comparable(run),
            comparable(taught),
        )
    assert answers["whole"] == answers["cleaned"]
    assert len(answers["whole"][0]) >= 4


def comparable(run: Path) -> dict[str, str]:
    only = ("files", "state_dict", "optimizer_states", "global_step")
    return {key: value for key, value in fingerprint(run).items() if key.split(" ")[-1] not in only}
