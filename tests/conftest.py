"""What every test gets: one thread, seeded randomness, a home and a cache of its own, no network, nothing of this machine."""

import os
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

# What launchers and users tell their programs; inside a job of a cluster every trainer would take itself for one of its tasks.
TOLD = (
    *("SLURM_", "SRUN_", "SBATCH_", "TORCHELASTIC_", "OMPI_", "PMI_", "PMIX_", "MPI_", "LSB_", "JSM_", "XLA_", "KUBERNETES_"),
    *("BOOTLIGHT_", "WANDB_", "PL_", "TQDM_", "JSONARGPARSE_", "MASTER_", "LOCAL_", "GROUP_", "NODE_", "RANK", "WORLD_SIZE"),
    *("NCCL_", "GLOO_", "CUBLAS_WORKSPACE_CONFIG", "MPLBACKEND", "XDG_", "NETRC"),
)
for name in [name for name in os.environ if name.startswith(TOLD)]:
    del os.environ[name]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has it ignored by what it runs in the background


@pytest.fixture(autouse=True, scope="session")
def _cache_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["BOOTLIGHT_CACHE"] = str(tmp_path_factory.mktemp("cache"))  # for fixtures that several tests share


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("BOOTLIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # bitwise comparisons hold for equal numbers of threads only
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def bootlight(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Runs a verb in this process, in an empty folder, as the command line would."""
    monkeypatch.chdir(tmp_path)

    def run(verb: str, *args: str) -> None:
        from bootlight.__main__ import run_verb

        with warnings.catch_warnings():
            run_verb(verb, [str(arg) for arg in args])

    return run
