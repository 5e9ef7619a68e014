"""An origin and a mixing policy as a user writes them, from the page that shows them, through `bootlight fit`."""

import re
from pathlib import Path

import numpy as np
import pytest
from few_digits import Drawn
from safetensors.torch import load_file
from tiny_runs import write_plain_pages

from bootlight.data.reader import open_images
from bootlight.errors import BootlightError
from bootlight.io.atomic import read_json
from bootlight.io.pictures import decode_whole
from bootlight.runs.folder import RunFolder

PAGE = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)
FIT = [
    "fit", "--model=bootlight.PixelGaussian", "--data.origin=stripes.Stripes", "--data.origin.count=60",
    "--data.holdout_fraction=0.5", "--data.batch_size=10", "--data.num_epochs=1", "--data.mixing=fading.Fading",
    "--bootstrap.num_generations=3", "--bootstrap.num_synthetic=20", "--bootstrap.run_dir=run", "--evaluation.judge_steps=0",
    "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.logger=false", "--evaluation.metrics=[]",
]  # fmt: skip


@pytest.fixture
def plugged(bootlight, tmp_path, monkeypatch):
    """`bootlight fit` where the two files lie."""
    write_plain_pages(monkeypatch)
    for block, name in zip(BLOCKS, ("stripes", "fading"), strict=True):
        (tmp_path / f"{name}.py").write_text(block)
    return lambda *more: bootlight(*FIT, *more)


def test_an_origin_and_a_policy_in_files_of_the_users_own(plugged, tmp_path, capsys):
    """The moments of each generation are the weighted ones of the stripes in use and of what was drawn before."""
    plugged()
    assert "Stripes: 60 images: train 30 · held out 30 (50 %, at random) · 3 classes" in capsys.readouterr().out
    run = RunFolder(tmp_path / "run")
    state = [load_file(generation.weights) for generation in run.generations()]
    assert [float(each["count"]) for each in state] == [30, 30 + 20, 30 + 20 / 2 + 20]
    sums = [each["sums"].numpy() for each in state]
    for generation, weights in ((1, [1]), (2, [0.5, 1])):
        pixels = [drawn_pixels(run, earlier) for earlier in range(generation)]
        expected = sum(weight * np.stack([x.sum(0), (x**2).sum(0)]) for weight, x in zip(weights, pixels, strict=True))
        # float64 sums of fifty float32 numbers below 1: 2^-24 of each.
        np.testing.assert_allclose((sums[generation] - sums[0])[:, 0], expected, atol=50 * 2**-24)
    row = read_json(run.generation(2).metrics)
    assert (row["num_real"], row["num_synthetic"], row["steps"]) == (30, 40, 7)


def drawn_pixels(run, generation):
    """(20, 8, 8) in [-1, 1], float64."""
    with open_images(run.generation(generation).samples) as images:
        pictures = [decode_whole(images.read(i), name)[..., 0] for i, name in enumerate(images.names)]
    return np.stack(pictures) / 127.5 - 1


def test_a_plan_asks_the_policy_before_anything_is_drawn(plugged, tmp_path, capsys):
    plugged("--plan")
    rows = [line.split()[:3] for line in capsys.readouterr().out.splitlines() if re.match(r" +\d ", line)]
    assert rows == [["0", "30", "3"], ["1", "50", "5"], ["2", "70", "7"]]
    assert not (tmp_path / "run").exists()


def test_what_an_origin_says_and_gives_must_fit(plugged, tmp_path):
    text = (tmp_path / "stripes.py").read_text().replace("(1, 8, 8)", "(1, 8, 9)").replace("Stripes", "Odd")
    (tmp_path / "odd.py").write_text(text)
    with pytest.raises(BootlightError, match=r"^Odd \(Odd\) has images \(C, H, W\) = \(1, 8, 8\) of uint8, where \(1, 8, 9\)"):
        plugged("--data.origin=odd.Odd")
    assert not (tmp_path / "run").exists()


def test_weights_of_the_policy_multiply():
    made = {}
    exec(BLOCKS[1], made)
    sources = made["Fading"]().sources(3, Drawn(10, 4))
    assert sources[0].weights is None
    assert [source.weights.tolist() for source in sources[1:]] == [[0.25] * 4, [0.5] * 4, [1.0] * 4]
    assert sources[1].weighted(np.array([0, 1, 2, 4])).weights.tolist() == [0, 0.25, 0.5, 1]
