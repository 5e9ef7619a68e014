"""A run that is killed before any one file gets its name, or is deleted, ends as if it never had been."""

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_runs import DCGAN, Program, draw_pictures, fingerprint, options, write_plain_pages

JUDGE = {"evaluation.judge_steps": 2, "evaluation.judge_width": 4, "evaluation.judge_batch_size": 4}
SHORT = {"data.num_steps": 2, "bootstrap.num_synthetic": 2, "bootstrap.num_generations": 2, "bootstrap.checkpoint_every": 1}
RENAME, DELETE = "rename", "delete"


class Moments:
    """Copies the run folder before each change of its files: what a kill at that moment would leave, half-written files too."""

    def __init__(self, run: Path, folder: Path, monkeypatch) -> None:
        self.run, self.folder, self.names = run, folder, []
        self.recording = True
        self.lock = threading.RLock()  # images are written by several threads; while one is copied, none may vanish
        for function, what in (("replace", RENAME), ("unlink", DELETE), ("remove", DELETE)):
            monkeypatch.setattr(os, function, self._recorded(getattr(os, function), what))

    def _recorded(self, change, what: str):
        def changed(path, *others, **options):
            target = Path(others[0] if what == RENAME else path)
            with self.lock:
                if self.recording and self.run in target.parents and os.path.exists(path):
                    self.names.append(f"{what} {target.relative_to(self.run)}")
                    self.recording = False
                    shutil.copytree(self.run, self.folder / str(len(self.names)))
                    self.recording = True
                return change(path, *others, **options)

        return changed

    def restore(self, number: int) -> None:
        """Put back what was there before the change of that number, counted from 1."""
        self.recording = False
        shutil.rmtree(self.run)
        shutil.copytree(self.folder / str(number), self.run)

    def crash(self, fit: Program, wanted: Callable[[str], bool]) -> list[str]:
        """What the run differs in when it was killed at the wanted moments, after a calm run that shows the moments."""
        fit()
        calm = fingerprint(fit.run)
        wrong, chosen = [], [(number, name) for number, name in enumerate(self.names, 1) if wanted(name)]
        assert len(chosen) > 3
        for number, name in chosen:
            self.restore(number)
            shutil.rmtree(Path(os.environ["BOOTLIGHT_CACHE"]) / "judges", ignore_errors=True)  # not to be found there
            fit()
            found = fingerprint(fit.run)
            wrong += [
                f"{number} {name}: {key}" for key in sorted(calm.keys() | found.keys()) if calm.get(key) != found.get(key)
            ]
        return wrong


@pytest.fixture
def fit(bootlight, monkeypatch, tmp_path) -> Program:
    write_plain_pages(monkeypatch)
    pictures = draw_pictures(tmp_path / "pictures")
    return Program(bootlight, monkeypatch, *DCGAN, *options(pictures, tmp_path / "run", **SHORT | JUDGE))


def test_before_and_in_a_generation(fit, tmp_path, monkeypatch):
    moments = Moments(fit.run, tmp_path / "kept", monkeypatch)
    assert moments.crash(fit, lambda name: "gen_001" in name or "references" in name or "previews" in name) == []


def test_between_the_last_scores_and_the_pages(fit, tmp_path, monkeypatch):
    moments = Moments(fit.run, tmp_path / "kept", monkeypatch)
    assert moments.crash(fit, lambda name: name.partition(" ")[2] in ("metrics.csv", "metrics.json", "strip.png")) == []


def test_in_the_middle_of_clips_that_are_made_of_others(bootlight, tmp_path, monkeypatch):
    """Frames that follow from each other; then images whose parents are those frames, and what a curator says of them."""
    write_plain_pages(monkeypatch)
    pictures = draw_pictures(tmp_path / "pictures", 8)
    made = {"class_path": "halfway.Halfway", "init_args": {"of": "samples"}}
    stages = [
        {"class_path": "bootlight.Train"},
        {"class_path": "bootlight.Synthesize", "init_args": {"synthesizer": "walk.Walk"}},
        {"class_path": "bootlight.Synthesize", "init_args": {"into": "second", "n": 4, "synthesizer": made}},
        {"class_path": "bootlight.Curate", "init_args": {"curator": "by_class.ByDarkness"}},
    ]
    sizes = {"bootstrap.num_synthetic": 6, "data.num_steps": 1, "bootstrap.stages": json.dumps(stages)}
    arguments = options(pictures, tmp_path / "run", **sizes)
    fit = Program(bootlight, monkeypatch, "--model=bootlight.PixelGaussian", *arguments)
    moments = Moments(fit.run, tmp_path / "kept", monkeypatch)
    assert moments.crash(fit, lambda name: "00000" in name or "curation" in name) == []
