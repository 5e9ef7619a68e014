"""The environment of a run: what is recorded, and how differences read."""

import json
import platform
from importlib.metadata import version

import pytest
import torch

from bootlight.errors import BootlightError
from bootlight.runs import environment
from bootlight.runs.config import OtherStreams, check_config, check_streams
from bootlight.runs.environment import cpu_model, cpuinfo_field, describe, differences, note_environment
from bootlight.runs.folder import RunFolder

CPUINFO = "processor\t: 0\nmodel name\t: Fast CPU @ 3: GHz\nflags\t\t: avx2 amx_bf16\n\nprocessor\t: 1\nmodel name\t: Other\n"


def test_the_description_says_what_is_installed_and_asks_torch_now():
    torch.set_num_threads(2)
    now = describe()
    for name in ("bootlight", "torchvision", "lightning", "numpy", "pillow"):
        assert now[name] == version(name)
    assert now["torch"] == torch.__version__ and now["python"] == platform.python_version()
    assert now["threads"] == 2
    torch.set_num_threads(1)  # conftest's
    assert describe()["threads"] == 1
    assert now["cpu_instructions"] == torch.backends.cpu.get_cpu_capability()
    assert json.loads(json.dumps(now)) == now  # plain values, else each continued run would seem to differ


def test_the_gpu_counts_only_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [describe()[name] for name in ("gpu", "cuda", "cudnn")] == [None, None, None]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU number {index}")
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    assert [describe()[name] for name in ("gpu", "cuda", "cudnn")] == ["GPU number 0, GPU number 1", "13.2", 91002]


def test_matmul_precision_is_part_of_it(monkeypatch):
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")  # TF32, as users set it
    assert describe()["matmul_precision"] == "medium"


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="a switch of newer torch")
def test_matmul_precision_by_the_newer_switch():
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "tf32"  # torch.get_float32_matmul_precision now raises
    try:
        assert describe()["matmul_precision"] == "tf32"
    finally:
        matmul.fp32_precision = before


def test_a_package_that_is_gone_is_none(monkeypatch):
    monkeypatch.setattr(environment, "PACKAGES", ("no-such-package",))
    assert describe()["no-such-package"] is None


def test_differences_read_from_before_to_now():
    before = {"torch": "2.15.0", "gpu": None, "cpu_instructions": "AVX2", "threads": 2, "only_before": 1}
    now = {"threads": 4, "torch": "2.16.0", "cpu_instructions": "AVX2", "gpu": "H200", "only_now": 1}
    assert differences(before, now) == ["threads 2 -> 4", "torch 2.15.0 -> 2.16.0", "gpu none -> H200"]
    assert differences(now, before) == ["torch 2.16.0 -> 2.15.0", "gpu H200 -> none", "threads 4 -> 2"]
    assert differences({"world_size": 1}, {"world_size": 2}) == ["world size 1 -> 2"]
    assert differences(now, now) == differences({}, now) == differences(now, {}) == []


def test_the_first_call_writes_and_later_ones_compare_and_leave_the_file(tmp_path, monkeypatch):
    path = tmp_path / "run" / "environment.json"
    assert note_environment(path, 1, "32-true") == []
    first = path.read_bytes()
    assert json.loads(first) == {**describe(), "world_size": 1, "precision": "32-true"}
    assert note_environment(path, 1, "32-true") == []
    assert note_environment(path, 2, "bf16-mixed") == ["world size 1 -> 2", "precision 32-true -> bf16-mixed"]
    monkeypatch.setattr(environment, "cpu_model", lambda: "Another CPU")
    assert note_environment(path, 1, "32-true") == [f"cpu {json.loads(first)['cpu']} -> Another CPU"]
    assert path.read_bytes() == first and [file.name for file in path.parent.iterdir()] == ["environment.json"]


@pytest.mark.parametrize("text", ["{", "[1, 2]"])
def test_a_damaged_record_is_named_with_its_cure(tmp_path, text):
    path = tmp_path / "environment.json"
    path.write_text(text)
    with pytest.raises(BootlightError, match=r"environment\.json is not .*; delete it and run the same command again"):
        note_environment(path, 1, "32-true")


def test_the_name_of_the_processor(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert cpu_model() == platform.machine() != ""  # no such file, as on macOS
    assert cpuinfo_field("flags", "Features") == ""
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    monkeypatch.setattr(platform, "processor", lambda: "x86_64")  # says less
    assert cpu_model() == "Fast CPU @ 3: GHz"
    assert cpuinfo_field("flags", "Features") == "avx2 amx_bf16"
    (tmp_path / "cpuinfo").write_text("processor : 0\nFeatures : fp asimd bf16\n")  # ARM
    assert cpuinfo_field("flags", "Features") == "fp asimd bf16"
    assert cpu_model() == "x86_64"


def begun_run(path, record):
    run = RunFolder(path)
    run.generation(0).checkpoints.mkdir(parents=True)
    (run.generation(0).checkpoints / "last.ckpt").touch()
    run.environment.write_text(json.dumps(record))
    return run


@pytest.mark.parametrize("record", [{}, {"random_streams": "other"}, []])
def test_a_run_is_not_finished_with_other_random_numbers(tmp_path, record):
    with pytest.raises(BootlightError, match=r"bootstrap\.run_dir"):
        check_streams(begun_run(tmp_path, record))


def test_a_run_of_an_older_version_is_told_so_and_not_that_a_setting_it_cannot_know_was_changed(tmp_path):
    run = begun_run(tmp_path, {})
    run.config.write_text("model: {sampler: {num_steps: 20}}")
    new = "model: {sampler: {num_steps: 20, spacing: linspace}}"
    with pytest.raises(OtherStreams):
        check_config(run, new)
    run.environment.write_text(json.dumps(describe()))
    with pytest.raises(BootlightError, match=r"model\.sampler\.spacing"):
        check_config(run, new)


def test_a_run_goes_on_with_the_random_numbers_that_it_was_begun_with(tmp_path):
    check_streams(begun_run(tmp_path / "a", describe()))
    check_streams(RunFolder(tmp_path / "new"))
    old = begun_run(tmp_path / "b", {})
    (old.generation(0).checkpoints / "last.ckpt").unlink()  # nothing is there that could be mixed
    check_streams(old)
