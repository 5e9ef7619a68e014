"""`bootlight doctor`: the verb, versions of packages, folders, weights, W&B. See test_doctor_machine.py for the hardware."""

import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from email.message import Message
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from machine_facts import FACTS, GIB, TORCH, Usage, only

from bootlight.cli import doctor as verb
from bootlight.data.datamodule import BootstrapData
from bootlight.doctor import examine as examine_module
from bootlight.doctor import folders, hardware, packages, processes, tracker
from bootlight.doctor.finding import Finding, guarded
from bootlight.metrics.features import inception_weights

# The verb


def findings_are(monkeypatch, *findings):
    monkeypatch.setattr(examine_module, "examine", lambda *args: iter(findings))


def test_lines_and_status_without_a_problem(bootlight, monkeypatch, capsys):
    findings_are(monkeypatch, Finding("torch", "ok", "2.15.0"), Finding("GPU", "note", "none", "buy one"))
    bootlight("doctor")
    assert capsys.readouterr().out.splitlines() == [
        "✓ ok      torch             2.15.0",
        "! note    GPU               none",
        "                            -> buy one",
        "no problems, 1 note",
    ]


def test_a_problem_is_marked_and_is_the_exit_status(bootlight, monkeypatch, capsys):
    findings_are(monkeypatch, Finding("a", "problem", "bad", "mend"), Finding("b", "problem", "bad", "mend"))
    with pytest.raises(SystemExit) as stop:
        bootlight("doctor")
    assert stop.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "✗ problem a                 bad" and lines[-1] == "2 problems, no notes"


def test_json_has_the_same_findings_and_status(bootlight, monkeypatch, capsys):
    findings_are(monkeypatch, Finding("a", "problem", "bad", "mend"), Finding("b", "ok", "good"))
    with pytest.raises(SystemExit) as stop:
        bootlight("doctor", "--json")
    assert stop.value.code == 1
    assert json.loads(capsys.readouterr().out) == {
        "problems": 1,
        "findings": [
            {"check": "a", "status": "problem", "found": "bad", "cure": "mend"},
            {"check": "b", "status": "ok", "found": "good", "cure": ""},
        ],
    }


