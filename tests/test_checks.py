"""What is told before anything is trained or written, by `fit` and by `--plan` alike."""

import json
from functools import partial
from types import SimpleNamespace

import pytest
import torch._inductor.config
import yaml
from gaussian import Gaussian
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import DummyLogger
from test_bad_input import write_noise
from tiny_runs import write_plain_pages

from bootlight.bootstrap import trackers
from bootlight.bootstrap.checks import check_compiler, check_manual
from bootlight.compat import wandb_run
from bootlight.errors import BootlightError
from bootlight.io.atomic import read_json
from bootlight.runs.folder import RunFolder


class NeedsAPackage(Callback):
    def __init__(self) -> None:
        raise ModuleNotFoundError("no module named 'missing'")


class LoggerNeedsAPackage(DummyLogger):
    def __init__(self) -> None:
        raise ModuleNotFoundError("no module named 'missing'")


class Unreachable(DummyLogger):
    @property
    def experiment(self):
        raise ConnectionError("no route\nto host")


class Silent:
    """A logger that has no experiment."""


class Manual(Gaussian):
    """Steps its optimizers itself, of which it has none."""


@pytest.fixture
def command(bootlight, tmp_path):
    """Runs `fit` on 20 pictures of noise with settings and flags."""
    write_noise(tmp_path / "images", 20)

    def run(*arguments: str) -> None:
        bootlight(
            "fit", "--model=test_checks.Manual", "--data=bootlight.BootstrapData", "--data.root=images", "--data.image_size=8",
            "--data.batch_size=8", "--data.num_steps=2", "--bootstrap.run_dir=runs/new", "--bootstrap.num_generations=1",
            "--bootstrap.num_synthetic=8", "--evaluation.judge_steps=2", "--evaluation.judge_width=4",
            "--evaluation.features=bootlight.PixelFeatures", "--trainer.accelerator=cpu",
            "--trainer.enable_progress_bar=false", *arguments,
        )  # fmt: skip

    return run


