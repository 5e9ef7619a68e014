"""The command line: fast help, errors that name the wrong key, plug-ins from a user's file, the plan."""

import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from bootlight.bootstrap import plan
from bootlight.errors import BootlightError
from bootlight.io.quiet import quiet
from bootlight.runs.kept_config import differing_keys

REPOSITORY = Path(__file__).parents[1]
CONFIGS = sorted((REPOSITORY / "configs").glob("*.yaml"))
NEEDED = {"faces_ddpm": ["--data.root=x"], "faces_dcgan": ["--data.root=x"], "ffhq128_paper": ["--data.root=x"]}
HEAVY = ("torch", "lightning", "wandb", "matplotlib", "numpy")


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["fitt"]])
def test_help_and_wrong_verbs_do_not_import_torch(args):
    code = f"import sys; sys.argv = ['bootlight', *{args}]\nfrom bootlight.__main__ import main\ntry:\n    main()\nfinally:\n"
    code += f"    assert not set({HEAVY}) & set(sys.modules), 'heavy import'"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "heavy import" not in done.stderr
    assert (done.returncode == 0) == (args != ["fitt"])
    assert ("fit" in done.stdout) if args == ["--help"] else True
    assert ("no verb 'fitt'; there are fit, sample" in done.stderr) == (args == ["fitt"])


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_config_round_trips_through_print_config(bootlight, config, tmp_path, capsys):
    def printed(path: Path, *args: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as done:
            bootlight("fit", "--config", path, *args, "--print_config")
        assert done.value.code == 0
        return capsys.readouterr().out

    first = printed(config, *NEEDED.get(config.stem, []))
    (tmp_path / "again.yaml").write_text(first)
    assert yaml.safe_load(printed(tmp_path / "again.yaml")) == yaml.safe_load(first)
    shipped = yaml.safe_load(config.read_text())
    for section in ("model", "data"):  # nothing that a config says is lost or renamed
        said, understood = shipped[section]["init_args"], yaml.safe_load(first)[section]["init_args"]
        plain = {key: value for key, value in said.items() if not isinstance(value, dict)}
        assert plain.items() <= {key: value for key, value in understood.items() if key in plain}.items()


def test_the_paper_config_has_the_paper_numbers():
    config = yaml.safe_load((REPOSITORY / "configs" / "ffhq128_paper.yaml").read_text())
    data, model = config["data"]["init_args"], config["model"]["init_args"]
    assert (data["num_images"], data["image_size"], data["num_steps"]) == (22_000, 128, 210_000)
    assert (model["width"], model["num_res_blocks"], model["learning_rate"]) == (64, 3, 1e-4)
    assert config["bootstrap"]["num_synthetic"] == round(0.3 * 22_000)
    assert config["evaluation"]["judge_steps"] == 100 * 22_000 // 64  # 100 epochs


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["--model=bootlight.DDPM", "--model.widht=3"], "widht"),
        (
            ["--model=bootlight.DCGAN", "--data.origin=bootlight.Digits", "--data.num_steps=3", "--trainer.max_epoch=3"],
            "max_epoch",
        ),
        (["--model=bootlight.DDPM", "--model.width=many"], "width"),
        (["--model=bootlight.Digits"], "Digits"),
        (["--config=absent.yaml"], "absent.yaml"),
    ],
)
def test_a_wrong_key_is_named_in_a_few_lines(bootlight, args, named, capsys):
    with pytest.raises(SystemExit) as stop:
        bootlight("fit", *args)
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert named in message and len(message.splitlines()) <= 12 and "Traceback" not in message


def test_what_a_constructor_refuses_is_one_line(bootlight):
    args = ["--model=bootlight.DDPM", "--model.num_heads=3", "--data.origin=bootlight.Digits", "--data.num_steps=3"]
    with pytest.raises(BootlightError, match=r"model\.width is 64; every level must be divisible by model\.num_heads, 3"):
        bootlight("fit", *args)


@pytest.mark.parametrize("setting", ["max_epochs=2", "max_steps=5"])
def test_the_budget_is_set_in_one_place(bootlight, setting):
    with pytest.raises(BootlightError, match=r"trainer\.max_epochs and trainer\.max_steps cannot be set: .* data\.num_steps"):
        bootlight(
            "fit", "--model=bootlight.DCGAN", "--data.origin=bootlight.Digits", "--data.num_steps=3", f"--trainer.{setting}"
        )


