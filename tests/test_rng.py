"""Randomness by counters: the same everywhere, different for every stream, independent of batches and ranks."""

import hashlib

import numpy as np
import pytest
import torch

from bootlight.batch import Batch
from bootlight.rng import NoiseStreams, derive_seed, numpy_rng, torch_rng


def test_a_seed_is_63_bits_of_sha256():
    for counters in [(0,), (7, "data"), (7, 3, "image", 12)]:
        digest = hashlib.sha256(repr(counters).encode()).hexdigest()
        assert derive_seed(*counters) == int(digest[:16], 16) // 2
    # What runs and published images depend on never changes.
    assert derive_seed(0, "image", 1) == 2086517484397433771


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


def test_generators_are_seeded_by_their_counters():
    expected = np.random.default_rng(derive_seed(3, "order")).random(4)
    assert (numpy_rng(3, "order").random(4) == expected).all()
    assert (numpy_rng(3, "flip").random(4) != expected).all()
    ours = torch.rand(4, generator=torch_rng(3, "order"))
    assert torch.equal(ours, torch.rand(4, generator=torch.Generator().manual_seed(derive_seed(3, "order"))))


def test_noise_of_an_image_does_not_depend_on_its_batch():
    together = NoiseStreams([5, 6, 7])
    first, second = together.normal(3, 4, 4), together.normal(2)
    for i, seed in enumerate([5, 6, 7]):
        alone = NoiseStreams([seed])
        assert torch.equal(alone.normal(3, 4, 4)[0], first[i])
        assert torch.equal(alone.normal(2)[0], second[i])
    assert torch.equal(NoiseStreams([7, 5]).normal(3, 4, 4), first[[2, 0]])


def test_noise_streams_are_standard_normal_and_never_repeat():
    streams = NoiseStreams(list(range(50)))
    draws = torch.stack([streams.normal(20, 20) for _ in range(2)])
    flat = draws.flatten(2)  # (2 draws, 50 images, 400 numbers)
    # Standard deviations of estimates from n = 40,000 numbers: mean 1 / sqrt(n) = 0.005, variance sqrt(2 / n) = 0.007,
    # fourth moment sqrt((105 - 9) / n) = 0.049; five of each.
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
    uneven = [batch(0, 5), batch(5, 4), batch(9, 3)]
    assert torch.equal(torch.cat([rank.normal("a", 3) for rank in uneven]), whole.normal("a", 3))


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
