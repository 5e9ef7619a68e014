"""What the processes of a run agree on. A process that is alone agrees with itself: every function works without a group."""

import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any, TypeVar

import torch.distributed as dist
from lightning.pytorch import Trainer
from torch import Tensor

from bootlight.compat import ScriptLauncher, cluster_environment, starts_scripts
from bootlight.errors import RUN_AGAIN, BootlightError
from bootlight.io.atomic import atomic_write

T = TypeVar("T")
CONNECTION = re.compile(r"gloo|nccl|connection (closed|reset)|broken pipe|socket", re.IGNORECASE)
CHUNK_BYTES = 64 * 2**20
PATIENCE_SECONDS = 5.0  # network file systems show a new file elsewhere after some seconds
CACHE_SECONDS = 120.0  # and they may say for a minute that a file is not there, to one who has asked before
_started: list[Popen[Any]] = []  # processes of this run that were started from here


def meet(trainer: Trainer) -> None:
    """Start the other processes of a run and connect with them.

    Lightning does both within `fit`; here it happens before anything is decided from what lies on the disk, so that all
    processes do what rank 0 has found.

    Raises:
        BootlightError: the strategy runs `fit` alone in new processes (`ddp_spawn`), which a loop over generations cannot use;
            more or fewer processes were started than the trainer has been told of; or the others cannot be reached.
    """
    _started.clear()
    _check_number(trainer)
    if trainer.world_size == 1:
        return
    launcher = check_strategy(trainer)
    try:
        launcher.launch(trainer.strategy.setup_environment, trainer=trainer)
    except ValueError as error:  # processes of a node, nodes
        raise BootlightError(f"trainer.devices, trainer.num_nodes: {' '.join(str(error).split())}") from error
    except RuntimeError as error:
        raise BootlightError(f"cannot connect with the other processes of the run: {_reason(error)}") from error
    _started.extend(launcher.procs)


@contextmanager
def leaving_together() -> Iterator[None]:
    """Disconnect the processes when the block ends, however it does: one that goes while connected may abort, or break others.

    At an orderly end, which all reach (`finished`, `stopped early`), everyone waits for the last one before that.
    """
    try:
        yield
        barrier()
    except SystemExit as stop:
        if stop.code in (0, RUN_AGAIN):
            barrier()
        raise
    finally:
        if in_group():
            dist.destroy_process_group()


def check_strategy(trainer: Trainer) -> ScriptLauncher:
    """What starts the other processes.

    Raises:
        BootlightError: the strategy starts them in `fit` alone (`ddp_spawn`), which a loop over generations cannot use.
    """
    launcher = trainer.strategy.launcher
    if not starts_scripts(launcher):
        raise BootlightError(f"trainer.strategy: {type(trainer.strategy).__name__} starts its processes in fit; use ddp")
    return launcher


def _check_number(trainer: Trainer) -> None:
    """Where torchrun or SLURM has started two processes, a trainer of one would train twice in one folder."""
    outside = cluster_environment(trainer)
    if outside.creates_processes_externally and outside.world_size() != trainer.world_size:
        raise BootlightError(
            f"trainer.devices x trainer.num_nodes is {trainer.world_size}, but {outside.world_size()} processes were started; "
            "set the devices of each node and the number of nodes"
        )


def pass_on(number: int) -> None:
    """Send a signal to the processes that were started from here: what is sent to the first one alone is meant for all."""
    for process in _started:
        process.send_signal(number)


def in_group() -> bool:
    """Whether other processes are connected."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Number of this process among all."""
    return dist.get_rank() if in_group() else 0


@contextmanager
def _together() -> Iterator[None]:
    """Tell in one line that another process has gone: it has its own story to tell, not this one's place in the code."""
    try:
        yield
    except RuntimeError as error:  # what gloo and NCCL raise
        raise _alone(error) from error


@contextmanager
def losses_explained() -> Iterator[None]:
    """The same for a block that does more than talk, as a training: of its errors those that tell of a connection.

    Raises:
        BootlightError: another process has gone.
    """
    try:
        yield
    except RuntimeError as error:
        if not (in_group() and CONNECTION.search(str(error))):
            raise
        raise _alone(error) from error


def _alone(error: RuntimeError) -> BootlightError:
    return BootlightError(
        f"rank {rank()} has lost another process of the run ({_reason(error)}); it says why, or was killed: run the same again"
    )


def _reason(error: RuntimeError) -> str:
    """What torch has to say, without its place in their code and advice."""
    return str(error).splitlines()[0].split("] ", 1)[-1].split(". ")[0]


def agree(value: T) -> T:
    """Rank 0's value."""
    if not in_group():
        return value
    box: list[Any] = [value]
    with _together():
        dist.broadcast_object_list(box, src=0)
    agreed: T = box[0]
    return agreed


def gather(value: T) -> list[T]:
    """The value of each rank, in their order."""
    if not in_group():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    with _together():
        dist.all_gather_object(values, value)
    return values


def take_from_rank_0(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors, the same ones on every rank, with those of rank 0."""
    if in_group():
        with _together():
            for tensor in tensors:
                dist.broadcast(tensor, src=0)


def in_turn(trainer: Trainer, work: Callable[[], None]) -> None:
    """Do something on one rank of each node, then on the others, which find what it has left on their disk."""
    for first in (True, False):
        if (trainer.local_rank == 0) is first:
            work()
        barrier()


def barrier() -> None:
    """Wait for all."""
    if in_group():
        with _together():
            dist.barrier()


def check_same(what: str, value: Any, cure: str) -> None:
    """Make sure that a value is the same on all ranks.

    Raises:
        BootlightError: on every rank, when it is not: `what` and both values are named.
    """
    values = gather(value)
    other = next((i for i, found in enumerate(values) if found != values[0]), None)
    if other is not None:
        raise BootlightError(
            f"{what} differs between processes: {values[0]} on rank 0, {values[other]} on rank {other}; {cure}"
        )


def sees_folder_of_rank_0(folder: Path) -> bool:
    """Whether all ranks see the same folder under this path; otherwise each node has its own."""
    if not in_group():
        return True
    token = folder / agree(f".shared-{secrets.token_hex(8)}.tmp")
    if rank() == 0:
        with open(token, "w"):
            pass
    barrier()
    deadline = time.monotonic() + PATIENCE_SECONDS
    # A name never asked for is in no cache: the first look is the best; a listing may be of half a minute ago.
    while not (seen := token.exists() or token in folder.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.1)
    everywhere = all(gather(seen))
    if rank() == 0:
        token.unlink()
    return everywhere


def wait_for(path: Path) -> None:
    """Wait until this process sees a file that another one has made.

    Raises:
        BootlightError: it does not, after two minutes.
    """
    deadline = time.monotonic() + CACHE_SECONDS
    while not path.exists():
        if time.monotonic() >= deadline:
            raise BootlightError(
                f"{path} is not seen by rank {rank()}; put --bootstrap.run_dir where all nodes see the same files"
            )
        time.sleep(0.1)


def send_file(path: Path, *, keep: bool) -> None:
    """Bring a file of rank 0 to all ranks that have the same path on a disk of their own.

    Args:
        path: on rank 0 and, afterwards, on every rank that keeps it.
        keep: whether this rank writes it; one on each node.
    """
    if rank() == 0:
        for chunk in _read_chunks(path):
            agree(chunk)
        agree(b"")
    elif keep:
        with atomic_write(path) as file:
            while chunk := agree(b""):
                file.write(chunk)
    else:
        while agree(b""):
            pass


def _read_chunks(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
