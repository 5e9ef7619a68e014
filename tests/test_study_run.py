"""A study through the command line, its runs in this process: teachers, the shared judge, reports, dry run."""

import json
import re

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_runs import write_plain_pages

import bootlight.evaluation.networks.judge as reference
from bootlight.bootstrap import plan as bootstrap_plan
from bootlight.cli import study as cli_study
from bootlight.data.datamodule import BootstrapData
from bootlight.data.gaussian import GaussianImages
from bootlight.data.reader import open_images
from bootlight.errors import BootlightError
from bootlight.evaluation.networks.judge import find_judge, load_judge
from bootlight.io.atomic import read_json
from bootlight.io.pictures import decode_whole
from bootlight.rng import numpy_rng
from bootlight.runs.folder import RunFolder
from bootlight.runs.manifest import read_metadata, write_metadata
from bootlight.studies import child, input_checks, plan
from bootlight.studies.child import bootlight_command
from bootlight.studies.job import Job
from bootlight.studies.record import Arm

STUDY = """
base: base.yaml
seeds: [0, 1]
arms:
  student: {teacher: master, settings: {data.num_real: 20, data.mixing: bootlight.WithTeacher, data.mixing.number: 40}}
  master: {settings: {data.num_real: 100}}
baseline: master
"""
BASE = """
bootstrap: {num_generations: 1, num_synthetic: 60}
model: {class_path: bootlight.PixelGaussian}
data:
  class_path: bootlight.BootstrapData
  init_args:
    origin: {class_path: bootlight.GaussianImages, init_args: {image_size: 8, count: 200}}
    holdout_fraction: 0
    batch_size: 20
    num_epochs: 1
evaluation: {judge_steps: 3, judge_width: 4, metrics: [fd], features: {class_path: bootlight.PixelFeatures}}
trainer: {accelerator: cpu, devices: 1, log_every_n_steps: 1}
"""


@pytest.fixture
def study(bootlight, tmp_path, monkeypatch):
    """`bootlight study` whose runs are made in this process; gives its exit status."""
    write_plain_pages(monkeypatch)
    monkeypatch.setattr(plan, "startup_seconds", lambda job: 0.0)
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "base.yaml").write_text(BASE)

    def fit(self, command, log, variables, tick):
        try:
            bootlight("fit", *command[4:])
        except BootlightError as error:
            log.write_text(f"bootlight: {error}\n")
            return 1
        return 0

    def run(*args: str) -> int:
        try:
            bootlight("study", "study.yaml", "--folder=out", *args)
        except SystemExit as leaving:
            return int(leaving.code or 0)
        return 0

    monkeypatch.setattr(child.Children, "run", fit)
    monkeypatch.setattr(cli_study, "check", lambda command: None)
    return run


def drawn(run: RunFolder) -> np.ndarray:
    with open_images(run.generation(0).samples) as images:
        return np.stack([decode_whole(images.read(i), name)[..., 0] for i, name in enumerate(images.names)])


def moments(run: RunFolder) -> tuple[np.ndarray, np.ndarray, int]:
    state = load_file(run.generation(0).weights)
    mean, square = state["sums"][:, 0] / state["count"]
    return mean, square - mean**2, int(state["count"])


def test_a_student_trains_on_its_images_and_the_teachers_and_the_judge_is_trained_once(study, tmp_path, monkeypatch):
    trained, real_gan = [], reference.trained_gan
    monkeypatch.setattr(reference, "trained_gan", lambda *args, **options: trained.append(1) or real_gan(*args, **options))
    assert study("--seeds", "1", "--arms", "student") == 0
    student, master = (RunFolder(tmp_path / "out" / arm / "seed_1") for arm in ("student", "master"))
    row = read_json(student.generation(0).metrics)
    assert (row["num_real"], row["num_synthetic"]) == (20, 40)
    real = BootstrapData(origin=GaussianImages(count=200), holdout_fraction=0, num_steps=1, num_real=20)
    real.setup()
    taught = drawn(master)[numpy_rng(0, "teacher").permutation(60)[:40]]
    pixels = np.concatenate([real.real_images(real.real)[..., 0], taught]) / 127.5 - 1
    mean, variance, count = moments(student)
    assert count == 60
    np.testing.assert_allclose(mean, pixels.mean(0), atol=1e-6)  # images are float32
    np.testing.assert_allclose(variance, pixels.var(0), atol=1e-6)
    # The judge depends on the real images and its settings, not on the arm; and either folder has it.
    assert len(trained) == 1
    judges = [find_judge(run.path) for run in (student, master)]
    assert judges[0].name == judges[1].name and judges[0].read_bytes() == judges[1].read_bytes()
    assert [load_judge(file).image_size for file in judges] == [8, 8]