def test_a_terminal_without_the_marks_gets_the_words(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    verb.say(verb.line(Finding("a", "problem", "bad", "mend")))
    sys.stdout.seek(0)
    assert sys.stdout.read().startswith("? problem a")


def test_a_reader_that_leaves_ends_it_quietly():
    code = (
        "import bootlight.doctor.examine as e, bootlight.cli.doctor as v\n"
        "from bootlight.doctor.finding import Finding\n"
        "from bootlight.terminal import open_streams\n"
        "open_streams()\n"
        "e.examine = lambda *args: iter([Finding('a', 'ok', 'x')] * 20_000 + [Finding('a', 'problem', 'bad', 'mend')])\n"
        "v.main([])"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline().endswith(b" ok      a                 x\n")
    process.stdout.close()  # 20,000 lines of 31 bytes do not fit into the 64 KiB of a pipe
    assert (process.wait(timeout=20), process.stderr.read()) == (141, b"")
    process.stderr.close()


def test_options_reach_the_checks(bootlight, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(examine_module, "examine", lambda *args: seen.append(args) or iter(()))
    bootlight("doctor")
    bootlight("doctor", "--run-dir", "r", "--cache", "c", "--weights", "w")
    assert seen == [(Path("runs"), None, None), (Path("r"), Path("c"), Path("w"))]


def run_apart(facts, setup, *args):
    """The verb in a process of its own, with these answers of torch."""
    code = (
        f"import sys; {setup}\n"
        "import bootlight.doctor.examine as e, bootlight.cli.doctor as v\n"
        f"e.ask_torch = lambda: {facts!r}\n"
        "try:\n    v.main(sys.argv[1:])\nfinally:\n"
        "    print('heavy:', sorted({'torch', 'torchvision', 'lightning', 'wandb', 'numpy'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    return subprocess.run([sys.executable, "-c", code, *args], capture_output=True, encoding="utf-8", env=environment)


@pytest.mark.parametrize("args", [["--help"], []])
def test_neither_help_nor_the_checks_import_torch_or_lightning(args):
    # lightning: a refused version attacks when imported; torch: a broken build may end the process
    done = run_apart(FACTS, "", *args)
    assert "heavy: []" in done.stdout, done.stderr


def test_small_packages_that_are_missing_are_findings_too():
    done = run_apart(FACTS, "sys.modules.update(packaging=None, tqdm=None)")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    for name, missing in (("packages", "packaging"), ("torchvision pair", "packaging"), ("FID weights", "tqdm")):
        (line,) = (line for line in done.stdout.splitlines() if line.startswith(f"✗ problem {name:18}"))
        assert "the check failed: ModuleNotFoundError" in line and missing in line
    assert "no problems" not in done.stdout and "precision" in done.stdout


def test_a_check_that_raises_is_a_problem_and_the_others_go_on(monkeypatch, tmp_path):
    def fails(*args):
        raise OSError("two\n words")

    assert next(guarded("x", fails))[:3] == ("x", "problem", "the check failed: OSError: two words")
    monkeypatch.setattr(examine_module, "ask_torch", lambda: FACTS)
    names = []
    for module, name in (
        (packages, "versions"), (packages, "torchvision_matches"), (hardware, "cpu"), (hardware, "gpus"),
        (hardware, "precision"), (processes, "back_ends"), (processes, "launcher"), (processes, "shared_memory"),
        (folders, "run_folder"), (folders, "locks"), (folders, "cache"), (folders, "temporary"), (folders, "weights"),
        (tracker, "wandb"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, fails)
        names.append(name)
    found = [*examine_module.examine(tmp_path, None, None)]
    assert [finding.status for finding in found] == ["problem"] * len(names)
    assert len({finding.check for finding in found}) == len(names)


def test_each_check_looks_at_its_own_place(monkeypatch):
    asked = {}
    for name in ("run_folder", "locks", "cache", "weights"):
        monkeypatch.setattr(folders, name, lambda *paths, name=name: asked.update({name: paths}) or [])
    monkeypatch.setattr(examine_module, "ask_torch", lambda: FACTS)
    for _ in examine_module.examine(Path("run"), Path("cache"), Path("file")):
        pass
    assert asked == {
        "run_folder": (Path("run"),),
        "locks": (Path("run"),),
        "cache": (Path("cache"),),
        "weights": (Path("file"),),
    }


def test_every_finding_of_this_machine_has_a_cure_or_needs_none(monkeypatch, tmp_path):
    monkeypatch.setattr(examine_module, "ask_torch", lambda: FACTS)
    for finding in examine_module.examine(tmp_path, None, None):
        assert (finding.cure == "") == (finding.status == "ok") and finding.found
    monkeypatch.setattr(examine_module, "ask_torch", lambda: {stage: {"error": "no torch"} for stage in FACTS})
    found = {finding.check: finding for finding in examine_module.examine(tmp_path, None, None)}
    assert found["torch import"].status == "problem" and found["torch import"].found == "no torch"
    for check in ("CPU", "GPU", "precision", "back ends"):  # one cause, one problem
        assert found[check].status == "note" and "not tested" in found[check].found


# Versions


@pytest.fixture
def installed(monkeypatch):
    """Pretends that bootlight asks for `needs` and that `versions` are installed."""

    def pretend(needs, **versions):
        def version(name):
            found = versions.get(name, PackageNotFoundError(name))
            if isinstance(found, Exception):
                raise found
            return found

        message = Message()
        message["Requires-Python"] = ">=3.11"
        monkeypatch.setattr(packages, "requires", lambda name: needs if name == "bootlight" else versions.get(f"{name}_needs"))
        monkeypatch.setattr(packages, "version", version)
        monkeypatch.setattr(packages, "metadata", lambda name: message)
        return {finding.check: finding for finding in packages.versions()}

    return pretend


LIGHTNING = "lightning>=2.6.4,<3,!=2.6.2,!=2.6.3"


@pytest.mark.parametrize(
    ("needs", "here", "status"),
    [
        ("torch>=2.6", "2.6", "ok"),
        ("torch>=2.6", "2.6.0+cu124", "ok"),
        ("torch>=2.6", "2.16.0.dev20261101", "ok"),
        ("torch>=2.6", "2.5.1", "problem"),
        ("torch>=2.6", "2.6.0a0", "problem"),
        ("torch>=2.6", "2.10", "ok"),  # not as text
        ("jsonargparse[signatures]>=4.53,<5", "4.99", "ok"),
        ("jsonargparse[signatures]>=4.53,<5", "5.0.0", "problem"),
        (LIGHTNING, "2.6.4", "ok"),
        (LIGHTNING, "2.6.1", "problem"),
        (LIGHTNING, "3.0.0", "problem"),
        (LIGHTNING, "2.6.2", "problem"),
        (LIGHTNING, "2.6.3", "problem"),
        ('wandb>=0.31; extra == "wandb"', "0.30", "problem"),
    ],
)
def test_a_version_against_what_is_asked_for(installed, needs, here, status):
    name = packages.Requirement(needs).name
    finding = only([installed([needs], bootlight="0.1.0", **{name: here})[name]])
    assert finding.status == status and finding.found.startswith(here)
    malicious = here in ("2.6.2", "2.6.3")
    assert ("IS MALICIOUS" in finding.found) == ("change every password" in finding.cure) == malicious
    assert ("GHSA-w37p-236h-pfx3" in finding.found) == malicious
    if status == "problem" and not malicious:
        assert finding.cure == f"pip install '{name}{packages.Requirement(needs).specifier}'"


def test_missing_packages(installed):
    needs = ["torch>=2.6", 'wandb>=0.31; extra == "wandb"', 'pytest>=8; extra == "dev"', 'old>=1; python_version < "3"']
    found = installed(needs, bootlight="0.1.0")
    assert set(found) == {"bootlight", "python", "torch", "wandb"}
    assert only([found["torch"]])[1:] == ("problem", "not installed; needs >=2.6", "pip install 'torch>=2.6'")
    assert only([found["wandb"]])[1:] == (
        "note", "not installed, optional; needs >=0.31", "pip install 'wandb>=0.31', or do without",
    )  # fmt: skip


@pytest.mark.parametrize("version", ["unknown", None, OSError("damaged")])  # None: metadata that lacks it
def test_a_version_that_is_none_spoils_no_other_line(installed, version):
    found = installed(["torch>=2.6", "numpy>=1.26"], bootlight="0.1.0", torch=version, numpy="2.0")
    assert found["torch"].status == "problem" and found["numpy"].status == "ok"


def test_without_bootlight_installed_there_is_nothing_to_compare_with(installed):
    found = installed(["torch>=2.6"], torch="2.6")
    assert list(found) == ["bootlight"] and only(found.values()).status == "problem"


@pytest.mark.parametrize(("here", "status"), [("3.10.14", "problem"), ("3.11.0", "ok"), ("3.15.0a1", "ok")])
def test_python(installed, monkeypatch, here, status):
    monkeypatch.setattr(packages.platform, "python_version", lambda: here)
    finding = only([installed([], bootlight="0.1.0")["python"]])
    assert (finding.status, finding.found) == (status, f"{here}, needs >=3.11")


def test_the_floors_are_those_of_the_installed_package():
    found = {finding.check: finding for finding in packages.versions()}
    for name in ("torch", "torchvision", "lightning", "torchmetrics", "torch-fidelity", "jsonargparse", "safetensors", "wandb"):
        assert found[name].status == "ok"  # the tests run with them
    assert "pytest" not in found


# torchvision


@pytest.mark.parametrize(
    ("needs", "torch", "torchvision", "status", "said"),
    [
        ("torch (>=2.14.0)", {}, {}, "ok", "torch 2.15.0+cu132 for CUDA 13.2, torchvision 0.29.2+cu132 for CUDA 13.2"),
        ("torch==2.15.0", {}, {}, "ok", "for CUDA 13.2"),  # a local version such as +cu132 does not count
        ("torch==2.14.0", {}, {}, "problem", "torchvision 0.29.2 is built for torch ==2.14.0, here is 2.15.0+cu132"),
        ("torch", {}, {"error": "RuntimeError: operator torchvision::nms does not exist"}, "problem", "nms does not exist"),
        ("torch", {}, {"cuda": -1}, "note", "torch 2.15.0+cu132 for CUDA 13.2, torchvision 0.29.2+cu132 for CPU only"),
        ("torch", {"cuda": None}, {"cuda": 12080}, "note", "for CPU only, torchvision 0.29.2+cu132 for CUDA 12.8"),
        ("torch", {"cuda": None}, {"cuda": None}, "ok", "for CPU only, torchvision 0.29.2+cu132 for CPU only"),
        ("torch", {"cuda": None, "hip": "6.4"}, {"cuda": None}, "ok", "for ROCm 6.4, torchvision 0.29.2+cu132 for CPU only"),
        ("torch", {"error": "ImportError: libcudart"}, {"error": "same"}, "problem", "ImportError: libcudart"),
    ],
)
def test_torchvision_must_be_built_for_this_torch(monkeypatch, needs, torch, torchvision, status, said):
    monkeypatch.setattr(packages, "requires", lambda name: ["numpy", needs, "gdown; extra == 'gdown'"])
    monkeypatch.setattr(packages, "version", lambda name: "0.29.2")
    facts = {"torch": {**TORCH, **torch}, "torchvision": {**FACTS["torchvision"], **torchvision}}
    finding = only(packages.torchvision_matches(facts))
    assert finding.status == status and finding.found.endswith(said)
    assert finding.check == ("torch import" if "error" in torch else "torchvision pair")


# Folders


@pytest.mark.parametrize("check", [folders.run_folder, folders.cache, folders.locks])
def test_a_good_folder_is_left_as_it_was(tmp_path, monkeypatch, check):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(100 * GIB, 0, 50 * GIB))
    assert only(check(tmp_path)).status == "ok"
    finding = only(check(tmp_path / "not" / "yet"))
    assert finding.status == "ok"
    assert ("(will be made)" in finding.found) == (check is not folders.locks)
    assert list(tmp_path.iterdir()) == []


def test_free_space_is_told_in_images_and_checkpoints(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 61_000_000_000))
    # 61e9 / 30,500 = 2,000,000; 61e9 / (16 * 31,307,398) = 121.8; 61e9 / 49,152 = 1,241,048; 61e9 / 2^30 = 56.8
    assert only(folders.run_folder(tmp_path)).found == (
        f"{tmp_path}, 56.8 GiB free: 2,000,000 PNGs of 128 x 128, or 120 checkpoints of 31 M parameters"
    )
    assert only(folders.cache(tmp_path)).found == f"{tmp_path}, 56.8 GiB free: 1,200,000 decoded images of 128 x 128"
    assert only(folders.temporary()).found == f"{tempfile.gettempdir()}, 56.8 GiB free"


@pytest.mark.parametrize(
    ("free", "status"),
    [(0, "problem"), (GIB // 4 - 1, "problem"), (GIB // 4, "note"), (10 * GIB - 1, "note"), (10 * GIB, "ok")],
)
def test_a_disk_that_is_nearly_full(tmp_path, monkeypatch, free, status):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**13, 0, free))
    for finding in (only(folders.run_folder(tmp_path)), only(folders.cache(tmp_path)), only(folders.temporary())):
        assert finding.status == status
        assert status == "ok" or "free space" in finding.cure
    assert folders.roughly(0) == "0"


def test_the_disk_that_counts_is_that_of_the_folder(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or Usage(0, 0, 50 * GIB))
    folders.run_folder(tmp_path / "new" / "run")
    assert asked == [tmp_path]


def test_folders_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    finding = only(folders.run_folder(tmp_path / "file" / "run"))  # below a file; holds for root too
    assert finding.status == "problem" and "bootstrap.run_dir" in finding.cure
    assert finding.found == f"{tmp_path}/file/run cannot be written: Not a directory"
    finding = only(folders.locks(tmp_path / "file" / "run"))  # says nothing about locks
    assert (finding.status, finding.found) == ("note", f"not tested, {tmp_path}/file cannot be written")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)  # made, but not written: as on a full disk
    finding = only(folders.cache(tmp_path))
    assert (
        finding.status == "problem"
        and finding.found.endswith(": No space left on device")
        and "BOOTLIGHT_CACHE" in finding.cure
    )
    assert [file.name for file in tmp_path.iterdir()] == ["file"]

    def read_only(*args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", read_only)
    finding = only(folders.temporary())
    assert finding.status == "problem" and "Read-only" in finding.found and "TMPDIR" in finding.cure


def test_locks_that_fail(tmp_path, monkeypatch):
    def refuse(file, operation):
        assert operation == fcntl.LOCK_EX | fcntl.LOCK_NB
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    finding = only(folders.locks(tmp_path))
    assert finding.status == "problem" and finding.found == f"{tmp_path}: No locks available"
    assert "bootstrap.run_dir" in finding.cure
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows
    finding = only(folders.locks(tmp_path))
    assert finding.status == "problem" and "WSL" in finding.cure


def test_the_cache_is_where_training_puts_it(monkeypatch, tmp_path):
    monkeypatch.setenv("BOOTLIGHT_CACHE", str(tmp_path / "here"))
    assert only(folders.cache(None)).found.startswith(f"{BootstrapData('x', 8, num_steps=1).cache} (will be made)")


# Weights


def test_the_weights_are_known_by_their_hash(tmp_path, monkeypatch):
    head, other = (hashlib.sha256(content).hexdigest()[:8] for content in (b"weights", b"torn"))
    default, mine = tmp_path / "default.pth", tmp_path / "mine.pth"
    monkeypatch.setattr(inception_weights, "INCEPTION_SHA256", head)
    monkeypatch.setattr(inception_weights, "DEFAULT_FILE", default)
    finding = only(folders.weights(None))
    assert finding[1:3] == ("note", f"{default} is not there") and "bootlight weights" in finding.cure  # FID is not asked for
    assert only(folders.weights(mine))[1:3] == ("problem", f"{mine} is not there")  # named, so wanted
    mine.write_bytes(b"weights")
    assert only(folders.weights(mine))[1:3] == ("ok", f"{mine}, SHA-256 {head}...")
    default.write_bytes(b"torn")
    finding = only(folders.weights(None))
    assert finding[1:3] == ("problem", f"{default}: SHA-256 begins with {other} instead of {head}")
    assert "bootlight weights" in finding.cure


# W&B


@pytest.fixture
def wandb_free(monkeypatch, tmp_path):
    """A user who has never used W&B."""
    for name in [name for name in os.environ if name.startswith("WANDB") or name == "NETRC"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("mode", "status", "said"),
    [
        (None, "note", "online, https://api.wandb.ai, not logged in"),
        ("", "note", "online, https://api.wandb.ai, not logged in"),
        ("run", "note", "not logged in"),
        ("offline", "ok", "offline: wandb sync uploads later"),
        ("dryrun", "ok", "offline: wandb sync uploads later"),
        ("disabled", "ok", "disabled"),
        ("onlin", "note", "mode 'onlin' is none"),
    ],
)
def test_mode_of_wandb(wandb_free, monkeypatch, mode, status, said):
    if mode is not None:
        monkeypatch.setenv("WANDB_MODE", mode)
    finding = only(tracker.wandb())
    assert finding.status == status and said in finding.found


def test_the_nearer_settings_file_wins_and_the_variable_before_both(wandb_free, monkeypatch):
    user, here = wandb_free / ".config" / "wandb" / "settings", wandb_free / "wandb" / "settings"
    for path, mode in ((user, "offline"), (here, "disabled")):
        path.parent.mkdir(parents=True)
        path.write_text(f"[default]\nmode = {mode}\nbase_url = https://wandb.example\n")
        assert only(tracker.wandb()).found.split(":")[0] == mode
    monkeypatch.setenv("WANDB_MODE", "online")
    assert "online, https://wandb.example" in only(tracker.wandb()).found
    here.write_text("no section = 1\n")  # damaged: says nothing
    monkeypatch.delenv("WANDB_MODE")
    assert only(tracker.wandb()).found.startswith("offline")


SECRET = "0123456789abcdef"


def test_where_the_key_comes_from_and_that_it_stays_secret(wandb_free, monkeypatch):
    def found():
        finding = only(tracker.wandb())
        assert SECRET not in str(finding)
        return finding

    file = wandb_free / ".netrc"
    file.write_text(f"machine api.github.com login user password {SECRET}\n")
    file.chmod(0o600)
    assert found().status == "note"  # a key, but of another server
    file.write_text(f"machine api.wandb.ai login user password {SECRET}\n")
    assert found()[1:3] == ("ok", f"online, https://api.wandb.ai, key from {file}")
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example:8080")
    assert found().status == "note"
    file.write_text(f"machine wandb.example:8080 login user password {SECRET}\n")
    assert found().status == "ok"
    file.rename(wandb_free / "elsewhere")
    assert found().status == "note"
    monkeypatch.setenv("NETRC", "~/elsewhere")
    assert found().status == "ok"
    (wandb_free / "elsewhere").write_text("nonsense\n")  # damaged
    assert found().status == "note"
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    assert found()[1:3] == ("ok", "online, https://wandb.example:8080, key from WANDB_API_KEY")


def test_without_wandb_the_packages_say_so(monkeypatch):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(tracker, "version", absent)
    assert tracker.wandb() == []
