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
from raw_files import chunk, raw_png, state_of_training
from tracking_run import make_run, metrics

import bootlight as package
from bootlight.data.datamodule import BootstrapData
from bootlight.diffusion.prediction import Prediction
from bootlight.diffusion.sampler import Sampler
from bootlight.errors import BootlightError
from bootlight.evaluation.networks.judge import load_judge
from bootlight.evaluation.networks.trained_networks import save_network
from bootlight.generators import trust
from bootlight.generators.base import GeneratorModule
from bootlight.generators.dcgan import DCGAN
from bootlight.generators.ddpm import DDPM
from bootlight.generators.load import COPIES, SPARE_ELEMENTS, Allocations, load_generator
from bootlight.generators.trust import MAX_VALUES, OWN
from bootlight.io.atomic import MAX_JSON_BYTES, read_json
from bootlight.io.pictures import encode_png
from bootlight.report.report import write_report
from bootlight.report.scores import read_generation
from bootlight.report.strip import write_strip
from bootlight.runs.context import GenerationContext
from bootlight.runs.drawn import read_drawn
from bootlight.runs.folder import RunFolder
from bootlight.runs.history import read_history, read_timing
from bootlight.runs.kept_config import differing_keys, read_config
from bootlight.runs.links import check_links
from bootlight.training.checkpoints import newest_readable

SMALL = {
    "width": 8,
    "channel_multipliers": [1, 2],
    "num_res_blocks": 1,
    "attention_resolutions": [],
    "num_heads": 1,
    "num_train_timesteps": 25,
}
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


def diffusion(run, **changes):
    return publish(run, DDPM(8, 1, **SMALL), "bootlight.DDPM", **{**SMALL, **changes})


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
        '{"class_path": "evil.Thing"}',
        '{"class_path": "ev\\u0069l.Thing"}',
        [{"class_path": "evil.Thing"}],
    ],
)
def test_a_model_names_no_code_but_ours_at_any_depth(tmp_path, marker, sampler):
    folder = diffusion(tmp_path / "run", sampler=sampler)
    assert "add --trust evil." in refused(load_generator, folder)
    assert not marker.exists() and "evil" not in sys.modules


@pytest.mark.parametrize(
    "name",
    ["evil.Thing", "evil.evil", "os.system", "subprocess.Popen", "bootlight.io.atomic.os.system", "bootlight.errors.one_line"],
)
def test_a_generator_is_one_of_ours_or_trusted(tmp_path, marker, name):
    folder = publish(tmp_path / "run", DCGAN(8, 1, width=4), name)
    assert refused(load_generator, folder).endswith(
        f"model.json: cannot build {name} (not a class of bootlight; if you know and trust its code, add --trust {name})"
    )
    assert not marker.exists()


@pytest.mark.parametrize("name", ["bootlight.generators.load.load_generator", "bootlight.GeneratorModule", "bootlight.Train"])
def test_ours_is_not_enough_it_must_be_a_generator(tmp_path, name):
    assert f"cannot build {name}" in refused(load_generator, publish(tmp_path / "run", DCGAN(8, 1, width=4), name))


@pytest.mark.parametrize("key", ["sampler", "prediction", "channel_multipliers", "schedule", "class_path", "model"])
@pytest.mark.parametrize("name", ["secret.yaml", "./secret.yaml", "{here}/secret.yaml", "secret", "bomb.yaml"])
def test_no_text_in_a_model_is_the_name_of_a_file(tmp_path, monkeypatch, key, name):
    """As it is on a command line, where a file may hold a part of the configuration."""
    monkeypatch.chdir(tmp_path)
    for file in ("secret.yaml", "secret"):
        Path(file).write_text("class_path: bootlight.DDIM\ninit_args: {num_steps: 3, eta: mine}\n")
    Path("bomb.yaml").write_text(LAUGHS)
    folder = diffusion(tmp_path / "run")
    published = read_json(folder.model_config)
    text = name.format(here=tmp_path)
    place = published if key == "model" else published["model"] if key == "class_path" else published["model"]["init_args"]
    place[key] = text
    folder.model_config.write_text(json.dumps(published))
    secret = tmp_path / text
    os.utime(secret, ns=(1, 1))  # a reader would set the time of the last access, also where that is done once a day
    message = refused(load_generator, folder)
    assert secret.stat().st_atime_ns == 1 and "mine" not in message


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