def test_what_may_change_when_a_run_is_continued():
    old = {"trainer": {"devices": 1, "precision": None}, "data": {"init_args": {"root": "a", "flip": False}}, "plan": False}
    new = {"trainer": {"devices": 2, "precision": None}, "data": {"init_args": {"root": "b", "flip": False}}, "plan": True}
    assert differing_keys(old, new) == set()
    assert differing_keys(old, {**new, "trainer": {"precision": 16}}) == {"trainer.precision: None -> 16"}
    for key in ("origin", "mixing"):
        before, after = ({"data": {"init_args": {key: {"init_args": {"root": text, "size": 1}}}}} for text in "ab")
        assert differing_keys(before, after) == set()
        after["data"]["init_args"][key]["init_args"]["size"] = 2
        assert differing_keys(before, after) == {f"data.init_args.{key}.init_args.size: 1 -> 2"}
    nested = [{"mixing": {"init_args": {"mixing": {"init_args": {"root": text}}}}} for text in "ab"]
    named = [{"origins": {"noisy": {"init_args": {"root": text}}}} for text in "ab"]
    assert all(differing_keys({"data": old}, {"data": new}) == set() for old, new in (nested, named))
    assert differing_keys({"model": {"init_args": {"root": 1}}}, {}) == {"model: {'init_args': {'root': 1}} -> None"}
    assert differing_keys({"model": {"root": 1}}, {"model": {"root": 2}}) == {"model.root: 1 -> 2"}  # only the data's is free


PLUG_IN = """
from gaussian import Gaussian


class Mine(Gaussian):
    '''A generator in a user's own file.'''
"""


def test_installed_generators_have_short_names(bootlight, capsys):
    with pytest.raises(SystemExit):
        bootlight("fit", "--model=DCGAN", "--model.width=16", "--data.origin=bootlight.Digits", "--print_config")
    model = yaml.safe_load(capsys.readouterr().out)["model"]
    assert model["class_path"].startswith("bootlight.") and model["class_path"].endswith("DCGAN")
    assert model["init_args"]["width"] == 16


def test_a_plug_in_lies_next_to_where_one_stands(bootlight, tmp_path):
    (tmp_path / "my_generator.py").write_text(PLUG_IN)
    bootlight(
        "fit", "--model=my_generator.Mine", "--data.origin=bootlight.Digits", "--data.num_epochs=1",
        "--evaluation.judge_steps=0", "--evaluation.metrics=[]", "--bootstrap.num_generations=1", "--bootstrap.num_synthetic=8",
        "--trainer.enable_progress_bar=false", "--bootstrap.run_dir=run",
    )  # fmt: skip
    bootlight("sample", "run", "--seeds", "3-4", "--to", "drawn", "--trust", "my_generator.Mine")
    assert sorted(file.name for file in (tmp_path / "drawn").iterdir()) == ["000003.png", "000004.png"]


def test_what_was_asked_for_is_printed_and_advice_is_not():
    quiet()
    for name in ("profilers.profiler", "profilers.advanced", "callbacks.model_summary"):
        assert logging.getLogger(f"lightning.pytorch.{name}").isEnabledFor(logging.INFO)
    assert not logging.getLogger("lightning.pytorch.utilities.rank_zero").isEnabledFor(logging.INFO)


PLAN = [
    "fit", "--plan", "--model=bootlight.DCGAN", "--model.width=8", "--data.origin=bootlight.Digits", "--data.num_epochs=2",
    "--bootstrap.num_synthetic=100", "--bootstrap.run_dir=run", "--data.holdout_fraction=0.2",
    "--trainer.accelerator=cpu",
]  # fmt: skip


def test_the_plan_counts_without_training(bootlight, tmp_path, capsys):
    bootlight(*PLAN)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    # 1,797 digits, a fifth (359) held out: 1,438 to train on; two epochs in batches of 64, rounded up.
    assert rows[3][:5] == ["0", "1438", "45", "2880", "100"]
    assert rows[5][:5] == ["2", "1638", "52", "3328", "100"]
    assert not (tmp_path / "run" / "gen_000").exists()


def test_the_plan_of_several_devices_is_measured_on_one(bootlight, monkeypatch, capsys):
    sizes = []

    def a_minute(work, size):
        sizes.append(size)
        assert work(1) > 0  # an image, which two devices could not share
        return 60.0

    monkeypatch.setattr(plan, "seconds_per_image", a_minute)
    bootlight(*PLAN, "--trainer.devices=2", "--trainer.strategy=ddp")
    out = capsys.readouterr().out
    assert sizes == [32, 100]  # of 64 to train on, each device has half; of a call in drawing, all
    assert out.splitlines()[3].split()[-1] == "1490.0"  # (2,880 + 100) / 2
    assert "min in all on this machine if 2 such devices are 2 times as fast as one; judge" in out
    with pytest.raises(BootlightError, match=r"^data\.batch_size is 64; it must be a multiple of the 3 devices$"):
        bootlight(*PLAN, "--trainer.devices=3", "--trainer.strategy=ddp")


def test_one_of_several_processes_prints_the_plan(capsys):
    from bootlight.bootstrap.plan import print_plan

    print_plan(None, None, None, 1, lambda **_: SimpleNamespace(is_global_zero=False))
    assert capsys.readouterr().out == ""


def test_the_plan_times_a_whole_batch_only_where_that_is_quick():
    from bootlight.bootstrap.plan import LONG, PROBE_IMAGES, seconds_per_image

    assert seconds_per_image(lambda images: 1.0 + LONG, 64) == (1.0 + LONG) / PROBE_IMAGES
    assert seconds_per_image(lambda images: 0.1 + 0.01 * images, 50) == pytest.approx(0.012)  # (0.1 + 0.5) / 50
    assert seconds_per_image(lambda images: 0.3 * images, 1) == 0.3  # never more images than a batch has
