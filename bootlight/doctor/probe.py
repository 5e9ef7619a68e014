"""Asks torch about itself and prints what it says: a script for a process of its own, because a broken build may end it.

Prints a JSON object for each stage, so that what came before a crash is known. Imports nothing of bootlight.
"""

import json
import sys
import warnings
from collections.abc import Callable
from typing import Any

BF16_CAPABILITY = 8  # Ampere: the first NVIDIA generation that computes in bfloat16
BF16_OF_CPU = ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16")


def about_torch() -> dict[str, Any]:
    """Version, threads, instruction sets, back ends."""
    import torch
    from torch import distributed

    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # not in every version
    mps = torch.backends.mps.is_available()
    gloo, nccl = (distributed.is_available() and distributed.is_backend_available(name) for name in ("gloo", "nccl"))
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cpu_bf16": [name for name in BF16_OF_CPU if capabilities.get(name)],
        "mps_bytes": torch.mps.recommended_max_memory() if mps else None,
        "gloo": bool(gloo),
        "nccl": ".".join(map(str, torch.cuda.nccl.version())) if nccl else None,  # type: ignore[no-untyped-call]
    }


def about_torchvision() -> dict[str, Any]:
    """Version, and a call of a compiled operator: that is what a build for another torch cannot do."""
    import torch
    import torchvision  # type: ignore[import-untyped]

    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 2.0], [5.0, 5.0, 6.0, 6.0]])
    kept = torchvision.ops.nms(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.5).tolist()
    if kept != [1, 2]:
        raise RuntimeError(f"torchvision.ops.nms answers {kept} instead of [1, 2]")
    return {"version": torchvision.__version__, "cuda": getattr(torchvision.version, "cuda", None)}


def about_cuda() -> dict[str, Any]:
    """Each visible device, after a calculation on it."""
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
        devices = [about_device(index) for index in range(torch.cuda.device_count())] if available else []
    reasons = [" ".join(str(warning.message).split()) for warning in caught]
    return {"devices": devices, "why_not": reasons[0] if reasons and not devices else ""}


def about_device(index: int) -> dict[str, Any]:
    """Name, memory in bytes, compute capability; `error` when it cannot calculate."""
    import torch

    properties = torch.cuda.get_device_properties(index)
    facts: dict[str, Any] = {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "bf16": torch.version.hip is not None or properties.major >= BF16_CAPABILITY,
        "bytes_total": properties.total_memory,
        "bytes_free": None,
        "error": "",
    }
    try:
        doubled = (torch.ones(3, device=f"cuda:{index}") * 2).sum().item()
        facts["bytes_free"] = torch.cuda.mem_get_info(index)[0]
        facts["error"] = "" if doubled == 6 else f"2 + 2 + 2 gives {doubled}"
    except Exception as error:  # no kernel for this device, no memory left, a mode that admits one process only
        facts["error"] = " ".join(str(error).split())
    return facts


STAGES: dict[str, Callable[[], dict[str, Any]]] = {
    "torch": about_torch,
    "torchvision": about_torchvision,
    "cuda": about_cuda,
}


def main() -> None:
    """Go through the stages that are named on the command line."""
    for name in sys.argv[1:]:
        try:
            facts = STAGES[name]()
        except Exception as error:
            facts = {"error": " ".join(f"{type(error).__name__}: {error}".split())}
        print(json.dumps({name: facts}), flush=True)


if __name__ == "__main__":
    main()
