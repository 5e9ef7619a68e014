"""Batches as a function of the step: order, shares of ranks, flips, workers, and continuing in the middle."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from bootlight.data.batches import StepDataset, gather, marks, mirror, positions
from bootlight.data.image_ids import image_ids
from bootlight.data.loader import StepLoader
from bootlight.data.mixing import Source
from bootlight.data.store import store_from_arrays
from bootlight.rng import derive_key

RNG = np.random.default_rng(1)


def source(count, role="real", labels=None, first=0):
    """Images 2 x 2 whose first pixel counts from `first`, the others being random; every image differs from its mirror."""
    images = RNG.integers(0, 100, (count, 2, 2, 1), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(first, first + count)
    images[:, 0, 1, 0] = 200 + RNG.integers(0, 50, count)
    store = store_from_arrays(images, labels, [] if labels is None else [str(i) for i in range(10)])
    return Source(role, store, np.arange(count))


def dataset(count=10, num_steps=9, batch_size=4, seed=7, **options):
    return StepDataset([source(count, labels=np.arange(count) % 10)], seed, num_steps, batch_size, **options)


def numbers(batch):
    """Which images a batch without flips holds."""
    return batch.images[:, 0, 0, 0].tolist()


def equal(one, other):
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a is not None or b is not None]
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def equal_lists(ones, others):
    return len(ones) == len(others) and all(map(equal, ones, others))


# Order


def test_every_image_once_per_epoch_also_where_batches_straddle():
    data = dataset(count=10, num_steps=15, batch_size=4)  # 60 images: 6 epochs, of which every other begins inside a batch
    seen = [number for step in range(15) for number in numbers(data[step])]
    epochs = [seen[start : start + 10] for start in range(0, 60, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6  # shuffled anew: 10! orders, so equality is practically impossible


def test_batch_larger_than_several_epochs():
    chosen = positions(7, start=2, count=11, size=3)
    endless = positions(7, start=0, count=15, size=3)
    assert chosen.tolist() == endless[2:13].tolist()
    assert [sorted(endless[i : i + 3]) for i in range(0, 15, 3)] == [[0, 1, 2]] * 5


def test_order_depends_on_the_seed_alone():
    one, same, other = dataset(50, seed=7), dataset(50, seed=7), dataset(50, seed=8)
    torch.manual_seed(1)
    first = [numbers(one[step]) for step in range(9)]
    np.random.default_rng().random()
    torch.manual_seed(2)
    assert [numbers(same[step]) for step in reversed(range(9))] == first[::-1]
    assert [numbers(other[step]) for step in range(9)] != first


def test_first_image_is_uniform():
    # Of 2000 seeds, each of 5 images comes first with probability 1/5; 18.5 is the 99.9 % quantile of chi-square with 4
    # degrees of freedom.
    counts = np.bincount([positions(seed, start=0, count=1, size=5)[0] for seed in range(2000)], minlength=5)
    assert ((counts - 400) ** 2 / 400).sum() < 18.5


def test_end_is_an_index_error():
    data = dataset(num_steps=3)
    assert len(data) == 3 and len(list(data)) == 3  # iteration by index ends there
    with pytest.raises(IndexError):
        data[-1]


# Ranks


@pytest.mark.parametrize("world_size", [2, 4])
def test_shares_of_ranks_make_up_the_global_batch(world_size):
    sources = [source(10, labels=np.arange(10)), source(5, "synthetic", np.arange(5), first=100)]
    whole = StepDataset(sources, 7, 12, 8, flip=True)
    shares = [StepDataset(sources, 7, 12, 8, True, rank, world_size) for rank in range(world_size)]
    for step in range(12):
        parts = [share[step] for share in shares]
        assert torch.equal(torch.cat([part.images for part in parts]), whole[step].images)
        assert torch.equal(torch.cat([part.labels for part in parts]), whole[step].labels)
        for name in ("ids", "sources"):
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole[step], name))
        assert [part.start for part in parts] == list(range(0, 8, 8 // world_size))
        assert {part.total for part in parts} == {8} == {whole[step].total}
        assert {part.seed for part in parts} == {whole[step].seed} == {derive_key(7, "step", step)}


# Flips


def test_flips_mirror_exactly_and_leave_labels():
    sources = [source(10, labels=np.arange(10))]
    plain, flipped = StepDataset(sources, 7, 400, 10), StepDataset(sources, 7, 400, 10, flip=True)
    total, per_position = 0, np.zeros(10)
    for step in range(400):
        before, after = plain[step], flipped[step]
        mirrored = before.images.flip(3)  # width is the last axis
        turned = (after.images == mirrored).flatten(1).all(1)
        assert ((after.images == before.images).flatten(1).all(1) ^ turned).all()
        assert equal(before, after._replace(images=before.images))
        total += int(turned.sum())
        per_position += turned.numpy()
    # Binomial(4000, 1/2) has a standard deviation of 31.6, binomial(400, 1/2) of 10; 4 of them, and 4.5 for ten at once.
    assert abs(total - 2000) < 4 * 31.6
    assert (abs(per_position - 200) < 4.5 * 10).all()


def test_flips_do_not_wear_out_the_store():
    data = StepDataset([source(10)], 7, 50, 10, flip=True)
    before = data.sources[0].store.images.copy()
    first = [data[step] for step in range(50)]
    assert np.array_equal(data.sources[0].store.images, before)
    assert equal_lists([data[step] for step in range(50)], first)


# Gathering


def test_gather_equals_naive_indexing():
    """Three sources, of which two use a part of their store, in an order of their own."""
    whole = [source(9, labels=RNG.integers(0, 10, 9)), source(6, "synthetic", RNG.integers(0, 10, 6), 50)]
    parts = [
        Source("real", whole[0].store, np.array([8, 1, 5])),
        Source("synthetic", whole[1].store, np.array([], np.int64)),
        Source("synthetic", whole[1].store, np.array([2, 0, 4, 3])),
    ]
    listed = [(part.store.images[i], part.store.labels[i]) for part in parts for i in part.indices]
    chosen = RNG.integers(0, 7, 40)
    images, labels = gather(parts, chosen)
    assert np.array_equal(images, np.stack([listed[i][0] for i in chosen]))
    assert labels.tolist() == [listed[i][1] for i in chosen] and labels.dtype == np.int64


def test_labels_are_none_where_there_are_no_classes_at_all():
    labelled, unlabelled = source(3, labels=np.arange(3)), source(3)
    assert gather([labelled, unlabelled], np.array([0, 2, 4]))[1].tolist() == [0, 2, -1]
    assert gather([labelled, unlabelled], np.array([3, 4]))[1].tolist() == [-1, -1]  # not None for one batch only
    assert gather([unlabelled], np.array([0, 2]))[1] is None


def test_each_image_brings_its_source_weight_and_noise():
    """Three sources: with weights; with a range for each; plain. The second and third are of one store."""
    first, second = source(3), source(4, "noisy")
    ranges = np.array([[1, 2], [3, 4]], np.float32)
    parts = [
        replace(first, weights=np.array([2, 0, 0.5], np.float32)),
        Source("noisy", second.store, np.array([3, 1]), noise=ranges),
        Source("synthetic", second.store, np.array([], np.int64)),
        Source("view", second.store, np.array([1, 3]), noise=(5.0, 6.0)),
    ]
    found = marks(parts, np.array([6, 2, 0, 4, 3, 5, 1]))
    assert found["sources"].tolist() == [3, 0, 0, 1, 1, 3, 0]
    assert found["weights"].tolist() == [1, 0.5, 2, 1, 1, 1, 0] and found["weights"].dtype == torch.float32
    everywhere = [0, math.inf]
    assert found["noise"].tolist() == [[5, 6], everywhere, everywhere, [3, 4], [1, 2], [5, 6], everywhere]
    ids = dict(zip([6, 2, 0, 4, 3, 5, 1], found["ids"].tolist(), strict=True))
    assert ids[6] == ids[3] and ids[5] == ids[4]  # the same items of one store
    assert len(set(ids.values())) == 5 and min(ids.values()) >= 0
    assert marks([first, second], np.array([0, 6])).keys() == {"ids", "sources"}


def test_some_of_a_source_keep_their_weights_and_noise():
    weights, noise = np.array([1, 2, 3], np.float32), np.array([[0, 1], [0, 2], [0, 3]], np.float32)
    whole = Source("real", source(9).store, np.array([8, 4, 2]), weights=weights, noise=noise)
    for chosen in (np.array([2, 0]), np.array([True, False, True])):
        part = whole.take(chosen)
        assert part.weights.tolist() == weights[chosen].tolist() and part.noise.tolist() == noise[chosen].tolist()
        assert part.indices.tolist() == np.array([8, 4, 2])[chosen].tolist()
    plain = replace(whole, weights=None, noise=(1.0, 2.0)).take(np.array([1]))
    assert (plain.weights, plain.noise, plain.indices.tolist()) == (None, (1.0, 2.0), [4])


def test_ids_are_splitmix64_of_the_key_and_the_position():
    """By Python's integers; another key gives other numbers, a position the same whatever stands beside it."""
    mask, key = 2**64 - 1, derive_key("image ids", "abc") & (2**64 - 1)

    def expected(item):
        word = (key + (item + 1) * 0x9E3779B97F4A7C15) & mask
        word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & mask
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & mask
        return (word ^ (word >> 31)) >> 1

    items = np.array([5, 0, 7, 2**40])
    assert image_ids("abc", items).tolist() == [expected(int(item)) for item in items]
    assert set(image_ids("abd", np.arange(1000))).isdisjoint(image_ids("abc", np.arange(1000)))
    assert len(set(image_ids("abc", np.arange(100_000)).tolist())) == 100_000


