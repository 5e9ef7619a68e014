"""Where files lie, when a stage is done; and what the verb `sample` reads from its words."""

import json

import pytest

from bootlight.cli.sample import find_generation, parse_seeds
from bootlight.data.resolve import is_generation, resolve, split_suffix
from bootlight.errors import BootlightError
from bootlight.io.atomic import write_json
from bootlight.io.lock import LOCK_NAME, locked
from bootlight.runs.context import GenerationContext
from bootlight.runs.drawn import read_drawn
from bootlight.runs.folder import GenerationFolder, RunFolder, sample_name
from bootlight.runs.manifest import read_metadata, write_metadata
from bootlight.runs.trainings import read_generation_metrics
from bootlight.training.step_clock import append_timing


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "run")


# Layout


def test_layout_of_a_generation(tmp_path):
    """Names that other programs and earlier runs rely on."""
    root = tmp_path / "run"
    folder = RunFolder(root).generation(7)
    names = {
        "gen_007/checkpoints": folder.checkpoints,
        "gen_007/checkpoints/trained.ckpt": folder.trained_checkpoint,
        "gen_007/model.safetensors": folder.weights,
        "gen_007/model.json": folder.model_config,
        "gen_007/samples": folder.samples,
        "gen_007/samples/metadata.jsonl": folder.metadata,
        "gen_007/samples/00012/012345.png": folder.sample_file(12_345),
        "gen_007/previews.png": folder.previews,
        "gen_007/metrics.json": folder.metrics,
        "gen_007/train.jsonl": folder.history,
        "gen_007/timing.jsonl": folder.timing,
    }
    assert {name: root / name for name in names} == names
    assert GenerationContext(RunFolder(root), 7, 0).folder == folder


def test_layout_of_a_run(tmp_path):
    run = RunFolder(tmp_path)
    names = {
        "config.yaml": run.config,
        "metrics.csv": run.table,
        "metrics.json": run.metrics,
        "strip.png": run.strip,
        "report.html": run.report,
        "real_previews.png": run.real_previews,
        "references": run.references,
        "gen_1234": run.generation(1234).path,
    }
    assert {name: tmp_path / name for name in names} == names


def test_a_thousand_images_to_a_folder():
    assert [sample_name(i) for i in (0, 999, 1000, 1001, 999_999)] == [
        "00000/000000.png",
        "00000/000999.png",
        "00001/001000.png",
        "00001/001001.png",
        "00999/999999.png",
    ]
    names = [sample_name(i) for i in range(0, 200_000, 331)]
    assert sorted(names) == names  # in the order of their numbers


def test_generations_up_to_the_first_gap(run):
    assert run.generations() == []
    for generation in (0, 1, 3):
        run.generation(generation).path.mkdir(parents=True)
    assert run.generations() == [run.generation(0), run.generation(1)]


@pytest.mark.parametrize(
    ("file", "begun"),
    [
        ("train.jsonl", False),
        ("timing.jsonl", False),
        ("checkpoints/.last.ckpt.0123abcd.tmp", False),
        ("checkpoints/last.ckpt", True),
        ("model.json", True),
        ("samples/00000/000000.png", True),
        ("metrics.json", True),
    ],
)
def test_a_run_is_begun_when_it_has_something_worth_keeping(run, file, begun):
    assert not run.is_begun
    (run.generation(0).path / file).parent.mkdir(parents=True)
    (run.generation(0).path / file).touch()
    assert run.is_begun is begun


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("model.safetensors", (False, False, False)),
        ("checkpoints/trained.ckpt", (False, False, False)),
        ("samples/00000/000000.png", (False, False, False)),
        ("model.json", (True, False, False)),
        ("samples/metadata.jsonl", (False, True, False)),
        ("metrics.json", (False, False, True)),
    ],
)
def test_a_stage_is_done_when_its_last_file_exists(run, file, stages):
    folder = run.generation(0)
    assert (folder.is_trained, folder.is_synthesized, folder.is_evaluated) == (False, False, False)
    (folder.path / file).parent.mkdir(parents=True)
    (folder.path / file).touch()
    assert (folder.is_trained, folder.is_synthesized, folder.is_evaluated) == stages


# Reading and appending


def test_metadata_comes_back(run):
    rows = [{"file_name": "00000/000000.png", "label": None, "text": "line\u2028break"}, {"file_name": "ö", "label": 3}]
    write_metadata(run.generation(0), rows)
    assert list(read_metadata(run.generation(0))) == rows
    lines = run.generation(0).metadata.read_text(encoding="utf-8").split("\n")
    assert [json.loads(line) for line in lines[:-1]] == rows and lines[-1] == ""


@pytest.mark.parametrize("text", [None, '{"file_name": "a"}\n{"file_'])
def test_unreadable_metadata_is_a_named_error(run, text):
    folder = run.generation(0)
    if text is not None:
        folder.samples.mkdir(parents=True)
        folder.metadata.write_text(text)
    with pytest.raises(BootlightError, match=r"metadata\.jsonl: cannot be read .* run the same command again$") as error:
        read_drawn(folder)
    assert "\n" not in str(error.value)


