"""The complete loop through the command line, against closed forms and against itself."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

from bootlight.bootstrap import begin
from bootlight.distributed.stopping import stop_request
from bootlight.errors import BootlightError
from bootlight.evaluation.generation import Evaluation
from bootlight.io.atomic import read_json
from bootlight.io.pictures import decode, encode_png
from bootlight.runs.folder import RunFolder
from bootlight.runs.manifest import read_metadata
from bootlight.training import publish

TINY_DDPM = [
    "--model=bootlight.DDPM", "--model.width=8", "--model.channel_multipliers=[1,2]", "--model.num_res_blocks=1",
    "--model.attention_resolutions=[]", "--model.num_heads=1", "--model.num_train_timesteps=25", "--model.learning_rate=1e-3",
    "--model.ema_decay=0.9",
]  # fmt: skip
TINY_DCGAN = ["--model=bootlight.DCGAN", "--model.width=8", "--model.latent_dim=8"]
NO_JUDGE = ["--evaluation.judge_steps=0", "--evaluation.features=bootlight.PixelFeatures"]


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """40 grey-level Gaussian noise pictures of 8x8, mean 128, standard deviation 30: no value is ever clamped (4 sigma)."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(1)
    for i in range(40):
        pixels = np.clip(np.round(rng.normal(128, 30, (8, 8, 3))), 0, 255).astype(np.uint8)
        (folder / f"{i:03d}.png").write_bytes(encode_png(pixels))
    return folder


def common(images: Path, run: Path, **changes: object) -> list[str]:
    options = {
        "data": "bootlight.BootstrapData", "data.root": images, "data.image_size": 8, "data.batch_size": 8,
        "data.num_steps": 6, "data.holdout_fraction": 0.2, "bootstrap.run_dir": run, "bootstrap.num_generations": 2,
        "bootstrap.num_synthetic": 10, "bootstrap.checkpoint_every": 2, "synthesis.batch_size": 4, "synthesis.num_previews": 3,
        "trainer.accelerator": "cpu", "trainer.enable_progress_bar": "false", "trainer.log_every_n_steps": 1,
    } | changes  # fmt: skip
    return [f"--{key}={value}" for key, value in options.items()]


def pixels(run: Path, generation: int) -> np.ndarray:
    folder = RunFolder(run).generation(generation)
    files = [folder.samples / row["file_name"] for row in read_metadata(folder)]
    return np.stack([decode(file.read_bytes(), str(file), image_size=8, channels=3) for file in files])


def fingerprint(run: Path) -> dict[str, str]:
    """Hashes of everything that a run is for: weights, images, manifests, scores."""
    wanted = ("*.safetensors", "samples/**/*.png", "samples/metadata.jsonl", "metrics.json", "previews.png")
    files = [file for pattern in wanted for file in run.glob(f"gen_*/{pattern}")]
    return {str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(files)}


def test_variance_of_the_gaussian_chain_shrinks_by_one_minus_one_over_n(bootlight, images, tmp_path):
    n, last = 8, 3
    bootlight(
        "fit", "--model=gaussian.Gaussian",
        *common(images, tmp_path / "run", **{
            "data.num_epochs": 1, "data.num_steps": "null", "data.mixing": "bootlight.Replace",
            "data.mixing.keep_real": "false", "bootstrap.num_generations": last + 1, "bootstrap.num_synthetic": n,
        }),
        *NO_JUDGE,
    )  # fmt: skip
    # What generation g draws from is the fit to the n images of generation g - 1; the fit of generation 0 is exact.
    variances = [torch_variance(tmp_path / "run", generation) for generation in range(last + 1)]
    ratio = float((variances[last] / variances[0]).mean())
    # 192 independent pixels. One refit multiplies by chi2(n-1)/n: mean 1 - 1/n, relative variance 2/(n-1). After 3 refits the
    # relative variance is (1 + 2/7)^3 - 1 = 1.13, so the mean over pixels has a standard error of 0.670 sqrt(1.13/192) = 0.051.
    # Rounding to grey levels adds 1/12 to about 900: nothing.
    assert ratio == pytest.approx((1 - 1 / n) ** last, abs=3 * 0.051)
    assert ratio < 1 - 3 * 0.051  # a loop that trains on the wrong folder would stay at 1


def torch_variance(run: Path, generation: int) -> np.ndarray:
    from safetensors.numpy import load_file

    state = load_file(RunFolder(run).generation(generation).weights)
    mean, square = state["sums"] / state["count"]
    return square - mean**2


def test_the_fit_of_generation_one_is_that_of_the_images_of_generation_zero(bootlight, images, tmp_path):
    run = tmp_path / "run"
    changes = {
        "data.num_epochs": 1,
        "data.num_steps": "null",
        "bootstrap.num_synthetic": 16,
        "data.mixing": "bootlight.Replace",
    }
    bootlight(
        "fit", "--model=gaussian.Gaussian", *common(images, run, **changes, **{"data.mixing.keep_real": "false"}), *NO_JUDGE
    )
    drawn = pixels(run, 0).astype(np.float64) / 127.5 - 1
    # float32 images, float64 sums: 16 terms of relative error 6e-8.
    np.testing.assert_allclose(torch_variance(run, 1), drawn.var(0).transpose(2, 0, 1), rtol=1e-5)


