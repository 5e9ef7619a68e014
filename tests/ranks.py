"""Several processes on this machine: members of one gloo group, ranks of one run, and the runs that they do.

They are forked from a server that has imported everything once: a start costs a tenth of a second, not five.
"""

import atexit
import hashlib
import multiprocessing
import os
import pickle
import shutil
import socket
import sys
import tempfile
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from tiny_runs import DCGAN, draw_pictures
from tiny_runs import DDPM as WITHOUT_BLOCKS

DDPM = [*WITHOUT_BLOCKS, "--model.num_res_blocks=1"]
MODELS = {"ddpm": DDPM, "dcgan": DCGAN}
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["lightning.pytorch", "matplotlib.pyplot", "bootlight.cli.fit"])
PATIENCE = 300  # seconds for what takes a few on a quiet machine
SLOWLY = "--trainer.callbacks=ranks.Slowly"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(what: Callable[[], Any], seconds: float = PATIENCE) -> bool:
    """Whether it comes true in time; looked at a thousand times in a second, so that a moment of a run can be caught."""
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def in_group_of_two(function: Callable[..., Any], folder: Path, *args: Any) -> list[Any]:
    """What `function(rank, *args)` gives or raises on each of two connected processes."""
    members = [SERVER.Process(target=_member, args=(rank, folder, function, args), daemon=True) for rank in range(2)]
    for member in members:
        member.start()
    for member in members:
        member.join(PATIENCE)
        member.kill()
    return [pickle.loads((folder / f"result-{rank}").read_bytes()) for rank in range(2)]


def _member(rank: int, folder: Path, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "store"), 2)  # not by its address, in which a space has another meaning
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=PATIENCE))
    dist.barrier()  # a rank that leaves at once would tear the connection that the other is still making
    try:
        result = function(rank, *args)
    except BaseException as error:
        traceback.print_exc()
        result = error
    (folder / f"result-{rank}").write_bytes(pickle.dumps(result))
    with suppress(RuntimeError, ValueError):  # the other one has raised, or they have parted
        dist.barrier()  # nobody leaves before the other has read what it was sent


class Ranks:
    """The processes of one `bootlight fit`, as torchrun or SLURM would have started them.

    Args:
        args: of `bootlight fit`; run folder, devices and nodes are added.
        runs: the run folder of each node.
        per_node: processes of each node.
        own: further arguments of each rank.
        environment: gives that of a rank; torchrun's, if left out.
        also: variables for all.
    """

    def __init__(
        self,
        args: list[str],
        runs: list[Path],
        per_node: int = 1,
        own: tuple[list[str], ...] = (),
        environment: Callable[[int, int, int], dict[str, str]] | None = None,
        **also: str,
    ) -> None:
        size, port = len(runs) * per_node, free_port()
        if size > 1:
            args = [*args, "--trainer.strategy=ddp_find_unused_parameters_true"]
            args += [f"--trainer.devices={per_node}", f"--trainer.num_nodes={len(runs)}"]
        self.logs, self.processes = [], []
        for rank in range(size):
            node, local = divmod(rank, per_node)
            self.logs.append(runs[0].parent / f"{uuid.uuid4().hex}.log")
            arguments = [*args, f"--bootstrap.run_dir={runs[node]}", *(own[rank] if own else [])]
            variables = (environment or torchrun_environment(size, port))(rank, local, node)
            variables |= {"BOOTLIGHT_CACHE": str(runs[0].parent / "cache"), "OMP_NUM_THREADS": "1", **also}
            self.processes.append(SERVER.Process(target=_rank, args=(arguments, variables, self.logs[-1]), daemon=True))
            self.processes[-1].start()

    def wait(self) -> list[int | None]:
        """Exit statuses; None for one that had to be killed here."""
        for process in self.processes:
            process.join(PATIENCE)
        statuses = [process.exitcode for process in self.processes]
        self.kill()
        return statuses

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()

    def said(self) -> str:
        return "".join(log.read_text() for log in self.logs)


def torchrun_environment(size: int, port: int) -> Callable[[int, int, int], dict[str, str]]:
    """What torchrun tells the processes that it starts."""

    def environment(rank: int, local: int, node: int) -> dict[str, str]:
        values = {"RANK": rank, "LOCAL_RANK": local, "GROUP_RANK": node, "WORLD_SIZE": size, "MASTER_PORT": port}
        told = {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "test"}
        return {} if size == 1 else told | {name: str(value) for name, value in values.items()}

    return environment


def _rank(args: list[str], variables: dict[str, str], log: Path) -> None:
    import torch
    from tqdm import tqdm

    from bootlight.__main__ import main
    from bootlight.bootstrap import loop
    from bootlight.distributed import processes

    torch.set_num_threads(1)
    processes.PATIENCE_SECONDS = 0.5  # the disks of this machine show a file at once
    loop.write_strip = loop.write_report = lambda run: None  # half of a small run is matplotlib's
    tqdm.set_lock(threading.RLock())  # its own one is of the system, and would be left behind by a kill
    os.environ.update(variables)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.argv = ["bootlight", "fit", *args]
    main()


class Slowly(Callback):
    """Takes its time for each step and each batch of images, so that the moment to kill a run can be chosen from outside."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        sample = pl_module.sample

        def slow_sample(*args: Any, **options: Any) -> Any:
            time.sleep(0.1)
            return sample(*args, **options)

        pl_module.sample = slow_sample

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        time.sleep(0.1)


@cache
def pictures() -> Path:
    """24 noise pictures of 8x8 in two classes, for as long as the tests run."""
    top = Path(tempfile.mkdtemp(prefix="bootlight-"))
    atexit.register(shutil.rmtree, top, ignore_errors=True)
    return draw_pictures(top / "pictures")


def settings(**changes: object) -> list[str]:
    """Two generations with a judge and distances; each run has a folder of its own."""
    values = {
        "data": "bootlight.BootstrapData", "data.root": pictures(), "data.image_size": 8, "data.batch_size": 4,
        "data.num_steps": 12, "data.holdout_fraction": 0.25, "data.flip": "true", "bootstrap.num_generations": 2,
        "bootstrap.num_synthetic": 20, "bootstrap.checkpoint_every": 4, "synthesis.batch_size": 2, "synthesis.num_previews": 3,
        "evaluation.features": "bootlight.PixelFeatures", "evaluation.judge_steps": 3, "trainer.accelerator": "cpu",
        "trainer.enable_progress_bar": "false", "trainer.log_every_n_steps": 1,
    } | changes  # fmt: skip
    return [f"--{key}={value}" for key, value in values.items()]


@cache
def calm(name: str) -> dict[str, str]:
    """Results of two undisturbed processes, by model."""
    run = pictures().parent / name
    ranks = Ranks([*MODELS[name], *settings()], [run], per_node=2)
    assert ranks.wait() == [0, 0], ranks.said()
    assert len(results(run)) == 2 * (20 + 4)
    return results(run)


def results(run: Path) -> dict[str, str]:
    """SHA-256 of what a run is for: weights, images, manifests, scores."""
    wanted = ("model.safetensors", "samples/*/*.png", "samples/metadata.jsonl", "metrics.json", "previews.png")
    files = [file for pattern in wanted for file in run.glob(f"gen_*/{pattern}")]
    return {str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(files)}
