"""The size of a call in synthesis: measured, kept on the disk, the same after an interruption."""

import json
from types import SimpleNamespace

import pytest
import torch
from gaussian import Gaussian
from tiny_runs import DCGAN, Program, draw_pictures, fingerprint, options, write_plain_pages

from bootlight.bootstrap import synthesize
from bootlight.errors import BootlightError
from bootlight.synthesis import batch_size
from bootlight.synthesis.batch_size import PIXELS_ON_CPU, fastest_batch_size, seconds_per_image

# Seconds of an image, by the size of the call.
CURVES = {
    "falls": ({}, 1000, 512),  # 1/n by default: 16, 32, ..., 512; 1024 are not to be drawn
    "falls, few": ({}, 20, 16),
    "falls, fewer than the first": ({}, 7, 7),
    "rises at once": ({16: 1.0, 32: 1.1}, 1000, 16),
    "turns": ({16: 1.0, 32: 0.8, 64: 0.7, 128: 0.9}, 1000, 64),
    "is flat": ({16: 1.0, 32: 0.98}, 1000, 16),  # less than three per cent is what clocks differ by
}


@pytest.mark.parametrize("curve", CURVES)
def test_the_size_with_the_cheapest_image(monkeypatch, curve):
    seconds, most, best = CURVES[curve]
    monkeypatch.setattr(batch_size, "seconds_per_image", lambda _, size: seconds.get(size, 1 / size))
    assert fastest_batch_size(Gaussian(8, 1), most) == best


def test_memory_limits_it(monkeypatch):
    tried = []

    def run_out(_, size):
        tried.append(size)
        if size == 64:
            raise torch.OutOfMemoryError("no memory")
        return 1 / size

    monkeypatch.setattr(batch_size, "seconds_per_image", run_out)
    assert fastest_batch_size(Gaussian(8, 1), 1000) == 32 and tried == [16, 32, 64]
    monkeypatch.setattr(batch_size, "has_room", lambda _: tried[-1] < 16 or len(tried) < 4)
    assert fastest_batch_size(Gaussian(8, 1), 1000) == 16  # the next would not fit
    monkeypatch.undo()
    monkeypatch.setattr(batch_size, "seconds_per_image", lambda _, size: 1 / size)
    assert fastest_batch_size(Gaussian(256, 1), 1000) == PIXELS_ON_CPU // 256**2 == 16


def test_has_room_for_twice_the_peak(monkeypatch):
    """10 of 100 GiB are taken by weights, 20 reserved; 70 are free for others. 0.8 (70 + 20) = 72 may be used."""
    facts = {"memory_allocated": 10, "memory_reserved": 20, "mem_get_info": (70, 100), "max_memory_allocated": 36}
    for name in facts:
        monkeypatch.setattr(torch.cuda, name, lambda *_, name=name: facts[name])
    assert batch_size.has_room(torch.device("cuda"))
    facts["max_memory_allocated"] = 37
    assert not batch_size.has_room(torch.device("cuda"))
    assert batch_size.has_room(torch.device("cpu"))


def test_the_peak_of_training_says_nothing_about_drawing(monkeypatch):
    """Training took 90 of 100 bytes and has left 10; eight drawn images take one: calls of 128 have a peak of 26, of 256 42."""
    facts = {"memory_allocated": 10, "memory_reserved": 90, "mem_get_info": (10, 100), "max_memory_allocated": 90}
    for name in facts:
        monkeypatch.setattr(torch.cuda, name, lambda *_, name=name: facts[name])
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: facts.update(max_memory_allocated=10))

    def draw(_, size):
        facts["max_memory_allocated"] = max(facts["max_memory_allocated"], 10 + size // 8)
        return 1 / size

    monkeypatch.setattr(batch_size, "seconds_per_image", draw)
    module = SimpleNamespace(device=torch.device("cuda"), shortened=lambda: (None, 1.0))
    assert fastest_batch_size(module, 1000) == 256  # 0.8 (10 + 90) = 80 may be used: twice 26 are less, twice 42 more


def test_time_of_an_image_is_that_of_the_faster_call(monkeypatch):
    times = iter([0.0, 50.0, 58.0, 62.0])  # warming up takes 50, then 8 and 4
    monkeypatch.setattr(batch_size, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    module = SimpleNamespace(num_classes=None, sample=lambda seeds, labels: torch.zeros(len(seeds), 1, 4, 4))
    assert seconds_per_image(module, 2) == 4 / 2


@pytest.fixture
def fit(bootlight, monkeypatch, tmp_path):
    write_plain_pages(monkeypatch)
    changes = {"synthesis.batch_size": "auto", "bootstrap.num_synthetic": 8}
    return Program(bootlight, monkeypatch, *DCGAN, *options(draw_pictures(tmp_path / "pictures"), tmp_path / "run", **changes))


def test_kept_before_the_first_image_and_used_again(fit, monkeypatch):
    """A run that found 3 and was broken after a batch goes on with 3, whatever would be found now."""
    drawn = []
    sample = batch_size.GeneratorModule.sample

    def note(module, seeds, **options):
        drawn.append(len(seeds))
        return sample(module, seeds, **options)

    monkeypatch.setattr(batch_size.GeneratorModule, "sample", note)
    monkeypatch.setattr(synthesize, "fastest_batch_size", lambda module, most: {8: 3}[most])
    fit()
    calm, file = fingerprint(fit.run), fit.run / "gen_000" / "batch_size.json"
    assert drawn == [2, 3, 3, 3, 2]  # two on trial before the training; the previews are three too
    assert json.loads(file.read_text()) == {"batch_size": 3}
    (fit.run / "gen_000" / "metrics.json").unlink()
    (fit.run / "gen_000" / "samples" / "metadata.jsonl").unlink()
    (fit.run / "gen_000" / "samples" / "00000" / "000007.png").unlink()
    monkeypatch.setattr(synthesize, "fastest_batch_size", lambda module, most: 5)
    fit()
    assert drawn == [2, 3, 3, 3, 2, 2] and fingerprint(fit.run) == calm


@pytest.mark.parametrize("content", ["[]", "{}", '{"batch_size": 0}', '{"batch_size": "3"}', '{"batch_size": 1e9}', "torn"])
def test_a_damaged_file_is_named(fit, content):
    file = fit.run / "gen_000" / "batch_size.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    with pytest.raises(BootlightError, match=r"batch_size\.json .*delete it"):
        fit()


@pytest.mark.parametrize("value", ["0", "-1", "much"])
def test_other_values_are_refused(bootlight, tmp_path, value):
    with pytest.raises((BootlightError, SystemExit)) as refused:
        bootlight("fit", *DCGAN, *options(tmp_path, tmp_path / "run", **{"synthesis.batch_size": value}))
    assert refused.type is BootlightError or refused.value.code == 2
