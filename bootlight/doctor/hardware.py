"""Processor, GPUs, and the precision to train in."""

import math
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from bootlight.doctor.ask_torch import Facts
from bootlight.doctor.finding import Finding, note, ok, problem
from bootlight.runs.environment import cpu_model, cpuinfo_field

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
KERNEL_DRIVER = Path("/proc/driver/nvidia/version")
SMI_SECONDS = 20.0
GIB = 2**30
BUSY = 0.5  # of a GPU's memory in other hands
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16", "svebf16"}  # x86 and ARM, as Linux spells them


def not_tested(check: str) -> list[Finding]:
    """What is left to say when torch cannot be imported; that has a finding of its own."""
    return note(check, "not tested, torch does not answer", "mend torch first, then run bootlight doctor again")


def cores_available() -> int:
    """Cores that this process may use: of the machine, its affinity, and its share of CPU time (cgroup), the least."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota()
    return allowed if quota is None else min(allowed, math.ceil(quota))


def cgroup_quota() -> float | None:
    """CPU time per time that containers and batch systems grant this process, in cores; None = not limited.

    Both layouts (docs.kernel.org/admin-guide/cgroup-v2.html, .../scheduler/sched-bwc.html); a limit of any parent holds.
    """
    try:
        memberships = MEMBERSHIP.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    quotas: list[float] = []
    for line in memberships:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = CGROUPS / "cpu" if controllers else CGROUPS
        folder = root / path.lstrip("/")
        for place in (folder, *folder.parents):
            if place.is_relative_to(root):
                quotas += _quota_of(place)
    return min(quotas, default=None)


def _quota_of(folder: Path) -> list[float]:
    """The limit of one control group, if it has one."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota, period = (
                (folder / f"cpu.cfs_{what}_us").read_text(encoding="utf-8").strip() for what in ("quota", "period")
            )
    except OSError:
        return []
    return [] if quota in ("max", "-1") else [int(quota) / int(period)]


def cpu(facts: Facts) -> list[Finding]:
    """Threads against cores: too many wait for each other, too few leave cores idle."""
    if "error" in facts["torch"]:
        return not_tested("CPU")
    threads, cores = facts["torch"]["threads"], cores_available()
    setting, processes = os.environ.get("OMP_NUM_THREADS"), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    found = f"{cpu_model()}, {cores} cores available, threads: {threads}"
    found += f" (OMP_NUM_THREADS={setting})" if setting else ""
    if threads * processes > cores:
        best = max(1, cores // processes)
        return note("CPU", f"{found}, {processes} processes" if processes > 1 else found, f"export OMP_NUM_THREADS={best}")
    if setting and processes == 1 and threads < cores:
        return note("CPU", found, "unset OMP_NUM_THREADS to use all cores, unless other programs are busy here")
    return ok("CPU", found)


def gpus(facts: Facts) -> list[Finding]:
    """A line for each GPU, or why there is none."""
    torch, cuda = facts["torch"], facts["cuda"]
    if "error" in torch:
        return not_tested("GPU")
    if "error" in cuda:
        return problem("GPU", cuda["error"], "update the GPU driver, or hide the GPUs: export CUDA_VISIBLE_DEVICES=")
    if cuda["devices"]:
        driver = nvidia_driver()
        return [finding for i, device in enumerate(cuda["devices"]) for finding in _gpu(f"GPU {i}", device, driver)]
    if torch["mps_bytes"] is not None:
        return ok("GPU", f"Apple GPU, {torch['mps_bytes'] / GIB:.0f} GiB: trainer.accelerator: mps")
    return _no_gpu(torch, cuda)


def _gpu(check: str, device: dict[str, Any], driver: str | None) -> list[Finding]:
    found = f"{device['name']}, {device['bytes_total'] / GIB:.0f} GiB, compute capability {device['capability']}"
    found += f", driver {driver}" if driver else ""
    if device["error"]:
        cure = "install a torch built for this GPU and driver (pytorch.org/get-started), or free the GPU if others use it"
        return problem(check, f"{found}: {device['error']}", cure)
    found += f", {device['bytes_free'] / GIB:.0f} GiB free"
    if device["bytes_free"] < BUSY * device["bytes_total"]:
        return note(check, found, "another program holds memory there: nvidia-smi shows it; choose by CUDA_VISIBLE_DEVICES")
    return ok(check, found)


def _no_gpu(torch: dict[str, Any], cuda: dict[str, Any]) -> list[Finding]:
    driver = nvidia_driver()
    if driver is None:
        return note("GPU", "none: training runs on the CPU", "enough for the digits; larger images need a GPU")
    found = f"none that torch sees, although NVIDIA driver {driver} is here"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None:
        return note("GPU", f"{found}; CUDA_VISIBLE_DEVICES={hidden!r}", "unset CUDA_VISIBLE_DEVICES, unless that is meant")
    if torch["cuda"] is None:
        return note("GPU", f"{found}: torch is built for CPU only", "install torch for CUDA: pytorch.org/get-started")
    cure = f"update the driver to one for CUDA {torch['cuda']}, or install torch for an older CUDA: pytorch.org/get-started"
    return problem("GPU", f"{found}: {cuda['why_not'] or 'no reason given'}", cure)


def nvidia_driver() -> str | None:
    """Version of the NVIDIA driver; None where none answers."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return _words_with_digits(KERNEL_DRIVER)
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SMI_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.split()
    return lines[0] if done.returncode == 0 and lines else None


def _words_with_digits(path: Path) -> str | None:
    """The driver's version in what the kernel module says of itself: the first word such as 570.86.10."""
    try:
        words = path.read_text(encoding="utf-8").split()
    except OSError:
        return None
    return next((word for word in words if word.replace(".", "").isdecimal()), None)


def precision(facts: Facts) -> list[Finding]:
    """Which `trainer.precision` the hardware has instructions for."""
    if "error" in facts["torch"]:
        return not_tested("precision")
    devices = facts["cuda"].get("devices", [])
    if devices and all(device["bf16"] for device in devices):
        return ok("precision", "bfloat16 in the GPU's hardware: trainer.precision: bf16-mixed")
    if devices:
        return note("precision", "this GPU only emulates bfloat16", "set trainer.precision: 16-mixed, or 32-true for exactness")
    flags = set(cpuinfo_field("flags", "Features").split()) & BF16_FLAGS or set(facts["torch"]["cpu_bf16"])
    if facts["torch"]["mps_bytes"] is None and flags:
        return ok("precision", f"bfloat16 in the CPU ({', '.join(sorted(flags))}): trainer.precision: bf16-mixed or 32-true")
    where = f"CPU with {facts['torch']['cpu_capability']}" if facts["torch"]["mps_bytes"] is None else "Apple GPU"
    return ok("precision", f"{where}, no bfloat16 in hardware: trainer.precision: 32-true")