def test_a_judge_that_was_found_is_the_one_that_would_have_been_trained(study, tmp_path, monkeypatch):
    for cache in ("one", "two"):
        monkeypatch.setenv("BOOTLIGHT_CACHE", str(tmp_path / cache))
        assert study("--arms", "master", "--seeds", "0" if cache == "one" else "1") == 0
    found = [file.read_bytes() for file in sorted(tmp_path.glob("out/master/seed_?/references/judge-*.safetensors"))]
    assert len(found) == 2 and found[0] == found[1]
    kept = list(tmp_path.glob("*/judges/*/judge-*.safetensors"))
    assert len(kept) == 2 and all(file.read_bytes() == found[0] for file in kept)
    assert kept[0].parent.name == kept[1].parent.name


def test_dry_run_counts_what_a_run_does_without_its_teacher(study, tmp_path, capsys):
    assert study("--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    table = {line.split()[0]: line.split() for line in lines if line.startswith(("student", "master"))}
    assert table["student"][1:8] == ["master", "2", "0", "60", "3", "60", "60"]  # 20 + 40 images, in batches of 20
    assert table["master"][1:7] == ["2", "0", "100", "5", "100", "60"]
    assert not (tmp_path / "out").exists()


STAGES = [
    "bootlight.Train",
    {"class_path": "bootlight.Synthesize", "init_args": {"into": "probe", "n": 30}},
    {"class_path": "bootlight.Train", "init_args": {"part": "auxiliary", "settings": {"data.mixing": "bootlight.OwnImages"}}},
    {"class_path": "bootlight.Synthesize", "init_args": {"part": "auxiliary", "n": 7}},
]


def test_dry_run_counts_every_stage_of_an_arm(study, tmp_path, monkeypatch, capsys):
    # In batches of 20, rounded up: 100 real images, in generation 1 also 7 samples of generation 0; the probe of 30, twice.
    text = STUDY.replace("{settings: {data.num_real: 100}}", f"{{settings: {{bootstrap.stages: {json.dumps(STAGES)}}}}}")
    (tmp_path / "study.yaml").write_text(text)
    monkeypatch.setattr(bootstrap_plan, "training_seconds", lambda *_: 3.0)
    monkeypatch.setattr(bootstrap_plan, "drawing_seconds", lambda *_: 6.0)
    study("--dry-run", "--arms", "master", "--data.num_real", "100", "--bootstrap.num_generations", "2")
    table = next(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("master"))
    assert table[1:] == ["2", "0", "100", "107", "15", "300", "74", "22.4", "44.8"]  # (300 x 3 + 74 x 6) / 60 minutes


def test_dry_run_counts_stages_that_train_on_images_a_teacher_has_yet_to_draw(study, tmp_path, monkeypatch, capsys):
    text = STUDY.replace(
        "settings: {data.num_real: 20,", f"settings: {{bootstrap.stages: {json.dumps(STAGES)}, data.num_real: 20,"
    )
    (tmp_path / "study.yaml").write_text(text)
    monkeypatch.setattr(bootstrap_plan, "training_seconds", lambda *_: 0.0)
    monkeypatch.setattr(bootstrap_plan, "drawing_seconds", lambda *_: 0.0)
    assert study("--dry-run") == 0
    table = next(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("student"))
    assert table[1:8] == ["master", "2", "0", "60", "5", "100", "37"]  # 20 + 40 images and the probe of 30, in batches of 20


def test_dry_run_shares_the_time_among_the_devices_of_a_run(study, monkeypatch, capsys):
    monkeypatch.setattr(bootstrap_plan, "training_seconds", lambda *_: 60.0)
    monkeypatch.setattr(bootstrap_plan, "drawing_seconds", lambda *_: 0.0)
    minutes = []
    for devices in (1, 2):
        study("--dry-run", "--trainer.devices", str(devices))
        minutes.append(int(re.search(r"about (\d+) min in all", capsys.readouterr().out).group(1)))
    assert minutes[0] == 2 * minutes[1] > 0


def test_dry_run_counts_the_start_of_each_run(study, monkeypatch, capsys):
    monkeypatch.setattr(bootstrap_plan, "training_seconds", lambda *_: 0.0)
    monkeypatch.setattr(bootstrap_plan, "drawing_seconds", lambda *_: 0.0)
    started = []
    monkeypatch.setattr(plan, "startup_seconds", lambda job: started.append(job) or 90.0)
    study("--dry-run", "--seeds", "0", "1", "2")
    said = capsys.readouterr().out
    assert "about 9 min in all" in said and "90 s for the start of each run" in said  # 2 arms x 3 seeds x 90 s
    assert len(started) == 1  # measured once


def test_the_start_of_a_run_is_measured_by_one_that_reads_the_same_settings(tmp_path, monkeypatch):
    times, commands = iter([5.0, 12.5]), []
    monkeypatch.setattr(plan.time, "perf_counter", lambda: next(times))
    monkeypatch.setattr(plan.subprocess, "run", lambda command, **_: commands.append(command))
    job = Job(tmp_path, Arm("a", "A", {"data.num_steps": 3}, ["base.yaml"], None), 7)
    assert plan.startup_seconds(job) == 7.5
    assert commands == [bootlight_command("fit", [*job.arguments(), "--print_config"])]


@pytest.mark.parametrize("verb", ["--dry-run", "--check"])
def test_a_teacher_that_will_draw_too_little_is_told_before_it_is_trained(study, verb):
    with pytest.raises(BootlightError, match=r"^arm student: data\.mixing\.number is 40: 40 images of .*, which has 39;"):
        study(verb, "--bootstrap.num_synthetic", "39")
    assert study(verb, "--bootstrap.num_synthetic", "40") == 0


@pytest.mark.parametrize("verb", ["--dry-run", "--check"])
def test_what_a_run_would_refuse_is_told_with_its_arm_and_nothing_is_written(study, tmp_path, verb):
    for setting, message in (("--trainer.precision=bf16-true", "trainer.precision"), ("--evaluation.max_real=1", "max_real")):
        with pytest.raises(BootlightError, match=rf"^arm master: .*{message}"):
            study(verb, setting)
    assert not (tmp_path / "out").exists()


def test_the_same_input_is_looked_at_once(study, monkeypatch, capsys):
    looked = []

    def check(builder):
        loop = builder.bootstrap
        looked.append((builder.datamodule.num_real, builder.seed, loop.num_generations, loop.compile))
        print("images: all of them")

    monkeypatch.setattr(input_checks, "check_all", check)
    study("--dry-run", "--seeds", "3", "4")
    assert sorted(looked) == [(20, 0, 1, False), (100, 0, 1, False)]
    assert capsys.readouterr().out.count("images: all of them") == 1
    study("--dry-run", "--arms", "master")
    assert len(looked) == 3  # another command


def test_overrides_arms_and_seeds_of_the_command_line(study, tmp_path):
    assert study("--arms", "master", "--seeds", "5", "--bootstrap.num_synthetic", "70", "--set", "data.batch_size=50") == 0
    assert [path.parent.name for path in (tmp_path / "out").glob("*/seed_?")] == ["master"]
    run = RunFolder(tmp_path / "out" / "master" / "seed_5")
    assert len(drawn(run)) == 70 and read_json(run.generation(0).metrics)["steps"] == 2
    assert (tmp_path / "out" / "report.html").exists()
    with pytest.raises(BootlightError, match=r"out has runs of master with another bootstrap\.num_synthetic \(70 -> 80\)"):
        study("--arms", "master", "--seeds", "5", "--bootstrap.num_synthetic", "80")
    with pytest.raises(BootlightError, match=r"--arms: study\.yaml has no arm 'z'; there are student, master"):
        study("--arms", "z")
    for also in ([], ["--dry-run"], ["--check"]):
        with pytest.raises(BootlightError, match=r"--seeds: -1 is no seed"):
            study("--seeds", "-1", *also)
        with pytest.raises(BootlightError, match=r"--arms: study\.yaml has no arm 'z'"):
            study("--arms", "z", *also)
    with pytest.raises(BootlightError, match=r"--report is of all that is finished; leave out --arms"):
        study("--arms", "master", "--report")
    with pytest.raises(BootlightError, match=r"--set data\.x has no value"):
        study("--set", "data.x")


def test_other_images_of_the_teacher_are_refused(study, tmp_path):
    assert study("--seeds", "0") == 0
    student = RunFolder(tmp_path / "out" / "student" / "seed_0")
    known = read_json(student.references / "real_images.json")
    assert [len(key) for key in known["mixed"]] == [64]
    student.generation(0).metrics.unlink()
    teacher = RunFolder(tmp_path / "out" / "master" / "seed_0").generation(0)
    rows = list(read_metadata(teacher))
    teacher.sample_file(3).write_bytes(teacher.sample_file(4).read_bytes())
    write_metadata(teacher, [*rows[:3], {**rows[3], "sha256": rows[4]["sha256"]}, *rows[4:]])  # as if it had drawn them
    assert study("--seeds", "0") == 1
    assert "data.mixing: out/master/seed_0@0 does not hold the images that" in student.path.with_name("seed_0.log").read_text()
