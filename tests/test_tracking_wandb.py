"""One W&B run for a whole bootstrap, read back from the file that W&B writes offline."""

import hashlib
import importlib.util
import json
import os
import random
import shutil
from bisect import bisect_left

import pytest
from tracking_run import make_run, metrics

pytest.importorskip("wandb", reason="W&B is optional: pip install bootlight[wandb]")

import wandb
from wandb_file import Log, finished_logs, read_log, wait_for

from bootlight.bootstrap import trackers
from bootlight.errors import BootlightError
from bootlight.loggers import wandb_logger
from bootlight.loggers.history import HistoryLogger
from bootlight.loggers.wandb_files import next_row
from bootlight.loggers.wandb_logger import BootstrapWandbLogger

STEPS = 10
AXES = {"generation": "", "total_step": "", "train/*": "total_step", "generation/*": "generation"}


@pytest.fixture(autouse=True)
def private_wandb(tmp_path, monkeypatch):
    """Keep W&B's caches inside the test and its settings out of it."""
    for name in list(os.environ):
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)
    for name in ("DATA", "CACHE", "CONFIG", "ARTIFACT"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name.lower()))
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield
    if wandb.run is not None:
        wandb.run.finish()


@pytest.fixture
def run(tmp_path):
    """Two evaluated generations of `STEPS` steps, whose curves are still to be logged."""
    run = make_run(tmp_path / "run", generations=2)
    for generation in range(2):
        folder = run.generation(generation)
        folder.metrics.write_text(json.dumps(metrics(generation) | {"steps": STEPS}))
        folder.history.unlink()
    return run


def make_logger(run, **options):
    logger = BootstrapWandbLogger(offline=True, save_dir=str(run.path), **options)
    logger.attach(run.path)
    return logger


def log_steps(logger, generation, steps):
    logger.start_generation(generation, STEPS * generation)
    for step in steps:
        logger.log_metrics({"train/loss": loss(generation, step), "epoch": 0}, step)


def loss(generation, step):
    return 1 / (1 + STEPS * generation + step)


def curve(log, key, axis):
    return [(row[axis], row[key]) for _, row in log.rows if key in row]


def test_two_generations_are_one_run_with_two_axes(run):
    logger = make_logger(run, group="study", job_type="train")
    for generation in range(2):
        log_steps(logger, generation, range(STEPS))
        logger.log_generation(run.generation(generation), STEPS * (generation + 1))
    logger.finish()
    (log,) = finished_logs(run.path)

    assert log.axes == AXES
    assert (log.group, log.job_type) == ("study", "train")
    assert log.run_id == (run.path / "wandb_id.txt").read_text().strip()
    assert log.config["model"] == {"class_path": "bootlight.DDPM", "init_args": {"image_size": 8}}
    assert log.config["seed_everything"] == 7
    assert curve(log, "train/loss", "total_step") == [
        (STEPS * generation + step, loss(generation, step)) for generation in range(2) for step in range(STEPS)
    ]
    rows = [row for row, _ in log.rows]
    assert rows == sorted(set(rows))
    for generation in range(2):
        written = metrics(generation)
        for name, score in {"loss": written["loss"], **written["scores"]}.items():
            assert curve(log, f"generation/{name}", "generation")[generation] == (generation, score["value"])
        assert curve(log, "generation/loss_se", "generation")[generation] == (generation, 0.0011)
        assert curve(log, "generation/num_synthetic", "generation")[generation] == (generation, 700 * generation)
    assert curve(log, "generation/discriminator_score/real_se", "generation") == []  # not known, so not logged
    assert [row["total_step"] for _, row in log.rows if "generation/loss" in row] == [STEPS, 2 * STEPS]
    assert not any("epoch" in row for _, row in log.rows)


