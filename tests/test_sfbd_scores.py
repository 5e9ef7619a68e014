"""Scores of restored images against the hidden clean ones, and runs that end when a score no longer improves."""

import json

import numpy as np
import pytest
import torch
from test_closed_forms import images, named
from test_sfbd import FLOAT, noisy_origin, sfbd
from tiny_runs import write_plain_pages

import bootlight
from bootlight.errors import BootlightError
from bootlight.runs.ended import decision_file, ends_run

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and of the parser, in this process


@pytest.fixture(autouse=True)
def plain_pages(monkeypatch):
    write_plain_pages(monkeypatch)


def test_psnr_of_known_errors():
    """20 log10(2 / root mean square): of an error of 0.2 everywhere 20 dB, of 0.02 40 dB; an exact image counts 100 dB."""
    good = torch.zeros(3, 1, 4, 4)
    off = torch.tensor([0.2, -0.02, 0.0]).reshape(3, 1, 1, 1)
    metric = bootlight.PSNR()
    metric.update(good[:2] + off[:2], partners=good[:2])
    metric.update(good[2:] + off[2:], partners=good[2:])
    score = metric.scores()["psnr"]
    each = np.array([20.0, 40.0, 100.0])
    assert score.value == pytest.approx(each.mean(), abs=1e-4)  # float32
    assert score.standard_error == pytest.approx(each.std(ddof=1) / 3**0.5, rel=1e-4)
    pictures = bootlight.PSNR()
    pictures.update(torch.full((1, 3, 2, 2), 100, dtype=torch.uint8), partners=torch.full((1, 3, 2, 2), 151, dtype=torch.uint8))
    assert pictures.compute().item() == pytest.approx(20 * np.log10(255 / 51), abs=1e-4)


def test_restored_images_are_measured_against_those_that_were_hidden(tmp_path):
    """In a run: by the names of their parents, in the folder of restored images alone."""
    stages = [
        named("Train"),
        named("Synthesize"),
        named("Synthesize", into="restored", synthesizer=named("FromNoisy")),
        named("Evaluate", of=["samples", "restored"]),
    ]
    made = sfbd(tmp_path / "run", FLOAT, stages, 1, size=4, noisy=noisy_origin(90, 4))
    features = named("PixelFeatures", channels=1)
    made["evaluation"] = {"features": features, "metrics": ["kid", "bootlight.PSNR"], "judge_steps": 0}
    (folder,) = bootlight.run(made).generations()
    metrics = json.loads(folder.metrics.read_text())
    good = bootlight.GaussianImages(image_size=4, count=90, deviation=0.5, image_seed=1, rounded=False)
    off = images(folder, "restored") - good.load()[0].images.transpose(0, 3, 1, 2)
    each = 20 * np.log10(2 / np.sqrt((off.astype(np.float64) ** 2).mean((1, 2, 3))))
    assert metrics["folders"]["restored"]["scores"]["psnr"]["value"] == pytest.approx(each.mean(), abs=1e-5)
    assert "psnr" not in metrics["scores"] and "failed" not in metrics and "failed" not in metrics["folders"]["restored"]


@pytest.mark.parametrize(
    ("values", "settings", "best", "ends"),
    [
        ([3.0], {}, 0, False),
        ([3.0, 2.0], {}, 1, False),
        ([3.0, 2.0, 2.5], {}, 1, True),
        ([3.0, 2.0, 2.0], {}, 1, True),
        ([3.0, 2.0, 2.5], {"patience": 1}, 1, False),
        ([3.0, 2.0, 2.5, 2.4], {"patience": 1}, 1, True),
        ([3.0, 2.95], {"min_delta": 0.1}, 0, True),
    ],
)
def test_when_a_score_no_longer_improves(values, settings, best, ends):
    for sign, higher in ((1, False), (-1, True)):
        found = bootlight.EarlyStop("fd", **settings).decided([(sign * value, higher) for value in values])
        assert (found["best"], found["ends"]) == (best, ends)


class Scored(bootlight.Stage):
    """Leaves scores as an evaluation would: they fall, and rise from generation 2 on."""

    into = ""

    def is_done(self, generation):
        return generation.folder.is_evaluated

    def run(self, generation):
        score = {"value": abs(generation.number - 1.5), "standard_error": None, "n": 9, "higher_is_better": False}
        about = {"generation": generation.number, "num_real": 1, "num_synthetic": 0, "steps": 1, "images_seen": 1}
        scores = {"made-up": score | {"protocol": {}}}
        generation.folder.metrics.write_text(json.dumps(about | {"loss": None, "scores": scores}))


def run_of(folder, monitor="made-up", generations=6):
    stages = [
        named("Train"),
        named("Synthesize"),
        {"class_path": "test_sfbd_scores.Scored"},
        named("Evaluate"),
        named("EarlyStop", monitor=monitor),
    ]
    return bootlight.run(sfbd(folder, FLOAT, stages, generations, size=4, noisy=noisy_origin(9, 4)))


def test_a_run_ends_early_and_stays_ended(tmp_path, capsys):
    """Scores 1.5, 0.5, 0.5: generation 2 is no better, and the last of six that were asked for."""
    run = run_of(tmp_path / "run")
    assert len(run.generations()) == 3
    assert [ends_run(folder) for folder in run.generations()] == [False, False, True]
    assert json.loads(decision_file(run.generation(2)).read_text())["best"] == 1
    before = {path: path.stat().st_mtime_ns for path in run.path.glob("gen_*/*")}
    capsys.readouterr()
    run_of(tmp_path / "run")
    assert {path: path.stat().st_mtime_ns for path in run.path.glob("gen_*/*")} == before
    assert "finished: 3 generations" in capsys.readouterr().out
    # What decides are the files: an earlier decision that is missing is made anew, and the others stay.
    decision_file(run.generation(1)).unlink()
    run_of(tmp_path / "run")
    assert decision_file(run.generation(1)).exists() and len(run.generations()) == 3
    decision_file(run.generation(2)).write_text("{}")
    with pytest.raises(BootlightError, match="early_stop"):
        run_of(tmp_path / "run")


def test_what_cannot_be_monitored_is_told(tmp_path):
    with pytest.raises(BootlightError, match="made-down"):
        run_of(tmp_path / "run", "made-down", 1)
    stages = [named("Train"), named("Synthesize"), named("EarlyStop", monitor="kid")]
    with pytest.raises(BootlightError, match="Evaluate"):
        bootlight.run(sfbd(tmp_path / "other", FLOAT, stages, 1, size=4, noisy=noisy_origin(9, 4)))
