"""`bootlight doctor` on the machine: what torch says, processor, GPUs, precision, processes."""

import os
import shutil
import sys
import warnings
from collections import namedtuple
from importlib.metadata import version

import pytest
import torch
from machine_facts import FACTS, GIB, TORCH, Usage, only

from bootlight.doctor import ask_torch as ask_torch_module
from bootlight.doctor import hardware, processes
from bootlight.doctor.ask_torch import ask_torch, how_it_ended
from bootlight.doctor.probe import about_cuda, about_torch

H200 = {
    "name": "NVIDIA H200", "capability": "9.0", "bf16": True, "bytes_total": 140 * GIB, "bytes_free": 139 * GIB, "error": "",
}  # fmt: skip


def facts(devices=(), why_not="", **of_torch):
    return {**FACTS, "torch": {**TORCH, **of_torch}, "cuda": {"devices": [*devices], "why_not": why_not}}


# What torch says


def test_torch_answers_as_in_this_process(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    answer = ask_torch()
    assert answer["torch"] == {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "threads": 1,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cpu_bf16": answer["torch"]["cpu_bf16"],
        "mps_bytes": None if not torch.backends.mps.is_available() else answer["torch"]["mps_bytes"],
        "gloo": torch.distributed.is_gloo_available(),
        "nccl": answer["torch"]["nccl"],
    }
    assert bool(answer["torch"]["nccl"]) == torch.distributed.is_nccl_available()
    assert answer["torchvision"]["version"].split("+")[0] == version("torchvision").split("+")[0]
    assert answer["cuda"]["devices"] == []


@pytest.mark.parametrize("there", ["gloo", "nccl"])
def test_the_probe_names_the_back_end_that_is_there(monkeypatch, there):
    monkeypatch.setattr(torch.distributed, "is_backend_available", lambda name: name == there)
    monkeypatch.setattr(torch.cuda.nccl, "version", lambda: (2, 30, 7))
    answer = about_torch()
    assert (answer["gloo"], answer["nccl"]) == ((True, None) if there == "gloo" else (False, "2.30.7"))


def test_the_probe_calculates_on_each_gpu(monkeypatch):
    Properties = namedtuple("Properties", "name major minor total_memory")
    known = [Properties("NVIDIA H200", 9, 0, 140 * GIB), Properties("NVIDIA T4", 7, 5, 15 * GIB)]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: known[index])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (GIB * (index + 1), 0))
    ones = torch.ones

    def only_the_first_works(size, device):
        if device != "cuda:0":
            raise RuntimeError("no kernel\n image")
        return ones(size)

    monkeypatch.setattr(torch, "ones", only_the_first_works)
    first, second = about_cuda()["devices"]
    assert first == {**H200, "bytes_free": GIB}
    assert second == {
        "name": "NVIDIA T4", "capability": "7.5", "bf16": False, "bytes_total": 15 * GIB, "bytes_free": None,
        "error": "no kernel image",
    }  # fmt: skip
    monkeypatch.setattr(torch, "ones", lambda size, device: 2 * ones(size))
    assert about_cuda()["devices"][0]["error"] == "2 + 2 + 2 gives 12.0"