def test_previews_are_media_of_their_generation(run):
    logger = make_logger(run)
    for generation in range(2):
        log_steps(logger, generation, range(2))
        logger.log_generation(run.generation(generation), STEPS * (generation + 1))
    logger.finish()
    (log,) = finished_logs(run.path)
    prefix = "generation/previews/"
    previews = {
        row["generation"]: {key.removeprefix(prefix): value for key, value in row.items() if key.startswith(prefix)}
        for _, row in log.rows
        if prefix + "_type" in row
    }
    assert list(previews) == [0, 1]
    for generation, entry in previews.items():
        content = run.generation(generation).previews.read_bytes()
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        assert (entry["_type"], entry["caption"]) == ("image-file", f"generation {generation}")
        (stored,) = run.path.glob(f"wandb/offline-run-*/files/{entry['path']}")
        assert stored.read_bytes() == content


def test_manifests_are_artifacts_with_their_lineage(run):
    logger = make_logger(run)
    for generation in range(2):
        logger.log_generation(run.generation(generation), STEPS * (generation + 1))
    logger.finish()
    (log,) = finished_logs(run.path)
    artifacts = [artifact for artifact in log.artifacts if artifact.type == "synthetic-images"]
    assert len({artifact.name for artifact in artifacts}) == 1
    for generation, artifact in enumerate(artifacts):
        weights = hashlib.sha256(b"weights of generation %d" % generation).hexdigest()
        assert json.loads(artifact.metadata) == {"generation": generation, "n": 2, "weights_sha256": weights}
        assert f"gen-{generation:03d}" in artifact.aliases
        assert [entry.path for entry in artifact.manifest.contents] == ["metadata.jsonl"]
    assert len(artifacts) == 2


def test_a_run_that_was_killed_goes_on_under_its_id(run, tmp_path):
    """Killed in generation 1 at step 7, resumed from a checkpoint at step 5 with half the rows of before in W&B's file."""
    history = HistoryLogger(run.generation(0).history)
    logger = make_logger(run)
    for generation, steps in ((0, range(STEPS)), (1, range(7))):
        history.path = run.generation(generation).history
        logger.start_generation(generation, STEPS * generation)
        for step in steps:
            for tracker in (history, logger):
                tracker.log_metrics({"train/loss": loss(generation, step)}, step)
        history.finalize("success")
        if generation == 0:
            logger.log_generation(run.generation(0), STEPS)
    run.generation(1).metrics.unlink()
    (file,) = run.path.glob("wandb/offline-run-*/*.wandb")
    logger.finish()
    whole = file.read_bytes()
    cut = bisect_left(range(len(whole)), 8, key=lambda size: last_row(whole[:size], tmp_path))  # of 18; the manifest is lost
    file.write_bytes(whole[:cut])
    (run.path / "wandb_rows.json").unlink()

    logger = make_logger(run)
    log_steps(logger, 1, range(5, STEPS))
    run.generation(1).metrics.write_text(json.dumps(metrics(1) | {"steps": STEPS}))
    logger.log_generation(run.generation(1), 2 * STEPS)
    logger.finish()

    killed, resumed = finished_logs(run.path, exited=False)
    assert killed.run_id == resumed.run_id == (run.path / "wandb_id.txt").read_text().strip()
    assert [row for row, _ in killed.rows] == list(range(9))
    assert [row for row, _ in resumed.rows] == list(range(9, 2 * STEPS + 2))
    both = Log(rows=killed.rows + resumed.rows)
    assert curve(both, "train/loss", "total_step") == [(total, 1 / (1 + total)) for total in range(2 * STEPS)]
    assert curve(both, "generation/fd-digits/train", "generation") == [(0, 2.75), (1, 3.75)]
    assert [set(artifact.aliases) for artifact in resumed.artifacts] == [{"latest", f"gen-00{k}"} for k in range(2)]


def last_row(content, folder):
    file = folder / "cut.wandb"
    file.write_bytes(content)
    return max((row for row, _ in read_log(file).rows), default=-1) if len(content) > 7 else -1


