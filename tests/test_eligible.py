"""Levels first, then an image that may be trained there."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from bootlight import DSM, Ambient, BootlightError, CosineSchedule, LogNormal, SigmaSchedule, Source, UniformTimesteps
from bootlight.data.batches import StepDataset, gather
from bootlight.data.eligible import Eligible, levels_first
from bootlight.data.store import store_from_arrays
from bootlight.diffusion.levels import DrawnLevels
from bootlight.rng import derive_key

STORE = store_from_arrays(np.random.default_rng(0).integers(0, 256, (40, 2, 2, 1), dtype=np.uint8))
CLEAN = Source("real", STORE, np.arange(10))
NOISY = Source("noisy", STORE, np.arange(10, 40), noise=(0.5, math.inf))


class Model:
    """What a loader asks a model."""

    def __init__(self, timesteps, schedule, objective):
        self.timesteps, self.objective = timesteps, objective
        timesteps.setup(schedule)

    def noise_levels(self):
        return DrawnLevels.of(self.timesteps, self.objective.usable)


def model(timesteps=None, schedule=None, objective=None):
    return Model(timesteps or LogNormal(), schedule or SigmaSchedule(), objective or DSM())


def steps(sources, made=None, **options):
    levels = levels_first(made or model(), sources)
    return StepDataset(sources, 3, num_steps=8, batch_size=12, **options, levels=levels)


@pytest.mark.parametrize("schedule", [SigmaSchedule(), CosineSchedule(50)])
@pytest.mark.parametrize("timesteps", [LogNormal, UniformTimesteps])
def test_levels_are_those_of_the_timestep_sampler_to_the_bit(timesteps, schedule):
    made = model(timesteps(), schedule)
    if isinstance(made.timesteps, LogNormal) and schedule.num_timesteps:
        made.timesteps.mean = 0.0
    for batch in steps([CLEAN, NOISY], made):
        assert torch.equal(batch.t, made.timesteps.draw(batch.uniform("t", whole=True), batch.positions())[0])


def test_every_image_may_be_trained_at_its_level():
    for batch in steps([CLEAN, NOISY]):
        assert ((batch.noise[:, 0] <= batch.t) & (batch.t <= batch.noise[:, 1])).all()
        assert set(batch.sources[batch.t < 0.5].tolist()) <= {0}


def test_ambient_keeps_its_buffer():
    found = torch.cat([b.t[b.sources == 1] for b in steps([CLEAN, NOISY], model(objective=Ambient(buffer=0.6)))])
    assert len(found) and (found >= 0.8 * (1 - 1e-5)).all()  # 1.6 * 0.5, in float32


def test_images_of_a_level_are_all_alike():
    ranges = np.array([[0, math.inf]] * 3 + [[0.5, math.inf]] * 4 + [[0, 0.7]] * 3, np.float32)
    rows = torch.arange(40_000)
    chosen = Eligible(ranges).choose(np.full(40_000, 0.6, np.float32), derive_key("x"), rows)
    counts = np.bincount(chosen, minlength=10)
    # Chi-square of 9 degrees of freedom: above 40 once in 10^5 times, and the key is fixed.
    assert ((counts - 4000) ** 2 / 4000).sum() < 40
    below = Eligible(ranges).choose(np.full(40_000, 0.2, np.float32), derive_key("x"), rows)
    counts = np.bincount(below, minlength=10)
    assert counts[3:7].sum() == 0 and ((counts[[0, 1, 2, 7, 8, 9]] - 40_000 / 6) ** 2 / (40_000 / 6)).sum() < 40


def test_two_of_many_are_found_too():
    """Where the first tries all fail, all images are looked at."""
    ranges = np.tile(np.array([0, 0.1], np.float32), (5000, 1))
    ranges[[7, 4321], 1] = np.inf
    chosen = Eligible(ranges).choose(np.full(400, 3, np.float32), derive_key("x"), torch.arange(400))
    # Binomial (400, 1/2): a deviation of 10; five of them.
    assert set(chosen.tolist()) == {7, 4321} and abs((chosen == 7).sum() - 200) < 50


def test_a_share_of_a_rank_and_of_a_part_is_that_of_the_whole_step():
    (whole, second) = (steps([CLEAN, NOISY])[i] for i in (0, 1))
    shares = [steps([CLEAN, NOISY], rank=rank, world_size=3)[1] for rank in range(3)]
    for name in ("images", "t", "noise", "sources", "ids"):
        assert torch.equal(torch.cat([getattr(share, name) for share in shares]), getattr(second, name)), name
    dataset = StepDataset([CLEAN, NOISY], 3, 8, 6, accumulate=2, levels=levels_first(model(), [CLEAN, NOISY]))
    parts = [dataset[0], dataset[1]]
    for name in ("images", "t", "noise"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name)), name


def test_workers_read_the_same():
    dataset = steps([CLEAN, NOISY], model(schedule=CosineSchedule(50), timesteps=UniformTimesteps()))
    dataset.levels.levels.schedule.level(torch.tensor([3]))  # a copy of a table, kept by its device
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=2)
    for here, there in zip(dataset, loader, strict=False):
        assert torch.equal(here.images, there.images) and torch.equal(here.t, there.t)


class Weighing(UniformTimesteps):
    def draw(self, u, position):
        return super().draw(u, position)[0], 1 + position.double()


def test_weights_of_levels_and_of_images_multiply():
    weighted = NOISY.weighted(2)
    batch = steps([CLEAN, weighted], model(Weighing()))[0]
    assert batch.weights.tolist() == [(1 + i) * (1 + int(s)) for i, s in enumerate(batch.sources)]


def test_without_ranges_nothing_changes():
    assert levels_first(model(), [CLEAN, replace(NOISY, noise=None)]) is None
    assert levels_first(object(), [CLEAN, NOISY]) is None  # no diffusion model


class Learning(UniformTimesteps):
    observes = True


@pytest.mark.parametrize(
    ("sources", "made", "key"),
    [
        ([NOISY], model(), "sigma_min"),
        ([replace(NOISY, noise=(0.0, 2.0)), replace(CLEAN, noise=(2.1, math.inf))], model(), "sigma 2[^.]"),
        ([replace(NOISY, noise=(0.0, 0.5))], model(schedule=CosineSchedule(50)), "no image"),
        ([CLEAN, replace(NOISY, noise=(2.0, 1.0))], model(), "sigma 2 to 1"),
        ([CLEAN, replace(NOISY, noise=(math.nan, 1.0))], model(), "nan"),
        ([CLEAN, NOISY], model(Learning()), r"model\.timesteps"),
    ],
)
def test_what_cannot_be_trained_is_refused(sources, made, key):
    with pytest.raises(BootlightError, match=key):
        levels_first(made, sources)


def test_noisy_images_alone_are_enough_above_their_noise():
    assert levels_first(model(schedule=SigmaSchedule(0.5)), [NOISY]) is not None
    joined = [replace(NOISY, noise=(0.0, 0.6)), NOISY]
    assert levels_first(model(), joined) is not None


def test_pictures_beside_floats_become_floats():
    floats = store_from_arrays(np.random.default_rng(1).normal(0, 3, (5, 2, 2, 1)).astype(np.float32))
    mixed = [CLEAN, Source("noisy", floats, np.arange(5))]
    images, _ = gather(mixed, np.array([12, 3, 10]))
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images[[0, 2]], floats.images[[2, 0]])
    np.testing.assert_array_equal(images[1], STORE.images[3].astype(np.float32) / np.float32(127.5) - 1)
