"""`~` and variables in paths: replaced alike everywhere, and never the name of a folder that is made."""

import ast
import os
from pathlib import Path

import pytest
from jsonargparse import Namespace

import bootlight
from bootlight.bootstrap.settings import BootstrapSettings
from bootlight.cli import compare, evaluate, sample, study, weights
from bootlight.cli.fit import with_paths
from bootlight.data.resolve import resolve, split_suffix
from bootlight.errors import BootlightError
from bootlight.evaluation import run
from bootlight.evaluation.comparing import run_compare
from bootlight.io.cache_folder import default_cache
from bootlight.io.paths import expand_settings, expanded, expanded_text
from bootlight.metrics.features.inception import InceptionFeatures
from bootlight.studies.spec import read_spec


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An empty working folder, a home and a variable."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("SCRATCH", "/scratch")
    monkeypatch.setenv("NO_VALUE", "")
    monkeypatch.delenv("NOT_SET", raising=False)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("~/runs/x", "/home/me/runs/x"), ("~", "/home/me"), ("~root", "/root"), ("$SCRATCH/x", "/scratch/x"),
        ("${SCRATCH}/a b/ü", "/scratch/a b/ü"), ("x/$SCRATCH", "x//scratch"), ("$HOME/~", "/home/me/~"), ("a~/b", "a~/b"),
        ("./~/x", "./~/x"), ("costs $5", "costs $5"), ("x$", "x$"), ("runs/x@2", "runs/x@2"), ("~/x@2", "/home/me/x@2"),
    ],
)  # fmt: skip
def test_what_is_replaced(text, path):
    assert expanded_text(text) == path
    assert expanded(text) == Path(path)


@pytest.mark.parametrize(
    ("text", "name"),
    [("$NOT_SET/x", "NOT_SET"), ("a/${NOT_SET}", "NOT_SET"), ("$NO_VALUE/x", "NO_VALUE"), ("${}/x", ""),
     ("~nobody-here/x", "~nobody-here")],
)  # fmt: skip
def test_what_nobody_knows_is_an_error_that_names_it(text, name):
    with pytest.raises(BootlightError) as caught:
        expanded(text)
    assert name in str(caught.value) and text in str(caught.value)


def test_a_home_that_is_empty_is_not_the_root_of_the_disk(monkeypatch):
    monkeypatch.setenv("HOME", "")
    with pytest.raises(BootlightError, match="HOME"):
        expanded("~/x")


def test_a_value_may_begin_with_the_home_folder(monkeypatch):
    monkeypatch.setenv("SCRATCH", "~/scratch")
    assert expanded("$SCRATCH/x") == Path("/home/me/scratch/x")


def test_a_name_that_exists_is_meant_but_a_folder_called_tilde_is_not():
    for name in ("$NOT_SET", "~nobody-here", "~"):
        Path(name).mkdir()
    assert [expanded_text(text) for text in ("$NOT_SET", "~nobody-here/x", "~")] == ["$NOT_SET", "~nobody-here/x", "/home/me"]


@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_cache_variable_is_as_none(monkeypatch, value):
    monkeypatch.setenv("BOOTLIGHT_CACHE", value)
    assert default_cache() == Path("/home/me/.cache/bootlight")
    monkeypatch.setenv("BOOTLIGHT_CACHE", "$SCRATCH/cache")
    assert default_cache() == Path("/scratch/cache")


def test_settings_at_any_depth_by_their_name_or_by_how_they_begin():
    settings = Namespace(
        bootstrap=Namespace(run_dir="runs/$SCRATCH", num_generations=1),
        data=Namespace(class_path="bootlight.BootstrapData", init_args=Namespace(root="~/pictures", cache=None)),
        model=Namespace(init_args=Namespace(mine="$SCRATCH/w.pt", name="costs $NOT_SET", power="~5")),
        trainer=Namespace(
            callbacks=[Namespace(init_args=Namespace(dirpath="~"))], logger={"init_args": {"save_dir": "$SCRATCH"}}
        ),
        metrics=["fd", "${SCRATCH}/x"],
    )
    expand_settings(settings)
    assert settings.bootstrap.run_dir == "runs//scratch"
    assert settings.data.init_args.root == "/home/me/pictures"
    assert vars(settings.model.init_args) == {"mine": "/scratch/w.pt", "name": "costs $NOT_SET", "power": "~5"}
    assert settings.trainer.callbacks[0].init_args.dirpath == "/home/me"
    assert settings.trainer.logger == {"init_args": {"save_dir": "/scratch"}}
    assert settings.metrics == ["fd", "/scratch/x"]
    with pytest.raises(BootlightError, match=r"^data\.root: .*NOT_SET"):
        expand_settings(Namespace(data=Namespace(init_args=Namespace(root="a/$NOT_SET"))))