@pytest.mark.parametrize(
    ("value", "loads"), [("gaussian:Gaussian", True), ("gaussian:Other", False), ("other:Gaussian", False)]
)
def test_an_installed_generator_needs_no_trust(tmp_path, monkeypatch, value, loads):
    plug_in = importlib.metadata.EntryPoint("Some", value, "bootlight.generators")
    monkeypatch.setattr(trust, "entry_points", lambda group: [plug_in] if "bootlight" in group else [])
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
    ours = {kind for kind in ours if not kind.__module__.startswith("bootlight.checking.")}  # stand-ins, never published
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
        ("width", 10**4, "numbers that its weights account for"),
        ("width", 10**9, "numbers that its weights account for"),
        ("num_train_timesteps", 10**9, "numbers that its weights account for"),
        ("num_res_blocks", 10**6, "numbers that its weights account for"),
        ("num_classes", 10**9, "numbers that its weights account for"),
        ("width", 16, "the weights do not fit this model"),
        ("width", 10**400, "cannot build bootlight.DDPM"),
        ("num_heads", 10**30, "model.num_heads"),
        ("channel_multipliers", [1] * MAX_VALUES, f"more than {MAX_VALUES} settings"),
        ("width", "[&a [0,0],&b [*a,*a],*b]", "the & and * of YAML aliases"),
        ("dropout", float("nan"), "model.dropout is nan"),
        ("sampler", "/etc/passwd", "cannot build bootlight.DDPM"),
    ],
)
def test_numbers_that_ask_for_terabytes(tmp_path, key, value, reason):
    assert reason in refused(load_generator, diffusion(tmp_path / "run", **{key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [("width", 10**5), ("width", 10**30), ("width", float("inf")), ("size", 64), ("size", "x"), ("channels", 0)],
)
def test_a_judge_that_asks_for_more_than_its_weights(tmp_path, key, value):
    file = tmp_path / "judge-1.safetensors"
    settings = {"size": 8, "channels": 1, "width": 4}
    save_network(DCGAN(8, 1, width=4).net_d, file, settings)
    assert load_judge(file).image_size == 8
    about = file.with_suffix(".json")
    about.write_text(json.dumps({**read_json(about), key: value}))
    assert refused(load_judge, file).startswith(f"{file}: it and the .json beside it do not describe a judge (")


def test_a_model_may_have_what_its_weights_account_for():
    """The largest shipped model is built within the limit that its weights set, and not within what one of them needs less."""
    config = yaml.safe_load((Path(package.__file__).parents[1] / "configs" / "ffhq128_paper.yaml").read_text())
    args = config["model"]["init_args"] | {"image_size": 128, "ema_decay": None}
    parts = {key: value for key, value in args.items() if not isinstance(value, dict)}
    elements = 31_307_398 - 1  # see the config; nothing else is made of so many numbers
    with Allocations(COPIES * elements + SPARE_ELEMENTS) as used:
        module = DDPM(**parts)
    assert sum(tensor.numel() for tensor in module.published_state().values()) == elements + 1
    made = used.limit - used.left
    assert elements < made < 1.1 * elements  # weights, a schedule, and a thousand for each of some hundred tensors
    with pytest.raises(BootlightError, match="numbers that its weights account for"), Allocations(elements // 2):
        DDPM(**parts)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[" * 50_000, "not valid JSON"),
        ("[]", "does not describe a generator"),
        ('{"image_size": 8, "channels": 1, "model": []}', "does not describe a generator"),
        ('{"image_size": Infinity, "channels": 1, "model": {}}', "does not describe a generator"),
        ('{"image_size": 8, "channels": 1, "model": {"class_path": "bootlight.DCGAN", "init_args": [1]}}', "does not describe"),
        ('{"image_size": 5000, "channels": 1, "model": {"class_path": "bootlight.DCGAN", "init_args": {}}}', "at most 1024"),
        (
            '{"image_size": 8, "channels": 2, "model": {"class_path": "bootlight.DCGAN", "init_args": {}}}',
            "do not fit this model",
        ),
        ('{"image_size": 8, "channels": 1, "model": {"class_path": ["a"], "init_args": {}}}', "cannot build ['a']"),
        (" " * MAX_JSON_BYTES + "{}", f"larger than {MAX_JSON_BYTES} bytes"),
    ],
)
def test_damaged_descriptions(tmp_path, content, reason):
    folder = gan(tmp_path / "run")
    folder.model_config.write_text(content)
    message = refused(load_generator, folder)
    assert reason in message and "model.json" in message


def test_complex_weights_are_not_cut_to_their_real_part(tmp_path):
    folder = gan(tmp_path / "run")
    state = safetensors.torch.load_file(folder.weights)
    name = sorted(state)[0]
    folder.weights.write_bytes(safetensors.torch.save(state | {name: state[name].to(torch.complex64)}))
    assert f"{name} has complex numbers" in refused(load_generator, folder)


# Links


LINKS = [
    "gen_000",
    "gen_000/samples",
    "gen_000/samples/00000",
    "gen_000/samples/00000/000000.png",
    "gen_000/checkpoints",
    "gen_000/metrics.json",
    "gen_000/train.jsonl",
    "config.yaml",
    ".lock",
    "references",
    "references/judge.json",
]


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("target", ["file", "folder", "absent"])
def test_links_out_of_a_run_are_refused(tmp_path, name, target):
    outside = tmp_path / target
    outside.mkdir() if target == "folder" else outside.write_text("mine") if target == "file" else None
    link = tmp_path / "run" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    assert f"run/{name} is a link that leaves" in refused(check_links, tmp_path / "run")


def test_a_run_with_a_sibling_of_the_same_beginning(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "run" / "gen_000").symlink_to("../runs")
    assert "is a link that leaves" in refused(check_links, tmp_path / "run")


def test_links_within_and_to_a_run_and_in_folders_of_others(tmp_path):
    run = tmp_path / "run"
    (run / "gen_000" / "samples").mkdir(parents=True)
    (run / "wandb").mkdir()
    (run / "wandb" / "latest").symlink_to("/tmp")
    (run / "gen_000" / "a.json").symlink_to("../b.json")
    (run / "circle").symlink_to("circle")
    (tmp_path / "link").symlink_to("run")
    check_links(run)
    check_links(tmp_path / "link")
    check_links(tmp_path / "absent")


def test_a_pipe_would_be_waited_for(tmp_path):
    (tmp_path / "gen_000").mkdir()
    os.mkfifo(tmp_path / "gen_000" / "model.json")
    assert "model.json is neither a file nor a folder" in refused(check_links, tmp_path)


def test_no_verb_follows_a_link_out_of_a_run(tmp_path, bootlight):
    secret, outside = tmp_path / "secret.txt", tmp_path / "outside"
    secret.write_text("mine")
    outside.mkdir()
    run = make_run(tmp_path / "run")
    run.config.unlink()
    run.config.symlink_to(secret)
    assert "run/config.yaml is a link that leaves" in refused(bootlight, "report", "run")
    assert not run.report.exists()
    run.config.unlink()
    (run.path / ".lock").symlink_to(secret)
    fit = ["fit", "--model=bootlight.DCGAN", "--data.origin=bootlight.Digits", "--data.num_steps=1", "--bootstrap.run_dir=run"]
    assert "run/.lock is a link that leaves" in refused(bootlight, *fit)
    (run.path / ".lock").unlink()
    (run.path / "gen_003").symlink_to(outside)
    assert "run/gen_003 is a link that leaves" in refused(bootlight, *fit)
    gan(run.path)
    assert "run/gen_003 is a link that leaves" in refused(bootlight, "sample", "run@0", "--to=drawn")
    assert secret.read_text() == "mine" and not list(outside.iterdir())


# Manifest, configuration, checkpoints


@pytest.mark.parametrize(
    "line",
    [
        '{"file_name": "../../../etc/passwd"}',
        '{"file_name": "/etc/passwd"}',
        '{"file_name": "a/./b.png"}',
        '{"file_name": ""}',
        '{"file_name": "a\\u0000.png"}',
        '{"file_name": "a\\n.png"}',
        '{"file_name": ["a.png"]}',
        '{"label": 3}',
        "[]",
        "3",
        '{"file_name": "a.png", "label": "3"}',
        '{"file_name": "a.png", "label": 1.5}',
        "[" * 50_000,
        '{"file_name": "a.png"',
    ],
)
def test_a_manifest_leads_nowhere_else(tmp_path, line):
    folder = RunFolder(tmp_path).generation(0)
    folder.samples.mkdir(parents=True)
    folder.metadata.write_text('{"file_name": "00000/000000.png", "label": null}\n' + line + "\n")
    assert "metadata.jsonl: cannot be read" in refused(read_drawn, folder)


@pytest.mark.parametrize("label", [2, -2, 10**30])
def test_labels_beyond_the_classes(tmp_path, label):
    for kind in "ab":
        (tmp_path / "real" / kind).mkdir(parents=True)
        for i in range(3):
            (tmp_path / "real" / kind / f"{i}.png").write_bytes(encode_png(np.full((8, 8, 3), i + ord(kind), np.uint8)))
    folder = RunFolder(tmp_path / "run").generation(0)
    folder.samples.mkdir(parents=True)
    (folder.samples / "a.png").write_bytes(encode_png(np.zeros((8, 8, 3), np.uint8)))
    data = BootstrapData(str(tmp_path / "real"), 8, num_steps=1)
    data.attach(GenerationContext(RunFolder(tmp_path / "run"), 0, 0))
    data.setup()
    folder.metadata.write_text('{"file_name": "a.png", "label": 1}')
    assert data.archive.drawn(0).store.labels.tolist() == [1]
    folder.metadata.write_text(json.dumps({"file_name": "a.png", "label": label}))
    assert "has labels beyond the 2 classes" in refused(data.archive.drawn, 0)


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(9)
)


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS,
        "a: &a [*a]",
        "a: " + "[" * 3000,
        "a: " + "9" * 5000,
        "a: 0x" + "f" * 9000,
        "a: 2001-99-99",
        "a: =",
        "? [a]\n: b",
        "a: " + ":".join(["59"] * 400) + ".5",
        "!!python/object/apply:os.mkdir [executed]",
        "\0",
        "#" * 70_000,
    ],
)
def test_hostile_configurations(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(text)
    assert "config.yaml is damaged" in refused(read_config, tmp_path / "config.yaml")
    assert not (tmp_path / "executed").exists()


def test_keys_that_are_no_text_are_compared(tmp_path):
    (tmp_path / "config.yaml").write_text("1: 2\nnull: 3\n2001-01-01: {4: 5}\n")
    differences = differing_keys(read_config(tmp_path / "config.yaml"), {"a": 1})
    assert differences == {"1: 2 -> None", "None: 3 -> None", "2001-01-01: {4: 5} -> None", "a: None -> 1"}


class Opens:
    """Opens a file for writing when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def rewritten(path, method=zipfile.ZIP_STORED, **changes):
    """The same zip with other contents of its entries, by the end of their names."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, changes.get(name.rpartition("/")[2], data))


def test_checkpoints_that_cannot_be_continued_from_are_passed_over(tmp_path):
    folder = RunFolder(tmp_path).generation(0)
    folder.checkpoints.mkdir(parents=True)
    last = folder.checkpoints / "last.ckpt"
    good = state_of_training(w=torch.arange(100.0))
    torch.save(good, last)
    assert newest_readable(folder) == last
    rewritten(last, **{"0": bytes(7)})  # a tensor that is shorter than it says; a memory map does not see it
    assert newest_readable(folder) is None
    torch.save(good, last)
    rewritten(last, zipfile.ZIP_DEFLATED)
    assert newest_readable(folder) is None
    for content in ([1, 2], torch.zeros(3), {"a": Opens(tmp_path / "opened")}):
        torch.save(content, last)
        assert newest_readable(folder) is None
    assert not (tmp_path / "opened").exists()


# What is shown


@pytest.mark.parametrize(
    "change",
    [
        {"generation": 10**30},
        {"steps": float("inf")},
        {"num_real": float("nan")},
        {"scores": []},
        {"loss": "x"},
        {"scores": {"": {"value": 1, "n": 1}}},
        {"scores": {"a\n": {"value": 1, "n": 1}}},
        {"scores": {"a": {"value": "x", "n": 1}}},
        {"scores": {"\ud800": {"value": 1, "n": 1}}},
        {"scores": {"x" * 1000: {"value": 1, "n": 1}}},
        {"scores": {"a": {"value": 10**400, "n": 1}}},
        {"scores": {"a": {"value": 1, "n": 1e308}}},
        {"scores": {"a": {"value": 1, "n": 1, "interval": []}}},
        {"scores": {"a": {"value": 1, "n": 1, "protocol": [[1, 2]]}}},
        {"scores": {"a": {"value": 1, "n": 1, "higher_is_better": "no"}}},
        {"scores": {str(i): {"value": 1, "n": 1} for i in range(1001)}},
    ],
)
def test_scores_that_are_none(tmp_path, change):
    folder = make_run(tmp_path / "run", 1).generation(0)
    folder.metrics.write_text(json.dumps(metrics(0) | change))
    assert "metrics.json is not complete" in refused(read_generation, folder)


def test_a_report_has_no_script_and_could_run_none(tmp_path):
    run = make_run(tmp_path / "run", 2)
    entry = metrics(1)
    hostile = {"value": 1.5, "standard_error": 0.1, "n": 3, "protocol": {SCRIPT: SCRIPT, "half": "\ud800", "deep": [[SCRIPT]]}}
    strange = {"value": float("nan"), "standard_error": float("inf"), "n": 3}
    entry["scores"] |= {f"fd/{SCRIPT.replace('/', '|')}": hostile, "nan": strange, "large": hostile | {"value": 1e308}}
    run.generation(1).metrics.write_text(json.dumps(entry))
    lines = [
        {"step": 1, f"loss {SCRIPT}": 1.0},
        {"step": 1, "loss": 1e308},
        {"step": 2, "loss": -1e308},
        {"step": 3, "loss": 1.0},
    ]
    run.generation(1).history.write_text("\n".join(map(json.dumps, lines)))
    run.generation(1).timing.write_text(json.dumps({"stage": SCRIPT, "seconds": 5}))
    run.config.write_text(SCRIPT)
    write_strip(run)
    page = write_report(run).read_text(encoding="utf-8")
    assert "<script" not in page and page.count("&lt;script&gt;") >= 6  # config, loss, stage, legend, twice in the protocol
    assert "Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\"" in page
    assert "half</dt><dd>?</dd>" in page


def test_curves_and_times_that_are_none_are_left_out(tmp_path):
    lines = [
        "[" * 50_000,
        "3",
        '{"step": 1, "a": 2, "b": "x", "c": [1], "d": NaN}',
        '{"a": 5}',
        '{"step": "1", "a": 5}',
        '{"step": 1e3, "a": 5}',
        '{"step": 1' + "0" * 30 + ', "a": 5}',
        '{"step": 2, "a": 1' + "0" * 400 + "}",
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    curves = read_history(tmp_path / "train.jsonl")
    assert curves["a"] == ([1], [2.0]) and list(curves) == ["a", "d"] and np.isnan(curves["d"][1]).all()
    times = [
        {"stage": "a", "seconds": 1},
        {"stage": "a", "seconds": 2.5},
        {"stage": ["a"], "seconds": 1},
        {"seconds": 1},
        {"stage": "b", "seconds": 1e300},
        {"stage": "b", "seconds": -1},
        {"stage": "b", "seconds": float("nan")},
    ]
    (tmp_path / "timing.jsonl").write_text("\n".join(map(json.dumps, times)))
    assert read_timing(tmp_path / "timing.jsonl") == {"a": 3.5}


def test_previews_are_decoded_as_any_other_picture(tmp_path):
    run = make_run(tmp_path / "run", 1)
    postscript = (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 8\n%%EndComments\nshowpage\n"  # would be handed to Ghostscript
    )
    for data in (postscript, raw_png(9000, 9000), raw_png(4, 4, chunk(b"IDAT", b"")), b""):
        run.generation(0).previews.write_bytes(data)
        assert "previews.png: cannot be read as a picture" in refused(write_strip, run)
