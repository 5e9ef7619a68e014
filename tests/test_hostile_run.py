"""A run folder that someone else made: nothing in it is run, no link in it is followed, and what is shown of it is text."""

import importlib.metadata
import json
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from gaussian import Gaussian
from jsonargparse import ArgumentParser
from jsonargparse._common import parsing_settings
from raw_files import chunk, raw_png
from tracking_run import make_run, metrics

import bootlight as package
from bootlight.atomic import MAX_JSON_BYTES, read_json
from bootlight.callbacks.checkpoints import newest_readable
from bootlight.data.datamodule import BootstrapData
from bootlight.diffusion.prediction import Prediction
from bootlight.diffusion.sampler import Sampler
from bootlight.errors import BootlightError
from bootlight.generators.base import GeneratorModule
from bootlight.generators.dcgan import DCGAN
from bootlight.generators.ddpm import DDPM
from bootlight.generators.load import COPIES, SPARE_ELEMENTS, Allocations, load_generator
from bootlight.generators.trust import MAX_VALUES, OWN
from bootlight.images import encode_png
from bootlight.run_config import differing_keys, read_config
from bootlight.run_folder import GenerationContext, RunFolder, read_metadata
from bootlight.run_links import check_links
from bootlight.tracking.history import read_history, read_timing
from bootlight.tracking.report import write_report
from bootlight.tracking.scores import read_generation
from bootlight.tracking.strip import write_strip

SMALL = {"width": 8, "channel_multipliers": [1, 2], "num_res_blocks": 1, "attention_resolutions": [], "num_heads": 1}
SCRIPT = "--></style></svg><script>alert(1)</script>"


def publish(run, module, class_path, **init_args):
    """What `Publish` leaves of a generation."""
    folder = RunFolder(run).generation(0)
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.weights.write_bytes(safetensors.torch.save(module.published_state()))
    model = {"class_path": class_path, "init_args": init_args}
    about = {"generation": 0, "image_size": module.image_size, "channels": module.channels, "model": model}
    folder.model_config.write_text(json.dumps(about))
    return folder


def gan(run):
    return publish(run, DCGAN(8, 1, latent_dim=5, width=4), "bootlight.DCGAN", latent_dim=5, width=4)


def diffusion(run, **init_args):
    return publish(run, DDPM(8, 1, num_train_timesteps=25, **SMALL), "bootlight.DDPM", num_train_timesteps=25, **SMALL, **init_args)


def gaussian(run):
    return publish(run, Gaussian(8, 1), "gaussian.Gaussian")


def refused(work, *args, **kwargs) -> str:
    with pytest.raises(BootlightError) as caught:
        work(*args, **kwargs)
    assert str(caught.value).isprintable()
    return str(caught.value)


# Whose code runs

MARKS = """
from pathlib import Path
from bootlight import Sampler
Path({path!r}).touch()
class Thing(Sampler):
    def step(self, steps, i, x, estimate, noise):
        return x
def build(folder: str) -> Thing:
    return Thing()
"""


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """A module `evil` that leaves a file when it is imported."""
    (tmp_path / "evil.py").write_text(MARKS.format(path=str(tmp_path / "imported")))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / "imported"
    sys.modules.pop("evil", None)


@pytest.mark.parametrize(
    "sampler",
    [
        {"class_path": "evil.Thing"},
        {"class_path": "evil.build", "init_args": {"folder": "x"}},
        "evil.Thing",
        "{class_path: evil.Thing}",
        '{"class_path": "ev\\x69l.Thing"}',
        [{"class_path": "evil.Thing"}],
    ],
)
def test_a_model_names_no_code_but_ours_at_any_depth(tmp_path, marker, sampler):
    folder = diffusion(tmp_path / "run", sampler=sampler)
    assert "add --trust evil." in refused(load_generator, folder)
    assert not marker.exists() and "evil" not in sys.modules


@pytest.mark.parametrize(
    "name", ["evil.Thing", "evil.evil", "os.system", "subprocess.Popen", "bootlight.atomic.os.system", "bootlight.errors.one_line"]
)
def test_a_generator_is_one_of_ours_or_trusted(tmp_path, marker, name):
    folder = publish(tmp_path / "run", DCGAN(8, 1, width=4), name)
    assert refused(load_generator, folder).endswith(
        f"model.json: cannot build {name} (not a class of bootlight; if you know and trust its code, add --trust {name})"
    )
    assert not marker.exists()


@pytest.mark.parametrize("name", ["bootlight.generators.load.load_generator", "bootlight.GeneratorModule", "bootlight.Publish"])
def test_ours_is_not_enough_it_must_be_a_generator(tmp_path, name):
    assert f"cannot build {name}" in refused(load_generator, publish(tmp_path / "run", DCGAN(8, 1, width=4), name))


