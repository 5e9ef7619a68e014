"""Under SLURM, as far as one machine can play it: its environment, its signals, and the batch script."""

import os
import random
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from programs import BIN
from ranks import DDPM, SLOWLY, Ranks, calm, results, settings, wait_until

from bootlight.runs.folder import RunFolder

SCRIPT = Path(__file__).parent.parent / "docs" / "slurm.sbatch"


def slurm(job: int):
    """The environment of each of two tasks on one node; SLURM_NTASKS tells Lightning that SLURM is there."""

    def environment(rank: int, local: int, node: int) -> dict[str, str]:
        values = {
            "NTASKS": 2, "NTASKS_PER_NODE": 2, "NNODES": 1, "PROCID": rank, "LOCALID": local, "NODEID": node, "JOB_ID": job,
            "JOB_NAME": "bootlight", "NODELIST": "127.0.0.1",
        }  # fmt: skip
        return {f"SLURM_{name}": str(value) for name, value in values.items()}

    return environment


def job_number() -> int:
    return random.randrange(1000, 9999)  # Lightning takes port 15000 + its last four digits


def has_no_lightning_checkpoint(run: Path) -> bool:
    return not any("hpc" in path.name for path in run.parent.rglob("*"))


@pytest.mark.parametrize("where", ["training", pytest.param("synthesis", marks=pytest.mark.slow)])
def test_the_signal_before_the_end_of_the_job_saves_and_the_next_job_continues(tmp_path, where):
    run, job = tmp_path / "run", slurm(job_number())
    folder = RunFolder(run).generation(1)
    there = folder.checkpoints / "last.ckpt" if where == "training" else folder.sample_file(2)
    args = [*DDPM, *settings(), SLOWLY]
    first = Ranks(args, [run], per_node=2, environment=job)
    assert wait_until(there.exists), first.said()
    for process in first.processes:
        os.kill(process.pid, signal.SIGUSR1)
    assert first.wait() == [75, 0], first.said()
    assert "stopped by SIGUSR1; run the same command again" in first.said() and "Traceback" not in first.said()
    assert not folder.metadata.exists() and has_no_lightning_checkpoint(run)
    second = Ranks(args, [run], per_node=2, environment=job)
    assert second.wait() == [0, 0], second.said()
    assert has_no_lightning_checkpoint(run) and results(run) == calm("ddpm")


# The batch script, with an srun and an scontrol that only write down how they were called


@pytest.fixture
def cluster(tmp_path):
    """Runs the batch script; gives its status and the calls of srun and scontrol."""
    programs = {
        "srun": 'touch "$CALLS/started"; while [ -e "$CALLS/hold" ]; do sleep 0.05; done; exit "$STATUS"',
        "scontrol": 'exit "$SCONTROL_STATUS"',
    }
    for name, body in programs.items():
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f'#!/bin/sh\nprintf "%s\\n" {name} "$@" > "$CALLS/{name}"\n{body}\n')
        file.chmod(0o755)

    def start(status: int, *args: str, scontrol: int = 0) -> subprocess.Popen:
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        told = {"SLURM_JOB_ID": "4711", "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "4", "SLURM_CPUS_PER_TASK": "8"}
        script = {"CALLS": str(tmp_path), "STATUS": str(status), "SCONTROL_STATUS": str(scontrol)}
        return subprocess.Popen(["bash", str(SCRIPT), *args], env={"PATH": path, **told, **script})

    return start


def called(folder: Path, program: str) -> list[str] | None:
    file = folder / program
    return file.read_text().splitlines() if file.exists() else None


@pytest.mark.parametrize("status", [0, 1, 2, 75, 130, 137, 143])
def test_the_script_queues_itself_again_after_75_and_only_then(cluster, tmp_path, status):
    assert cluster(status, "--config", "a b.yaml").wait(20) == status
    expected = ["scontrol", "requeue", "4711"] if status == 75 else None
    assert called(tmp_path, "scontrol") == expected
    srun = called(tmp_path, "srun")
    assert srun[1:4] == ["--kill-on-bad-exit=0", "--wait=600", "--cpus-per-task=8"]
    # What the job has comes last: a configuration has its own devices. DCGAN's may have its own strategy.
    assert srun[4:] == [
        *("bootlight", "fit", "--trainer.strategy=ddp", "--config", "a b.yaml"),
        *("--trainer.num_nodes=2", "--trainer.devices=4"),
    ]


def test_a_cancelled_job_is_not_queued_again(cluster, tmp_path):
    (tmp_path / "hold").touch()
    script = cluster(75)
    assert wait_until((tmp_path / "started").exists)
    script.send_signal(signal.SIGTERM)  # to the script; the tasks get it too, save, and end with 75
    (tmp_path / "hold").unlink()
    assert script.wait(20) == 143
    assert called(tmp_path, "scontrol") is None


def test_a_requeue_that_fails_does_not_hide_the_status(cluster):
    assert cluster(75, scontrol=1).wait(20) == 75


def test_the_settings_of_the_script_fit_together():
    given = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?$", SCRIPT.read_text(), re.MULTILINE))
    assert given["ntasks-per-node"] == given["gpus-per-node"]  # a task for each GPU
    assert given["signal"] == "USR1@120"  # to the tasks; after "B:" only the script would get it
    assert given["open-mode"] == "append" and "requeue" in given
    assert given["job-name"] not in ("bash", "interactive")  # by these names Lightning knows a shell


SRUN = """#!/bin/bash
# Two tasks; after the first checkpoint of a job they get the signal, as SLURM sends it before the time is up.
while [[ $1 == --* ]]; do shift; done
export SLURM_NTASKS=2 SLURM_NODEID=0 SLURM_JOB_NAME=bootlight SLURM_NODELIST=127.0.0.1
for rank in 0 1; do SLURM_PROCID=$rank SLURM_LOCALID=$rank "$@" & tasks+=($!); done
while [ ! -e "$UNTIL" ] && kill -0 "${tasks[0]}" 2> /dev/null; do sleep 0.05; done
kill -USR1 "${tasks[@]}" 2> /dev/null
highest=0
for task in "${tasks[@]}"; do wait "$task"; status=$?; [ $status -gt $highest ] && highest=$status; done
exit $highest
"""


@pytest.mark.slow
def test_the_script_brings_a_run_to_its_end_in_several_jobs(tmp_path):
    run, programs = tmp_path / "run", tmp_path / "bin"
    programs.mkdir()
    (programs / "srun").write_text(SRUN)
    (programs / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/requeued\n')
    for file in programs.iterdir():
        file.chmod(0o755)
    path = os.pathsep.join([str(programs), str(BIN), os.environ["PATH"]])
    told = {"SLURM_JOB_ID": str(job_number()), "SLURM_NNODES": "1", "SLURM_NTASKS_PER_NODE": "2"}
    tests = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    moments = [
        RunFolder(run).generation(0).checkpoints / "last.ckpt",
        RunFolder(run).generation(1).sample_file(2),
        run / "never",
    ]
    statuses = []
    for moment in moments:
        env = {**os.environ, **told, "PATH": path, "UNTIL": str(moment), "PYTHONPATH": tests}
        args = [*DDPM, *settings(), SLOWLY, f"--bootstrap.run_dir={run}"]
        statuses.append(subprocess.run(["bash", str(SCRIPT), *args], env=env, timeout=300).returncode)
    assert statuses == [75, 75, 0]
    assert (tmp_path / "requeued").read_text() == f"requeue {told['SLURM_JOB_ID']}\n" * 2
    assert results(run) == calm("ddpm")
    assert shutil.which("srun") != str(programs / "srun")
