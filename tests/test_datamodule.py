"""The data module: subsets, held-out images, messages, steps, and the data of the judge."""

import copy
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from few_digits import never

from bootlight import Batch
from bootlight.bootstrap.checks import check_input
from bootlight.data.archive import DiskArchive
from bootlight.data.datamodule import BootstrapData
from bootlight.data.mixing import Replace, Source
from bootlight.data.origin import StoreOrigin
from bootlight.data.store import store_from_arrays
from bootlight.errors import BootlightError
from bootlight.evaluation.generation import Evaluation
from bootlight.io.cache_folder import default_cache
from bootlight.metrics.features.inception_weights import default_file
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import RunFolder

COUNT = 50
PIXELS = np.arange(COUNT * 4, dtype=np.uint8).reshape(COUNT, 2, 2, 1)


class Pool(DiskArchive):
    """Generations have drawn 7 images."""

    def drawn(self, generation, folder="samples"):
        return Source("synthetic", store_from_arrays(PIXELS[:7] + generation), np.arange(7), generation)


class InMemory(BootstrapData):
    """Fifty images of two pixels squared, labelled 0 and 1 in turn."""

    def __init__(self, **options):
        origin = StoreOrigin(store_from_arrays(PIXELS, np.arange(COUNT) % 2, ("even", "odd")), name="memory")
        super().__init__(origin=origin, **options)

    def opened_archive(self, generation):
        return Pool(**vars(super().opened_archive(generation)))


def in_memory(generation=0, seed=0, **options):
    options = {"num_steps": 5, "batch_size": 8, **options}
    data = InMemory(**options)
    data.attach(GenerationContext(RunFolder(Path("unused")), generation, seed))
    data.setup()
    return data


def items(source):
    return set(source.indices.tolist())


# Subsets


def test_sizes_and_disjointness():
    data = in_memory(holdout_fraction=0.3, real_fraction=0.4)
    assert (len(data.holdout), len(data.available), len(data.real)) == (15, 35, 14)
    assert items(data.holdout) | items(data.available) == set(range(COUNT))
    assert not items(data.holdout) & items(data.available)
    assert items(data.real) < items(data.available)
    assert all(np.array_equal(s.indices, np.sort(s.indices)) for s in (data.holdout, data.available, data.real))
    assert data.sources == [data.real]


def test_real_fractions_are_nested():
    sets = [in_memory(real_fraction=fraction, holdout_fraction=0.2) for fraction in (0.1, 0.5, 0.7, 1.0)]
    chosen = [items(data.real) for data in sets]
    assert [len(each) for each in chosen] == [4, 20, 28, 40]
    assert chosen[0] < chosen[1] < chosen[2] < chosen[3]
    assert len({tuple(data.holdout.indices) for data in sets}) == 1


def test_a_share_is_the_same_for_every_run_and_differs_with_subset_seed():
    first, same = in_memory(seed=0, real_fraction=0.7), in_memory(seed=99, real_fraction=0.7)
    assert items(first.real) == items(same.real) and items(first.holdout) == items(same.holdout)
    other = in_memory(subset_seed=1, real_fraction=0.7)
    assert items(first.real) != items(other.real) and items(first.holdout) != items(other.holdout)


def test_num_images_limits_everything():
    data, fewer = in_memory(num_images=20, holdout_fraction=0.2), in_memory(num_images=10, holdout_fraction=0.2)
    assert (len(data.holdout), len(data.available)) == (4, 16)
    assert items(fewer.holdout) | items(fewer.available) < items(data.holdout) | items(data.available)
    chosen = [items(in_memory(num_images=20, holdout_fraction=0, subset_seed=seed).real) for seed in (0, 1)]
    assert chosen[0] != chosen[1] and set(range(20)) not in chosen  # at random
    assert len(in_memory(num_images=COUNT, holdout_fraction=0).real) == COUNT


def test_real_images_of_a_source():
    data = in_memory(holdout_fraction=0.4)
    everything = data.real_images(data.holdout)
    assert np.array_equal(everything, PIXELS[data.holdout.indices])
    assert np.array_equal(data.real_images(data.holdout, limit=20), everything)
    some = data.real_images(data.holdout, limit=6)
    assert np.array_equal(some, in_memory(seed=9, holdout_fraction=0.4).real_images(data.holdout, limit=6))
    positions = [int(np.flatnonzero((everything == image).all((1, 2, 3)))[0]) for image in some]
    assert positions == sorted(set(positions)) and len(positions) == 6 and positions != list(range(6))


