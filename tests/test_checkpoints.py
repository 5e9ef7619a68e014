"""Files to continue from and files to use: whole or absent, found again, and equal to what was saved."""

import logging
import os
import warnings
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from lightning.pytorch import Trainer
from oracle import awaken, random_batch
from raw_files import state_of_training
from torch.utils.data import DataLoader

from bootlight.diffusion.sampler import DDIM
from bootlight.errors import BootlightError
from bootlight.generators.dcgan import DCGAN
from bootlight.generators.ddpm import DDPM
from bootlight.generators.load import load_generator
from bootlight.io.atomic import file_sha256, read_json, write_json
from bootlight.io.quiet import quiet
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import GenerationFolder, RunFolder
from bootlight.training.checkpoints import AtomicCheckpointIO, newest_readable, periodic_checkpoint
from bootlight.training.publish import Publish
from bootlight.training.stop import StopBetweenSteps


@pytest.fixture
def folder(tmp_path):
    return GenerationFolder(tmp_path / "gen_000")


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# Checkpoints


def test_saved_checkpoint_is_whole_and_alone(tmp_path, monkeypatch):
    written = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda *paths: (written.append(paths[0].parent), replace(*paths)))
    state = {"weights": torch.arange(5.0), "step": 7}
    AtomicCheckpointIO().save_checkpoint(state, str(tmp_path / "new" / "last.ckpt"))
    loaded = AtomicCheckpointIO().load_checkpoint(tmp_path / "new" / "last.ckpt")
    assert torch.equal(loaded["weights"], state["weights"]) and loaded["step"] == 7
    assert names(tmp_path) == ["new/last.ckpt"]
    assert written == [tmp_path / "new"]  # renamed in its own folder: never a copy from another file system


def test_a_failing_save_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BootlightError, match=r"last\.ckpt: No space left on device"):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, path)
    assert torch.load(path)["step"] == 1 and names(tmp_path) == ["last.ckpt"]


def test_unpicklable_state_leaves_nothing(tmp_path):
    with pytest.raises(Exception, match="pickle"):
        AtomicCheckpointIO().save_checkpoint({"function": lambda: 0}, tmp_path / "last.ckpt")
    assert names(tmp_path) == []


def train(module, callback, num_steps):
    """So many steps on noise."""
    silent = dict.fromkeys(["logger", "enable_progress_bar", "enable_model_summary"], False)
    trainer = Trainer(accelerator="cpu", max_epochs=1, callbacks=[callback], plugins=[AtomicCheckpointIO()], **silent)
    with warnings.catch_warnings():
        quiet()
        trainer.fit(module, DataLoader([random_batch(4, seed) for seed in range(num_steps)], batch_size=None))
    return trainer


def test_periodic_checkpoints_of_a_training(folder):
    """Seven steps, a checkpoint every third: at the end the state after the sixth, in two files, and nothing else."""
    module, states = DCGAN(8, 1, latent_dim=4, width=4), []
    module.on_train_batch_end = lambda *_: states.append({k: v.clone() for k, v in module.state_dict().items()})
    trainer = train(module, periodic_checkpoint(folder, every_n_steps=3), 7)
    assert trainer.global_step == 7
    found = {path.name: torch.load(path, weights_only=True) for path in folder.checkpoints.iterdir()}
    assert sorted(found) == ["last.ckpt", "step=6.ckpt"]
    for checkpoint in found.values():
        assert checkpoint["global_step"] == 6
        assert all(torch.equal(value, states[5][name]) for name, value in checkpoint["state_dict"].items())
    assert newest_readable(folder).name == "last.ckpt"


def spoil(network):
    """Make the last of many weights NaN."""
    with torch.no_grad():
        list(network.parameters())[-1][-1] = float("nan")


@pytest.mark.parametrize("part", ["net_g", "ema"])
def test_a_diverged_training_stops_and_leaves_the_last_good_checkpoint(folder, part):
    """Its weights, or their average alone, are lost in step 5; the checkpoint after step 6 would be of no use."""
    module = DCGAN(8, 1, latent_dim=4, width=4, ema_decay=0.9)
    module.on_train_batch_end = lambda _, __, step: spoil(getattr(module, part)) if step == 4 else None
    with pytest.raises(BootlightError, match=r"gen_000 diverged: .* after step 6 \(last good state: .*last\.ckpt\); lower "):
        train(module, periodic_checkpoint(folder, every_n_steps=3), 7)
    assert names(folder.checkpoints) == ["last.ckpt", "step=3.ckpt"]
    for path in folder.checkpoints.iterdir():
        checkpoint = torch.load(path, weights_only=True)
        weights = [value for value in checkpoint["state_dict"].values() if isinstance(value, torch.Tensor)]
        assert checkpoint["global_step"] == 3 and len(weights) == 16 and all(bool(value.isfinite().all()) for value in weights)


