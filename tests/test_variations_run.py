"""Variations through the whole loop: manifest, sheet, refusals before any training, an interruption."""

import json

import numpy as np
import pytest
from PIL import Image
from tiny_runs import DDPM, fingerprint, options, write_plain_pages

import bootlight as package
from bootlight.errors import BootlightError
from bootlight.io.pictures import encode_png
from bootlight.runs.folder import RunFolder
from bootlight.runs.manifest import read_metadata

CLASSES = [*DDPM, "--model.num_classes=2", "--model.sampler=bootlight.DDIM"]


@pytest.fixture(autouse=True)
def plain_pages(monkeypatch):
    write_plain_pages(monkeypatch)


def stages(class_path="bootlight.Variations", stage=None, **settings):
    if class_path == "bootlight.Variations":
        settings = {"sampler": {"class_path": "bootlight.DDIM", "init_args": {"num_steps": 4, "eta": 1.0}}} | settings
    made = {"synthesizer": {"class_path": class_path, "init_args": settings}, **(stage or {})}
    listed = [{"class_path": "bootlight.Train"}, {"class_path": "bootlight.Synthesize", "init_args": made}]
    return f"--bootstrap.stages={json.dumps(listed)}"


@pytest.mark.parametrize(("kind", "steps"), [("bootlight.Variations", 4), ("bootlight.SDEdit", 2)])
def test_each_real_image_in_use_has_its_images(bootlight, pictures, tmp_path, kind, steps):
    arguments = [*options(pictures, tmp_path / "run", **{"bootstrap.num_generations": 2}), stages(kind, per_parent=3)]
    bootlight("fit", *CLASSES, *arguments)
    generations = RunFolder(tmp_path / "run").generations()
    for folder in generations:
        rows = list(read_metadata(folder))
        assert len(rows) == 3 * 18  # of 24 a quarter is held out
        parents = [row["parent"] for row in rows]
        assert len(set(parents)) == 18 and all(parents.count(name) == 3 for name in set(parents))
        assert all(row["label"] == "ab".index(row["parent"].split("/")[1]) for row in rows)
        assert {row["num_steps"] for row in rows} == {steps} and len({row["sha256"] for row in rows}) == len(rows)
    bootlight("data", "preview", f"{tmp_path / 'run'}@0", "--count", "5", "--to", tmp_path / "sheet.png")
    check_sheet(tmp_path / "sheet.png", pictures, generations[0], 5)


def check_sheet(file, pictures, folder, columns):
    """Tiles of 64 pixels, each of 8 x 8: parents, and below each of them three images whose manifest names it."""
    sheet = np.asarray(Image.open(file))
    assert sheet.shape[0] == 2 * 12 + 4 * (20 + 64 + 4)
    known = {picture(pictures / row["parent"].removeprefix("real/")): row["parent"] for row in read_metadata(folder)}
    drawn = {picture(folder.samples / row["file_name"]): row["parent"] for row in read_metadata(folder)}
    tops, lefts = [12 + 20 + i * 88 for i in range(4)], [12 + i * 68 for i in range(columns)]
    for left in lefts:
        parent, *made = (sheet[top : top + 64 : 8, left : left + 64 : 8].tobytes() for top in tops)
        assert len(set(made)) == 3 and {drawn[image] for image in made} == {known[parent]}


def picture(file):
    return np.asarray(Image.open(file).convert("RGB")).tobytes()


def test_an_interrupted_folder_is_completed_as_it_was(bootlight, pictures, tmp_path):
    arguments = [*options(pictures, tmp_path / "run"), stages(per_parent=3)]
    bootlight("fit", *CLASSES, *arguments)
    folder = RunFolder(tmp_path / "run").generation(0)
    before = fingerprint(tmp_path / "run")
    for i in (0, 4, 5, 30):
        folder.sample_file(i).unlink()
    folder.metadata.unlink()
    bootlight("fit", *CLASSES, *arguments)
    assert fingerprint(tmp_path / "run") == before


def planted(folder, leak):
    """A training and a test split of noise pictures; with the leak one picture is in both."""
    rng = np.random.default_rng(3)
    for split, count in (("train", 8), ("test", 4)):
        for i in range(count):
            file = folder / split / "ab"[i % 2] / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode_png(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)))
    if leak:
        (folder / "test" / "a" / "0.png").write_bytes((folder / "train" / "b" / "3.png").read_bytes())
    return folder


@pytest.mark.filterwarnings("ignore")  # of Lightning and of the parser, in this process
@pytest.mark.parametrize("kind", ["bootlight.Variations", "bootlight.SDEdit"])
def test_a_planted_test_image_is_refused_before_any_training(bootlight, tmp_path, kind):
    for leak in (False, True):
        run = tmp_path / f"run{leak}"
        arguments = options(planted(tmp_path / f"images{leak}", leak), run)
        call = [*CLASSES, *arguments, stages(kind)]
        if leak:
            with pytest.raises(BootlightError, match=r"b/3\.png"):
                bootlight("fit", *call)
            assert not list(run.glob("gen_*/*"))
        else:
            bootlight("fit", *call)
            parents = {row["parent"] for row in read_metadata(RunFolder(run).generation(0))}
            assert parents and not any("test" in name for name in parents)


@pytest.mark.filterwarnings("ignore")  # of Lightning and of the parser, in this process
@pytest.mark.parametrize(
    ("model", "settings", "stage", "said"),
    [
        (["--model=bootlight.DCGAN"], {}, {}, "DCGAN"),
        (CLASSES, {"of": "more"}, {}, "more"),
        (CLASSES, {"of": "more", "per_parent": 2}, {}, "per_parent"),
        (CLASSES, {"of": "edited"}, {"into": "edited"}, "edited"),
        (CLASSES, {"strength": 0.0}, {}, "strength"),
        (CLASSES, {"sampler": {"class_path": "bootlight.Ancestral", "init_args": {"num_steps": 4}}}, {}, "asymmetric"),
        (CLASSES, {}, {"compose": {"class_path": "bootlight.ScaledScore", "init_args": {"scale": 1.1}}}, "compose"),
    ],
)
def test_what_cannot_be_meant_is_told_before_any_training(bootlight, pictures, tmp_path, model, settings, stage, said):
    with pytest.raises((BootlightError, SystemExit)) as told:
        bootlight("fit", *model, *options(pictures, tmp_path / "run"), stages(stage=stage, **settings))
    assert said in str(told.value)
    assert not list((tmp_path / "run").glob("gen_*/*"))


def test_names_are_public():
    assert issubclass(package.Variations, package.Synthesizer) and issubclass(package.SDEdit, package.Synthesizer)
