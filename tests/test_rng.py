"""Randomness by counters: the same everywhere, different for every stream, independent of batches and ranks."""

import hashlib
import random

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import ndtri

from bootlight import batch as batch_module
from bootlight import rng
from bootlight.batch import Batch
from bootlight.data.batches import StepDataset
from bootlight.data.loader import StepLoader
from bootlight.data.mixing import Source
from bootlight.data.store import store_from_arrays
from bootlight.rng import (
    NoiseStreams,
    derive_key,
    derive_seed,
    normal_rows,
    numpy_rng,
    philox,
    random_words,
    seed_everywhere,
    seed_torch,
    split_key,
    to_normal,
    to_uniform,
    torch_rng,
)

# counter, key, answer: the known answers for philox4x32-10 that its authors publish with their library Random123
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text):
    return [int(word, 16) for word in text.split()]


def numbers_of(key, row, count):
    """Words of a row of a stream, one counter after the other, in Python's own integers."""
    k0, k1, c2, c3 = split_key(key)
    found = []
    for block in range(-(-count // 4)):
        found += philox((block, row, c2, c3), (k0, k1))
    return found[:count]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_gives_the_published_answers(counter, key, answer):
    # Python's integers do not wrap, int64 does: products of 64 bits must come out alike.
    assert list(philox(words(counter), words(key))) == words(answer)
    tensors = [torch.tensor([[word]]) for word in words(counter)]
    assert [int(word) for word in philox(tensors, [torch.tensor([[word]]) for word in words(key)])] == words(answer)


def test_rows_of_a_stream_are_counted_in_blocks_of_four():
    key = derive_key(3, "noise")
    rows = torch.tensor([[5], [2**32 - 1]])
    got = random_words(split_key(key), rows, 10)
    assert got.tolist() == [numbers_of(key, 5, 10), numbers_of(key, 2**32 - 1, 10)]
    assert torch.equal(random_words(split_key(key), rows, 3), got[:, :3])


def test_large_draws_are_made_in_parts(monkeypatch):
    key, rows = split_key(derive_key("a")), torch.arange(7)[:, None]
    whole = normal_rows(key, rows, 3, 5)
    monkeypatch.setattr(rng, "_AT_ONCE", 31)  # two rows at a time
    assert torch.equal(normal_rows(key, rows, 3, 5), whole)
    streams = NoiseStreams([4, 5, 6])
    assert torch.equal(streams.normal(25), normal_rows([word[:] for word in streams._key], torch.zeros(3, 1).long(), 25))


def test_words_become_numbers_by_the_inverse_distribution_function():
    extremes = torch.tensor([0, 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1])
    expected = ndtri((extremes.numpy() + 0.5) / 2**32)
    # Both compute in float64, to a few units of 1e-16; the float32 differs where that decides its last bit, 6e-8 of the value.
    np.testing.assert_allclose(to_normal(extremes).numpy(), expected, rtol=1.2e-7)
    assert to_normal(extremes).abs().max() < 6.34
    assert to_uniform(extremes).tolist() == [0, 0, 0.5 - 2**-24, 0.5, 1 - 2**-24, 1 - 2**-24]


def test_a_seed_is_63_bits_of_sha256_and_a_key_128():
    for counters in [(0,), (7, "data"), (7, 3, "image", 12)]:
        digest = hashlib.sha256(repr(counters).encode()).hexdigest()
        assert derive_seed(*counters) == int(digest[:16], 16) // 2
        assert derive_key(*counters) == int(digest[:32], 16)
    # What runs and published images depend on never changes.
    assert derive_seed(0, "image", 1) == 2086517484397433771
    assert split_key(0x00000001_00000002_00000003_00000004) == (1, 2, 3, 4)


def test_published_images_keep_their_noise():
    # The numbers of an independent computation: SHA-256 of the name, Philox in Python's integers, scipy's ndtri.
    key = int(hashlib.sha256(b"('image', 7)").hexdigest()[:32], 16)
    expected = [ndtri((word + 0.5) / 2**32) for word in numbers_of(key, 0, 6)]
    np.testing.assert_allclose(NoiseStreams([7]).normal(1, 2, 3).flatten().numpy(), expected, rtol=1.2e-7)
    streams = NoiseStreams([7])
    streams.normal(9)  # the second draw is row 1, however long the first was
    second = [ndtri((word + 0.5) / 2**32) for word in numbers_of(key, 1, 3)]
    np.testing.assert_allclose(streams.normal(3).flatten().numpy(), second, rtol=1.2e-7)


def test_different_counters_give_different_seeds():
    counters = [
        (),
        (0,),
        (1,),
        ("1",),
        (1, 2),
        (12,),
        (2, 1),
        ("1, 2",),
        (1, "2"),
        ("a",),
        ("a", ""),
        ("", "a"),
        (-1,),
        (2**70,),
    ]
    assert len({derive_seed(*c) for c in counters}) == len(counters)
    seeds = np.array([derive_seed(i) for i in range(2000)], dtype=np.float64) / 2**63
    # Uniform in [0, 1): the mean of 2000 has a standard deviation of sqrt(1 / 12 / 2000) = 0.0065; five of them.
    assert seeds.mean() == pytest.approx(0.5, abs=0.033)
    assert len(np.unique(seeds)) == 2000


def test_numbers_from_arrays_count_as_the_same_numbers():
    assert derive_seed(np.int64(5), "a", torch.tensor(3)) == derive_seed(5, "a", 3)
    assert torch.equal(NoiseStreams(np.arange(3)).normal(4), NoiseStreams([0, 1, 2]).normal(4))
    with pytest.raises(TypeError):
        derive_seed(0.5)


def low_bits_alike(monkeypatch, bits):
    """Let all keys agree in their low bits, as two of 2^32 do by chance."""
    true_key = derive_key

    def alike(*counters):
        return true_key(*counters) >> bits << bits

    monkeypatch.setattr(rng, "derive_key", alike)
    monkeypatch.setattr(batch_module, "derive_key", alike)


@pytest.mark.parametrize("bits", [32, 64, 96])
def test_streams_whose_keys_agree_in_their_low_bits_are_independent(monkeypatch, bits):
    low_bits_alike(monkeypatch, bits)
    draws = {
        "images": lambda i: NoiseStreams([i]).normal(8),
        "batches": lambda i: batch(0, 4, seed=i).normal("noise", 2),
        "uniform": lambda i: batch(0, 8, seed=i).uniform("t"),
        "numpy": lambda i: numpy_rng(i).random(8),
    }
    if bits < 96:  # a key of 64 bits is left
        draws["torch"] = lambda i: torch.rand(8, generator=torch_rng(i))
        draws["dropout"] = lambda i: (seed_torch(i), torch.rand(8))[1]
        draws["python"] = lambda i: (seed_everywhere(i), [random.random() for _ in range(8)])[1]
        draws["numpy, global"] = lambda i: (seed_everywhere(i), np.random.rand(8))[1]
    for name, draw in draws.items():
        a, b = (np.asarray(draw(i)).flatten() for i in (1, 2))
        assert not (a == b).any(), name
        assert (np.asarray(draw(1)).flatten() == a).all(), name


def test_seeds_that_collided_in_32_bits_draw_different_noise():
    # With torch's own CPU generator, which keeps 32 bits, these two gave one and the same picture.
    assert derive_seed("image", 3992) % 2**32 == derive_seed("image", 186234) % 2**32
    a, b = NoiseStreams([3992, 186234]).normal(1, 8, 8)
    assert not (a == b).any()


@pytest.mark.parametrize("make", [lambda: torch_rng(3, "order"), lambda: (seed_torch(3, "order"), torch.default_generator)[1]])
def test_torch_generators_have_a_whole_state_of_their_key(make):
    twister = np.random.MT19937()
    raw = np.random.Philox(key=derive_key(3, "order")).random_raw(312)
    state = np.stack([raw & 0xFFFFFFFF, raw >> 32], 1).flatten()  # 624 words, low halves first
    twister.state = {"bit_generator": "MT19937", "state": {"key": state.astype(np.uint32), "pos": 624}}
    expected = (twister.random_raw(1000) % 2**24).astype(np.float64) / 2**24  # torch takes the low 24 bits for a float32
    assert (torch.rand(1000, generator=make()).double().numpy() == expected).all()


def test_generators_are_seeded_by_their_counters():
    expected = np.random.default_rng(derive_key(3, "order")).random(4)
    assert (numpy_rng(3, "order").random(4) == expected).all()
    assert (numpy_rng(3, "flip").random(4) != expected).all()
    seed_everywhere(3, "order")
    first = torch.rand(3), np.random.rand(3), random.random()
    seed_everywhere(3, "order")
    again = torch.rand(3), np.random.rand(3), random.random()
    assert torch.equal(first[0], again[0]) and (first[1] == again[1]).all() and first[2] == again[2]


class Noisy(StepDataset):
    """Draws from the global generators, as stock transforms do."""

    def __getitem__(self, step):
        item = super().__getitem__(step)
        return item._replace(labels=torch.stack([torch.rand(()), torch.tensor(np.random.rand()).float()]))


def test_workers_have_streams_of_their_own():
    store = store_from_arrays(np.zeros((4, 2, 2, 1), np.uint8))
    dataset = Noisy([Source("real", store, np.arange(4))], seed=derive_key(1), num_steps=2, batch_size=2)
    drawn = [batch.labels for batch in StepLoader(dataset, num_workers=2)]
    assert not (drawn[0] == drawn[1]).any()
    for worker, found in enumerate(drawn):
        seed_everywhere(derive_key(1), "worker", worker)
        assert torch.equal(found, torch.stack([torch.rand(()), torch.tensor(np.random.rand()).float()]))


def test_noise_of_an_image_does_not_depend_on_its_batch():
    together = NoiseStreams([5, 6, 7])
    first, second = together.normal(3, 4, 4), together.normal(2)
    for i, seed in enumerate([5, 6, 7]):
        alone = NoiseStreams([seed])
        assert torch.equal(alone.normal(3, 4, 4)[0], first[i])
        assert torch.equal(alone.normal(2)[0], second[i])
    assert torch.equal(NoiseStreams([7, 5]).normal(3, 4, 4), first[[2, 0]])
    assert NoiseStreams([]).normal(3).shape == (0, 3)


def test_noise_streams_are_standard_normal_and_never_repeat():
    streams = NoiseStreams(list(range(50)))
    draws = torch.stack([streams.normal(20, 20) for _ in range(2)])
    flat = draws.flatten(2)  # (2 draws, 50 images, 400 numbers)
    # The largest distance of the distribution functions of n = 40,000 numbers passes 1.95 / sqrt(n) once in 1,000 samples.
    assert stats.kstest(flat.flatten().numpy(), "norm").statistic < 1.95 / 200
    # Standard deviations of estimates: mean 1 / sqrt(n) = 0.005, variance sqrt(2 / n) = 0.007, fourth moment
    # sqrt((105 - 9) / n) = 0.049; five of each.
    assert flat.mean().abs() < 0.025
    assert (flat.var() - 1).abs() < 0.035
    assert ((flat**4).mean() - 3).abs() < 0.25
    correlation = torch.corrcoef(flat.reshape(100, 400)) - torch.eye(100)
    # 4950 pairs, each with a deviation of 1 / sqrt(400) = 0.05: beyond six of them once in 10^5 runs.
    assert correlation.abs().max() < 0.3


def batch(start, count, total=12, seed=4):
    return Batch(torch.zeros(count, 1, 2, 2), None, seed, start, total)


def test_rows_of_two_ranks_are_those_of_one():
    whole = batch(0, 12)
    ranks = [batch(0, 6), batch(6, 6)]
    assert torch.equal(torch.cat([rank.normal("a", 1, 2, 2) for rank in ranks]), whole.normal("a", 1, 2, 2))
    for stream in ("t", "label"):
        assert torch.equal(torch.cat([rank.uniform(stream) for rank in ranks]), whole.uniform(stream))
        assert all(torch.equal(rank.uniform(stream, whole=True), whole.uniform(stream)) for rank in ranks)
    uneven = [batch(0, 5), batch(5, 4), batch(9, 3)]
    assert torch.cat([rank.positions() for rank in uneven]).tolist() == list(range(12))
    assert torch.equal(torch.cat([rank.normal("a", 3) for rank in uneven]), whole.normal("a", 3))
    key = derive_key(4, "a")
    expected = [[ndtri((word + 0.5) / 2**32) for word in numbers_of(key, row, 3)] for row in range(5, 9)]
    np.testing.assert_allclose(uneven[1].normal("a", 3).numpy(), expected, rtol=1.2e-7)


def test_weighted_losses_of_the_parts_of_a_batch_add_up():
    loss, weights = torch.randn(12, dtype=torch.float64), torch.rand(12, dtype=torch.float64)
    whole = batch(0, 12)
    assert torch.equal(whole.weighted(loss), loss.mean())  # the same arithmetic
    expected = sum(w * x for w, x in zip(weights.tolist(), loss.tolist(), strict=True)) / 12
    parts = [batch(i, 4)._replace(weights=weights[i : i + 4]).weighted(loss[i : i + 4]) for i in (0, 4, 8)]
    for found in (whole._replace(weights=weights).weighted(loss), sum(parts) / 3):
        assert found.item() == pytest.approx(expected, abs=1e-14)  # a dozen roundings of float64


def test_streams_and_steps_differ_and_repeat():
    one, other = batch(0, 12), batch(0, 12, seed=5)
    assert torch.equal(one.uniform("t"), one.uniform("t")) and torch.equal(one.normal("a", 2), one.normal("a", 2))
    assert not (one.uniform("t") == one.uniform("label")).any()
    assert not (one.uniform("t") == other.uniform("t")).any()
    assert not (one.normal("a", 2) == other.normal("a", 2)).any()
    assert not (one.normal("a", 2) == one.normal("b", 2)).any()


def test_uniform_numbers_cover_the_unit_interval_evenly():
    numbers = batch(0, 10_000, total=10_000).uniform("t")
    assert numbers.min() >= 0 and numbers.max() < 1
    counts = torch.histc(numbers, 10, 0, 1)
    # Each tenth holds 1000 with a deviation of sqrt(10,000 x 0.09) = 30; five of them.
    assert (counts - 1000).abs().max() < 150


@pytest.mark.gpu
def test_a_gpu_makes_the_numbers_of_the_cpu():
    key, rows = split_key(derive_key("gpu")), torch.arange(1000)[:, None]
    words = random_words(key, rows, 4000)
    assert torch.equal(random_words(key, rows.cuda(), 4000).cpu(), words)
    assert torch.equal(to_uniform(words.cuda()).cpu(), to_uniform(words))
    cpu, gpu = to_normal(words), to_normal(words.cuda()).cpu()
    # float64 on both, then rounded to 24 bits of 53: a difference of 2^-52 shows in about 2^-28 of the numbers, by one bit.
    assert (cpu != gpu).sum() <= 10
    torch.testing.assert_close(gpu, cpu, rtol=2**-23, atol=0)