def test_generations_record_what_they_were_trained_on(bootlight, images, tmp_path):
    run = tmp_path / "run"
    bootlight("fit", "--model=gaussian.Gaussian", *common(images, run, **{"bootstrap.num_generations": 3}), *NO_JUDGE)
    rows = read_json(run / "metrics.json")["generations"]
    assert [(row["num_real"], row["num_synthetic"]) for row in rows] == [(32, 0), (32, 10), (32, 20)]
    assert [row["images_seen"] for row in rows] == [48, 48, 48]
    assert rows[2]["scores"]["fd-pixels/holdout"]["protocol"]["num_real"] == 8
    assert rows[2]["scores"]["fd-pixels/train"]["n"] == 10
    manifest = list(read_metadata(RunFolder(run).generation(2)))
    assert [row["generation"] for row in manifest] == [2] * 10 and len({row["seed"] for row in manifest}) == 10
    for row in manifest:
        data = (run / "gen_002" / "samples" / row["file_name"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == row["sha256"]


def test_a_finished_run_is_left_alone_and_a_missing_report_rebuilt(bootlight, images, tmp_path, capsys):
    run, command = tmp_path / "run", ["fit", "--model=gaussian.Gaussian"]
    bootlight(*command, *common(images, run), *NO_JUDGE)
    written = [file for file in run.rglob("*") if file.is_file() and file.name not in ("config.yaml", ".lock")]
    before = {file: file.stat().st_mtime_ns for file in written}
    report = (run / "report.html").read_bytes()
    (run / "report.html").unlink()
    capsys.readouterr()
    bootlight(*command, *common(images, run), *NO_JUDGE)
    assert "is finished: 2 generations" in capsys.readouterr().out
    after = {file: file.stat().st_mtime_ns for file in before if file.name != "report.html"}
    assert after == {file: time for file, time in before.items() if file.name != "report.html"}
    assert (run / "report.html").read_bytes() == report


def test_other_settings_are_refused_and_more_generations_are_not(bootlight, images, tmp_path):
    run, command = tmp_path / "run", ["fit", "--model=gaussian.Gaussian"]
    bootlight(*command, *common(images, run), *NO_JUDGE)
    first = fingerprint(run)
    with pytest.raises(BootlightError, match=r"data\.init_args\.batch_size: 8 -> 4"):
        bootlight(*command, *common(images, run, **{"data.batch_size": 4}), *NO_JUDGE)
    bootlight(*command, *common(images, run, **{"bootstrap.num_generations": 3}), *NO_JUDGE)
    assert first.items() <= fingerprint(run).items()
    assert (run / "gen_002" / "metrics.json").exists()


class Fails(Callback):
    """Raises once, as a power cut would, at a step of training or in the middle of synthesis."""

    armed: str | None = None

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if Fails.armed == "training" and batch_idx == 4:
            Fails.armed = None
            raise KeyError("power cut")


@pytest.mark.slow  # test_resume and test_kills do more of it
@pytest.mark.parametrize("model", [TINY_DDPM, TINY_DCGAN], ids=["ddpm", "dcgan"])
@pytest.mark.parametrize("where", ["training", "synthesis", "evaluation"])
def test_an_interrupted_run_ends_as_if_it_never_had_been(bootlight, images, tmp_path, monkeypatch, model, where):
    calm, cut = tmp_path / "calm", tmp_path / "cut"
    Fails.armed = None
    extra = [*model, *NO_JUDGE, "--trainer.callbacks=test_bootstrap.Fails"]
    bootlight("fit", *common(images, calm), *extra)
    Fails.armed = where
    break_once(monkeypatch, where)
    with pytest.raises((KeyError, BootlightError)):
        bootlight("fit", *common(images, cut), *extra)
    assert not (cut / "gen_000" / "metrics.json").exists()
    bootlight("fit", *common(images, cut), *extra)
    assert fingerprint(cut) == fingerprint(calm)


def break_once(monkeypatch, where: str) -> None:
    """Let the third picture, or the evaluation, fail once."""
    import bootlight.bootstrap.evaluate as evaluation
    import bootlight.synthesis.folder as synthesis

    calls = {"synthesis": (synthesis, "write_bytes", 4), "evaluation": (evaluation, "write_json", 1)}
    if where not in calls:
        return
    module, name, fatal = calls[where]
    real, count = getattr(module, name), [0]

    def broken(*args: object) -> None:
        count[0] += 1
        if count[0] == fatal:
            raise KeyError("power cut")
        real(*args)

    monkeypatch.setattr(module, name, broken)


def test_warm_start_begins_where_the_last_generation_ended(bootlight, images, tmp_path):
    frozen = [arg.replace("learning_rate=1e-3", "learning_rate=0") for arg in TINY_DDPM]
    for warm in ("true", "false"):
        bootlight("fit", *frozen, *common(images, tmp_path / warm, **{"bootstrap.warm_start": warm}), *NO_JUDGE)
    same = [
        (tmp_path / warm / "gen_001" / "previews.png").read_bytes()
        == (tmp_path / warm / "gen_000" / "previews.png").read_bytes()
        for warm in ("true", "false")
    ]
    assert same[0]  # nothing is learnt, so generation 1 draws what generation 0 drew


@pytest.mark.slow
def test_training_stopped_early_continues_with_the_same_command(bootlight, images, tmp_path, monkeypatch):
    monkeypatch.setattr(begin, "job_seconds", lambda _: 0.0)  # each job has time for one step
    run, calm = tmp_path / "run", tmp_path / "calm"
    command = ["fit", *TINY_DDPM, *common(images, run, **{"trainer.max_time": "00:01:00:00", "bootstrap.num_generations": 1})]
    for step in (1, 2, 3):
        with pytest.raises(SystemExit) as stop:
            bootlight(*command, *NO_JUDGE)
        assert stop.value.code == 75
        assert not (run / "gen_000" / "model.json").exists() and not (run / "gen_000" / "samples").exists()
        checkpoint = torch.load(run / "gen_000" / "checkpoints" / "last.ckpt", weights_only=True)
        assert checkpoint["global_step"] == step  # saved at the stop, though checkpoints are due at even steps only
    monkeypatch.undo()
    bootlight("fit", *TINY_DDPM, *common(images, run, **{"bootstrap.num_generations": 1}), *NO_JUDGE)
    bootlight("fit", *TINY_DDPM, *common(images, calm, **{"bootstrap.num_generations": 1}), *NO_JUDGE)
    assert fingerprint(run) == fingerprint(calm)


def test_a_torn_end_of_training_is_trained_again_from_the_checkpoint_before(bootlight, images, tmp_path):
    run, calm = tmp_path / "run", tmp_path / "calm"
    extra = [*TINY_DDPM, *NO_JUDGE, "--bootstrap.num_generations=1"]
    bootlight("fit", *common(images, calm), *extra)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish, "write_json", lambda *_: (_ for _ in ()).throw(KeyError("power cut")))
        with pytest.raises(KeyError):
            bootlight("fit", *common(images, run), *extra)
    trained = run / "gen_000" / "checkpoints" / "trained.ckpt"
    trained.write_bytes(trained.read_bytes()[:1000])
    bootlight("fit", *common(images, run), *extra)
    assert fingerprint(run) == fingerprint(calm)


def test_labels_survive_synthesis_and_mixing(bootlight, tmp_path):
    rng = np.random.default_rng(0)
    for name, count in (("a", 12), ("b", 4)):
        for i in range(count):
            file = tmp_path / "images" / name / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode_png(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)))
    run = tmp_path / "run"
    changes = {"data.holdout_fraction": 0, "bootstrap.num_synthetic": 8}
    bootlight("fit", *TINY_DDPM, "--model.num_classes=2", *common(tmp_path / "images", run, **changes), *NO_JUDGE)
    labels = [row["label"] for row in read_metadata(RunFolder(run).generation(1))]
    assert sorted(labels) == [0] * 6 + [1] * 2  # the real proportions, 12 to 4
    assert read_json(RunFolder(run).generation(1).model_config)["class_names"] == ["a", "b"]
    with pytest.raises(BootlightError, match=r"model\.num_classes is 3, but .* has 2 classes"):
        bootlight(
            "fit", *TINY_DDPM, "--model.num_classes=3", *common(tmp_path / "images", tmp_path / "other", **changes), *NO_JUDGE
        )


