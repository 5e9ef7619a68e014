"""Every kind of plug-in on the page that shows how one is written: each keeps its promises, and all run together."""

import inspect
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import yaml

import bootlight as package
from bootlight.runs.folder import RunFolder

PAGE = (Path(__file__).parents[1] / "docs" / "plug_ins.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)
ARGUMENTS = {"Mean": {"other": "@-1/model"}}
CLASSES = [name for block in BLOCKS for name in re.findall(r"^class (\w+)", block, re.M) if not name.endswith("Denoiser")]


@pytest.fixture
def my_file(tmp_path, monkeypatch):
    """All examples of the page in one file, as its user would have them."""
    (tmp_path / "plugged.py").write_text("\n".join(BLOCKS), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "plugged", raising=False)
    return import_module("plugged")


def test_the_page_has_an_example_of_each_kind():
    kinds = set(re.findall(r"^\| [\w ,]+ \| (?:`bootlight\.)(\w+)`", PAGE, re.M))
    elsewhere = {"GeneratorModule", "Synthesizer", "Curator", "Reward", "Stage"}  # the README, stages.md
    elsewhere |= {"ClassifierModule", "Backbone", "Augmentation", "Evaluator"}  # amst.md says how, without an example
    made = {base for block in BLOCKS for base in re.findall(r"^class \w+\(bootlight\.(\w+)\)", block, re.M)}
    broader = {"DiscreteSchedule": "Schedule", "MarkovSampler": "Sampler", "View": "Corruption"}
    assert kinds - elsewhere == {broader.get(base, base) for base in made} - {"Denoiser"}
    assert len(kinds) == 22


@pytest.mark.parametrize("name", CLASSES)
def test_examples_keep_the_promises_of_their_kind(my_file, name):
    found = package.check(getattr(my_file, name), **ARGUMENTS.get(name, {}))
    assert [finding.wrong for finding in found if not finding.ok] == []
    assert len(found) > 2 and inspect.getdoc(getattr(my_file, name))


def test_examples_run_together(my_file, bootlight, tmp_path):
    """One configuration of nine of them: trained on every second row of digits, drawn from alone and by the mean of two."""

    def mine(name, **settings):
        return {"class_path": f"plugged.{name}", "init_args": settings}

    def ours(name, **settings):
        return {"class_path": f"bootlight.{name}", "init_args": settings}

    stages = [
        ours("Train"),
        ours("Synthesize"),
        ours("Synthesize", into="means", n=6, compose=mine("Mean", other="@-1/model"), generations="later"),
    ]
    model = ours(
        "Diffusion",
        network=mine("TwoLayers", width=8),
        schedule=mine("Sigmoid", num_timesteps=50),
        prediction=mine("Flow"),
        objective=ours("DSM", weighting=mine("SoftMinSNR", gamma=4.0)),
        timesteps=mine("Systematic"),
        sampler=mine("Euler", num_steps=4, clip=False),
    )
    origin = ours("Corrupted", origin=ours("Digits"), corruption=mine("Rows"))
    data = {"origin": origin, "num_steps": 6, "batch_size": 16, "mixing": mine("Newest")}
    config = {
        "seed_everything": 0,
        "bootstrap": {"num_generations": 2, "num_synthetic": 10, "run_dir": "run", "stages": stages},
        "model": model,
        "data": ours("BootstrapData", **data),
        "evaluation": {"features": None, "judge_steps": 0},
        "trainer": {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    bootlight("fit", "--config", "config.yaml")
    first, second = RunFolder(tmp_path / "run").generations()
    drawn = [np.load(path) for path in sorted((first.path / "samples").rglob("*.npy"))]
    assert sum(map(len, drawn)) == 10 and drawn[0].dtype == np.float32 and np.isfinite(drawn[0]).all()
    states = [safetensors.torch.load_file(folder.weights) for folder in (first, second)]
    assert all(name.startswith("net.") for name in states[0])
    decided = yaml.safe_load((second.path / "means" / "protocol.json").read_text())
    assert decided["then"] == {"class": "Mean", "other": "@-1/model"}
    assert decided["references"]["other"]["weights_sha256"] == yaml.safe_load(first.model_config.read_text())["weights_sha256"]
