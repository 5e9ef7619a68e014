"""Several processes: back ends, launchers, shared memory."""

import os
import shutil
from pathlib import Path

from bootlight.doctor.ask_torch import Facts
from bootlight.doctor.finding import Finding, note, ok, problem
from bootlight.doctor.hardware import not_tested

INTERACTIVE = ("bash", "interactive")  # names of SLURM jobs in which Lightning starts its own processes
SHARED_MEMORY = Path("/dev/shm")
ENOUGH_SHARED = 2**29  # bytes: data loader workers hand batches over there; containers often give 64 MiB


def back_ends(facts: Facts) -> list[Finding]:
    """What connects processes: NCCL for GPUs, Gloo for CPUs."""
    if "error" in facts["torch"]:
        return not_tested("back ends")
    gloo, nccl = facts["torch"]["gloo"], facts["torch"]["nccl"]
    num_gpus = len(facts["cuda"].get("devices", []))
    there = ", ".join(["gloo"] * gloo + [f"nccl {nccl}"] * bool(nccl)) or "none"
    if num_gpus > 1 and not nccl:
        return note("back ends", f"{there}, for {num_gpus} GPUs", "set trainer.devices: 1, or install a torch with NCCL")
    if not gloo and not nccl:
        return note("back ends", there, "set trainer.devices: 1, or install a torch with Gloo")
    return ok("back ends", there)


def launcher() -> list[Finding]:
    """Who starts the processes: torchrun, SLURM, or Lightning itself. The order is that in which Lightning looks."""
    environment = os.environ
    if "TORCHELASTIC_RUN_ID" in environment:
        here, world = int(environment.get("LOCAL_WORLD_SIZE", "1")), int(environment["WORLD_SIZE"])
        return ok("launcher", f"torchrun, {world} processes: trainer.devices: {here}, trainer.num_nodes: {world // here}")
    if "SLURM_NTASKS" in environment and environment.get("SLURM_JOB_NAME") not in INTERACTIVE:
        return _slurm()
    if "SLURM_JOB_ID" in environment:
        return ok(
            "launcher", f"SLURM job {environment['SLURM_JOB_ID']}, interactive: Lightning starts trainer.devices processes"
        )
    if "LOCAL_RANK" in environment:
        found = f"LOCAL_RANK={environment['LOCAL_RANK']} is set, but not by torchrun or SLURM"
        return note("launcher", found, "unset LOCAL_RANK, unless a launcher of your own sets it: Lightning starts no processes")
    return ok("launcher", "none: Lightning starts trainer.devices processes")


def _slurm() -> list[Finding]:
    tasks, nodes = int(os.environ["SLURM_NTASKS"]), int(os.environ.get("SLURM_NNODES", "1"))
    per_node = os.environ.get("SLURM_NTASKS_PER_NODE")
    found = f"SLURM job {os.environ.get('SLURM_JOB_ID', '')}, {tasks} tasks on {nodes} nodes"
    if tasks > 1 and per_node is None:
        return problem("launcher", f"{found}, asked for by --ntasks", "ask by --ntasks-per-node, which Lightning insists on")
    if tasks > 1 and "SLURM_STEP_ID" not in os.environ:
        return note("launcher", f"{found}; this process was not started by srun", "start the run by `srun bootlight fit ...`")
    return ok("launcher", f"{found}: trainer.devices: {per_node or tasks}, trainer.num_nodes: {nodes}")


def shared_memory() -> list[Finding]:
    """Room for batches on their way from the data loader's workers."""
    if not SHARED_MEMORY.exists():
        return ok("shared memory", f"no {SHARED_MEMORY} on this system")
    size = shutil.disk_usage(SHARED_MEMORY)
    found = f"{SHARED_MEMORY}: {size.free / 2**20:,.0f} of {size.total / 2**20:,.0f} MiB free"
    if size.free < ENOUGH_SHARED:
        return note("shared memory", found, "keep data.num_workers: 0, or start the container with --shm-size=1g")
    return ok("shared memory", found)