def test_objects_that_are_made_without_a_command_line():
    assert BootstrapSettings(run_dir="~/x").run_dir == "/home/me/x"
    assert InceptionFeatures("$SCRATCH/w.pth").weights == Path("/scratch/w.pth")
    assert split_suffix("~/x@test") == (Path("/home/me/x"), "test")
    assert resolve("$SCRATCH/faces.zip@test") == (Path("/scratch/faces.zip"), "test")
    assert with_paths(["--config", "$SCRATCH/a", "--config=~/b", "--x", "~/c"]) == [
        "--config", "/scratch/a", "--config=/home/me/b", "--x", "~/c",
    ]  # fmt: skip


def test_a_study(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "base.yaml").write_text("seed_everything: 0\n")
    (tmp_path / "above.yaml").write_text("name: above\nfolder: ~/studies\nbase: ~/base.yaml\narms: {a: {}}\n")
    Path("study.yaml").write_text("extends: $HOME/above.yaml\n")
    read = read_spec(Path("study.yaml"))
    assert (read.folder, read.arms[0].base) == (tmp_path / "studies", [str(tmp_path / "base.yaml")])
    assert study.load(Path("study.yaml"), {}, expanded("$SCRATCH/s")).folder == Path("/scratch/s")


def test_arguments_of_the_verbs(monkeypatch):
    seen = {}
    given = ["--features=bootlight.PixelFeatures", "--real=~/r", "--cache=~/c"]
    monkeypatch.setattr(run, "evaluate", lambda setting, **args: seen.update(args, cache=setting.cache) or Said())
    files = [f"--{name}=$SCRATCH/{name}" for name in ("synthetic", "held-out", "save-stats", "neighbours")]
    evaluate.main([*given, *files])
    assert seen["cache"] == Path("/home/me/c") and seen["real"] == "/home/me/r"
    assert [seen[key] for key in ("synthetic", "held_out", "save_stats", "neighbours")] == [
        f"/scratch/{name}" for name in ("synthetic", "held-out", "save-stats", "neighbours")
    ]
    monkeypatch.setattr(run_compare, "compare", lambda setting, sets, **args: seen.update(args, sets=sets) or Said())
    compare.main(["~/a", "x/$SCRATCH", "--judge=~/j", "--picture=~/p.png", *given])
    assert (seen["sets"], seen["judge"], seen["picture"]) == (["/home/me/a", "x//scratch"], "/home/me/j", "/home/me/p.png")
    with pytest.raises(BootlightError, match=r"real: .*NOT_SET"):
        compare.main(["a", "b", "--features=bootlight.PixelFeatures", "--real=$NOT_SET/r"])
    monkeypatch.setattr(weights, "fetch_inception_weights", lambda to: seen.update(to=to))
    weights.main(["--to", "~/w.pth"])
    assert seen["to"] == Path("/home/me/w.pth")
    weights.main([])
    assert seen["to"].is_relative_to("/home/me")
    with pytest.raises(BootlightError, match="/home/me/run"):
        sample.find_generation("~/run@0")


class Said:
    """An answer."""

    failed: tuple[()] = ()

    def text(self) -> str:
        return ""


def test_no_other_place_expands():
    for file in Path(bootlight.__file__).parent.rglob("*.py"):
        names = {node.attr for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)}
        if file.name not in ("paths.py", "wandb_settings.py"):  # the second as wandb does it
            assert not names & {"expanduser", "expandvars"}, file
    assert os.listdir() == []
