"""What the last bits of a result depend on besides the seed: versions, processor, threads, GPU."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bootlight.errors import BootlightError
from bootlight.io.atomic import read_json, write_json

STREAMS = "philox4x32-10"  # changes when the counters of bootlight.rng would give other numbers
PACKAGES = ("bootlight", "torchvision", "lightning", "numpy", "pillow")
CPUINFO = Path("/proc/cpuinfo")


def describe() -> dict[str, Any]:
    """Versions and hardware, each a string, a number or None, by name; asks torch for the number of threads of this moment.

    Sums of floating-point numbers depend on their order, and that on the kernels which library, instruction set, number of
    threads and GPU select (docs.pytorch.org/docs/stable/notes/randomness.html).
    """
    import torch

    gpu = torch.cuda.is_available()
    return {
        **{name: _version(name) for name in PACKAGES},
        "random_streams": STREAMS,
        "torch": torch.__version__,  # with the build, as in 2.6.0+cu124, which the metadata may lack
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "cpu_instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "matmul_precision": _matmul_precision(),
        "gpu": ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())) if gpu else None,
        "cuda": torch.version.cuda if gpu else None,  # whatever a CPU run was compiled for does not matter to it
        "cudnn": torch.backends.cudnn.version() if gpu else None,  # type: ignore[no-untyped-call]
    }


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """One line such as `torch 2.15.0 -> 2.16.0` for each name with two values, in the order of `now`.

    A name that only one side has is passed over: another version of bootlight has recorded less or more.
    """
    return [
        f"{name.replace('_', ' ')} {_readable(before[name])} -> {_readable(value)}"
        for name, value in now.items()
        if name in before and before[name] != value
    ]


def note_environment(path: Path, world_size: int, precision: str) -> list[str]:
    """Keep the environment of a run beside it; where one is kept already, say how the present one differs.

    One process of the run calls it. The file stays that of the first call: it tells where the run was begun.

    Args:
        path: JSON file.
        world_size: number of processes.
        precision: of the trainer, such as `32-true`.

    Returns:
        Lines of `differences`; none when the file was written by this call.

    Raises:
        BootlightError: the file is damaged, or cannot be written.
    """
    now = {**describe(), "world_size": world_size, "precision": precision}
    if not path.exists():
        write_json(path, now)
        return []
    before = read_json(path)
    if not isinstance(before, dict):
        raise BootlightError(f"{path} is not the record of an environment; delete it and run the same command again")
    return differences(before, now)


def streams_of(path: Path) -> str | None:
    """How the run with this record makes its noise; None for one that was begun before streams had 64 bits of key and more."""
    before = read_json(path) if path.exists() else {"random_streams": STREAMS}
    return str(before["random_streams"]) if isinstance(before, dict) and "random_streams" in before else None


def cpu_model() -> str:
    """Name of the processor, as far as the system tells it."""
    names = cpuinfo_field("model name")
    return names or platform.processor() or platform.machine()


def cpuinfo_field(*names: str) -> str:
    """First value of a field of /proc/cpuinfo that has one of these names; empty where there is none, or no such file."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    fields = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in fields if name.strip() in names), "")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _matmul_precision() -> str:
    """Whether float32 products may be rounded to fewer bits, in the words of the switch that was used."""
    import torch

    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # torch 2.9 has a newer switch beside it, and then refuses to read the older one
        return str(torch.backends.cuda.matmul.fp32_precision)


def _readable(value: Any) -> str:
    return "none" if value is None else str(value)
