"""What processes agree on, between two that are really connected, and alone."""

import io
import os
import signal
import subprocess
import threading
import time
from contextlib import redirect_stdout
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only
from ranks import in_group_of_two

from bootlight.distributed import processes, stopping
from bootlight.distributed.processes import (
    agree,
    barrier,
    check_same,
    gather,
    in_group,
    leaving_together,
    send_file,
    take_from_rank_0,
    wait_for,
)
from bootlight.distributed.stopping import StopRequest, leave_if_asked, stop_request
from bootlight.errors import BootlightError


@pytest.mark.parametrize(
    ("said", "connected", "explained"),
    [
        ("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [::1]:9", True, True),
        ("NCCL communicator was aborted on rank 1.", True, True),
        ("Connection closed by peer", False, False),  # somebody else's, of a process that is alone
        ("mat1 and mat2 shapes cannot be multiplied", True, False),
    ],
)
def test_errors_of_a_training_that_tell_of_a_connection_are_one_line(monkeypatch, said, connected, explained):
    monkeypatch.setattr(processes, "in_group", lambda: connected)
    monkeypatch.setattr(processes, "rank", lambda: 1)
    kind, words = (BootlightError, "rank 1 has lost") if explained else (RuntimeError, "[a-z]")
    with pytest.raises(kind, match=words), processes.losses_explained():
        raise RuntimeError(said)


def agree_on_own(rank: int) -> object:
    return agree({"rank": rank, "text": "a" * (rank + 1)})


def test_all_agree_on_the_value_of_rank_0(tmp_path):
    assert in_group_of_two(agree_on_own, tmp_path) == [{"rank": 0, "text": "a"}] * 2


def gather_own(rank: int) -> object:
    return gather("x" * (1 + 1000 * rank)), processes.rank(), in_group()


def test_all_get_the_values_of_all_in_the_order_of_their_ranks(tmp_path):
    both = ["x", "x" * 1001]
    assert in_group_of_two(gather_own, tmp_path) == [(both, 0, True), (both, 1, True)]


def take(rank: int) -> object:
    tensors = [torch.arange(6.0).view(2, 3) + 10 * rank, torch.tensor(7 + rank), torch.empty(0)]
    take_from_rank_0(tensors)
    return [tensor.tolist() for tensor in tensors]


def test_tensors_become_those_of_rank_0(tmp_path):
    assert in_group_of_two(take, tmp_path) == [[[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]], 7, []]] * 2


def compare(rank: int, values: list) -> None:
    check_same("data.root", values[rank], "give all nodes the same images")


def test_a_value_that_differs_is_an_error_on_every_rank(tmp_path):
    (tmp_path / "same").mkdir()
    assert in_group_of_two(compare, tmp_path / "same", ["key", "key"]) == [None, None]
    errors = in_group_of_two(compare, tmp_path, ["one", "other"])
    message = "data.root differs between processes: one on rank 0, other on rank 1; give all nodes the same images"
    assert [(type(error), str(error)) for error in errors] == [(BootlightError, message)] * 2


def sees(rank: int, folders: list[Path], delay: float | None) -> object:
    processes.PATIENCE_SECONDS = 1.0
    if rank == 1 and delay is not None:
        threading.Thread(target=mirror, args=(*folders, delay), daemon=True).start()
    seen = processes.sees_folder_of_rank_0(folders[rank])
    barrier()
    return seen


def mirror(source: Path, target: Path, delay: float) -> None:
    """A network file system that shows a new file late."""
    while not (files := list(source.iterdir())):
        time.sleep(0.01)
    time.sleep(delay)
    for file in files:
        (target / file.name).touch()


@pytest.mark.parametrize("own, delay, shared", [(False, None, True), (True, None, False), (True, 0.3, True)])
def test_one_folder_is_told_from_one_for_each_node(tmp_path, own, delay, shared):
    folders = [tmp_path / "0", tmp_path / ("1" if own else "0")]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    assert in_group_of_two(sees, tmp_path, folders, delay) == [shared, shared]
    assert list(folders[0].iterdir()) == []


