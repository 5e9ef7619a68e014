"""Mistakes at the command line: one line that names the key or file, before anything is trained."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from lightning.pytorch import Callback, LightningModule, Trainer
from tiny_runs import write_plain_pages
from torch import Tensor, nn

from bootlight.data.roots import load_roots
from bootlight.errors import BootlightError, check_range
from bootlight.io.atomic import read_json, write_json
from bootlight.io.pictures import encode_png
from bootlight.runs.folder import RunFolder
from bootlight.runs.history import read_history

GAUSSIAN = {"model": "gaussian.Gaussian"}
DDPM = {
    "model": "bootlight.DDPM", "model.width": 8, "model.channel_multipliers": "[1,2]", "model.num_res_blocks": 1,
    "model.attention_resolutions": "[]", "model.num_heads": 1, "model.num_train_timesteps": 25,
}  # fmt: skip
GUIDED = DDPM | {"model.num_classes": 2, "model.sampler": "bootlight.DDIM", "model.sampler.guidance": 3}
DCGAN = {"model": "bootlight.DCGAN", "model.width": 8, "model.latent_dim": 8}


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """20 pictures of noise, 8x8."""
    return write_noise(tmp_path_factory.mktemp("images"), 20)


def write_noise(folder: Path, count: int) -> Path:
    rng = np.random.default_rng(count)
    folder.mkdir(exist_ok=True)
    for i in range(count):
        (folder / f"{i:02d}.png").write_bytes(encode_png(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)))
    return folder


@pytest.fixture
def fit(bootlight, images, monkeypatch):
    """Runs `bootlight fit` with tiny settings and what is changed about them."""
    write_plain_pages(monkeypatch)

    def run(**changes: object) -> None:
        options = GAUSSIAN | {
            "data": "bootlight.BootstrapData", "data.root": images, "data.image_size": 8, "data.batch_size": 8,
            "data.num_steps": 2, "bootstrap.run_dir": "run", "bootstrap.num_generations": 1, "bootstrap.num_synthetic": 8,
            "evaluation.judge_steps": 0, "evaluation.features": "bootlight.PixelFeatures", "trainer.accelerator": "cpu",
            "trainer.enable_progress_bar": "false",
        } | changes  # fmt: skip
        bootlight("fit", *(f"--{key}={value}" for key, value in options.items() if value is not None))

    return run


@pytest.mark.parametrize("value", [0, -1, None, float("nan"), float("inf")])
def test_a_range_refuses_what_is_outside_and_what_is_no_number(value):
    with pytest.raises(BootlightError, match=rf"^a\.b is {value}; it must be at least 1 and at most 3$"):
        check_range("a.b", value, 1, 3)
    check_range("a.b", 1, 1, 3)
    check_range("a.b", 3, 1, 3)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data.batch_size", 0, r"data\.batch_size is 0; it must be at least 1"),
        ("data.num_steps", -1, r"data\.num_steps is -1; it must be at least 1"),
        ("data.num_images", -1, r"data\.num_images is -1"),
        ("data.num_workers", -1, r"data\.num_workers is -1; it must be at least 0"),
        ("data.image_size", 0, r"data\.image_size is 0"),
        ("data.channels", 2, r"data\.channels is 2, but .* has pictures, which have 1 \(grey\) or 3 \(RGB\)"),
        ("data.channels", 0, r"data\.channels is 0; it must be at least 1"),
        ("bootstrap.num_generations", 0, r"bootstrap\.num_generations is 0; it must be at least 1"),
        ("bootstrap.num_synthetic", 0, r"bootstrap\.num_synthetic is 0"),
        ("bootstrap.num_synthetic", 10**7 + 1, r"bootstrap\.num_synthetic is 10000001"),
        ("bootstrap.num_synthetic", 1, r"bootstrap\.num_synthetic is 1; evaluation\.metrics needs at least 7"),
        ("bootstrap.checkpoint_every", 0, r"bootstrap\.checkpoint_every is 0"),
        ("bootstrap.run_dir", "", r"bootstrap\.run_dir is empty"),
        ("synthesis.batch_size", 0, r"synthesis\.batch_size is 0"),
        ("synthesis.num_previews", 0, r"synthesis\.num_previews is 0"),
        ("evaluation.judge_steps", -1, r"evaluation\.judge_steps is -1; it must be at least 0"),
        ("evaluation.judge_width", 0, r"evaluation\.judge_width is 0"),
        ("evaluation.max_real", 1, r"evaluation\.max_real is 1; it must be at least 2"),
        ("evaluation.max_real", 6, r"evaluation\.max_real is 6; evaluation\.metrics needs at least 7"),
        ("evaluation.batch_size", 0, r"evaluation\.batch_size is 0"),
        ("evaluation.features.size", 0, r"evaluation\.features\.size is 0"),
        ("seed_everything", -1, r"seed_everything is -1; it must be at least 0 and at most"),
        ("seed_everything", "true", r"seed_everything is True; give a number"),
        ("trainer.accelerator", "quantum", r"trainer: .*quantum"),
        ("trainer.max_time", "soon", r"soon.*DD:HH:MM:SS"),
        ("trainer.limit_train_batches", 1, r"trainer\.limit_train_batches cannot be set: .*data\.num_steps"),
        ("trainer.fast_dev_run", "true", r"trainer\.fast_dev_run cannot be set"),
        ("trainer.precision", "bf16-true", r"trainer\.precision is bf16-true; .* take 32-true, bf16-mixed, 16-mixed"),
    ],
)
def test_a_setting_out_of_range_is_named(fit, tmp_path, key, value, message):
    with pytest.raises(BootlightError, match=message) as error:
        fit(**{key: value})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run" / "gen_000").exists()


@pytest.mark.parametrize(
    ("model", "key", "value", "message"),
    [
        (DDPM, "model.width", 0, r"model\.width is 0"),
        (DDPM, "model.width", "null", r"model\.width is None"),
        (DDPM, "model.num_heads", 0, r"model\.num_heads is 0"),
        (DDPM, "model.channel_multipliers", "[1,0]", r"model\.channel_multipliers is \[1, 0\]"),
        (DDPM, "model.channel_multipliers", "[]", r"model\.channel_multipliers is \[\]"),
        (DDPM, "model.num_res_blocks", -1, r"model\.num_res_blocks is -1"),
        (DDPM, "model.num_train_timesteps", 0, r"model\.num_train_timesteps is 0"),
        (DDPM, "model.dropout", 2, r"model\.dropout is 2\.0; it must be at least 0 and at most 1"),
        (DDPM, "model.label_dropout", 2, r"model\.label_dropout is 2\.0; it must be at least 0 and at most 1"),
        (DDPM, "model.learning_rate", ".nan", r"model\.learning_rate is nan; it must be at least 0"),
        (DDPM, "model.weight_decay", -1, r"model\.weight_decay is -1"),
        (DDPM, "model.warmup_steps", -1, r"model\.warmup_steps is -1"),
        (DDPM, "model.gradient_clip", 0, r"model\.gradient_clip is 0\.0; it must be above 0"),
        (DDPM | {"model.sampler": "bootlight.DDIM"}, "model.sampler.eta", -3, r"model\.sampler\.eta is -3\.0"),
        (DDPM | {"model.sampler": "bootlight.DDIM"}, "model.sampler.guidance", ".nan", r"model\.sampler\.guidance is nan"),
        (GUIDED, "model.num_classes", "null", r"model\.sampler\.guidance is 3\.0, .* set model\.num_classes"),
        (GUIDED, "model.label_dropout", 0, r"guidance is 3\.0, .* model\.label_dropout above 0, or leave guidance at 1"),
        (DCGAN, "model.latent_dim", 0, r"model\.latent_dim is 0"),
        (DCGAN, "model.beta1", 1.5, r"model\.beta1 is 1\.5; it must be at least 0 and below 1"),
    ],
)
def test_a_model_setting_out_of_range_is_named(fit, model, key, value, message):
    with pytest.raises(BootlightError, match=message) as error:
        fit(**(model | {key: value}))
    assert "\n" not in str(error.value)


def test_what_a_nested_constructor_refuses_is_one_line(fit):
    with pytest.raises(BootlightError, match=r"^data\.mixing\.size is 0; it must be at least 1$"):
        fit(**{"data.mixing": "bootlight.AccumulateSubsample", "data.mixing.size": 0})


PLUG_INS = """
import torch
from gaussian import Gaussian