def test_all_that_is_missing_is_named_at_once_and_then_enough(tmp_path, marker):
    folder = gaussian(tmp_path / "run")
    published = read_json(folder.model_config)
    published["model"]["init_args"] = {"sampler": {"class_path": "evil.Thing"}}
    folder.model_config.write_text(json.dumps(published))
    assert "gaussian.Gaussian, evil.Thing (" in refused(load_generator, folder)
    assert "add --trust evil.Thing)" in refused(load_generator, folder, trust=["gaussian.Gaussian"])
    assert not marker.exists()
    assert "sampler" in refused(load_generator, folder, trust=["gaussian.Gaussian", "evil.Thing"])  # which Gaussian has not
    assert marker.exists()


def test_a_trusted_class_loads_by_any_of_its_names_and_nothing_stays_restricted(tmp_path):
    before = dict(parsing_settings)
    for name in ("gaussian.Gaussian", "test_hostile_run.Gaussian"):  # the second is passed on by this module
        folder = publish(tmp_path / name, Gaussian(8, 1), name)
        assert isinstance(load_generator(folder, trust=[name]), Gaussian)
        refused(load_generator, folder)
        assert parsing_settings == before
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(GeneratorModule, "model")
    assert parser.parse_object({"model": {"class_path": "gaussian.Gaussian", "init_args": {"image_size": 8}}})


@pytest.mark.parametrize(("value", "loads"), [("gaussian:Gaussian", True), ("gaussian:Other", False), ("other:Gaussian", False)])
def test_an_installed_generator_needs_no_trust(tmp_path, monkeypatch, value, loads):
    plug_in = importlib.metadata.EntryPoint("Some", value, "bootlight.generators")
    monkeypatch.setattr("bootlight.generators.trust.entry_points", lambda group: [plug_in] if "bootlight" in group else [])
    folder = gaussian(tmp_path / "run")
    if loads:
        assert isinstance(load_generator(folder), Gaussian)
    else:
        assert "add --trust gaussian.Gaussian)" in refused(load_generator, folder)


def test_every_part_of_a_generator_that_we_have_may_be_named():
    def concrete(kind):
        return {kind}.union(*map(concrete, kind.__subclasses__())) if kind.__subclasses__() else {kind}

    ours = set().union(*map(concrete, (GeneratorModule, Sampler, Prediction)))
    ours = {kind for kind in ours if kind.__module__.startswith("bootlight.") and not kind.__abstractmethods__}
    assert {kind.__name__ for kind in ours} >= {"DDPM", "DCGAN", "DDIM", "Ancestral", "Epsilon", "V", "X0"}
    for kind in ours:
        assert f"{kind.__module__}.{kind.__qualname__}" in OWN and f"bootlight.{kind.__name__}" in OWN
        assert getattr(package, kind.__name__) is kind


def test_sample_by_the_command_line(tmp_path, bootlight):
    gaussian(tmp_path / "run")
    message = refused(bootlight, "sample", "run", "--seeds=0", "--to=drawn")
    assert message.endswith("if you know and trust its code, add --trust gaussian.Gaussian)") and not Path("drawn").exists()
    diffusion(tmp_path / "other", sampler={"class_path": "bootlight.DDIM", "init_args": {"num_steps": 2}})
    bootlight("sample", "other", "--seeds=0-1", "--to=drawn")
    assert sorted(os.listdir("drawn")) == ["000000.png", "000001.png"]


def test_a_network_that_fails_while_drawing_is_one_line(tmp_path, bootlight, monkeypatch):
    def draw(*_):
        raise RuntimeError("not enough memory: you tried to allocate 99 bytes\nand more")

    monkeypatch.setattr(DCGAN, "draw", draw)
    gan(tmp_path / "run")
    assert refused(bootlight, "sample", "run", "--to=drawn").endswith("allocate 99 bytes); try a smaller --batch-size")


# How much a model may ask for


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("width", 10**4, "more than the 10180456 numbers that its weights account for"),
        ("width", 10**9, "numbers that its weights account for"),
        ("num_train_timesteps", 10**9, "numbers that its weights account for"),
        ("num_res_blocks", 10**6, "numbers that its weights account for"),
        ("num_classes", 10**9, "numbers that its weights account for"),
        ("width", 10**400, "cannot build bootlight.DDPM"),
        ("num_heads", 10**30, "model.num_heads"),
        ("channel_multipliers", [1] * MAX_VALUES, "more than 2000 settings"),
        ("width", "[&a [0,0],&b [*a,*a],*b]", "the & and * of YAML aliases"),
        ("dropout", float("nan"), "model.dropout is nan"),
        ("sampler", "/etc/passwd", "cannot build bootlight.DDPM"),
    ],
)
def test_numbers_that_ask_for_terabytes(tmp_path, key, value, reason):
    assert reason in refused(load_generator, diffusion(tmp_path / "run", **{key: value}) if key not in {**SMALL, "num_train_timesteps": 0} else changed(tmp_path / "run", key, value))


def changed(run, key, value):
    folder = diffusion(run)
    published = read_json(folder.model_config)
    published["model"]["init_args"][key] = value
    folder.model_config.write_text(json.dumps(published))
    return folder