def send(rank: int, paths: list[Path], keep: bool) -> None:
    processes.CHUNK_BYTES = 10
    send_file(paths[rank], keep=keep)


@pytest.mark.parametrize("length", [0, 7, 30, 35])  # nothing, less than a chunk, whole chunks, a rest
@pytest.mark.parametrize("keep", [True, False])
def test_a_file_is_sent_in_chunks_to_the_ranks_that_keep_it(tmp_path, length, keep):
    paths = [tmp_path / str(rank) / "sub" / "file" for rank in range(2)]
    paths[0].parent.mkdir(parents=True)
    content = bytes(range(length))
    paths[0].write_bytes(content)
    assert in_group_of_two(send, tmp_path, paths, keep) == [None, None]
    assert paths[0].read_bytes() == content
    assert [file.name for file in paths[1].parent.glob("*")] == (["file"] if keep else [])
    assert not keep or paths[1].read_bytes() == content


def leave(rank: int, asked: list[int]) -> object:
    saved, printed, code = [], io.StringIO(), None
    with stop_request.listening(), redirect_stdout(printed):
        if rank in asked:
            os.kill(os.getpid(), (signal.SIGTERM, signal.SIGUSR1)[rank])
        try:
            leave_if_asked(lambda: saved.append(gather(rank)))  # a collective: all must save together
        except SystemExit as stop:
            code = stop.code
    return code, saved, printed.getvalue()


@pytest.mark.parametrize("asked, reason", [([0], "SIGTERM"), ([1], "SIGUSR1"), ([0, 1], "SIGTERM")])
def test_all_leave_when_one_is_asked(tmp_path, asked, reason):
    said = f"stopped by {reason}; run the same command again to continue\n"
    assert in_group_of_two(leave, tmp_path, asked) == [(75, [[0, 1]], said), (0, [[0, 1]], "")]


def test_nobody_leaves_unasked(tmp_path):
    assert in_group_of_two(leave, tmp_path, []) == [(None, [], "")] * 2


def be_late(rank: int) -> object:
    with stop_request.listening(1000.0 if rank == 0 else 0.0):
        leave_if_asked()


def test_all_leave_when_the_time_of_one_is_up(tmp_path):
    assert [stop.code for stop in in_group_of_two(be_late, tmp_path)] == [75, 0]


def lose(rank: int) -> None:
    if rank == 1:
        dist.destroy_process_group()
        raise KeyError("a fault of rank 1")
    gather("value")


def test_who_is_left_alone_says_so_in_one_line(tmp_path):
    left, fault = in_group_of_two(lose, tmp_path)
    assert isinstance(fault, KeyError) and isinstance(left, BootlightError)
    assert str(left).startswith("rank 0 has lost another process of the run (") and "\n" not in str(left)


def wait_long(rank: int) -> None:
    dist.distributed_c10d._set_pg_timeout(timedelta(seconds=0.2))
    if rank == 1:
        time.sleep(1)
    gather("value")


def part(rank: int, how: str) -> tuple[str, bool]:
    """How it ends, and whether the other is still connected."""
    ended = "finished"
    try:
        with leaving_together():
            if how == "stopped":
                raise SystemExit(75 if rank == 0 else 0)
            if how == "interrupted" or (how == "wrong" and rank == 1):
                raise {"wrong": BootlightError("wrong"), "interrupted": SystemExit(130)}[how]
    except (BootlightError, SystemExit) as error:
        ended = str(error)
    return ended, in_group()


@pytest.mark.parametrize(
    ("how", "ends"),
    [("finished", ["finished"] * 2), ("stopped", ["75", "0"]), ("interrupted", ["130"] * 2), ("wrong", ["lost", "wrong"])],
)
def test_processes_part_at_every_end(tmp_path, how, ends):
    found = in_group_of_two(part, tmp_path, how)
    assert [connected for _, connected in found] == [False, False]
    assert all(end in ended for end, (ended, _) in zip(ends, found, strict=True)), found


def test_who_waits_too_long_says_so(tmp_path):
    waited = in_group_of_two(wait_long, tmp_path)[0]
    assert isinstance(waited, BootlightError) and "Timed out waiting 200ms" in str(waited)


