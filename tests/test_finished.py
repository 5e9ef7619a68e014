"""Checkpoints of finished generations: which are kept, and that nothing needs those that are not."""

import shutil
from pathlib import Path

import pytest
from tiny_runs import DCGAN, DDPM, Program, draw_pictures, fingerprint, options, write_plain_pages

from bootlight.bootstrap import loop
from bootlight.bootstrap.settings import BootstrapSettings
from bootlight.errors import BootlightError
from bootlight.generators.base import GeneratorModule
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import RunFolder
from bootlight.runs.spent_checkpoints import remove_left, remove_spent, spent


def a_run(path: Path, generations: int) -> RunFolder:
    """Files of finished generations; the checkpoint of generation g has 10 (g + 1) bytes."""
    run = RunFolder(path)
    for folder in map(run.generation, range(generations)):
        files = (folder.model_config, folder.weights, folder.metadata, folder.metrics, folder.trained_checkpoint)
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"0123456789" * (int(folder.path.name[4:]) + 1))
    return run


def kept(run: RunFolder) -> list[int]:
    return [g for g, folder in enumerate(run.generations()) if folder.trained_checkpoint.exists()]


@pytest.mark.parametrize(("keep", "left"), [("all", [0, 1, 2]), ("last", [2]), ("none", [])])
def test_what_is_kept(tmp_path, keep, left):
    run = a_run(tmp_path, 3)
    remove_spent(GenerationContext(run, 2, 0), keep, 0, 0)
    assert kept(run) == left


@pytest.mark.parametrize("missing", ["weights", "model_config", "metadata", "metrics"])
@pytest.mark.parametrize("generation", [0, 2])
def test_generations_that_are_not_finished_keep_theirs(tmp_path, missing, generation):
    run = a_run(tmp_path, 3)
    getattr(run.generation(generation), missing).unlink()
    newest_done = 2 if generation == 0 else 1
    assert [folder.path.name for folder in spent(run, "none")] == [f"gen_00{g}" for g in range(3) if g != generation]
    assert [folder.path.name for folder in spent(run, "last")] == [
        f"gen_00{g}" for g in range(3) if g not in (generation, newest_done)
    ]


@pytest.mark.parametrize(
    ("shared", "rank", "local_rank", "left"),
    [(True, 1, 0, [0, 1]), (False, 1, 0, [1]), (False, 1, 1, [0, 1]), (True, 0, 0, [0, 1])],
)
def test_who_removes_on_several_nodes(tmp_path, shared, rank, local_rank, left):
    run = a_run(tmp_path, 2)
    for folder in run.generations():
        folder.metrics.unlink()  # only rank 0 has scores
    remove_spent(GenerationContext(run, 1, 0, shared=shared), "last", rank, local_rank)
    assert kept(run) == left


def test_what_was_freed_of_a_finished_run_is_said(tmp_path, capsys):
    run = a_run(tmp_path, 3)
    remove_left(run, "last", 1)
    assert kept(run) == [0, 1, 2] and capsys.readouterr().out == ""
    remove_left(run, "last", 0)
    assert kept(run) == [2] and ", 30 bytes (" in capsys.readouterr().out
    remove_left(run, "last", 0)
    assert capsys.readouterr().out == ""


def test_another_policy_is_refused():
    with pytest.raises(BootlightError, match=r"bootstrap\.keep_checkpoints.*all, last, none"):
        BootstrapSettings(keep_checkpoints="first")  # type: ignore[arg-type]


@pytest.mark.parametrize("model", [pytest.param(DDPM, id="ddpm", marks=pytest.mark.slow), pytest.param(DCGAN, id="dcgan")])
def test_without_checkpoints_a_run_is_drawn_scored_and_continued_as_with_them(bootlight, tmp_path, monkeypatch, model):
    """Pictures, manifests and scores that were deleted come back bit for bit, without a training; more generations follow."""
    write_plain_pages(monkeypatch)
    pictures = draw_pictures(tmp_path / "pictures")
    changes = {"bootstrap.warm_start": "true", "evaluation.features": "bootlight.PixelFeatures", "bootstrap.num_synthetic": 8}
    changes |= {"data.num_steps": 2}
    fits = {}
    for keep in ("all", "none"):
        policy = {"bootstrap.num_generations": 2, "bootstrap.keep_checkpoints": keep}
        fits[keep] = Program(bootlight, monkeypatch, *model, *options(pictures, tmp_path / keep, **changes, **policy))
        fits[keep]()
    runs = {keep: RunFolder(fit.run) for keep, fit in fits.items()}
    assert {keep: kept(run) for keep, run in runs.items()} == {"all": [0, 1], "none": []}
    before = of_all(runs["all"])
    assert of_all(runs["none"]) == before
    with monkeypatch.context() as patch:
        patch.setattr(GeneratorModule, "on_train_batch_start", lambda *_: pytest.fail("it is trained again"))
        for folder in runs["none"].generations():
            for file in (folder.metadata, folder.sample_file(2), folder.metrics, folder.previews):
                file.unlink()
        fits["none"]()
    assert of_all(runs["none"]) == before
    for keep, fit in fits.items():
        fit.settings.num_generations, fit.settings.keep_checkpoints = 3, keep.replace("all", "last")
        fit()
    assert {keep: kept(run) for keep, run in runs.items()} == {"all": [2], "none": []}
    assert of_all(runs["none"]) == of_all(runs["all"])


def of_all(run: RunFolder) -> dict[str, str]:
    """The fingerprint without what only checkpoints have, which is not there for all policies."""
    only = ("files", "state_dict", "optimizer_states", "global_step")
    return {key: value for key, value in fingerprint(run.path).items() if key.split(" ")[-1] not in only}


def test_a_kill_before_a_checkpoint_is_removed_is_made_up_for(bootlight, tmp_path, monkeypatch):
    write_plain_pages(monkeypatch)
    pictures = draw_pictures(tmp_path / "pictures")
    fit = Program(bootlight, monkeypatch, *DCGAN, *options(pictures, tmp_path / "run", **{"bootstrap.num_generations": 2}))
    with monkeypatch.context() as patch:
        patch.setattr(loop, "remove_spent", lambda *_: (_ for _ in ()).throw(KeyError("killed")))
        for _ in range(2):
            with pytest.raises(KeyError):
                fit()
    run = RunFolder(fit.run)
    assert kept(run) == [0, 1]
    shutil.copytree(fit.run, tmp_path / "copy")
    fit()
    assert kept(run) == [1]
    assert of_all(run) == of_all(RunFolder(tmp_path / "copy"))
