"""Workers of a study: who runs what, when, how often; what a failure, a kill and a signal leave. `fit` is a stand-in."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from study_worker import main

from bootlight.errors import BootlightError
from bootlight.studies import worker as worker_module

WORKER = [sys.executable, str(Path(__file__).with_name("study_worker.py"))]
PATIENCE = 60


def write(folder: Path, arms: dict, **content) -> str:
    file = folder / "study.yaml"
    study = {"folder": str(folder / "runs"), "base": "base.yaml", "seeds": [0], "arms": arms, **content}
    (folder / "base.yaml").write_text("{}")
    file.write_text(yaml.safe_dump(study, sort_keys=False))
    return str(file)


def journal(folder: Path, what: str = "") -> list[tuple[str, int, str]]:
    """(arm, seed, begin or end) in order."""
    file = folder / "runs" / "journal.jsonl"
    rows = map(json.loads, file.read_text().splitlines()) if file.exists() else ()
    return [(row["arm"], row["seed"], row["what"]) for row in rows if row["what"].startswith(what)]


def begun(folder: Path) -> list[tuple[str, int]]:
    return [(arm, seed) for arm, seed, _ in journal(folder, "begin")]


def wait_for(condition) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """What `main` puts in the place of real runs is gone after each test."""
    for name in ("bootlight_command", "WAIT_SECONDS"):
        monkeypatch.setattr(worker_module, name, getattr(worker_module, name))


def test_every_run_once_teachers_first_and_nothing_twice(tmp_path, capfd):
    arms = {"student": {"teacher": "master"}, "plain": {}, "master": {}}
    file = write(tmp_path, arms, seeds=[3, 5], settings={"data.x": 1})
    assert main(file) == 0
    assert begun(tmp_path) == [(arm, seed) for seed in (3, 5) for arm in ("master", "student", "plain")]
    assert "6 of 6 runs are finished" in capfd.readouterr().out
    assert main(file) == 0
    assert len(begun(tmp_path)) == 6
    (tmp_path / "runs" / "plain" / "seed_5" / "gen_000" / "metrics.json").unlink()  # someone wants it measured again
    assert main(file) == 0
    assert begun(tmp_path)[6:] == [("plain", 5)]


def test_what_a_run_is_told(tmp_path):
    arms = {"student": {"teacher": "master", "settings": {"data.y": [1, 2], "data.z": None}}, "master": {"base": "other.yaml"}}
    (tmp_path / "other.yaml").write_text("{}")
    file = write(tmp_path, arms, seeds=[7], settings={"data.x": 0.5, "data.z": "a"}, group="ours", tags=["t"], name="s")
    assert main(file) == 0
    master, student = [
        json.loads(line) for line in (tmp_path / "runs" / "journal.jsonl").read_text().splitlines() if '"begin"' in line
    ]
    assert student["own_group"]  # Ctrl-C in a terminal goes to a whole group: the run is to hear of it once, from the worker
    assert student["args"][:3] == ["fit", "--config", str(tmp_path / "base.yaml")]
    assert master["args"][:3] == ["fit", "--config", str(tmp_path / "other.yaml")]
    folder = tmp_path / "runs"
    common = {"data.x": "0.5", "seed_everything": "7", "trainer.enable_progress_bar": "false"}
    assert master["settings"] == {**common, "data.z": "a", "bootstrap.run_dir": f"{folder}/master/seed_7"}
    taught = {"data.mixing.root": f"{folder}/master/seed_7@0", "bootstrap.run_dir": f"{folder}/student/seed_7"}
    assert student["settings"] == {**common, "data.z": "null", "data.y": "[1, 2]", **taught}
    assert (student["WANDB_RUN_GROUP"], student["WANDB_TAGS"], student["WANDB_NAME"]) == (
        *("ours", "t,student,seed 7"),
        "s student seed 7",
    )


def test_a_failure_is_recorded_others_go_on_and_students_wait(tmp_path, capfd):
    arms = {
        "student": {"teacher": "bad"},
        "pupil": {"teacher": "student"},
        "bad": {"settings": {"data.status": 3}},
        "good": {},
    }
    file = write(tmp_path, arms)
    assert main(file) == 1
    assert journal(tmp_path) == [("bad", 0, "begin"), ("bad", 0, "end 3"), ("good", 0, "begin"), ("good", 0, "end 0")]
    failure = json.loads((tmp_path / "runs" / "bad" / "seed_0.failed.json").read_text())
    assert failure["status"] == 3 and failure["last_line"] == "bootlight: this arm is told to fail"
    said = capfd.readouterr().out
    assert "1 of 4 runs are finished" in said and "bad seed 0: failed; see" in said
    assert "student seed 0: cannot begin, because bad seed 0 has failed" in said
    assert "pupil seed 0: cannot begin, because student seed 0 has failed" in said
    arms["bad"] = {"settings": {"data.status": 0}}
    with pytest.raises(BootlightError, match=r"has runs of bad with another data\.status \(3 -> 0\); give this study its own"):
        main(write(tmp_path, arms))


def test_a_failed_run_is_tried_again_by_the_same_command(tmp_path):
    file = write(tmp_path, {"student": {"teacher": "master"}, "master": {"settings": {"data.fail_once": True}}})
    assert main(file) == 1
    assert main(file) == 0
    assert begun(tmp_path) == [("master", 0), ("master", 0), ("student", 0)]
    assert not (tmp_path / "runs" / "master" / "seed_0.failed.json").exists()


def test_workers_share_the_runs_and_a_student_waits_for_the_teacher_of_another_worker(tmp_path):
    arms = {"a": {}, "b": {"teacher": "a"}, "c": {}, "d": {"teacher": "c"}}
    file = write(tmp_path, arms, seeds=[0, 1], settings={"data.wait": 0.3})
    workers = [subprocess.Popen([*WORKER, file], stdout=subprocess.PIPE) for _ in range(3)]
    assert [worker.wait(PATIENCE) for worker in workers] == [0, 0, 0]
    assert sorted(begun(tmp_path)) == [(arm, seed) for arm in "abcd" for seed in (0, 1)]
    rows = journal(tmp_path)
    for teacher, student in (("a", "b"), ("c", "d")):
        for seed in (0, 1):
            assert rows.index((teacher, seed, "end 0")) < rows.index((student, seed, "begin"))
    running = most = 0
    for *_, what in rows:
        running += 1 if what == "begin" else -1
        most = max(most, running)
    assert most > 1  # at the same time
    for worker in workers:
        worker.stdout.close()


def test_a_killed_worker_loses_nothing_and_its_orphan_is_waited_for_by_nobody_who_would_disturb_it(tmp_path):
    file = write(tmp_path, {"slow": {"settings": {"data.wait": 1.5}}, "next": {}})
    with subprocess.Popen([*WORKER, file], stdout=subprocess.DEVNULL) as killed:
        wait_for(lambda: begun(tmp_path))
        killed.kill()
    # The run itself lives on and holds the lock of its folder: another worker leaves it alone.
    assert main(file) == 0
    assert begun(tmp_path) == [("slow", 0), ("next", 0)]
    wait_for(lambda: ("slow", 0, "end 0") in journal(tmp_path))
    assert main(file) == 0
    assert len(begun(tmp_path)) == 2


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)])
def test_a_signal_reaches_the_run_and_stops_the_study(tmp_path, number, status):
    file = write(tmp_path, {"slow": {"settings": {"data.wait": 30}}, "next": {}})
    with subprocess.Popen([*WORKER, file], stdout=subprocess.DEVNULL, start_new_session=True) as worker:
        wait_for(lambda: (tmp_path / "runs" / "slow" / "seed_0" / "gen_000" / "samples").exists())
        # Ctrl-C is sent to the whole foreground group, other signals to the worker alone: the run hears of each once.
        os.killpg(worker.pid, number) if number == signal.SIGINT else worker.send_signal(number)
        assert worker.wait(PATIENCE) == status
    assert journal(tmp_path) == [("slow", 0, "begin"), ("slow", 0, "asked"), ("slow", 0, f"end {status}")]
    assert not list((tmp_path / "runs").rglob("*.failed.json"))  # stopped is not failed


@pytest.mark.parametrize(("handler", "wait", "status"), [(signal.SIG_IGN, 1, 0), (signal.SIG_DFL, 30, 75)])
def test_a_terminal_that_closes_ends_a_worker_unless_nohup_began_it(tmp_path, handler, wait, status):
    file = write(tmp_path, {"slow": {"settings": {"data.wait": wait}}})
    before = signal.signal(signal.SIGHUP, handler)  # what is ignored is inherited
    with subprocess.Popen([*WORKER, file], stdout=subprocess.DEVNULL) as worker:
        signal.signal(signal.SIGHUP, before)
        wait_for(lambda: (tmp_path / "runs" / "slow" / "seed_0" / "gen_000" / "samples").exists())
        worker.send_signal(signal.SIGHUP)
        assert worker.wait(PATIENCE) == status


def test_other_contents_of_a_base_file_are_other_settings(tmp_path):
    file = write(tmp_path, {"a": {}}, seeds=[0])
    base = tmp_path / "base.yaml"

    def begin(text: str, **content: object) -> int:
        write(tmp_path, {"a": {}}, **content)
        base.write_text(text)
        return main(file)

    first = "data: {class_path: bootlight.BootstrapData, init_args: {batch_size: 8, num_workers: 0}}\n"
    assert begin(first) == 0
    free = "# laid out otherwise, and with what may change\ndata:\n  class_path: bootlight.BootstrapData\n"
    assert begin(free + "  init_args: {num_workers: 2, batch_size: 8}\ntrainer: {devices: 1}\n", seeds=[0, 1]) == 0
    with pytest.raises(BootlightError, match=r"has runs of a made with other settings in .*base\.yaml; give this study its"):
        begin(first.replace("8", "16"), seeds=[0, 1, 2])
    assert begun(tmp_path) == [("a", 0), ("a", 1)]


def test_workers_write_the_record_one_after_the_other(tmp_path, monkeypatch):
    from bootlight.io import lock

    tried = []
    answers = iter([False, False, True])
    monkeypatch.setattr(lock, "try_lock", lambda descriptor: tried.append(descriptor) or next(answers))
    with lock.alone(tmp_path / "folder" / ".lock"):
        assert len(tried) == 3


def test_a_signal_while_the_run_is_still_starting_is_no_failure(tmp_path):
    file = write(tmp_path, {"slow": {"settings": {"data.deaf": 30}}})
    with subprocess.Popen([*WORKER, file], stdout=subprocess.DEVNULL) as worker:
        wait_for(lambda: begun(tmp_path))
        worker.terminate()
        assert worker.wait(PATIENCE) == 75
    assert not list((tmp_path / "runs").rglob("*.failed.json"))


def test_a_run_that_stops_by_itself_stops_the_worker(tmp_path):
    assert main(write(tmp_path, {"short": {"settings": {"data.status": 75}}, "next": {}})) == 75
    assert begun(tmp_path) == [("short", 0)]


def test_the_record_is_what_the_reports_read(tmp_path):
    from bootlight.studies.record import read_record

    claims = [{"text": "b is better", "score": "kid", "higher": "a", "lower": "b"}]
    arms = {"b": {"teacher": "a", "label": "B"}, "a": {"settings": {"data.y": 2}}}
    file = write(tmp_path, arms, settings={"data.x": 1}, baseline="a", claims=claims, layout="gan", seeds=[4, 2])
    assert main(file) == 0
    record = read_record(tmp_path / "runs")
    assert [arm.name for arm in record.arms] == ["b", "a"] and record.label("b") == "B"  # in the order of the file
    assert record.arms[1].settings == {"data.x": 1, "data.y": 2} and record.arms[0].teacher == "a"
    assert (record.layout, record.baseline, record.seeds, record.comparisons) == ("gan", "a", (4, 2), (("a", "b"),))
    assert record.claims[0].text == "b is better" and record.command == "bootlight study"
    # Another arm and another seed join; what may change between starts of a run may change here.
    assert main(write(tmp_path, {**arms, "c": {}}, settings={"data.x": 1, "data.root": "elsewhere"}, seeds=[9])) == 0
    assert [arm.name for arm in read_record(tmp_path / "runs").arms] == ["b", "a", "c"]
    assert read_record(tmp_path / "runs").seeds == (9, 4, 2)
    assert read_record(tmp_path / "runs").command == "bootlight study --seeds 9 4 2"  # which runs all of it
    with pytest.raises(BootlightError, match=r"holds the study study; give this one its own folder"):
        main(write(tmp_path, arms, name="another"))
