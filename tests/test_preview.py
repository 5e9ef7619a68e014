"""Sheets of clean, corrupted and restored images."""

import io

import numpy as np
import pytest
from few_digits import FewDigits
from PIL import Image

from bootlight import BootlightError, Corrupted, Digits, GaussianNoise, Subtitle
from bootlight.__main__ import answer
from bootlight.data.side_by_side import LookedAt, of_origins
from bootlight.report.sheet import GAP, MARGIN, TEXT, sheet
from bootlight.runs.folder import GenerationFolder
from bootlight.runs.manifest import read_metadata

EDGE = 64  # of a tile: eight times that of a digit


def tile(png, row, column):
    """A tile of a sheet, a pixel for each of an image of 8 x 8."""
    picture = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
    top, left = MARGIN + row * (TEXT + EDGE + GAP) + TEXT, MARGIN + column * (EDGE + GAP)
    found = picture[top : top + EDGE, left : left + EDGE].reshape(8, 8, 8, 8)
    assert (found == found[:, :1, :, :1]).all()  # enlarged without interpolation
    return found[:, 0, :, 0]


def test_images_stand_below_those_they_were_made_of():
    data = FewDigits(origins={"noisy": Corrupted(Digits(), GaussianNoise(0.3)), "marked": Corrupted(Digits(), Subtitle())})
    data.setup()
    rows = of_origins(data, 3)
    assert [row.label.partition(":")[0] for row in rows] == ["data.origin", *["data.origins.noisy"] * 2, "data.origins.marked"]
    _, clean, noisy, marked = rows
    good = Digits().load()[0]
    for name, bad in (("noisy", noisy), ("marked", marked)):
        for image, worse in zip(clean.images, bad.images, strict=True):
            place = int(np.flatnonzero((good.images == image).all((1, 2, 3)))[0])
            np.testing.assert_array_equal(data.origins[name].load()[0].images[place], worse)
    png = sheet(rows)
    np.testing.assert_array_equal(tile(png, 1, 2), clean.images[2][:, :, 0])
    wanted = np.clip(np.round(127.5 * noisy.images[2][:, :, 0] + 127.5), 0, 255)
    np.testing.assert_array_equal(tile(png, 2, 2), wanted)


def test_what_is_lacking_is_an_empty_tile():
    image = np.zeros((8, 8, 1), np.uint8)
    png = sheet([LookedAt("a", [image, None])])
    assert (tile(png, 0, 0) == 0).all() and (tile(png, 0, 1) == 0xF2).all()


@pytest.mark.parametrize("rows", [[], [LookedAt("points", [np.zeros((1, 1, 2), np.float32)])]])
def test_nothing_to_see(rows):
    with pytest.raises(BootlightError, match="look at"):
        sheet(rows)


NOISY = """\
    origins:
      noisy:
        class_path: bootlight.Corrupted
        init_args:
          origin: {class_path: bootlight.Digits}
          corruption: {class_path: bootlight.GaussianNoise, init_args: {tau: 0.5}}
"""
CONFIG = (
    """
model: {class_path: bootlight.DDPM, init_args: {width: 8, num_res_blocks: 1, num_heads: 1}}
data:
  class_path: bootlight.BootstrapData
  init_args:
    origin: {class_path: bootlight.Digits}
    num_steps: 1
"""
    + NOISY
)


def test_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(CONFIG)
    seed = "--data.origins.noisy.init_args.seed=1"
    answer(["data", "preview", "--config", "x.yaml", seed, "--count", "2", "--to", "s.png"])
    assert "seed 1" in capsys.readouterr().out
    with Image.open("s.png") as picture:
        assert picture.size[1] == 2 * MARGIN + 2 * (TEXT + EDGE + GAP)


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ([], "--config"),
        (["runs/x", "--config", "y.yaml"], "--config"),
        (["--config", "y.yaml", "--count", "0"], "--count"),
        (["nothing_here"], "nothing_here"),
    ],
)
def test_what_is_to_be_drawn_must_be_said(arguments, key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BootlightError, match=key):
        from bootlight.cli.data import main

        main(["preview", *arguments, "--to", "s.png"])
    with pytest.raises(BootlightError, match="--to"):
        main(["preview", "runs/x", "--to", "s.jpg"])
    assert not (tmp_path / "s.png").exists()


RUN = (
    """
bootstrap:
  num_generations: 1
  num_synthetic: 4
  run_dir: run
  stages:
    - bootlight.Train
    - {class_path: bootlight.Synthesize, init_args: {into: restored, n: 12, synthesizer: {class_path: bootlight.FromNoisy}}}
    - bootlight.Synthesize
model:
  class_path: bootlight.FittedGaussian
  init_args:
    schedule: {class_path: bootlight.SigmaSchedule}
    sampler: {class_path: bootlight.Heun, init_args: {num_steps: 4}}
data:
  class_path: bootlight.BootstrapData
  init_args:
    origin: {class_path: bootlight.Digits}
    num_images: 300
    num_epochs: 1
    mixing: {class_path: bootlight.OnlyReal}
"""
    + NOISY
    + """evaluation: {judge_steps: 0, metrics: []}
trainer: {accelerator: cpu, devices: 1, enable_progress_bar: false}
"""
)


def test_restored_images_stand_below_what_they_were_made_of_and_the_hidden_ones(bootlight, tmp_path):
    (tmp_path / "run.yaml").write_text(RUN)
    bootlight("fit", "--config", "run.yaml")
    bootlight("data", "preview", "run@0/restored", "--count", "5", "--to", "sheet.png")
    png = (tmp_path / "sheet.png").read_bytes()
    noisy = Corrupted(Digits(), GaussianNoise(0.5)).load()[0].images
    shown = np.clip(np.round(127.5 * noisy + 127.5), 0, 255)[..., 0]
    for column in range(5):
        (place,) = np.flatnonzero((shown == tile(png, 1, column)).all((1, 2)))
        assert place < 12  # the first ones are restored
        np.testing.assert_array_equal(tile(png, 0, column), Digits().load()[0].images[place, :, :, 0])
        (name,) = [row["file_name"] for row in rows_of(tmp_path) if row["parent"] == f"noisy/{Digits().load()[0].names[place]}"]
        drawn = np.asarray(Image.open(tmp_path / "run" / "gen_000" / "restored" / name))
        np.testing.assert_array_equal(tile(png, 2, column), drawn)
    with pytest.raises(BootlightError, match="samples"):
        bootlight("data", "preview", "run@0", "--to", "sheet.png")


def rows_of(folder):
    return list(read_metadata(GenerationFolder(folder / "run" / "gen_000", into="restored")))