def test_stored_floats_stay_as_they_are():
    images = RNG.normal(size=(6, 2, 3, 4)).astype(np.float32)
    store = replace(store_from_arrays(np.zeros((6, 2, 3, 4), np.uint8)), images=images)
    batch = StepDataset([Source("real", store, np.arange(6))], 7, 1, 6)[0]
    order = positions(7, start=0, count=6, size=6)
    assert batch.images.dtype == torch.float32
    assert np.array_equal(batch.images.numpy(), images[order].transpose(0, 3, 1, 2))


def test_images_are_laid_out_for_torch():
    colours = RNG.integers(0, 256, (6, 2, 4, 3), dtype=np.uint8)
    batch = StepDataset([Source("real", store_from_arrays(colours), np.arange(6))], 7, 1, 6)[0]
    order = positions(7, start=0, count=6, size=6)
    assert batch.images.dtype == torch.uint8
    assert np.array_equal(batch.images.numpy(), colours[order].transpose(0, 3, 1, 2))


# The loader


@pytest.fixture(scope="module")
def data():
    return dataset(num_steps=9, flip=True)


@pytest.fixture(scope="module")
def batches(data):
    return [data[step] for step in range(9)]


def test_loader_gives_the_dataset_in_order(data, batches):
    loader = StepLoader(data)
    assert len(loader) == 9
    assert equal_lists(list(loader), batches)
    assert equal_lists(list(loader), batches)  # and again