def test_metrics_of_the_evaluated_generations(run):
    for generation in (0, 1, 2):
        run.generation(generation).path.mkdir(parents=True)
        if generation != 1:
            write_json(run.generation(generation).metrics, {"generation": generation})
    assert read_generation_metrics(run) == [{"generation": 0}, {"generation": 2}]


def test_timings_are_appended(run):
    folder = run.generation(0)
    append_timing(folder, "training", 1.23456)
    append_timing(folder, "training", 2)
    lines = [json.loads(line) for line in folder.timing.read_text().splitlines()]
    assert lines == [{"stage": "training", "seconds": 1.235}, {"stage": "training", "seconds": 2}]


# Words of the command line


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0-3", [0, 1, 2, 3]), ("3,5,7", [3, 5, 7]), ("7", [7]), ("5-5", [5]), ("9,0-2,4", [9, 0, 1, 2, 4]), ("007", [7])],
)
def test_seeds(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "1,", "-3", "5-", "9-3", "1-2-3", "1.5", "²", " 3"])
def test_wrong_seeds_name_the_option(text):
    with pytest.raises(BootlightError, match=r"^--seeds .*: expected numbers and ranges such as 0-99 or 3,5,7$"):
        parse_seeds(text)


def test_generation_of_the_command_line(run):
    for generation in range(3):
        run.generation(generation).path.mkdir(parents=True)
        if generation < 2:
            write_json(run.generation(generation).model_config, {})
    assert find_generation(str(run.path)) == run.generation(1) == GenerationFolder(run.path / "gen_001")  # the newest trained
    assert find_generation(f"{run.path}@0") == run.generation(0)
    assert find_generation(f"{run.path}@001") == run.generation(1)
    for wrong in ("2", "7", "-1", "x", "²"):
        with pytest.raises(BootlightError, match=r"run@.*: no such trained generation; .*run has 2, counted from 0$"):
            find_generation(f"{run.path}@{wrong}")
    with pytest.raises(BootlightError, match=r"nowhere: no such trained generation; .* has 0"):
        find_generation(str(run.path / "nowhere"))


def test_an_at_in_the_name_of_a_run_and_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = RunFolder(tmp_path / "lr@1e-4").generation(0)
    folder.path.mkdir(parents=True)
    write_json(folder.model_config, {})
    for text in (f"{tmp_path}/lr@1e-4", f"{tmp_path}/lr@1e-4@0", "~/lr@1e-4", "~/lr@1e-4@0"):
        assert find_generation(text) == folder
    assert split_suffix("~/lr@1e-4") == (tmp_path / "lr@1e-4", "")
    assert split_suffix("~/other@1e-4") == (tmp_path / "other", "1e-4")
    with pytest.raises(BootlightError, match="~nobody-here"):
        split_suffix("~nobody-here/x")


def test_a_lock_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / LOCK_NAME).mkdir()
    with pytest.raises(BootlightError, match=r"bootstrap\.run_dir: cannot write .*\.lock"), locked(tmp_path):
        pass


# Folders of images that are not samples


def test_a_generation_is_done_when_all_its_folders_of_images_are(run):
    folder = run.generation(0)
    assert folder.image_folders == [] and not folder.is_drawn
    probe = folder.of_images("probe")
    probe.sample_file(0).parent.mkdir(parents=True)
    folder.checkpoints.mkdir()
    assert folder.image_folders == [probe] and not folder.is_drawn
    write_metadata(probe, [{"file_name": sample_name(0)}])
    assert folder.is_drawn and not folder.is_synthesized
    for file in (folder.model_config, folder.metrics):
        assert not folder.is_done
        file.write_text("{}")
    assert folder.is_done
    folder.sample_file(0).parent.mkdir(parents=True)  # another one is begun
    assert folder.image_folders == [probe, folder] and not folder.is_drawn and not folder.is_done


def test_images_are_found_where_a_generation_has_drawn_them(run):
    probe = run.generation(0).of_images("probe")
    probe.sample_file(0).parent.mkdir(parents=True)
    probe.sample_file(0).write_bytes(b"x")
    assert not is_generation(probe.path)
    write_metadata(probe, [{"file_name": sample_name(0)}])
    assert is_generation(probe.path) and resolve(str(probe.path)) == (probe.samples, None)
    assert resolve(f"{run.path}@0/probe") == (probe.samples, None)
    with pytest.raises(BootlightError, match="@0/probe"):
        resolve(str(run.path))  # not the run as a folder of pictures
    probe.of_images("samples").sample_file(0).parent.mkdir(parents=True)
    with pytest.raises(BootlightError, match="not all of its images yet"):
        resolve(str(probe.path))