# Messages


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": None}, "set either data.num_steps or data.num_epochs"),
        ({"num_epochs": 1}, "set either data.num_steps or data.num_epochs"),
        ({"step_share": 0}, "data.step_share"),
        ({"step_share": float("inf")}, "data.step_share"),
        ({"real_fraction": 0.0}, r"data.real_fraction must be in \(0, 1\] and data.holdout_fraction in \[0, 1\)"),
        ({"real_fraction": 1.01}, "data.real_fraction must be"),
        ({"holdout_fraction": 1.0}, "data.real_fraction must be"),
        ({"holdout_fraction": -0.1}, "data.real_fraction must be"),
        ({"num_images": 51}, "data.num_images is 51, but memory has only 50 images"),
        ({"real_fraction": 0.01}, "memory: no image is left to train on; raise data.real_fraction"),
        ({"holdout_fraction": 0.999}, "memory: no image is left to train on; .* lower data.holdout_fraction"),
    ],
)
def test_errors_are_one_line_that_names_the_key(options, message):
    with pytest.raises(BootlightError, match=f"^{message}") as error:
        in_memory(**options)
    assert "\n" not in str(error.value)


def cpu_trainer(world_size, rank):
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    return SimpleNamespace(world_size=world_size, global_rank=rank, strategy=strategy, accumulate_grad_batches=1, callbacks=[])


def test_batch_size_must_be_divisible_by_the_devices():
    data = in_memory(batch_size=8)
    data.trainer = cpu_trainer(3, 0)
    with pytest.raises(BootlightError, match=r"^data\.batch_size is 8; it must be a multiple of the 3 devices$"):
        data.train_dataloader()


@pytest.mark.parametrize(("key", "batch", "judge_batch"), [("data.batch_size", 8, 9), ("evaluation.judge_batch_size", 9, 8)])
def test_both_batch_sizes_are_checked_by_their_own_names_before_anything_is_read_or_trained(key, batch, judge_batch):
    trainer = cpu_trainer(3, 0)
    data, context = InMemory(num_steps=1, batch_size=batch), GenerationContext(RunFolder(Path("unused")), 0, 0)
    data.setup = never
    with pytest.raises(BootlightError, match=rf"^{key} is 8; it must be a multiple of the 3 devices$"):
        check_input(None, data, trainer, context, 1, 1, Evaluation(judge_steps=1, judge_batch_size=judge_batch))


# Steps and batches


@pytest.mark.parametrize(
    ("settings", "accumulate", "share", "wanted"),
    [
        ({"num_steps": 2500, "num_epochs": None}, 1, 0.05, 125),
        ({"num_steps": 10, "num_epochs": None}, 1, 0.01, 1),  # at least one
        ({"num_steps": 10, "num_epochs": None}, 1, 1.5, 15),
        ({"num_steps": 100, "num_epochs": None}, 4, 0.1, 8),  # whole optimizer steps: 2.5 of them, to the even neighbor
        ({"num_steps": None, "num_epochs": 4}, 1, 0.5, 20),  # half of 4 passes over 100 images in batches of 10
    ],
)
def test_a_part_trains_a_share_of_the_steps(settings, accumulate, share, wanted):
    data = in_memory(0, **settings, step_share=share, batch_size=10)
    data.accumulate = accumulate
    assert data.steps_for(100) == wanted
    assert data.for_judge(num_steps=7, batch_size=2).steps_for(100) == 7  # a judge is no part


@pytest.mark.parametrize("num_epochs", [1, 2, 3])
@pytest.mark.parametrize("generation", [0, 1, 3])
@pytest.mark.parametrize("batch_size", [4, 9, 64])
def test_epochs_are_rounded_up_to_steps(num_epochs, generation, batch_size):
    data = in_memory(generation, num_steps=None, num_epochs=num_epochs, batch_size=batch_size)
    size = 45 + 7 * generation
    assert (data.num_real, data.num_synthetic) == (45, 7 * generation)
    assert data.num_steps == math.ceil(num_epochs * size / batch_size) == len(data.train_dataloader())
    assert data.steps_for(9 * batch_size) == 9 * num_epochs  # whole epochs are not rounded


def test_num_steps_is_taken_as_it_is():
    assert in_memory(2).num_steps == 5 == in_memory(2).steps_for(1_000_000)


def first_batch(**options):
    return next(iter(in_memory(batch_size=40, **options).train_dataloader())).images


