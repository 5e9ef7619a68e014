"""Two nodes, with one run folder or with one each; in network namespaces where this machine has them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from programs import BIN, Program
from ranks import DCGAN, DDPM, SLOWLY, Ranks, calm, free_port, in_group_of_two, results, settings, wait_until
from raw_files import state_of_training

from bootlight.bootstrap.train import checkpoint_for_all
from bootlight.errors import BootlightError
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import RunFolder


def without_scores(found: dict[str, str]) -> dict[str, str]:
    """What every node keeps; only rank 0 evaluates."""
    return {name: value for name, value in found.items() if not name.endswith("metrics.json")}


def test_each_node_ends_with_a_complete_copy(tmp_path):
    runs = [tmp_path / "0", tmp_path / "1"]
    ranks = Ranks([*DCGAN, *settings()], runs)
    assert ranks.wait() == [0, 0], ranks.said()
    assert results(runs[0]) == calm("dcgan")
    assert results(runs[1]) == without_scores(calm("dcgan"))
    assert len(list(runs[1].glob("gen_*/samples/*/*.png"))) == 40


def tear(runs: list[Path]) -> list[Path]:
    """A checkpoint on node 1 that differs from that of node 0, and cannot be read."""
    for file in runs[1].glob("gen_*/checkpoints/*.ckpt"):
        file.write_bytes(b"torn")
    folder = RunFolder(runs[1]).generation(1).checkpoints
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "last.ckpt").write_bytes(b"another")
    return runs


def wipe(runs: list[Path]) -> list[Path]:
    """Node 1 was replaced by a machine with an empty disk."""
    shutil.rmtree(runs[1])
    return runs


def swap(runs: list[Path]) -> list[Path]:
    """The scheduler names the nodes in another order: rank 0 finds no checkpoints and no scores."""
    return runs[::-1]


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "where, change",
    [
        ("training", tear),
        pytest.param("synthesis", wipe, marks=SLOW),
        pytest.param("training", swap, marks=SLOW),
        pytest.param("training", list, marks=SLOW),
        pytest.param("training", wipe, marks=SLOW),
        pytest.param("synthesis", list, marks=SLOW),
        pytest.param("synthesis", tear, marks=SLOW),
        pytest.param("synthesis", swap, marks=SLOW),
    ],
)
def test_killed_and_continued_the_copies_are_exact(tmp_path, where, change):
    runs = [tmp_path / "0", tmp_path / "1"]
    folder = RunFolder(runs[0]).generation(1)
    args = [*DDPM, *settings()]
    first = Ranks([*args, SLOWLY], runs)
    there = folder.checkpoints / "last.ckpt" if where == "training" else folder.sample_file(2)
    assert wait_until(there.exists), first.said()
    first.kill()
    assert not folder.metadata.exists()
    runs = change(runs)
    second = Ranks(args, runs)
    assert second.wait() == [0, 0], second.said()
    assert results(runs[0]) == calm("ddpm")
    assert without_scores(results(runs[1])) == without_scores(calm("ddpm"))


class Started:
    """As much of a trainer as is asked here."""

    local_rank = 0


def checkpoint(rank: int, runs: list[Path]) -> Path | None:
    return checkpoint_for_all(GenerationContext(RunFolder(runs[rank]), 0, 0, shared=True), Started())


def test_ranks_that_see_different_checkpoints_stop(tmp_path):
    import torch

    runs = [tmp_path / "0", tmp_path / "1"]
    for number, run in enumerate(runs):
        folder = RunFolder(run).generation(0).checkpoints
        folder.mkdir(parents=True)
        torch.save(state_of_training(number), folder / "last.ckpt")
    for error in in_group_of_two(checkpoint, tmp_path, runs):
        assert isinstance(error, BootlightError)
        assert str(error).startswith("checkpoint last.ckpt differs between processes: ")
        assert "on rank 1; put --bootstrap.run_dir where all nodes see the same files" in str(error)


# Real launchers on two nodes


def torchrun(args: list[str], run: Path, node: int, port: int, address: str = "127.0.0.1") -> list[str]:
    launch = ["torchrun", "--nnodes=2", "--nproc-per-node=1", f"--node-rank={node}", "--rdzv-backend=static"]
    launch += [f"--master-addr={address}", f"--master-port={port}", str(BIN / "bootlight"), "fit", *args]
    return [*launch, "--trainer.devices=1", "--trainer.num_nodes=2", f"--bootstrap.run_dir={run}"]


def both(args: list[str], runs: list[Path], tmp_path: Path) -> list[Program]:
    port = free_port()
    return [Program(torchrun(args, runs[node], node, port), tmp_path / f"{node}.log") for node in range(2)]


def end(programs: list[Program]) -> list[int]:
    return [program.wait() for program in programs]


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_torchrun_on_two_nodes_killed_and_continued(tmp_path, shared):
    runs = [tmp_path / "0", tmp_path / ("0" if shared else "1")]
    args = [*DDPM, *settings(), SLOWLY]
    first, second = (RunFolder(runs[1]).generation(generation) for generation in range(2))
    for moment in (first.checkpoints / "last.ckpt" if shared else first.model_config, second.sample_file(2)):
        programs = both(args, runs, tmp_path)
        assert wait_until(moment.exists), programs[1].said()
        for program in programs:
            program.kill()
    programs = both(args, runs, tmp_path)
    assert end(programs) == [0, 0], programs[0].said() + programs[1].said()
    assert results(runs[0]) == calm("ddpm")
    assert without_scores(results(runs[1])) == without_scores(calm("ddpm"))


@pytest.fixture
def two_networks():
    """Two network namespaces with a cable between them: names, addresses, device."""
    names, cable = [f"bootlight{os.getpid()}-{node}" for node in range(2)], [f"bl{os.getpid()}{node}" for node in range(2)]
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need root and the program ip")
    commands = [f"ip netns add {name}" for name in names] + [f"ip link add {cable[0]} type veth peer name {cable[1]}"]
    for node, (name, device) in enumerate(zip(names, cable, strict=True)):
        commands += [f"ip link set {device} netns {name}", f"ip -n {name} link set {device} name cable"]
        commands += [f"ip -n {name} addr add 10.77.0.{node + 1}/24 dev cable"]
        commands += [f"ip -n {name} link set {device} up" for device in ("cable", "lo")]
    try:
        for command in commands:
            made = subprocess.run(command.split(), capture_output=True, text=True)
            if made.returncode != 0:
                pytest.skip(f"{command}: {made.stderr.strip()}")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


@pytest.mark.slow
def test_two_machines_with_a_cable_between_them(tmp_path, two_networks):
    runs, args = [tmp_path / "0", tmp_path / "1"], [*DCGAN, *settings(), SLOWLY]
    args += ["--trainer.strategy=ddp_find_unused_parameters_true"]

    def start() -> list[Program]:
        programs = []
        for node, name in enumerate(two_networks):
            command = torchrun(args, runs[node], node, 29400, "10.77.0.1")
            command = ["ip", "netns", "exec", name, str(BIN / command[0]), *command[1:]]
            programs.append(Program(command, tmp_path / f"{node}.log", GLOO_SOCKET_IFNAME="cable"))
        return programs

    programs = start()
    assert wait_until((RunFolder(runs[1]).generation(0).path / "model.json").exists), programs[0].said() + programs[1].said()
    programs[1].kill()  # one machine loses power; its network says so
    assert programs[0].wait() != 0  # the other one does not hang
    programs = start()
    assert end(programs) == [0, 0], programs[0].said() + programs[1].said()
    assert results(runs[0]) == calm("dcgan")
    assert results(runs[1]) == without_scores(calm("dcgan"))


@pytest.mark.slow
def test_the_launcher_of_lightning_on_each_node(tmp_path):
    run, port = tmp_path / "run", str(free_port())
    args = [*DDPM, *settings(), SLOWLY, "--trainer.devices=1", "--trainer.num_nodes=2", f"--bootstrap.run_dir={run}"]

    def start() -> list[Program]:
        env = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        return [Program(["bootlight", "fit", *args], tmp_path / f"{n}.log", NODE_RANK=str(n), **env) for n in range(2)]

    programs = start()
    assert wait_until((RunFolder(run).generation(1).checkpoints / "last.ckpt").exists), programs[0].said()
    programs[1].process.terminate()  # one node is asked, both stop
    assert end(programs) == [75, 0], programs[0].said() + programs[1].said()
    assert "stopped by SIGTERM" in programs[0].said()
    programs = start()
    assert end(programs) == [0, 0], programs[0].said() + programs[1].said()
    assert results(run) == calm("ddpm")