def test_a_process_that_is_alone_agrees_with_itself(tmp_path):
    tensor, file = torch.ones(3), tmp_path / "file"
    file.write_bytes(b"content")
    assert (in_group(), processes.rank(), agree("mine"), gather("mine")) == (False, 0, "mine", ["mine"])
    take_from_rank_0([tensor])
    barrier()
    check_same("what", object(), "nothing to cure")
    send_file(file, keep=True)
    assert processes.sees_folder_of_rank_0(tmp_path)
    assert tensor.tolist() == [1, 1, 1] and [path.name for path in tmp_path.iterdir()] == ["file"]
    assert leave(0, [])[0] is None
    assert leave(0, [0]) == (75, [[0]], "stopped by SIGTERM; run the same command again to continue\n")


def test_a_file_is_waited_for(tmp_path, monkeypatch):
    late = threading.Timer(0.2, (tmp_path / "late").touch)
    late.start()
    wait_for(tmp_path / "late")
    assert (tmp_path / "late").exists()
    monkeypatch.setattr(processes, "CACHE_SECONDS", 0.2)
    with pytest.raises(BootlightError, match=r"/never is not seen by rank 0; put --bootstrap\.run_dir where"):
        wait_for(tmp_path / "never")


def test_a_signal_is_passed_on_once(monkeypatch):
    started = [subprocess.Popen(["sleep", "60"]) for _ in range(2)]
    monkeypatch.setattr(processes, "_started", started[:1])
    request = StopRequest()
    request(signal.SIGUSR1, None)
    assert started[0].wait(10) == -signal.SIGUSR1 and request.reason == "SIGUSR1"
    monkeypatch.setattr(processes, "_started", started[1:])
    request(signal.SIGTERM, None)  # a second one: the others know already
    time.sleep(0.1)
    assert started[1].poll() is None
    started[1].kill()
    started[1].wait()


def test_the_first_ctrl_c_is_a_request_where_a_state_can_be_saved_and_the_second_is_not(monkeypatch, capfd):
    request, now = StopRequest(), [100.0]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now[0])
    with request.listening():
        assert signal.getsignal(signal.SIGINT) is request
        with pytest.raises(KeyboardInterrupt):  # nothing to save
            request(signal.SIGINT, None)
        with request.saving():
            request(signal.SIGINT, None)
            assert request.reason == "Ctrl-C" and request.made
            now[0] += 0.5
            request(signal.SIGINT, None)  # the same one, by way of a launcher
            now[0] += 1
            with pytest.raises(KeyboardInterrupt):
                request(signal.SIGINT, None)
            request._process = -1
            request(signal.SIGINT, None)  # a worker that was forked is not the one to decide
    assert capfd.readouterr().err.count("Ctrl-C again") == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as for a program that a script has put behind
    try:
        with StopRequest().listening():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.fixture
def _rank_zero(monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 0)  # a Trainer sets it


@pytest.mark.usefixtures("_rank_zero")
def test_a_strategy_that_starts_processes_for_fit_alone_is_refused():
    with pytest.raises(BootlightError, match=r"^trainer\.strategy: DDPStrategy starts its processes in fit; use ddp$"):
        processes.meet(Trainer(accelerator="cpu", devices=2, strategy="ddp_spawn", logger=False, barebones=True))


TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}
SLURM = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}


@pytest.mark.usefixtures("_rank_zero")
@pytest.mark.parametrize("environment", [TORCHRUN, SLURM], ids=["torchrun", "slurm"])
def test_processes_that_the_trainer_does_not_know_of_are_refused(monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    message = r"^trainer\.devices x trainer\.num_nodes is 1, but 2 processes were started; set the devices"
    with pytest.raises(BootlightError, match=message):
        processes.meet(Trainer(accelerator="cpu", devices=1, logger=False, barebones=True))


@pytest.mark.usefixtures("_rank_zero")
def test_devices_that_do_not_fit_a_node_are_refused(monkeypatch):
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BootlightError, match=r"^trainer\.devices, trainer\.num_nodes: .*--ntasks-per-node=1"):
        processes.meet(Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, barebones=True))