def test_files_are_read_as_far_as_they_go(run, tmp_path):
    """Cut anywhere, against an independent reader; nothing is read of what is no such file."""
    logger = make_logger(run)
    log_steps(logger, 0, range(3))
    logger.experiment.config.update({"long": "x" * 70_000})  # a record over several blocks
    log_steps(logger, 0, range(3, STEPS))
    logger.finish()
    (file,) = run.path.glob("wandb/offline-run-*/*.wandb")
    whole, run_id = file.read_bytes(), file.stem.removeprefix("run-")
    copy = tmp_path / "offline-run-20260101_000000-x-1" / file.name
    copy.parent.mkdir()
    rng = random.Random(0)
    seen = set()
    for size in [0, 3, 7, *rng.sample(range(8, len(whole)), 30), *range(len(whole) - 900, len(whole), 12), len(whole)]:
        copy.write_bytes(whole[:size])
        seen.add(found := next_row(tmp_path, run_id))
        assert found == 1 + last_row(whole[:size], tmp_path)
    assert max(seen) == STEPS and len(seen) > 3
    copy.write_bytes(whole[:33000] + b"?" + whole[33001:])  # of the second block nothing is known
    assert next_row(tmp_path, run_id) == STEPS
    rows = whole[: bisect_left(range(2**15), 1, key=lambda size: last_row(whole[:size], tmp_path))]  # 0 and 1
    for place in range(len(rows) - 200, len(rows)):  # a number with a wrong bit is no number
        copy.write_bytes(rows[:place] + bytes([rows[place] ^ 16]) + rows[place + 1 :])
        assert next_row(tmp_path, run_id) <= 1
    assert next_row(tmp_path, "*") == next_row(tmp_path / "missing", run_id) == 0
    copy.write_bytes(bytes(len(whole)))
    assert next_row(tmp_path, run_id) == 0


class ServerRun:
    """Stands for a run online, of which the server has some rows."""

    id, disabled, offline = "abc", False, False

    def __init__(self, folder, rows):
        self.dir, self.starting_step, self.logged = str(folder / "wandb" / "run-1-abc" / "files"), rows, []
        self.summary = {}

    def define_metric(self, *args, **options): ...

    def log(self, values, step, commit):
        self.logged.append((step, values.get("train/loss")))

    def log_artifact(self, artifact, aliases): ...

    def finish(self): ...


def test_rows_that_wandb_already_has_are_left_out(run, monkeypatch):
    """Online, W&B resumes a run behind its last row and would warn about every older one."""
    server = ServerRun(run.path, 2 * STEPS)
    monkeypatch.setattr(wandb, "init", lambda **options: server)
    logger = make_logger(run)
    log_steps(logger, 1, range(STEPS))  # rows 11 to 20
    logger.finish()
    assert server.logged == [(2 * STEPS, loss(1, STEPS - 1))]


def test_what_the_server_lacks_of_a_finished_run_is_logged_once(run, monkeypatch):
    for generation in range(2):
        history = HistoryLogger(run.generation(generation).history)
        for step in range(STEPS):
            history.log_metrics({"train/loss": loss(generation, step)}, step)
        history.finalize("success")
    server = ServerRun(run.path, STEPS - 1)
    monkeypatch.setattr(wandb, "init", lambda **options: server)
    monkeypatch.setattr(trackers, "check_loggers", lambda loggers: None)
    logger = BootstrapWandbLogger(save_dir=str(run.path))
    trackers.complete_wandb([logger], run)
    expected = [(STEPS - 1, loss(0, STEPS - 1)), (STEPS, None)]
    expected += [(STEPS + 1 + step, loss(1, step)) for step in range(STEPS)] + [(2 * STEPS + 1, None)]
    assert server.logged == expected
    monkeypatch.setattr(wandb, "init", None)  # is not asked again
    trackers.complete_wandb([logger], run)
    assert json.loads((run.path / "wandb_rows.json").read_text())["rows"] == 2 * STEPS + 2


def test_a_finished_run_is_no_failure_where_wandb_cannot_be_had(run, monkeypatch, capsys):
    def refuse(loggers):
        raise BootlightError("nobody is logged in")

    monkeypatch.setattr(trackers, "check_loggers", refuse)
    trackers.complete_wandb([BootstrapWandbLogger(save_dir=str(run.path))], run)
    assert "nobody is logged in" in capsys.readouterr().out