@pytest.mark.parametrize("after", [1, 5, 8])
def test_continues_in_the_middle(data, batches, after):
    loader, iterator = StepLoader(data), None
    iterator = iter(loader)
    for _ in range(after):
        next(iterator)
    state = loader.state_dict()
    assert state == {"batches": after}
    fresh = StepLoader(data)
    fresh.load_state_dict(state)
    assert fresh.state_dict() == state  # saved again before the first batch
    assert len(fresh) == 9  # Lightning counts the batches of the whole epoch
    rest = iter(fresh)
    assert equal(next(rest), batches[after])
    assert fresh.state_dict() == {"batches": after + 1}  # counted from the beginning, not from where it continued
    assert equal_lists(list(rest), batches[after + 1 :])
    assert equal_lists(list(fresh), batches)  # the next pass is whole


def test_state_at_the_end_starts_anew(data, batches):
    loader = StepLoader(data)
    assert equal_lists(list(loader), batches)
    assert loader.state_dict() == {"batches": 9}
    fresh = StepLoader(data)
    fresh.load_state_dict(loader.state_dict())
    assert equal_lists(list(fresh), batches)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the workers only index
def test_workers_change_nothing(data, batches):
    loader = StepLoader(data, num_workers=2)
    iterator = iter(loader)
    seen = [next(iterator) for _ in range(4)]
    state = loader.state_dict()
    assert state == {"batches": 4}  # what was handed out, not what the workers have read ahead
    seen += iterator
    assert equal_lists(seen, batches)
    fresh = StepLoader(data, num_workers=2)
    fresh.load_state_dict(state)
    assert equal_lists(list(fresh), batches[4:])


def test_gathered_as_from_one_long_array(tmp_path):
    """Sources in memory and mapped, of which only some images take part, some twice; positions in any order, some twice."""
    stores = [store_from_arrays(RNG.integers(0, 256, (n, 3, 3, 3), dtype=np.uint8), np.arange(n), "abcdefg") for n in (5, 7, 4)]
    np.save(tmp_path / "a.npy", stores[1].images)
    stores[1] = replace(stores[1], images=np.load(tmp_path / "a.npy", mmap_mode="r"))
    parts = [np.array(part) for part in ([4, 0, 2], [6, 6, 1, 3], [])]
    sources = [Source("real", store, part.astype(np.int64)) for store, part in zip(stores, parts, strict=True)]
    images = np.concatenate([store.images[part.astype(int)] for store, part in zip(stores, parts, strict=True)])
    labels = np.concatenate(parts).astype(int)
    for chosen in (np.array([6, 0, 3, 3, 2, 5]), np.array([1, 0, 1]), np.array([4, 6]), np.arange(7)):
        found, their_labels = gather(sources, chosen)
        assert np.array_equal(found, images[chosen]) and np.array_equal(their_labels, labels[chosen])
    with pytest.raises(IndexError):
        gather([Source("real", stores[0], np.array([5]))], np.array([0]))


@pytest.mark.parametrize("shape", [(9, 4, 5, 3), (9, 64, 64, 3), (9, 8, 8, 1), (9, 3, 1, 3)])
def test_mirrored_as_by_numpy(shape):
    images = RNG.integers(0, 256, shape, dtype=np.uint8)
    for chosen in (np.arange(9) % 3 == 0, np.zeros(9, bool), np.ones(9, bool)):
        found = images.copy()
        mirror(found, chosen)
        assert np.array_equal(found, np.where(chosen[:, None, None, None], images[:, :, ::-1], images))