def test_a_diverged_state_is_not_saved_on_request_nor_published(folder):
    module = DCGAN(8, 1, latent_dim=4, width=4)
    saved = []
    trainer = SimpleNamespace(
        lightning_module=module, save_checkpoint=saved.append, _logger_connector=SimpleNamespace(should_update_logs=False)
    )
    StopBetweenSteps(folder)._save(trainer)
    assert saved == [folder.checkpoints / "last.ckpt"]
    spoil(module.net_d)
    with pytest.raises(BootlightError, match=r"diverged: .* none was saved"):
        StopBetweenSteps(folder)._save(trainer)
    with pytest.raises(BootlightError, match="diverged"):
        publish(folder, module, {})
    assert len(saved) == 1 and names(folder.path) == []


def save(path, step, seconds):
    """A checkpoint that was written so many seconds after the epoch."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state_of_training(step, weights=torch.full((5000,), float(step))), path)
    os.utime(path, (seconds, seconds))


def truncate(path, share):
    """Keep a share of the file, and its time."""
    time = path.stat().st_mtime
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    os.utime(path, (time, time))


def test_no_checkpoint(folder):
    assert newest_readable(folder) is None
    folder.checkpoints.mkdir(parents=True)
    (folder.checkpoints / ".last.ckpt.123.tmp").write_bytes(b"left by a kill")
    assert newest_readable(folder) is None


def test_the_newest_by_time(folder, caplog):
    save(folder.checkpoints / "last.ckpt", 3, 300)
    save(folder.checkpoints / "step=5.ckpt", 5, 500)
    save(folder.checkpoints / "a.ckpt", 4, 400)
    assert newest_readable(folder).name == "step=5.ckpt"
    save(folder.checkpoints / "last.ckpt", 6, 600)
    assert newest_readable(folder).name == "last.ckpt"
    assert caplog.records == []


def test_the_trained_one_comes_first_though_older(folder):
    save(folder.trained_checkpoint, 9, 100)
    save(folder.checkpoints / "last.ckpt", 6, 600)
    assert newest_readable(folder) == folder.trained_checkpoint


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_torn_checkpoints_are_passed_over_with_a_warning(folder, caplog, share):
    for seconds, name in enumerate(["step=4.ckpt", "step=6.ckpt", "last.ckpt", "trained.ckpt"]):
        save(folder.checkpoints / name, seconds, 1000 + seconds)
    for torn, next_best in [("trained", "last"), ("last", "step=6"), ("step=6", "step=4"), ("step=4", None)]:
        truncate(folder.checkpoints / f"{torn}.ckpt", share)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            found = newest_readable(folder)
        assert (found and found.stem) == next_best
        warned = [record.getMessage() for record in caplog.records]
        paths = sorted(message.split(" cannot be read")[0] for message in warned)
        assert len(paths) == len(set(paths)) == ["trained", "last", "step=6", "step=4"].index(torn) + 1  # each once
        assert str(folder.checkpoints / f"{torn}.ckpt") in paths


def test_checkpoints_with_code_are_not_executed(folder, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    folder.checkpoints.mkdir(parents=True)
    torch.save({"evil": Evil()}, folder.checkpoints / "last.ckpt")
    assert newest_readable(folder) is None
    assert not (tmp_path / "executed").exists()


# Published files

SMALL = {"width": 8, "channel_multipliers": [1, 2], "num_res_blocks": 1, "attention_resolutions": [], "num_heads": 1}
SAMPLER = {"class_path": "bootlight.DDIM", "init_args": {"num_steps": 4, "eta": 0.5}}
SHORT = {"num_train_timesteps": 40}


def ddpm():
    module = DDPM(8, 1, **SMALL, **SHORT, sampler=DDIM(4, eta=0.5), num_classes=3)
    awaken(module.unet)  # the average stays at the initial weights, whose answers are zero
    awaken(module.ema.network, seed=1)
    return module, {"class_path": "bootlight.DDPM", "init_args": {**SMALL, **SHORT, "sampler": SAMPLER, "num_classes": 3}}


def dcgan():
    module = DCGAN(8, 1, latent_dim=5, width=4)
    awaken(module.net_g)
    for norm in (m for m in module.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    return module, {"class_path": "bootlight.DCGAN", "init_args": {"latent_dim": 5, "width": 4}}


def publish(folder, module, config):
    """Publish as the end of a training does, without its trainer."""
    callback = Publish(GenerationContext(RunFolder(folder.path.parent), 0, 0, config))
    strategy = SimpleNamespace(broadcast=lambda value: value)
    trainer = SimpleNamespace(
        is_global_zero=True, global_rank=0, local_rank=0, save_checkpoint=lambda path: None, strategy=strategy, ckpt_path=None,
        loggers=[], datamodule=SimpleNamespace(num_steps=1),
    )  # fmt: skip
    callback.publish(trainer, module)


@pytest.mark.parametrize("build", [ddpm, dcgan])
def test_published_generators_draw_equal_images(folder, build):
    module, config = build()
    publish(folder, module, config)
    assert folder.is_trained
    loaded = load_generator(folder)
    labels = None if module.num_classes is None else torch.tensor([2, 0, 1])
    images = module.sample([3, 1, 2], labels=labels)
    assert type(loaded) is type(module) and not loaded.training
    assert torch.equal(loaded.sample([3, 1, 2], labels=labels), images)
    assert images.std() > 0.01 and (images[0] - images[1]).abs().max() > 0.01  # not all of them zero or equal
    assert loaded.protocol() == module.protocol()


def test_number_of_sampler_steps_can_be_chosen(folder):
    module, config = ddpm()
    publish(folder, module, config)
    labels = torch.tensor([0, 1])
    loaded = load_generator(folder, num_steps=7)
    module.sampler.num_steps = 7
    assert loaded.protocol()["num_steps"] == 7
    assert torch.equal(loaded.sample([1, 2], labels=labels), module.sample([1, 2], labels=labels))
    assert not torch.equal(loaded.sample([1, 2], labels=labels), load_generator(folder).sample([1, 2], labels=labels))


@pytest.mark.parametrize("class_path", ["bootlight.Nothing", "no_such_package.Model", "bootlight.Digits"])
def test_unknown_class_is_one_line(folder, class_path):
    module, config = dcgan()
    publish(folder, module, config)
    published = read_json(folder.model_config)
    published["model"]["class_path"] = class_path
    write_json(folder.model_config, published)
    with pytest.raises(BootlightError, match=rf"model\.json: cannot build {class_path} \(.+\)$") as error:
        load_generator(folder)
    assert "\n" not in str(error.value)


def test_weights_of_another_model_are_refused(folder):
    module, config = dcgan()
    publish(folder, module, config)
    state = safetensors.torch.load_file(folder.weights)
    state.pop(sorted(state)[0])
    folder.weights.write_bytes(safetensors.torch.save(state))
    write_json(folder.model_config, {**read_json(folder.model_config), "weights_sha256": file_sha256(folder.weights)})
    with pytest.raises(BootlightError, match="do not fit this model: 1 differ"):
        load_generator(folder)


def test_weights_from_before_the_biases_left_say_why_they_do_not_fit(folder):
    module, config = dcgan()
    publish(folder, module, config)
    state = safetensors.torch.load_file(folder.weights)
    old = {f"{network}.layers.{at}.bias": torch.zeros(1) for network in ("net_g", "net_d") for at in (0, 3)}
    folder.weights.write_bytes(safetensors.torch.save(state | old))
    write_json(folder.model_config, {**read_json(folder.model_config), "weights_sha256": file_sha256(folder.weights)})
    with pytest.raises(BootlightError, match=r"model\.json: .* 4 differ, .* net_d\.layers\.0\.bias.* version") as error:
        load_generator(folder)
    assert "\n" not in str(error.value)


def test_untrained_generation_is_a_named_error(folder):
    with pytest.raises(BootlightError, match=r"^cannot read .*gen_000/model\.json"):
        load_generator(folder)
