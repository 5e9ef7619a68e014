"""Whole runs on float data, in this process: points and images far outside of [-1, 1], fitted by `PixelGaussian`."""

import json
from itertools import pairwise

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_runs import write_plain_pages

from bootlight.io.pictures import decode_whole
from bootlight.io.shown import EDGE, scatter
from bootlight.report.strip import write_strip
from bootlight.runs.folder import RunFolder

REAL, DRAWN, GENERATIONS = 60, 50, 3
SHAPES = {"points": (2, 1, 1), "images": (1, 6, 10)}


def fits(run):
    """Mean and variance of each number in each generation, (2, C, H, W) float64."""
    for folder in run.generations():
        state = load_file(folder.weights)
        mean, square = state["sums"] / state["count"]
        yield mean, square - mean**2


def drawn(folder):
    return np.concatenate([np.load(path) for path in sorted(folder.samples.rglob("*.npy"))]).astype(np.float64)


@pytest.fixture(params=SHAPES)
def finished(request, bootlight, monkeypatch, tmp_path):
    """Real images, and the run that was made of them."""
    write_plain_pages(monkeypatch)
    channels, height, width = shape = SHAPES[request.param]
    rng = np.random.default_rng(5)
    real = (1000 + rng.uniform(1, 300, shape) * rng.normal(0, 1, (REAL, *shape))).astype(np.float32)
    np.save(tmp_path / "real.npy", real)
    bootlight(
        "fit", "--data=bootlight.BootstrapData", "--data.root=real.npy", f"--data.image_size=[{height}, {width}]",
        f"--data.channels={channels}", "--data.batch_size=10", "--data.num_epochs=1", "--data.holdout_fraction=0",
        "--data.mixing=bootlight.Replace", "--data.mixing.keep_real=false", "--model=bootlight.PixelGaussian",
        "--bootstrap.run_dir=run", f"--bootstrap.num_generations={GENERATIONS}", f"--bootstrap.num_synthetic={DRAWN}",
        "--synthesis.batch_size=16", "--synthesis.num_previews=3", "--evaluation.judge_steps=0",
        "--evaluation.features=bootlight.PixelFeatures", f"--evaluation.features.channels={channels}",
        "--evaluation.features.size=10", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
    )  # fmt: skip
    return real, RunFolder(tmp_path / "run")


def test_each_generation_is_fitted_to_the_bits_that_the_one_before_has_drawn(bootlight, finished):
    """Moments of the real numbers, then of the drawn ones, to the rounding of sums of 60 squares about 10^6 in float64."""
    real, run = finished
    trained_on = [real.astype(np.float64), *map(drawn, run.generations())]
    found = list(fits(run))
    assert len(found) == GENERATIONS
    for (mean, variance), numbers in zip(found, trained_on, strict=False):
        assert np.allclose(mean, numbers.mean(0), rtol=1e-12) and np.allclose(variance, numbers.var(0), rtol=1e-9, atol=1e-7)
    assert min(variance.max() for _, variance in found) > 100  # nothing was clipped at 1, which would leave less than 1
    check_closed_form(found)
    check_scores(run, real)
    check_pictures(run, real)
    check_verbs(bootlight, run, real)


def check_closed_form(found):
    """E v' = v (1 - 1/m) for m drawn images; a ratio of variances has the variance 2 / m, nearly, in each of the numbers."""
    for (_, before), (_, after) in pairwise(found):
        ratios = (after / before).ravel()
        assert abs(ratios.mean() - (1 - 1 / DRAWN)) < 5 * (2 / DRAWN / len(ratios)) ** 0.5


def check_scores(run, real):
    """Squared distance of means, the part of the Frechet distance that is simplest, is below the whole of it."""
    for folder in run.generations():
        scores = json.loads(folder.metrics.read_text())["scores"]
        score = scores["fd-pixels/train"]
        assert score["n"] == DRAWN and score["protocol"]["num_real"] == REAL
        assert score["value"] >= ((drawn(folder).mean(0) - real.mean(0, dtype=np.float64)) ** 2).sum() * (1 - 1e-4)


def check_pictures(run, real):
    """Points: all of them in one picture; images: three squares, side by side."""
    folder = run.generation(1)
    picture = decode_whole(folder.previews.read_bytes(), "previews")
    if real.shape[2:] == (1, 1):
        expected = scatter(real[:, :, 0, 0], drawn(folder)[:, :, 0, 0])
        assert (picture == expected).all() and picture.shape == (EDGE, EDGE, 3)
    else:
        assert picture.shape[1] == 3 * picture.shape[0]
    write_strip(run)
    assert run.strip.stat().st_size > 1000


def check_verbs(bootlight, run, real):
    """`sample` gives the numbers of the run where it is asked for the same seeds; `evaluate` reads both folders."""
    folder = run.generation(0)
    rows = [json.loads(line) for line in folder.metadata.read_text().splitlines()]
    assert json.loads(folder.model_config.read_text())["dtype"] == "float32" and {row["dtype"] for row in rows} == {"float32"}
    seeds = [row["seed"] for row in rows[:16]]
    bootlight("sample", "run@0", "--seeds", ",".join(map(str, seeds)), "--batch-size", "16", "--to", "again")
    again = [np.load(run.path.parent / "again" / f"{seed:06d}.npy") for seed in seeds]
    assert np.stack(again).tobytes() == np.load(folder.samples / "00000/000000-000015.npy").tobytes()
    network = ["--features", "bootlight.PixelFeatures", "--features.channels", str(real.shape[1])]
    bootlight("evaluate", "--real", "run@0", "--synthetic", "again", *network, "--metrics", "fd")