def test_rows_are_known_from_another_folder_and_from_files_that_are_gone(run, tmp_path):
    logger = make_logger(run)
    log_steps(logger, 0, range(6))
    logger.finish()
    for place, lost in (("elsewhere", False), ("again", True)):
        if lost:  # cleaned away after a sync
            for folder in (run.path / "wandb", tmp_path / "elsewhere"):
                shutil.rmtree(folder)
        logger = BootstrapWandbLogger(offline=True, save_dir=str(tmp_path / place))
        (tmp_path / place).mkdir()
        logger.attach(run.path)
        log_steps(logger, 0, range(4, 7 + lost))
        logger.finish()
        (log,) = finished_logs(tmp_path / place)
        assert [row for row, _ in log.rows] == [6 + lost]


def test_values_of_one_step_share_a_row_and_none_means_the_last_step(run):
    logger = make_logger(run)
    logger.start_generation(0, 0)
    logger.log_metrics({"train/loss": 0.5}, 4)
    logger.log_metrics({"train/lr": 0.1}, 4)
    logger.log_metrics({"train/extra": 7.0})
    logger.finish()
    (log,) = finished_logs(run.path)
    ((_, row),) = log.rows
    assert {key: row[key] for key in ("train/loss", "train/lr", "train/extra", "total_step", "generation")} == {
        **{"train/loss": 0.5, "train/lr": 0.1, "train/extra": 7.0},
        **{"total_step": 4, "generation": 0},
    }


def test_generation_metrics_do_not_meet_the_first_step_of_the_next(run):
    logger = make_logger(run)
    logger.start_generation(0, 0)
    logger.log_generation(run.generation(0), STEPS)
    log_steps(logger, 1, [0])
    logger.finish()
    (log,) = finished_logs(run.path)
    (_, first), (_, second) = log.rows
    assert (first["generation"], first["total_step"], first["generation/loss"]) == (0, STEPS, 0.0312)
    assert (second["generation"], second["total_step"], second["train/loss"]) == (1, STEPS, loss(1, 0))


def test_scores_are_on_disk_before_the_next_generation_begins(run):
    logger = make_logger(run)
    logger.log_generation(run.generation(0), STEPS)
    (file,) = run.path.glob("wandb/offline-run-*/*.wandb")
    log = wait_for(file, lambda log: bool(log.rows), seconds=8)  # W&B left alone would keep the row open
    ((_, row),) = log.rows
    assert (row["generation"], row["total_step"], row["generation/fd-digits/train"]) == (0, STEPS, 2.75)
    logger.finish()


def test_a_chosen_id_goes_before_the_stored_one(run):
    (run.path / "wandb_id.txt").write_text("stored1\n")
    for chosen, expected in ((None, "stored1"), ("chosen1", "chosen1"), (None, "chosen1")):
        logger = make_logger(run, id=chosen)
        assert logger.experiment.id == expected
        logger.finish()


def test_another_run_folder_is_another_wandb_run(run, tmp_path):
    logger = make_logger(run)
    first = logger.experiment.id
    logger.finish()
    other = make_run(tmp_path / "other", generations=1)
    logger.attach(other.path)
    assert logger.experiment.id == (other.path / "wandb_id.txt").read_text().strip() != first
    logger.finish()


def test_offline_is_not_forced_on_the_rest_of_the_process(run):
    logger = make_logger(run)
    assert logger.experiment.settings._offline
    assert "WANDB_MODE" not in os.environ
    assert logger.experiment.settings.x_transaction_log_flush_interval == 1.0
    logger.finish()


def test_disabled_by_the_environment_leaves_no_files(run, monkeypatch):
    wandb.teardown()  # W&B reads the environment once in a process
    monkeypatch.setenv("WANDB_MODE", "disabled")
    logger = BootstrapWandbLogger(save_dir=str(run.path))
    logger.attach(run.path)
    log_steps(logger, 0, range(3))
    logger.log_generation(run.generation(0), STEPS)
    logger.finish()
    wandb.teardown()
    assert not (run.path / "wandb").exists()
    assert not (run.path / "wandb_id.txt").exists()


