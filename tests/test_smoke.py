"""A trial of all stages: small in everything, in a folder of its own, which alone it empties."""

import os
from types import SimpleNamespace

import pytest
from few_digits import FewDigits
from jsonargparse import Namespace
from lightning.pytorch import Callback
from test_bad_input import write_noise
from tiny_runs import write_plain_pages

from bootlight.bootstrap.smoke import Smoke, hurried, mark, renew, set_aside
from bootlight.data.around import WithCopies
from bootlight.data.mixing import AccumulateSubsample
from bootlight.errors import BootlightError
from bootlight.evaluation.generation import Evaluation
from bootlight.generators.ddpm import DDPM
from bootlight.metrics.features.features import PixelFeatures


class Called(Callback):
    ends = 0

    def on_train_end(self, *_):
        Called.ends += 1


def parts(**options):
    evaluation = Evaluation(PixelFeatures, metrics=("fd", "precision-recall"), judge_steps=500, max_real=90)
    return FewDigits(**options), evaluation


def test_all_counts_of_images_keep_their_proportions():
    mixing = AccumulateSubsample(size=70)
    data, evaluation = parts(num_real=80, mixing=WithCopies(number=40, mixing=mixing))  # of 100 images 10 are held out
    small = Smoke.of(data, evaluation, num_synthetic=1000, num_generations=3)
    # precision and recall with k = 5 need 7 images of the 90 to train on: 8 / 90 of all, which is more than 16 / 1000.
    assert small == Smoke(num_images=10, share=8 / 90, num_synthetic=16, num_reference=16)
    model = DDPM(8, 1, width=8, channel_multipliers=(1,), num_heads=1, attention_resolutions=())
    data.trainer = None
    small.shrink_model(model)
    small.shrink_data(data)
    small.shrink_evaluation(evaluation)
    assert (data.num_images, data.limit_real, data.mixing.number, data.mixing.mixing.size) == (10, 7, 3, 6)
    data.setup()
    assert (len(data.available), len(data.real), data.num_steps) == (9, 7, 3)
    assert model.protocol()["num_steps"] == 2
    assert (evaluation.judge_steps, evaluation.max_real) == (2, 16)
    assert isinstance(evaluation.features(), PixelFeatures)


def test_a_small_run_is_not_made_larger():
    data, evaluation = parts()
    evaluation.judge_steps, evaluation.max_real = 0, 12
    small = Smoke.of(data, evaluation, num_synthetic=9, num_generations=1)
    assert small.share == 1 and small.num_images == 100 and small.num_synthetic == 9
    small.shrink_model(SimpleNamespace(set_num_steps=lambda _: None))
    small.shrink_evaluation(evaluation)
    assert (evaluation.judge_steps, evaluation.max_real) == (0, 12)
    assert hurried(PixelFeatures()).name == "pixels"


def test_nothing_is_written_where_the_run_will_write(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    wandb = {"save_dir": ".", "offline": False, "project": "p"}
    loggers = [Namespace(init_args=Namespace(**wandb)), Namespace(init_args=Namespace(tracking_uri="http://x", save_dir=None))]
    callback = Namespace(init_args=Namespace(dirpath="best", monitor="x"))
    trainer = Namespace(logger=loggers, callbacks=[callback, Namespace(init_args=Namespace(dirpath=None))], profiler="simple")
    settings = Namespace(bootstrap=Namespace(run_dir="runs/x/"), trainer=trainer)
    set_aside(settings)
    assert settings.bootstrap.run_dir == "runs/x-smoke"
    assert vars(loggers[0].init_args) == {"save_dir": "runs/x-smoke", "offline": True, "project": "p"}
    assert vars(loggers[1].init_args) == {"tracking_uri": None, "save_dir": "runs/x-smoke"}
    assert callback.init_args.dirpath == "runs/x-smoke" and trainer.callbacks[1].init_args.dirpath is None
    assert os.environ["WANDB_MODE"] == "offline"


def test_only_a_folder_of_its_own_is_emptied(tmp_path):
    folder, outside = tmp_path / "x-smoke", tmp_path / "outside"
    for path in (folder / "gen_000", outside):
        path.mkdir(parents=True)
        (path / "kept").touch()
    with pytest.raises(BootlightError, match=r"x-smoke was not made by --smoke, which would empty it"):
        renew(folder)
    assert (folder / "gen_000" / "kept").exists()
    (folder / "link").symlink_to(outside)
    (folder / ".lock").touch()
    mark(folder)
    renew(folder)
    assert sorted(path.name for path in folder.iterdir()) == [".lock", ".smoke"]
    assert (outside / "kept").exists()


def test_a_trial_runs_every_stage_twice_over(bootlight, tmp_path, monkeypatch, capsys):
    write_plain_pages(monkeypatch)
    monkeypatch.setattr(Called, "ends", 0)
    write_noise(tmp_path / "images", 20)
    command = [
        "fit", "--smoke", "--model=gaussian.Gaussian", "--data=bootlight.BootstrapData", "--data.root=images",
        "--data.image_size=8", "--data.batch_size=8", "--data.num_epochs=99999", "--bootstrap.run_dir=run",
        "--bootstrap.num_generations=2", "--bootstrap.num_synthetic=1000000", "--evaluation.judge_steps=99999",
        "--evaluation.judge_width=4", "--evaluation.features=bootlight.PixelFeatures", "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false", "--trainer.callbacks=test_smoke.Called",
    ]  # fmt: skip
    for ends in (2, 4):
        bootlight(*command)
        assert "every stage of every generation works" in capsys.readouterr().out and Called.ends == ends
        folder = tmp_path / "run-smoke"
        assert len(list(folder.glob("gen_*/samples/*/*.png"))) == 32 and len(list(folder.glob("gen_*/metrics.json"))) == 2
        command.append("--data.batch_size=4")  # other settings are no matter
    assert not (tmp_path / "run").exists()
    with pytest.raises(BootlightError, match="give one of them"):
        bootlight(*command, "--plan")