def contents(folder):
    """Every file and its bytes."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*") if path.name != ".lock"}


WRONG = [
    (["--trainer.accumulate_grad_batches=2"], r"trainer\.accumulate_grad_batches has no meaning for Manual"),
    (["--trainer.gradient_clip_val=1"], r"trainer\.gradient_clip_val has no meaning for Manual"),
    (["--trainer.callbacks=EarlyStopping", "--trainer.callbacks.monitor=val_loss"], "EarlyStopping watches val_loss, which"),
    (["--trainer.logger=test_checks.Unreachable"], r"Unreachable cannot begin: ConnectionError: no route to host \("),
    (["--trainer.logger=true"], r"trainer\.logger is true, which names no logger"),
    (["--trainer.callbacks+=test_checks.NeedsAPackage"], r"trainer\.callbacks: NeedsAPackage needs a package: no module named"),
    (
        ["--trainer.logger+=CSVLogger", "--trainer.logger.save_dir=.", "--trainer.logger+=test_checks.LoggerNeedsAPackage"],
        r"trainer\.logger: LoggerNeedsAPackage needs a package: no module named 'missing'$",
    ),
    (["--evaluation.judge_batch_size=0"], r"judge_batch_size is 0"),
    (["--trainer.precision=bf16-true"], r"trainer\.precision is bf16-true"),
    (["--evaluation.max_real=3"], r"evaluation\.max_real is 3"),
    (["--evaluation.metrics=[fd, own_metrics.Gone]"], r"^evaluation\.metrics: own_metrics\.Gone"),
    (
        ["--evaluation.metrics=[own_metrics.Light]", "--evaluation.metrics+={init_args: {}}"],
        r"^evaluation\.metrics: .*class_path",
    ),
    (["--data.mixing=bootlight.FreshReal", "--data.mixing.num_parts=1", "--bootstrap.num_generations=2"], r"num_parts is 1"),
    (["--data.root=nowhere"], "nowhere"),
    (["--bootstrap.run_dir=images/00.png/run"], r"cannot make images/00\.png/run"),
    (
        ["--evaluation.features=bootlight.ClassifierFeatures", "--evaluation.features.name=x"],
        "ClassifierFeatures, but the real images have no labels",
    ),
]


@pytest.mark.parametrize("plan", [False, True], ids=["fit", "plan"])
@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[message[:24] for _, message in WRONG])
def test_fit_and_plan_refuse_in_one_line_and_leave_nothing_behind(command, tmp_path, arguments, message, plan):
    if plan and "Unreachable" in message:
        return  # a plan begins no logger
    with pytest.raises(BootlightError, match=message) as error:
        command(*arguments, *["--plan"] * plan)
    assert "\n" not in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name not in ("cache", "lightning_logs")) == ["images"]


@pytest.mark.parametrize("how", [[], ["--plan"], ["--smoke"]])
def test_a_compiler_that_is_needed_is_missed_before_anything_begins(command, tmp_path, how):
    with torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}):
        with pytest.raises(BootlightError, match=r"^bootstrap\.compile needs a C\+\+ compiler .*CXX"):
            command("--bootstrap.compile=true", *how)
        check_compiler(torch.device("cuda"))  # which has another one
    assert sorted(path.name for path in tmp_path.iterdir() if path.name not in ("cache", "lightning_logs")) == ["images"]


def test_a_refused_command_changes_no_file_of_a_run(command, tmp_path, capsys, monkeypatch):
    write_plain_pages(monkeypatch)
    own = {"class_path": "own_metrics.Light", "init_args": {"unit": 2.0}}
    command = partial(command, f"--evaluation.metrics={json.dumps(['fd', 'own_metrics.Gap', own])}")
    command("--bootstrap.num_generations=2", "--evaluation.judge_steps=0")
    run = tmp_path / "runs" / "new"
    scores = read_json(run / "gen_001" / "metrics.json")["scores"]
    assert {"fd-pixels/train", "gap/train", "light"} <= set(scores) and 0 < scores["light"]["value"] < 128
    assert yaml.safe_load((run / "config.yaml").read_text())["evaluation"]["metrics"] == ["fd", "own_metrics.Gap", own]
    before = contents(run)
    write_noise(tmp_path / "other", 20)
    (tmp_path / "other" / "00.png").unlink()
    write_noise(tmp_path / "moved", 20)
    no_judge = "--evaluation.judge_steps=0"
    for wrong in (
        [no_judge, "--data.root=other", "--bootstrap.num_generations=5"],
        [no_judge, "--data.root=nowhere", "--bootstrap.num_generations=1"],
        [no_judge, "--data.batch_size=4", "--bootstrap.num_generations=3"],
        [no_judge, "--trainer.logger=test_checks.Unreachable", "--bootstrap.num_generations=3"],
        [no_judge, "--data.batch_size=4", "--plan"],
    ):
        with pytest.raises(BootlightError):
            command(*wrong)
        assert contents(run) == before, wrong
    capsys.readouterr()
    command(no_judge, "--data.root=moved", "--bootstrap.num_generations=1")  # the same images
    assert "is finished: 2 generations; 1 of them were asked for" in capsys.readouterr().out
    assert contents(run) == before
    command(no_judge, "--bootstrap.num_generations=3")
    assert "num_generations: 3" in RunFolder(run).config.read_text()


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({}, None),
        ({"gradient_clip_val": 0.0}, None),  # no clipping, which Lightning takes
        ({"accumulate_grad_batches": 4}, "trainer.accumulate_grad_batches"),
        ({"gradient_clip_val": 0.5}, "trainer.gradient_clip_val"),
        ({"gradient_clip_algorithm": "value"}, "trainer.gradient_clip_algorithm"),
        ({"callbacks": [GradientAccumulationScheduler({0: 2})]}, "trainer.callbacks: GradientAccumulationScheduler"),
    ],
)
def test_what_manual_optimization_cannot_take_is_named(changes, key):
    usual = {"accumulate_grad_batches": 1, "gradient_clip_val": None, "gradient_clip_algorithm": None, "callbacks": []}
    trainer = SimpleNamespace(**usual | changes)
    if key is None:
        check_manual("Plug", trainer)
        return
    with pytest.raises(BootlightError, match=rf"^{key} has no meaning for Plug"):
        check_manual("Plug", trainer)


@pytest.fixture
def nobody(monkeypatch, tmp_path):
    """A home without any key of W&B."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    return monkeypatch


def test_wandb_online_needs_somebody_logged_in(nobody):
    pytest.importorskip("wandb", reason="W&B is optional: pip install bootlight[wandb]")
    from lightning.pytorch.loggers import WandbLogger

    from bootlight.loggers.wandb_logger import BootstrapWandbLogger

    trackers.check_loggers([CSVLogger("."), BootstrapWandbLogger(offline=True)])
    for logger in (BootstrapWandbLogger(), WandbLogger()):
        with pytest.raises(BootlightError, match=r"nobody is logged in at https://api\.wandb\.ai; run wandb login"):
            trackers.check_loggers([CSVLogger("."), logger])
    nobody.setenv("WANDB_MODE", "disabled")
    trackers.check_loggers([BootstrapWandbLogger()])
    nobody.delenv("WANDB_MODE")
    nobody.setenv("WANDB_API_KEY", "k")
    trackers.check_loggers([BootstrapWandbLogger()])


def test_a_logger_begins_before_the_run(tmp_path):
    logger = CSVLogger(tmp_path)
    trackers.start_loggers([logger, Silent()], RunFolder(tmp_path / "run"), "a: 1")
    assert wandb_run(logger) is not None and not (tmp_path / "run").exists()