class Raises(Gaussian):
    def __init__(self, image_size: int, channels: int = 3) -> None:
        super().__init__(image_size, channels)
        raise RuntimeError("a fault")


class SmallImages(Gaussian):
    def draw(self, noise, labels):
        return torch.zeros(1, 3, 4, 4)
"""


def test_a_fault_in_a_plug_in_names_its_file_and_line(fit, tmp_path, monkeypatch):
    (tmp_path / "faulty_plug_ins.py").write_text(PLUG_INS)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BootlightError, match=r"RuntimeError: a fault \(.*faulty_plug_ins\.py, line 9\)"):
        fit(model="faulty_plug_ins.Raises")
    with pytest.raises(BootlightError, match=r"SmallImages\.draw answered \(1, 3, 4, 4\) to 2 .* \(2, 3, 8, 8\)"):
        fit(model="faulty_plug_ins.SmallImages")
    assert not (tmp_path / "run").exists()  # known before anything is trained


class RaisesEarly(nn.Module):
    def __init__(self) -> None:
        raise RuntimeError("no licence")


class RaisesLate(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        raise KeyError("layer 3")


class Unflattened(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float()


class InAList(nn.Module):
    def forward(self, images: Tensor) -> list[Tensor]:
        return [images.float().flatten(1)]


class NotANumber(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float().flatten(1) * float("nan")


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("RaisesEarly", r"evaluation\.features: RuntimeError: no licence \(.*test_bad_input\.py, line \d+\)"),
        ("RaisesLate", r"evaluation\.features: KeyError: 'layer 3' \(.*test_bad_input\.py, line \d+\)"),
        ("Unflattened", r"evaluation\.features: Unflattened answered \(2, 3, 8, 8\) to 2 images; .* one row of features"),
        ("InAList", r"evaluation\.features: InAList answered list to 2 images"),
        ("NotANumber", r"NaN or infinity"),
    ],
)
def test_a_feature_network_is_tried_before_training(fit, tmp_path, network, message):
    with pytest.raises(BootlightError, match=message):
        fit(**{"evaluation.features": f"test_bad_input.{network}"})
    assert not (tmp_path / "run" / "gen_000").exists()


@pytest.mark.parametrize(
    ("mixing", "message"),
    [  # 18 real images in use, 8 drawn by each generation
        ({"": "Replace", ".synthetic_ratio": 0.5}, r"synthetic_ratio is 0\.5: 9 images of each generation, which draws 8"),
        ({"": "FreshReal", ".num_parts": 2}, r"num_parts is 2, which is too few for generation 2"),
        ({"": "AccumulateSubsample", ".keep_real": "false"}, r"size is 18, but only 8 images are there at generation 1"),
        (
            {"": "Replace", ".keep_real": "false", ".synthetic_ratio": 0.02},
            r"leaves no image to train on at generation 1; set data\.mixing\.keep_real, or raise data\.mixing\.synthetic_ratio",
        ),
    ],
)
def test_a_mixture_that_some_later_generation_cannot_have_is_named_before_training(fit, tmp_path, mixing, message):
    named = {f"data.mixing{key}": f"bootlight.{value}" if key == "" else value for key, value in mixing.items()}
    with pytest.raises(BootlightError, match=rf"^data\.mixing[. ]{message}"):
        fit(**named, **{"bootstrap.num_generations": 3})
    assert not (tmp_path / "run" / "gen_000").exists()


def test_one_image_is_too_few_for_a_distance(fit, tmp_path):
    with pytest.raises(BootlightError, match=r"one: 1 images to train on; evaluation\.metrics needs at least 7"):
        fit(**{"data.root": write_noise(tmp_path / "one", 1)})


def test_a_corrected_mistake_needs_no_other_folder(fit, tmp_path):
    with pytest.raises(BootlightError, match=r"num_synthetic is 1"):
        fit(**{"bootstrap.num_synthetic": 1})
    fit()  # nothing was trained with the other setting
    assert (tmp_path / "run" / "report.html").exists()
    with pytest.raises(BootlightError, match=r"holds a run with other settings \(data\.init_args\.batch_size: 8 -> 4\)"):
        fit(**{"data.batch_size": 4})


class FailsOnce(Callback):
    """The third step finds no memory; what it had logged by then is written."""

    failed = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        if batch_idx == 2 and not FailsOnce.failed:
            FailsOnce.failed = True
            raise BootlightError("out of memory")


@pytest.mark.parametrize("checkpoint", [False, True])
def test_settings_of_an_attempt_that_left_nothing_may_be_corrected(fit, tmp_path, monkeypatch, images, checkpoint):
    monkeypatch.setattr(FailsOnce, "failed", False)
    folder = RunFolder(tmp_path / "run").generation(0)
    changes = DDPM | {"trainer.callbacks": "test_bad_input.FailsOnce", "trainer.log_every_n_steps": 1}
    with pytest.raises(BootlightError, match="out of memory"):
        fit(**changes, **{"data.num_steps": 4, "bootstrap.checkpoint_every": 1 if checkpoint else 1000})
    assert len(read_history(folder.history)["train/loss"][0]) == 2 and folder.timing.exists()
    if checkpoint:
        with pytest.raises(BootlightError, match=r"run with other settings \(data\.init_args\.num_steps: 4 -> 1\)"):
            fit(**changes, **{"data.num_steps": 1, "bootstrap.checkpoint_every": 1})
    else:
        other = write_noise(tmp_path / "other", 15)
        fit(**changes, **{"data.num_steps": 1, "data.root": other})
        assert len(read_history(folder.history)["train/loss"][0]) == 1
        assert read_json(RunFolder(tmp_path / "run").real_images)["count"] == 15


def test_a_run_is_not_continued_with_other_images(fit, tmp_path, images):
    fit()
    other, moved = write_noise(tmp_path / "other", 15), tmp_path / "moved"
    moved.symlink_to(images)
    with pytest.raises(BootlightError, match=r"data\.root: .*other does not hold the 20 images that run was begun with"):
        fit(**{"data.root": other, "bootstrap.num_generations": 2})
    fit(**{"data.root": moved, "bootstrap.num_generations": 2})  # the same ones in another place


def test_a_run_is_not_continued_with_other_held_out_images(fit, tmp_path):
    (tmp_path / "split").mkdir()
    write_noise(tmp_path / "split" / "train", 12)
    held_out = write_noise(tmp_path / "split" / "test", 8)
    two = {"data.root": tmp_path / "split", "bootstrap.num_generations": 2}
    fit(**two | {"bootstrap.num_generations": 1})
    added = held_out / "more.png"
    added.write_bytes((held_out / "00.png").read_bytes())
    load_roots.cache_clear()  # as in another process
    with pytest.raises(BootlightError, match=r"data\.root: .*split does not hold out the images that run was begun with"):
        fit(**two)
    file = RunFolder(tmp_path / "run").real_images
    known = read_json(file)
    write_json(file, {key: known[key] for key in ("content", "count")})  # of a time when content meant another hash
    with pytest.raises(BootlightError, match="version of bootlight that knew images by other marks"):
        fit(**two)
    write_json(file, {key: known[key] for key in ("content", "count", "format")})
    fit(**two)


@pytest.mark.parametrize("text", ["", "a: [b\n", "only text"])
def test_a_damaged_config_of_a_run_is_named(fit, tmp_path, text):
    (tmp_path / "run" / "gen_000").mkdir(parents=True)
    (tmp_path / "run" / "config.yaml").write_text(text)
    with pytest.raises(BootlightError, match=r"run/config\.yaml is damaged; delete it"):
        fit()


def test_a_binary_file_is_no_config(bootlight, tmp_path):
    (tmp_path / "binary.yaml").write_bytes(bytes(range(128, 256)))
    with pytest.raises(BootlightError, match=r"--config: not a text file"):
        bootlight("fit", "--config=binary.yaml")


def test_an_unusable_run_folder_is_named(fit, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(BootlightError, match=r"bootstrap\.run_dir: cannot make file/run"):
        fit(**{"bootstrap.run_dir": "file/run"})


def test_lost_and_torn_parts_of_a_run_are_named_and_the_cure_works(fit, bootlight, tmp_path):
    fit()
    folder = RunFolder(tmp_path / "run").generation(0)
    before = {file: file.read_bytes() for file in folder.samples.rglob("*.*")}
    folder.metrics.write_text(folder.metrics.read_text()[:50])
    with pytest.raises(BootlightError, match=r"gen_000/metrics\.json is not valid JSON .* delete it and run"):
        fit(**{"bootstrap.num_generations": 2})
    assert not (tmp_path / "run" / "gen_001").exists()
    folder.metrics.unlink()
    folder.sample_file(2).unlink()
    with pytest.raises(BootlightError, match=r"000002\.png.*; delete that image, if it is there, and .*metadata\.jsonl"):
        fit()
    folder.metadata.unlink()
    fit()
    with_less = folder.sample_file(1).read_bytes()[:30]
    folder.sample_file(1).write_bytes(with_less)
    with pytest.raises(BootlightError, match=r"000001\.png.*; delete that image, if it is there, and .*metadata\.jsonl"):
        fit(**{"bootstrap.num_generations": 2})
    folder.sample_file(1).unlink()
    folder.metadata.unlink()
    fit(**{"bootstrap.num_generations": 2})
    assert {file: file.read_bytes() for file in folder.samples.rglob("*.*")} == before
    folder.weights.write_bytes(folder.weights.read_bytes()[:99])
    with pytest.raises(BootlightError, match=r"gen_000/model\.safetensors .*gen_000/model\.json; delete"):
        bootlight("sample", "run@0", "--to=drawn", "--trust=gaussian.Gaussian")
    folder.weights.unlink()
    folder.model_config.unlink()
    fit(**{"bootstrap.num_generations": 2})
    bootlight("sample", "run@0", "--to=drawn", "--trust=gaussian.Gaussian")


class Signals(Callback):
    """Sends a signal to this process in the middle of training, once."""

    number: int | None = None

    def on_train_batch_end(self, *_: object) -> None:
        if Signals.number is not None:
            number, Signals.number = Signals.number, None
            os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_has_a_status_and_a_line_and_the_run_continues(fit, capsys, number, status):
    Signals.number = number
    handler = signal.getsignal(signal.SIGINT)
    changes = DDPM | {"trainer.callbacks": "test_bad_input.Signals"}
    try:
        with pytest.raises(SystemExit) as stop:
            fit(**changes)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert stop.value.code == status
    assert "run the same command again to continue" in capsys.readouterr().out
    fit(**changes)


def test_a_checkpoint_is_not_named_by_hand(fit):
    with pytest.raises(BootlightError, match=r"--ckpt_path is not taken: .* --bootstrap\.run_dir"):
        fit(ckpt_path="last.ckpt")


def test_wrong_options_of_sample_are_named(fit, bootlight):
    fit()
    for option, message in (
        ("--batch-size=0", r"--batch-size is 0; it must be at least 1"),
        ("--seeds=0-99999999999", r"--seeds 0-99999999999: more than 10000000 images"),
        ("--device=quantum", r"--device quantum: .*; try --device cpu"),
    ):
        with pytest.raises(BootlightError, match=message):
            bootlight("sample", "run", "--to=drawn", "--trust=gaussian.Gaussian", option)


@pytest.mark.parametrize("text", ["", " ", "\t"])
@pytest.mark.parametrize("key", ["data.root", "data.mixing.root"])
def test_an_empty_name_of_images_is_refused(fit, key, text):
    with pytest.raises(BootlightError, match=rf"^{key} is empty"):
        fit(**{"data.mixing": "bootlight.WithTeacher", "data.mixing.root": "x", key: text})


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["evaluate", "--real=", "--synthetic=a"], "--real is empty"),
        (["evaluate", "--real=a", "--synthetic= "], "--synthetic is empty"),
        (["evaluate", "--real=a", "--synthetic=a", "--held-out="], "--held-out is empty"),
        (["compare", "a", "", "--real=a"], "a set is empty"),
        (["compare", "a", "b", "--real="], "--real is empty"),
        (["data", "check", "a", ""], "a set is empty"),
        (["data", "check", "@train"], "the name of a set of images is empty"),
        (["sample", "", "--to=drawn"], "the name of a set of images is empty"),
    ],
)
def test_an_empty_name_of_a_set_is_refused(bootlight, arguments, named):
    with pytest.raises(BootlightError, match=named):
        bootlight(*arguments)