def test_order_differs_between_seeds_and_generations():
    mixing = Replace(keep_real=False)
    assert torch.equal(first_batch(seed=1), first_batch(seed=1))
    assert not torch.equal(first_batch(seed=1), first_batch(seed=2))
    # Replace without real images: the same seven positions in both, pixels differ by one grey level.
    one, two = (first_batch(generation=generation, mixing=mixing) for generation in (1, 2))
    assert not torch.equal(one + 1, two)
    assert torch.equal(one.flatten(1).sum(1).unique() + 4, two.flatten(1).sum(1).unique())


def test_ranks_share_the_batch_of_one_process():
    whole = in_memory(flip=True)
    batches = list(whole.train_dataloader())
    parts = []
    for rank in range(2):
        data = in_memory(flip=True)
        data.trainer = cpu_trainer(2, rank)
        parts.append(list(data.train_dataloader()))
    for batch, first, second in zip(batches, *parts, strict=True):
        assert torch.equal(batch.images, torch.cat([first.images, second.images]))
        assert torch.equal(batch.labels, torch.cat([first.labels, second.labels]))


@pytest.mark.parametrize("flip", [True, False])
def test_flip_is_passed_on(flip):
    batches = list(in_memory(flip=flip, num_steps=9, batch_size=45).train_dataloader())
    upright = {tuple(image.flatten()) for image in PIXELS}
    share = np.mean([tuple(image.flatten().tolist()) in upright for batch in batches for image in batch.images])
    # 405 images; four standard deviations of the share are 4 * 0.5 / sqrt(405) = 0.1.
    assert abs(share - 0.5) < 0.1 if flip else share == 1


def test_transfer_changes_the_range_and_nothing_else():
    images = torch.tensor([0, 51, 102, 255], dtype=torch.uint8).reshape(2, 1, 1, 2)
    batch = Batch(images, torch.tensor([3, 4]), seed=5, start=2, total=9)
    moved = in_memory().on_after_batch_transfer(batch, 0)
    # x / 127.5 - 1; three roundings of float32 at most, each below 2**-24.
    assert torch.allclose(moved.images.flatten(), torch.tensor([-1.0, -0.6, -0.2, 1.0]), rtol=0, atol=2e-7)
    assert moved.images.dtype == torch.float32 and moved[1:] == batch[1:]
    assert in_memory().on_after_batch_transfer(moved, 0).images is moved.images  # floats are not scaled


def test_default_cache_is_that_of_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("BOOTLIGHT_CACHE", str(tmp_path / "here"))
    assert default_cache() == tmp_path / "here" == in_memory().cache
    monkeypatch.delenv("BOOTLIGHT_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache/bootlight"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # its specification says that this is as none
    assert default_cache() == tmp_path / ".cache/bootlight" == default_file().parent
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache() == tmp_path / "xdg/bootlight" == default_file().parent
    (tmp_path / ".cache/bootlight").mkdir(parents=True)  # of an earlier version
    assert default_cache() == tmp_path / ".cache/bootlight" == default_file().parent
    (tmp_path / "xdg/bootlight").mkdir(parents=True)
    assert default_cache() == tmp_path / "xdg/bootlight" == default_file().parent
    (tmp_path / ".cache/bootlight" / default_file().name).write_bytes(b"weights")
    assert default_file().parent == tmp_path / ".cache/bootlight"
    assert in_memory(cache="~/other").cache == tmp_path / "other"


# The judge's data


def test_judge_sees_all_available_images_and_leaves_the_original_alone():
    data = in_memory(2, seed=5, real_fraction=0.5, num_steps=None, num_epochs=3, flip=True)
    before = copy.copy(data.__dict__)
    judge = data.for_judge(num_steps=11, batch_size=6)
    judge.setup()
    assert items(judge.real) == items(data.available) != items(data.real)
    assert (judge.num_real, judge.num_synthetic, judge.num_steps, judge.batch_size) == (45, 0, 11, 6)
    assert items(judge.holdout) == items(data.holdout)
    assert data.__dict__ == before
    assert [batch.images.shape[0] for batch in judge.train_dataloader()] == [6] * 11


def test_judge_is_the_same_for_every_run_seed():
    one, other = (in_memory(0, seed=seed).for_judge(3, 9) for seed in (1, 2))
    for data in (one, other):
        data.setup()
    pairs = zip(one.train_dataloader(), other.train_dataloader(), strict=True)
    assert all(torch.equal(first.images, second.images) and first.seed == second.seed for first, second in pairs)
