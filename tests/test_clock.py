"""Where time goes: the parts of the clock, what a run notes of them, and the table at its end."""

import json
from types import SimpleNamespace

import pytest
from tiny_runs import DCGAN, DDPM, Program, draw_pictures, options, write_plain_pages

from bootlight import GeneratorModule
from bootlight.bootstrap import loop
from bootlight.data import batches
from bootlight.evaluation import generation as evaluation_generation
from bootlight.generators import dcgan, ddpm
from bootlight.report.seconds import format_seconds
from bootlight.runs import timing
from bootlight.runs.folder import RunFolder
from bootlight.runs.history import read_timing
from bootlight.runs.timing import REST, Clock
from bootlight.synthesis import complete


@pytest.fixture
def time(monkeypatch):
    """A hand that is moved by the test; powers of two, which floats add exactly."""

    class Hand:
        now = 0.0

        def pass_(self, seconds):
            self.now += seconds

    hand = Hand()
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: hand.now))
    return hand


def test_every_second_has_one_name(time):
    clock = Clock()
    time.pass_(1)
    with clock.part("outer"):
        time.pass_(2)
        with clock.part("inner"):
            time.pass_(4)
        time.pass_(8)
        with pytest.raises(KeyError), clock.part("inner"):
            time.pass_(16)
            raise KeyError
        time.pass_(32)
    time.pass_(64)
    assert clock.take() == {REST: 65, "outer": 42, "inner": 20}


def test_what_is_taken_is_not_counted_again(time):
    clock = Clock()
    with clock.part("a"):
        time.pass_(1)
        assert clock.take() == {REST: 0, "a": 1}
        time.pass_(2)
    assert clock.take() == {"a": 2, REST: 0}
    assert clock.switch("b") == REST and clock.switch(REST) == "b"


def write_timing(run, generation, **seconds):
    folder = run.generation(generation)
    folder.path.mkdir(parents=True)
    folder.timing.write_text("".join(json.dumps({"stage": s, "seconds": t}) + "\n" for s, t in seconds.items()))
    return folder


def test_the_table_adds_up(tmp_path):
    run = RunFolder(tmp_path)
    assert format_seconds(run) == ""
    write_timing(run, 0, training=60, synthesis=20, evaluation=8, references=7, data=1, files=1, checkpoints=1, pages=1, rest=1)
    write_timing(run, 1, training=150, publishing=25, metrics=15, unheard_of=10)
    titles, _, rule, *rows = (line.split() for line in format_seconds(run).splitlines())
    assert titles[2:9] == ["training", "synthesis", "evaluation", "references", "data", "files", "metrics"]
    assert len(rule) == 11
    assert rows == [
        ["0", "60.0", "20.0", "8.0", "7.0", "1.0", "2.0", "0.0", "2.0", "100.0", "5.0%"],
        ["1", "150.0", "0.0", "0.0", "0.0", "0.0", "25.0", "15.0", "10.0", "200.0", "25.0%"],
        ["all", "210.0", "20.0", "8.0", "7.0", "1.0", "27.0", "15.0", "12.0", "300.0", "18.3%"],  # (5 + 50) / 300
    ]


def test_the_table_of_a_run_that_took_no_time(tmp_path):
    write_timing(RunFolder(tmp_path), 0, training=0)
    assert format_seconds(RunFolder(tmp_path)).splitlines()[-1].split()[-1] == "-"


@pytest.mark.parametrize("model", [DDPM, DCGAN])
def test_a_run_says_where_its_time_went(bootlight, monkeypatch, tmp_path, time, model):
    """Only what is patched takes time."""
    write_plain_pages(monkeypatch)
    judge = {"evaluation.judge_steps": 3, "evaluation.judge_width": 4, "evaluation.judge_batch_size": 4}
    more = {"evaluation.features": "bootlight.PixelFeatures", "bootstrap.num_synthetic": 8, "data.holdout_fraction": 0}
    pictures = draw_pictures(tmp_path / "pictures")
    fit = Program(bootlight, monkeypatch, *model, *options(pictures, tmp_path / "run", **judge | more))
    slow = [
        (dcgan.DCGAN, "training_step", 1 / 8 if model is DDPM else 1),
        (complete, "write_manifest", 32),
        (GeneratorModule, "sample", 2),
        (evaluation_generation, "measure_all", 64),
        (batches, "gather", 1 / 8),
        (loop, "write_table", 128),
    ]
    slow += [(ddpm.DDPM, "training_step", 1)] if model is DDPM else []
    for owner, name, seconds in slow:
        slow_down(monkeypatch, time, owner, name, seconds)
    fit()
    noted = read_timing(RunFolder(fit.run).generation(0).timing)
    noted = {name: seconds for name, seconds in noted.items() if seconds}
    steps = 3
    assert noted == {
        "references": steps * (1 / 8 if model is DDPM else 1),
        "training": steps,
        "preparation": 2 + 2,  # two steps and a call that draws two images, on trial
        "data": (2 + 2 * steps) / 8,  # on trial, of the judge and of the generator
        "synthesis": 2 * (1 + 4),  # the previews, and four calls of two images
        "files": 32,
        "metrics": 64,
        "pages": 128,
    }


def slow_down(monkeypatch, time, owner, name, seconds):
    function = getattr(owner, name)

    def slow(*args, **kwargs):
        time.pass_(seconds)
        return function(*args, **kwargs)

    monkeypatch.setattr(owner, name, slow)