def test_the_probe_says_why_there_is_no_gpu(monkeypatch):
    def too_old():
        warnings.warn("CUDA initialization: the driver\nis too old", stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", too_old)
    assert about_cuda() == {"devices": [], "why_not": "CUDA initialization: the driver is too old"}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert about_cuda() == {"devices": [], "why_not": ""}


@pytest.fixture
def probe(monkeypatch, tmp_path):
    """Another script in place of the probe; `name` is the stage, `say` prints its answer."""

    def install(body):
        (tmp_path / "fake.py").write_text(
            "import json, os, sys, time\n"
            "for name in sys.argv[1:]:\n"
            "    say = lambda facts: print(json.dumps({name: facts}), flush=True)\n"
            f"    {body}\n"
        )
        monkeypatch.setattr(ask_torch_module, "PROBE", tmp_path / "fake.py")

    return install


def test_a_stage_that_ends_the_process_does_not_hide_the_others(probe):
    probe("os.kill(os.getpid(), 11) if name == 'torchvision' else say({'stage': name})")
    assert ask_torch() == {
        "torch": {"stage": "torch"},
        "torchvision": {"error": "the process was ended by signal 11"},
        "cuda": {"stage": "cuda"},
    }


def test_a_stage_that_hangs(probe):
    probe("time.sleep(60) if name == 'cuda' else say({'stage': name})")
    assert ask_torch(seconds=2) == {  # Python alone starts in 0.05 s
        "torch": {"stage": "torch"},
        "torchvision": {"stage": "torchvision"},
        "cuda": {"error": "no answer within 2 s"},
    }


def test_without_torch_the_others_are_not_tried(probe, tmp_path, monkeypatch):
    probe("open('tried', 'a').write(name) and sys.exit('no module named torch')")
    monkeypatch.chdir(tmp_path)
    assert ask_torch() == {stage: {"error": "no module named torch"} for stage in FACTS}
    assert (tmp_path / "tried").read_text() == "torch"


def test_what_libraries_print_is_passed_over(probe):
    probe("print('12'); print('{\"a\": 1}'); print('[bad'); say({'stage': name})")
    assert ask_torch() == {stage: {"stage": stage} for stage in FACTS}


def test_without_an_interpreter(monkeypatch):
    for executable in ("/no/such/python", None):
        monkeypatch.setattr(sys, "executable", executable)
        assert ask_torch()["torch"]["error"].startswith(f"cannot start {executable or 'Python'}: ")


def test_last_words_of_a_process():
    assert how_it_ended(1, b"Traceback\n  File\nImportError: libx\n\n") == "ImportError: libx"
    assert how_it_ended(3, b"") == "the process ended with status 3"
    assert how_it_ended(-9, b"ignored") == "the process was ended by signal 9"


# Processor


@pytest.fixture
def groups(monkeypatch, tmp_path):
    """Control groups: what /proc/self/cgroup says, and files below /sys/fs/cgroup."""

    def install(membership, **files):
        monkeypatch.setattr(hardware, "CGROUPS", tmp_path / "cgroup")
        monkeypatch.setattr(hardware, "MEMBERSHIP", tmp_path / "membership")
        (tmp_path / "membership").write_text(membership)
        (tmp_path / "cpu.max").write_text("1000 100000\n")  # above the control groups: nobody's
        for name, text in files.items():
            path = tmp_path / "cgroup" / name.replace("__", "/").replace("_max", ".max").replace("cpu_cfs", "cpu.cfs")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return install


V1 = "9:name=systemd:/\n5:cpuset:/other\n3:cpu,cpuacct:/job/step\n0::/\n"


@pytest.mark.parametrize(
    ("membership", "files", "quota"),
    [
        ("0::/\n", {}, None),
        ("0::/\n", {"cpu_max": "max 100000\n"}, None),
        ("0::/\n", {"cpu_max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", {"a__b__cpu_max": "800000 100000\n", "a__cpu_max": "400000 100000\n"}, 4.0),  # the parent is tighter
        ("0::/a/b\n", {"a__b__cpu_max": "200000 100000\n", "a__cpu_max": "max 100000\n"}, 2.0),
        ("0::/outside\n", {"cpu_max": "300000 100000\n"}, 3.0),  # in a container, the path is that of the host
        (V1, {"cpu__job__step__cpu_cfs_quota_us": "-1\n", "cpu__job__step__cpu_cfs_period_us": "100000\n"}, None),
        (V1, {"cpu__job__step__cpu_cfs_quota_us": "50000\n", "cpu__job__step__cpu_cfs_period_us": "100000\n"}, 0.5),
        (V1, {"cpu__other__cpu_cfs_quota_us": "50000\n", "cpu__other__cpu_cfs_period_us": "100000\n"}, None),
    ],
)
def test_share_of_cpu_time(groups, membership, files, quota):
    groups(membership, **files)
    assert hardware.cgroup_quota() == quota


def test_cores_are_the_least_of_affinity_and_share(groups, monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5, 7}, raising=False)
    for text, cores in (
        ("max 100000", 4),
        ("800000 100000", 4),
        ("150000 100000", 2),
        ("100000 100000", 1),
        ("1000 100000", 1),
    ):
        groups("0::/\n", cpu_max=text)
        assert hardware.cores_available() == cores
    monkeypatch.setattr(hardware, "MEMBERSHIP", tmp_path / "absent")
    assert hardware.cores_available() == 4
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert hardware.cores_available() == 6


@pytest.mark.parametrize(
    ("threads", "setting", "processes", "status", "cure"),
    [
        (8, None, None, "ok", ""),
        (8, "8", None, "ok", ""),
        (4, None, None, "ok", ""),  # torch takes one thread for each physical core
        (16, None, None, "note", "export OMP_NUM_THREADS=8"),
        (9, "9", None, "note", "export OMP_NUM_THREADS=8"),
        (1, "1", None, "note", "unset OMP_NUM_THREADS to use all cores, unless other programs are busy here"),
        (1, "1", "4", "ok", ""),  # torchrun sets it
        (2, "2", "4", "ok", ""),
        (4, "4", "3", "note", "export OMP_NUM_THREADS=2"),
        (1, "1", "16", "note", "export OMP_NUM_THREADS=1"),
    ],
)
def test_threads_against_eight_cores(monkeypatch, threads, setting, processes, status, cure):
    monkeypatch.setattr(hardware, "cores_available", lambda: 8)
    for name, value in (("OMP_NUM_THREADS", setting), ("LOCAL_WORLD_SIZE", processes)):
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    finding = only(hardware.cpu(facts(threads=threads)))
    assert (finding.status, finding.cure) == (status, cure)
    assert f"8 cores available, threads: {threads}" in finding.found
    assert (f"(OMP_NUM_THREADS={setting})" in finding.found) == (setting is not None)


# GPUs


@pytest.fixture
def driver(monkeypatch, tmp_path):
    """Pretends an answer of nvidia-smi (None = no such program), and of the kernel module."""

    def pretend(smi, kernel=None, status=0):
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(hardware, "KERNEL_DRIVER", tmp_path / "version")
        if smi is not None:
            (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\necho '{smi}'\necho '{smi}'\nexit {status}\n")
            (tmp_path / "nvidia-smi").chmod(0o755)
        if kernel is not None:
            (tmp_path / "version").write_text(kernel)

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return pretend


@pytest.mark.parametrize(
    ("smi", "status", "kernel", "version"),
    [
        ("580.65.06", 0, None, "580.65.06"),
        ("NVIDIA-SMI has failed", 9, None, None),
        (None, 0, None, None),
        (None, 0, "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n", "535.104.05"),
        (None, 0, "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  560.35.03  Release Build\n", "560.35.03"),
        (None, 0, "", None),
    ],
)
def test_driver(driver, smi, status, kernel, version):
    driver(smi, kernel, status)
    assert hardware.nvidia_driver() == version


def test_each_gpu_has_a_line(driver):
    driver("580.65.06")
    busy = {**H200, "bytes_free": 70 * GIB - 1}
    broken = {**H200, "bytes_free": None, "error": "CUDA error: no kernel image is available"}
    first, second, third = hardware.gpus(facts([H200, busy, broken]))
    assert only([first]) == (
        "GPU 0", "ok", "NVIDIA H200, 140 GiB, compute capability 9.0, driver 580.65.06, 139 GiB free", "",
    )  # fmt: skip
    assert only([second])[:2] == ("GPU 1", "note") and "nvidia-smi" in second.cure
    assert only([third])[:2] == ("GPU 2", "problem") and third.found.endswith("06: CUDA error: no kernel image is available")


@pytest.mark.parametrize(
    ("smi", "hidden", "of_torch", "status", "said"),
    [
        (None, None, {}, "note", "none: training runs on the CPU"),
        ("580.65.06", None, {}, "problem", "although NVIDIA driver 580.65.06 is here: The NVIDIA driver is too old"),
        ("580.65.06", "", {}, "note", "CUDA_VISIBLE_DEVICES=''"),
        ("580.65.06", None, {"cuda": None}, "note", "torch is built for CPU only"),
        (None, None, {"mps_bytes": 48 * GIB}, "ok", "Apple GPU, 48 GiB: trainer.accelerator: mps"),
    ],
)
def test_why_there_is_no_gpu(driver, monkeypatch, smi, hidden, of_torch, status, said):
    driver(smi)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    finding = only(hardware.gpus(facts(why_not="The NVIDIA driver is too old", **of_torch)))
    assert finding.status == status and said in finding.found


def test_a_gpu_that_ends_the_process_is_a_problem():
    finding = only(hardware.gpus({**FACTS, "cuda": {"error": "no answer within 180 s"}}))
    assert (finding.status, finding.found) == ("problem", "no answer within 180 s")


# Precision


@pytest.mark.parametrize(
    ("devices", "flags", "of_torch", "status", "said"),
    [
        ([True], "", {}, "ok", "trainer.precision: bf16-mixed"),
        ([True, False], "", {}, "note", "trainer.precision: 16-mixed"),
        ([False], "amx_bf16", {}, "note", "trainer.precision: 16-mixed"),  # the CPU's does not help the GPU
        ([], "fpu amx_bf16 avx512_bf16", {}, "ok", "(amx_bf16, avx512_bf16): trainer.precision: bf16-mixed or 32-true"),
        ([], "fpu avx2", {}, "ok", "CPU with AVX2, no bfloat16 in hardware: trainer.precision: 32-true"),
        ([], "", {"cpu_bf16": ["bf16"]}, "ok", "(bf16): trainer.precision: bf16-mixed or 32-true"),  # no /proc/cpuinfo
        (
            [],
            "",
            {"cpu_bf16": ["bf16"], "mps_bytes": GIB},
            "ok",
            "Apple GPU, no bfloat16 in hardware: trainer.precision: 32-true",
        ),
    ],
)
def test_precision_that_the_hardware_has(monkeypatch, devices, flags, of_torch, status, said):
    monkeypatch.setattr(hardware, "cpuinfo_field", lambda *names: flags)
    finding = only(hardware.precision(facts([{**H200, "bf16": bf16} for bf16 in devices], **of_torch)))
    assert finding.status == status and said in finding.found + finding.cure


# Processes


@pytest.mark.parametrize(
    ("num_gpus", "of_torch", "status", "found"),
    [
        (0, {}, "ok", "gloo, nccl 2.30.7"),
        (0, {"nccl": None}, "ok", "gloo"),
        (1, {"nccl": None}, "ok", "gloo"),
        (2, {"nccl": None}, "note", "gloo, for 2 GPUs"),
        (0, {"gloo": False, "nccl": None}, "note", "none"),
    ],
)
def test_back_ends(num_gpus, of_torch, status, found):
    finding = only(processes.back_ends(facts([H200] * num_gpus, **of_torch)))
    assert (finding.status, finding.found) == (status, found)


@pytest.mark.parametrize(
    ("environment", "status", "said"),
    [
        ({}, "ok", "none: Lightning starts"),
        (
            {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8", "LOCAL_RANK": "0"},
            "ok",
            "torchrun, 8 processes: trainer.devices: 4, trainer.num_nodes: 2",
        ),
        ({"LOCAL_RANK": "1"}, "note", "LOCAL_RANK=1"),
        ({"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "interactive", "SLURM_NTASKS": "4"}, "ok", "SLURM job 7, interactive"),
        ({"SLURM_JOB_ID": "7"}, "ok", "SLURM job 7, interactive"),
        (
            {
                "SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4", "SLURM_NNODES": "2",
                "SLURM_STEP_ID": "0", "LOCAL_RANK": "0",
            },
            "ok",
            "SLURM job 7, 8 tasks on 2 nodes: trainer.devices: 4, trainer.num_nodes: 2",
        ),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4"}, "note", "not started by srun"),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_STEP_ID": "0"}, "problem", "asked for by --ntasks"),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "1"}, "ok", "1 tasks on 1 nodes: trainer.devices: 1, trainer.num_nodes: 1"),
    ],
)  # fmt: skip
def test_launchers(monkeypatch, environment, status, said):
    for name in [name for name in os.environ if name.startswith(("SLURM", "TORCHELASTIC", "LOCAL_", "WORLD_SIZE"))]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    finding = only(processes.launcher())
    assert finding.status == status and said in finding.found


@pytest.mark.parametrize(("free", "status"), [(64 * 2**20, "note"), (2**29 - 1, "note"), (2**29, "ok")])
def test_shared_memory(monkeypatch, tmp_path, free, status):
    monkeypatch.setattr(processes, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(2**30, 0, free))
    finding = only(processes.shared_memory())
    assert finding.status == status and f"{free / 2**20:,.0f} of 1,024 MiB free" in finding.found
    assert ("--shm-size" in finding.cure) == (status == "note")
    monkeypatch.setattr(processes, "SHARED_MEMORY", tmp_path / "absent")
    assert only(processes.shared_memory()).status == "ok"