def test_everything_is_read_without_executing_code(bootlight, images, tmp_path):
    run = tmp_path / "run"
    bootlight("fit", *TINY_DDPM, *common(images, run, **{"bootstrap.num_generations": 1}), *NO_JUDGE)
    checkpoint = torch.load(run / "gen_000" / "checkpoints" / "trained.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 6
    model = json.loads((run / "gen_000" / "model.json").read_text())
    assert model["model"]["class_path"] == "bootlight.DDPM" and model["model"]["init_args"]["width"] == 8


def test_a_stop_after_the_last_score_still_publishes_it(bootlight, images, tmp_path, monkeypatch):
    run = tmp_path / "run"
    score = Evaluation.scores

    def score_and_hear_a_signal(self: Evaluation, *args: Any, **options: Any) -> Any:
        found = score(self, *args, **options)
        stop_request.reason = "SIGTERM"
        return found

    monkeypatch.setattr(Evaluation, "scores", score_and_hear_a_signal)
    with pytest.raises(SystemExit) as stop:
        bootlight("fit", *TINY_DDPM, *common(images, run), *NO_JUDGE)
    assert stop.value.code == 75 and not (run / "gen_001").exists()
    assert len(read_json(run / "metrics.json")["generations"]) == 1 and (run / "strip.png").exists()
