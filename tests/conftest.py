"""What every test gets: one thread, seeded randomness, a home and a cache of its own, no network, nothing of this machine."""

import os
import signal
import warnings
from collections import defaultdict
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
GIB = 2**30
BEFORE = [0.0]  # seconds of the processor until the last report
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has it ignored by what it runs in the background


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seconds", action="store_true", help="print how long each file took, its child processes included")


def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: a worker for each core and each GiB of available memory (torch is in each); 0 = in this process."""
    from bootlight.doctor.hardware import cores_available  # after the environment is cleared

    try:
        memory = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        most = int(memory["MemAvailable"].split()[0]) * 1024 // GIB
    except OSError:  # not Linux
        most = 4
    workers = min(cores_available(), most)
    return workers if workers > 1 else 0


def processor_seconds(process: str = "self") -> float:
    """User and system, of a process, the children that it has waited for, and those that live; 0 where there is no /proc."""
    folder = Path("/proc", process)
    try:
        own = sum(map(int, (folder / "stat").read_text().rpartition(")")[2].split()[11:15])) / os.sysconf("SC_CLK_TCK")
        children = [child for file in folder.glob("task/*/children") for child in file.read_text().split()]
    except OSError:  # it has gone
        return 0.0
    return own + sum(map(processor_seconds, children))


def pytest_runtest_logstart() -> None:
    BEFORE[0] = processor_seconds()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    report = yield
    now = processor_seconds()
    report.processor_seconds, BEFORE[0] = now - BEFORE[0], now
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not config.getoption("seconds"):
        return
    files: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        if isinstance(report, pytest.TestReport):
            for name in (report.location[0], "all files"):
                files[name][0] += report.duration
                files[name][1] += getattr(report, "processor_seconds", 0.0)
    terminalreporter.section("seconds of each file: by the clock, of the processor")
    for name, (clock, processor) in sorted(files.items(), key=lambda entry: -entry[1][1]):
        terminalreporter.line(f"{clock:8.1f} {processor:8.1f}  {name}")


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


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of noise pictures of 8x8 in two classes, a and b; to be read only."""
    from tiny_runs import draw_pictures

    return draw_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of random weights for FID's Inception network; to be read only."""
    from random_inception import random_state

    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(random_state(), path)
    return path


@pytest.fixture(scope="module")
def network(weights: Path) -> torch.nn.Module:
    """FID's Inception network with those weights."""
    from bootlight.metrics.features.inception import InceptionFeatures

    return InceptionFeatures(str(weights), allow_other_weights=True)
