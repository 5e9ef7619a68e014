"""Gradient accumulation: an optimizer step of k batches is that of one batch k times as large."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from oracle import fit, tiny_ddpm
from tiny_runs import DDPM, options

from bootlight.bootstrap.builder import Builder
from bootlight.bootstrap.checks import check_training
from bootlight.data.batches import StepDataset
from bootlight.data.datamodule import BootstrapData
from bootlight.data.loader import StepLoader
from bootlight.data.mixing import Source
from bootlight.data.store import store_from_arrays
from bootlight.diffusion.timesteps import TimestepSampler
from bootlight.errors import BootlightError
from bootlight.rng import seed_torch
from bootlight.runs.context import GenerationContext

STEPS = 4  # of the optimizer
WHOLE = 8  # images of each


def sources(count=13):
    """More steps than passes: batches straddle the passes over 13 images."""
    images = np.random.default_rng(3).integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)
    store = store_from_arrays(images, np.arange(count) % 3, ["a", "b", "c"])
    return [Source("real", store, np.arange(count), weights=np.linspace(0.5, 1.5, count, dtype=np.float32))]


def dataset(accumulate, rank=0, world_size=1):
    batch_size = WHOLE // accumulate
    return StepDataset(sources(), 7, STEPS * accumulate, batch_size, True, rank, world_size, accumulate)


@pytest.mark.parametrize(("accumulate", "world_size"), [(2, 1), (4, 1), (8, 1), (2, 2), (2, 4)])
def test_parts_of_a_step_make_up_its_batch(accumulate, world_size):
    whole = dataset(1)
    shares = [dataset(accumulate, rank, world_size) for rank in range(world_size)]
    for step in range(STEPS):
        parts = [share[step * accumulate + part] for part in range(accumulate) for share in shares]
        for name in ("images", "labels", "ids", "weights", "sources"):
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole[step], name))
        assert {(part.seed, part.total) for part in parts} == {(whole[step].seed, WHOLE)}
        assert torch.equal(torch.cat([part.normal("noise", 2) for part in parts]), whole[step].normal("noise", 2))
        assert torch.equal(torch.cat([part.uniform("t") for part in parts]), whole[step].uniform("t"))
        assert all(torch.equal(part.uniform("t", whole=True), whole[step].uniform("t")) for part in parts)


class Watch(Callback):
    """Keeps the losses of the batches, and what dropout would draw in them."""

    def __init__(self):
        self.losses, self.drawn = [], []

    def on_train_start(self, trainer, module):
        generator = torch.default_generator
        module.unet.register_forward_pre_hook(lambda *_: self.drawn.append(torch.rand(2, generator=generator.clone_state())))

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.losses.append(float(trainer.callback_metrics["train/loss"]))


class Learns(TimestepSampler):
    """Moves towards the levels whose losses were high: any change of its state shows in the next batch."""

    observes = True

    def setup(self, schedule):
        super().setup(schedule)
        self.register_buffer("center", torch.zeros((), dtype=torch.float64))
        self.seen = []

    def draw(self, u, position):
        return ((u[position] + self.center) % 1 * 100).long(), None

    def observe(self, t, loss):
        self.seen.append(len(t))
        self.center += (t * loss).mean() / 100


def trained(accumulate, ckpt_path=None, callbacks=(), timesteps=None, prediction=None):
    """A float64 DDPM without dropout after `STEPS` steps, trained by a real Trainer from the batches of the loader."""
    settings = {"num_classes": 3, "gradient_clip": 0.5, "warmup_steps": 1, "ema_decay": 0.5, "learning_rate": 1e-2}
    module, watch = tiny_ddpm(**settings, prediction=prediction, learned_variance=False).double(), Watch()
    if timesteps is not None:
        timesteps.setup(module.schedule)
        module.timesteps = timesteps
    module.on_after_batch_transfer = lambda batch, _: BootstrapData.on_after_batch_transfer(None, batch, 0)
    how = {"precision": "64-true", "accumulate_grad_batches": accumulate, "callbacks": [watch, *callbacks]}
    fit(module, StepLoader(dataset(accumulate)), ckpt_path, **how)
    return module, watch


@pytest.fixture(scope="module")
def whole():
    return trained(1)


@pytest.mark.parametrize("accumulate", [2, 4])
def test_training_by_parts_is_training_by_the_batch(accumulate, whole):
    (module, watch), (expected, at_once) = trained(accumulate), whole
    losses = np.array(watch.losses).reshape(STEPS, accumulate).mean(1)
    # The same products in float64, about 1,000 terms summed in another order.
    np.testing.assert_allclose(losses, at_once.losses, rtol=1e-13)
    assert losses.min() > 0.01
    # Worst is a bias before a norm, whose gradient is nothing but rounding, 1e-17 or so: over Adam's epsilon of 1e-8, times the
    # rate of 0.01, 1e-11 in each step.
    for mine, theirs in zip(module.parameters(), expected.parameters(), strict=True):  # the average's too
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)
    moved = max((a - b).abs().max() for a, b in zip(expected.parameters(), tiny_ddpm(num_classes=3).parameters(), strict=True))
    assert moved > 0.01


def test_a_timestep_sampler_learns_once_a_step_from_all_of_it():
    at_once, by_parts = Learns(), Learns()
    expected, whole = trained(1, timesteps=at_once)
    module, watch = trained(4, timesteps=by_parts)
    assert at_once.seen == by_parts.seen == [WHOLE] * STEPS
    assert at_once.center > 0.1 and by_parts.center.item() == pytest.approx(at_once.center.item(), rel=1e-13)
    np.testing.assert_allclose(np.array(watch.losses).reshape(STEPS, 4).mean(1), whole.losses, rtol=1e-13)
    for mine, theirs in zip(module.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


def test_dropout_differs_between_the_parts_of_a_step_and_is_as_ever_without_parts(whole):
    drawn = trained(4)[1].drawn
    assert len({tuple(draw.tolist()) for draw in drawn}) == 4 * STEPS
    # Part 0 and a batch of its own draw by (seed of the step, rank 0), as they did before there were parts.
    assert torch.equal(torch.stack(drawn[::4]), torch.stack(whole[1].drawn))
    seed_torch(dataset(1)[1].seed, 0)
    assert torch.equal(torch.rand(2, dtype=torch.float64), whole[1].drawn[1])


def test_continued_between_two_steps_is_exact_and_within_one_is_refused(tmp_path, whole):
    class Save(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            trainer.save_checkpoint(tmp_path / f"{batch_idx + 1}.ckpt")

    expected = trained(2, callbacks=[Save()])[0]
    continued = trained(2, ckpt_path=tmp_path / "4.ckpt")[0]
    assert all(map(torch.equal, continued.parameters(), expected.parameters()))
    with pytest.raises(BootlightError, match=r"after 3 batches, within an optimizer step of 2 .*accumulate_grad_batches"):
        trained(2, ckpt_path=tmp_path / "3.ckpt")


def in_epochs(num_epochs, accumulate, count=13, batch_size=4):
    data = BootstrapData("unused", 8, 1, batch_size=batch_size, num_epochs=num_epochs)
    data.accumulate = accumulate
    return data.steps_for(count)


def test_epochs_are_rounded_up_to_whole_optimizer_steps():
    # 2 passes over 13 images are 26, which fill 7 batches of 4, 4 pairs of them, and 3 triples.
    assert [in_epochs(2, accumulate) for accumulate in (1, 2, 3)] == [7, 8, 9]


def test_steps_that_cannot_be_had_are_refused():
    with pytest.raises(BootlightError, match=r"^data\.num_steps is 9; .* trainer\.accumulate_grad_batches, 2$"):
        StepDataset(sources(), 7, 9, 4, accumulate=2)
    data = BootstrapData("unused", 8, 1, batch_size=4, num_steps=9)
    trainer = SimpleNamespace(world_size=1, precision="32-true", accumulate_grad_batches=2, callbacks=[])
    with pytest.raises(BootlightError, match=r"^data\.num_steps is 9; "):
        check_training(tiny_ddpm(), data, trainer)
    trainer.callbacks = [GradientAccumulationScheduler({0: 3})]
    with pytest.raises(BootlightError, match=r"GradientAccumulationScheduler .* set trainer\.accumulate_grad_batches"):
        check_training(tiny_ddpm(), data, trainer)


@pytest.mark.filterwarnings("ignore")  # LightningCLI prefers the command line
def test_a_configuration_tells_its_data(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["bootlight"])
    settings = {"trainer.accumulate_grad_batches": 4, "data.num_steps": "null", "data.num_epochs": 1, "data.batch_size": 7}
    builder = Builder([*DDPM, *options(tmp_path, tmp_path / "run", **settings)])
    parts = builder.parts(GenerationContext(builder.run, 0, 0))
    assert [data.accumulate for data in (builder.datamodule, builder.data(), parts.data)] == [4, 4, 4]
    assert parts.data.steps_for(29) == 8
    assert builder.trial_trainer([], []).limit_train_batches == 8  # two optimizer steps