def test_other_ranks_do_nothing(run, monkeypatch):
    monkeypatch.setattr(wandb_logger.rank_zero_only, "rank", 1)
    logger = make_logger(run)
    log_steps(logger, 0, range(3))
    logger.log_generation(run.generation(0), STEPS)
    assert not (run.path / "wandb").exists()


def test_missing_wandb_is_one_line(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BootlightError, match=r"pip install bootlight\[wandb\]"):
        BootstrapWandbLogger()


def test_refusal_by_wandb_is_one_line(run, monkeypatch):
    def refuse(**options):
        raise wandb.errors.UsageError("api_key not configured\nmore lines")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(BootlightError, match="api_key not configured; run wandb login, or set offline: true"):
        make_logger(run).log_metrics({"a": 1.0}, 0)


def test_a_row_is_whole_or_absent_where_a_step_was_left_in_its_middle(run):
    """After Ctrl-C W&B closes in an orderly way, with what it was given so far."""
    logger = make_logger(run)
    log_steps(logger, 0, range(3))
    logger.log_metrics({"lr": 0.5}, 3)
    logger.experiment.finish()  # as at the end of a process
    logger = make_logger(run)
    for values in ({"lr": 0.5}, {"train/loss": loss(0, 3)}):
        logger.log_metrics(values, 3)
    logger.finish()
    stopped, resumed = finished_logs(run.path)
    assert [row for row, _ in stopped.rows] == [0, 1, 2]
    ((row, values),) = resumed.rows
    assert (row, values["lr"], values["train/loss"]) == (3, 0.5, loss(0, 3))


def test_a_whole_bootstrap_logs_to_one_run(bootlight, tmp_path):
    command = (
        "fit", "--model=gaussian.Gaussian", "--data.origin=bootlight.Digits", "--data.num_steps=3",
        "--evaluation.judge_steps=0", "--bootstrap.num_generations=2", "--bootstrap.num_synthetic=8", "--bootstrap.run_dir=run",
        "--trainer.enable_progress_bar=false", "--trainer.log_every_n_steps=1",
        "--trainer.logger=bootlight.BootstrapWandbLogger", "--trainer.logger.offline=true", "--trainer.logger.save_dir=run",
        "--evaluation.features=bootlight.PixelFeatures", "--evaluation.features.channels=1",
    )  # fmt: skip
    bootlight(*command)
    bootlight(*command)  # finished: nothing is begun for it
    (log,) = finished_logs(tmp_path / "run")
    assert log.axes == AXES
    # Three steps of each of two generations, logged at 0-based steps of the whole bootstrap.
    assert [step for step, _ in curve(log, "train/loss", "total_step")] == [0, 1, 2, 3, 4, 5]
    scores = json.loads((tmp_path / "run" / "metrics.json").read_text())["generations"]
    expected = [(k, row["scores"]["fd-pixels/holdout"]["value"]) for k, row in enumerate(scores)]
    assert curve(log, "generation/fd-pixels/holdout", "generation") == expected
    assert log.config["data"]["init_args"]["origin"]["class_path"] == "bootlight.Digits"
    assert [artifact.type for artifact in log.artifacts] == ["synthetic-images"] * 2

    # Killed before W&B had written the last scores: the command of a finished run logs what is lacking.
    (file,) = (tmp_path / "run").glob("wandb/offline-run-*/*.wandb")
    whole = file.read_bytes()
    file.write_bytes(whole[: bisect_left(range(len(whole)), 6, key=lambda size: last_row(whole[:size], tmp_path))])
    (tmp_path / "run" / "wandb_rows.json").unlink()
    bootlight(*command)
    cut, rest = finished_logs(tmp_path / "run", exited=False)
    assert [row for row, _ in cut.rows + rest.rows] == list(range(8))
    assert curve(Log(rows=cut.rows + rest.rows), "train/loss", "total_step") == curve(log, "train/loss", "total_step")
    assert curve(rest, "generation/fd-pixels/holdout", "generation") == expected[1:]
