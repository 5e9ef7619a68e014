"""The harness of `make kills` can fail: it notices whatever differs, and what a process says and leaves."""

import json
import os
import shutil
import signal
from pathlib import Path
from random import Random

import pytest
import torch
from kills import damage as damages
from kills import interruptions
from kills import session as session_module
from kills.configurations import CONFIGURATIONS
from kills.damage import KINDS_OF_FILES, damage, list_files
from kills.interruptions import kill_one, press_control_c, stop_and_go, terminate
from kills.session import Session, chosen
from kills.trial import EXACT, TOLD, WRONG, Calm, Outcome, Trial
from safetensors.torch import load_file, save_file
from tiny_runs import DCGAN, Program, draw_pictures, fingerprint, options, write_plain_pages

from bootlight.__main__ import run_verb
from bootlight.runs.folder import RunFolder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of one generation, and its cache."""
    folder = tmp_path_factory.mktemp("kills")
    settings = {"data.num_steps": 2, "bootstrap.num_synthetic": 2, "data.cache": folder / "top" / "cache"}
    with pytest.MonkeyPatch.context() as patch:
        write_plain_pages(patch)
        arguments = [*DCGAN, *options(draw_pictures(folder / "pictures"), folder / "top" / "run", **settings)]
        Program(lambda verb, *args: run_verb(verb, list(args)), patch, *arguments)()
    return folder / "top"


@pytest.fixture
def top(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "top"))


def change_weights(folder):
    tensors = load_file(folder.weights)
    name = sorted(tensors)[0]
    tensors[name].view(-1).view(torch.int32)[0] ^= 1  # the last bit of one number
    save_file(tensors, folder.weights)


def change_checkpoint(folder):
    saved = torch.load(folder.trained_checkpoint, weights_only=True)
    state = saved["optimizer_states"][0]["state"][0]["exp_avg"]
    state.view(torch.int32)[(0,) * state.dim()] ^= 1
    torch.save(saved, folder.trained_checkpoint)


def change_line(path, key):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[-1][key] = rows[-1][key] + (1e-9 if isinstance(rows[-1][key], float) else "0")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def change_score(folder):
    scores = json.loads(folder.metrics.read_text())
    folder.metrics.write_text(json.dumps(scores | {"steps": scores["steps"] + 1}))


CHANGES = {
    "gen_000/model.safetensors": change_weights,
    "gen_000 optimizer_states": change_checkpoint,
    "gen_000/samples/00000/000001.png": lambda f: shutil.copy(f.sample_file(0), f.sample_file(1)),
    "gen_000/samples/metadata.jsonl": lambda f: change_line(f.metadata, "sha256"),
    "gen_000 curves": lambda f: change_line(f.history, "train/loss_d"),
    "gen_000/metrics.json": change_score,
    "files": lambda f: (f.path / "left over").touch(),
}


@pytest.mark.parametrize("key", CHANGES)
def test_any_change_of_a_result_is_a_difference(finished, top, key):
    run = top / "run"
    trial = Trial(CONFIGURATIONS["dcgan"], Path(), top, Calm(fingerprint(finished / "run"), 1), Outcome(0, "", ""), Random(0))
    assert trial.differences() == []
    CHANGES[key](RunFolder(run).generation(0))
    assert trial.differences() == [f"{key} differs"]


# Damage


@pytest.mark.parametrize("kind", [kind for kind in KINDS_OF_FILES if kind not in ("network", "what was asked of a network")])
def test_damage_changes_a_file_and_is_mended(top, monkeypatch, kind):
    monkeypatch.setattr(damages, "KINDS_OF_FILES", {kind: KINDS_OF_FILES[kind]})
    if place := {"features": "features", "kept network": "judges/key"}.get(kind):
        (top / "cache" / place).mkdir(parents=True)
        (top / "cache" / place / "a.safetensors").write_bytes(bytes(100))
    before = {path: path.read_bytes() for path in list_files(top, "**/*")}
    for seed in range(8):  # each way of it
        done = damage(top, Random(seed))
        assert done is not None
        after = {path: path.read_bytes() for path in list_files(top, "**/*")}
        changed = {path for path in before if after.get(path) != before[path]}
        assert changed == set(done.after) == set(done.untouched()) and done.path.match(KINDS_OF_FILES[kind].split("/")[-1])
        assert done.told(f"bootlight: {done.path} was changed") and not done.told("bootlight: something is wrong")
        done.mend()
        assert {path: path.read_bytes() for path in list_files(top, "**/*")} == before and not done.untouched()


def test_records_may_be_shown_but_never_change_what_is_trained_or_drawn(top, monkeypatch):
    monkeypatch.setattr(damages, "KINDS_OF_FILES", {"scores": KINDS_OF_FILES["scores"]})
    done = damage(top, Random(0))
    shown = [key for key in fingerprint(top / "run") if done.may_differ(key)]
    assert sorted(shown) == ["gen_000 curves", "gen_000/metrics.json", "metrics.csv", "metrics.json", "strip.png"]
    monkeypatch.setattr(damages, "KINDS_OF_FILES", {"weights": KINDS_OF_FILES["weights"]})
    assert not any(map(damage(top, Random(0)).may_differ, shown))


def test_nothing_to_damage(tmp_path):
    assert damage(tmp_path, Random(0)) is None


# Trials


class Ended:
    """An attempt of one or several processes that has ended."""

    def __init__(self, *statuses: int, said: str = "", listens: bool = True):
        self.statuses = dict(enumerate(statuses))
        self.pids = list(self.statuses)
        self.status, self.text, self.heard = statuses[0], said, listens

    def wait(self, until=None):
        return False

    def signal(self, number, pid=None):
        pass

    def listens(self, number):
        return self.heard

    def said(self):
        return self.text


def finish(trial, monkeypatch, broken, *attempts):
    left = list(attempts)
    monkeypatch.setattr(trial, "start", lambda: left.pop(0))
    trial.finish(broken)
    assert not left
    return trial.outcome


@pytest.fixture
def trial(finished, top):
    calm = Calm(fingerprint(finished / "run"), 1)
    return Trial(CONFIGURATIONS["dcgan"], Path(), top, calm, Outcome(0, "dcgan", "damage"), Random(0))


@pytest.fixture
def broken(trial, monkeypatch):
    monkeypatch.setattr(damages, "KINDS_OF_FILES", {"picture": KINDS_OF_FILES["picture"]})
    return damage(trial.folder, Random(1))


def test_damage_that_is_told_is_mended_and_the_run_goes_on(trial, broken, monkeypatch):
    outcome = finish(trial, monkeypatch, broken, Ended(1, said=f"bootlight: {broken.path} is not it\n"), Ended(0))
    assert (outcome.outcome, outcome.wrong) == (TOLD, [])


@pytest.mark.parametrize("said", ["bootlight: something is wrong", "Traceback\n  000000.png 000001.png"])
def test_damage_that_is_not_told_by_name_is_wrong(trial, broken, monkeypatch, said):
    assert finish(trial, monkeypatch, broken, Ended(1, said=said)).wrong


def test_other_numbers_with_status_0_are_wrong(trial, monkeypatch):
    run = RunFolder(trial.folder / "run").generation(0)
    change_weights(run)
    assert finish(trial, monkeypatch, None, Ended(0)).wrong == ["gen_000/model.safetensors differs"]


def test_a_run_that_cannot_be_continued_is_wrong(trial, monkeypatch):
    (wrong,) = finish(trial, monkeypatch, None, Ended(0, 1, said="bootlight: no\n")).wrong
    assert "[0, 1]" in wrong and "bootlight: no" in wrong


def test_a_run_that_was_over_before_its_moment_is_done_anew(trial, monkeypatch):
    left = [False, False, True]
    asked = []
    monkeypatch.setattr(Ended, "wait_for_seconds", lambda self, seconds: asked.append(seconds) or left.pop(0), raising=False)
    monkeypatch.setattr(trial, "start", lambda: Ended(0))
    attempt, moment = trial.start_until(0.5)
    assert attempt is not None and asked == pytest.approx([0.5, 0.45, 0.405]) and moment == asked[-1]
    assert not (trial.folder / "run").exists()
    trial.outcome.shares, left[:] = [0.4], [False]
    assert trial.start_until(0.5)[0] is None  # it was interrupted before: that it finishes is the end of the trial


SAID = "stopped by {}; run the same command again to continue\n"


@pytest.mark.parametrize("attempt, right", [
    (Ended(75, said=SAID.format("SIGTERM")), True),
    (Ended(75, 0, said=SAID.format("SIGTERM")), True),
    (Ended(0), True),  # it was over
    (Ended(-15, listens=False), True),  # it had not begun
    (Ended(-15), False),
    (Ended(75), False),
    (Ended(1, said=SAID.format("SIGTERM")), False),
    (Ended(75, 1, said=SAID.format("SIGTERM")), False),
    (Ended(75, said=SAID.format("SIGTERM") + "Traceback"), False),
])  # fmt: skip
def test_answers_to_sigterm(tmp_path, attempt, right):
    assert (terminate(attempt, tmp_path, Random(0)) == []) is right


def test_what_is_stopped_in_training_has_saved(top):
    folder = RunFolder(top / "run").generation(0)
    attempt = Ended(130, said=SAID.format("Ctrl-C"))
    assert press_control_c(attempt, top, Random(0)) == []
    folder.model_config.unlink()
    for path in folder.checkpoints.glob("*.ckpt"):
        os.utime(path, (1, 1))
    assert press_control_c(attempt, top, Random(0)) == ["was asked in the middle of training, and has saved nothing"]


def test_answers_to_other_signals(tmp_path, monkeypatch):
    monkeypatch.setattr(interruptions.time, "sleep", lambda seconds: None)
    assert stop_and_go(Ended(0, 0), tmp_path, Random(0)) == [] != stop_and_go(Ended(0, 1), tmp_path, Random(0))
    assert kill_one(Ended(-9), tmp_path, Random(0)) == []
    for status, right in ((0, True), (1, True), (-signal.SIGABRT, False)):
        assert (kill_one(Ended(status, status), tmp_path, Random(0)) == []) is right


# Sessions


def test_the_status_is_that_of_the_trials(tmp_path, monkeypatch):
    monkeypatch.setattr(session_module, "can_mount", lambda folder: False)
    monkeypatch.setattr(session_module, "prepare", lambda: None)
    session = Session(tmp_path, tmp_path, "make kills", fresh_every=0)
    assert session.close() == 1  # no trial shows nothing
    session.outcomes = [Outcome(0, "ddpm", "sigkill", shares=[0.5]), Outcome(1, "dcgan", "damage", outcome=TOLD)]
    assert session.close() == 0
    session.outcomes.append(Outcome(2, "dcgan", "damage", outcome=WRONG, wrong=["files differs"]))
    assert session.close() == 1
    record = json.loads((tmp_path / "results.json").read_text())
    assert [record[key] for key in ("command", "trials", "interruptions", EXACT, TOLD, WRONG)] == ["make kills", 3, 1, 1, 1, 1]
    assert [row["outcome"] for row in record["rows"]] == [EXACT, TOLD, WRONG]
    assert ["dcgan", "0/1/1"] in [line.split() for line in session.table()]


def test_unknown_names_are_refused():
    assert chosen(None, ",", ["a", "b"], "kind") == ["a", "b"] and chosen("b", ",", ["a", "b"], "kind") == ["b"]
    with pytest.raises(SystemExit):
        chosen("a,c", ",", ["a", "b"], "kind")
