"""Mixing policies: sizes and origin of every image, and the uniformity of the random subset."""

from dataclasses import dataclass

import numpy as np
import pytest

from bootlight.data.mixing import Accumulate, AccumulateSubsample, Replace, Source
from bootlight.data.store import store_from_arrays
from bootlight.errors import BootlightError

SEED = 3


def pixels(count):
    """A store of one-pixel images."""
    return store_from_arrays(np.zeros((count, 1, 1, 1), np.uint8))


@dataclass
class Loop:
    """A run whose generations have drawn `num_synthetic` images each; notes what was opened."""

    num_real: int
    num_synthetic: int

    def __post_init__(self):
        self.opened = []
        self.real = Source("real", pixels(2 * self.num_real), np.arange(0, 2 * self.num_real, 2))  # every other image in use

    def synthetic(self, generation):
        self.opened.append(generation)
        return Source("synthetic", pixels(self.num_synthetic), np.arange(self.num_synthetic), generation)

    def mix(self, policy, generation, seed=SEED):
        return policy.sources(generation, real=self.real, synthetic=self.synthetic, seed=seed)


def origins(sources):
    return [(source.role, source.generation, len(source)) for source in sources]


REAL = ("real", None, 10)


def drawn(*generations):
    return [("synthetic", generation, 4) for generation in generations]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Replace(), [[REAL], [REAL, *drawn(0)], [REAL, *drawn(1)], [REAL, *drawn(2)]]),
        (Replace(keep_real=False), [[REAL], drawn(0), drawn(1), drawn(2)]),
        (Accumulate(), [[REAL], [REAL, *drawn(0)], [REAL, *drawn(0, 1)], [REAL, *drawn(0, 1, 2)]]),
        (Accumulate(keep_real=False), [[REAL], drawn(0), drawn(0, 1), drawn(0, 1, 2)]),
    ],
)
def test_provenance_and_size(policy, expected):
    for generation, wanted in enumerate(expected):
        loop = Loop(num_real=10, num_synthetic=4)
        sources = loop.mix(policy, generation)
        assert origins(sources) == wanted
        assert loop.opened == [source.generation for source in sources if source.role == "synthetic"]  # opens nothing else
        assert policy.size(generation, num_real=10, num_synthetic=4) == sum(map(len, sources))
        assert all(source is loop.real for source in sources if source.role == "real")


@pytest.mark.parametrize("size", [None, 7])
@pytest.mark.parametrize("keep_real", [True, False])
def test_subsample_has_a_fixed_size_and_no_duplicates(size, keep_real):
    policy = AccumulateSubsample(size, keep_real)
    for generation in range(4):
        loop = Loop(num_real=10, num_synthetic=12)
        sources = loop.mix(policy, generation)
        assert sum(map(len, sources)) == (size or 10)
        assert policy.size(generation, num_real=10, num_synthetic=12) == (size or 10)
        pool = [loop.real] if generation == 0 or keep_real else []
        pool += [loop.synthetic(g) for g in range(generation)]
        assert [(s.role, s.generation) for s in sources] == [(s.role, s.generation) for s in pool]
        for chosen, available in zip(sources, pool, strict=True):
            items = chosen.indices.tolist()
            assert len(set(items)) == len(items) and set(items) <= set(available.indices.tolist())


def test_generation_0_is_all_real_images_unless_a_size_is_set():
    loop = Loop(num_real=10, num_synthetic=4)
    assert loop.mix(AccumulateSubsample(), 0) == [loop.real]


def test_subsample_is_uniform_over_the_pool():
    loop, policy, draws, size = Loop(num_real=8, num_synthetic=6), AccumulateSubsample(7), 800, 7
    counts = np.zeros(20)  # 8 real images and two folders of 6
    pairs = 0
    for seed in range(draws):
        real, first, second = loop.mix(policy, 2, seed)
        counts[real.indices // 2] += 1
        counts[8 + first.indices] += 1
        counts[14 + second.indices] += 1
        pairs += {0, 2} <= set(real.indices.tolist())
    share = size / 20
    # Each count is binomial(draws, 7/20), and for draws without replacement the counts of two images have covariance
    # -variance/19, so that this sum is chi-square with 19 degrees of freedom; 43.8 is its 99.9 % quantile.
    chi_square = ((counts - draws * share) ** 2).sum() / (draws * share * (1 - share)) * 19 / 20
    assert chi_square < 43.8
    # Two given images come together with probability 7*6/(20*19) = 0.1105; 4 standard deviations of the binomial.
    both = size * (size - 1) / (20 * 19)
    assert abs(pairs - draws * both) < 4 * np.sqrt(draws * both * (1 - both))


def test_subsample_is_a_function_of_seed_and_generation():
    def chosen(seed, generation):
        loop = Loop(num_real=40, num_synthetic=20)
        return [source.indices.tolist() for source in loop.mix(AccumulateSubsample(), generation, seed)]

    assert chosen(5, 2) == chosen(5, 2)
    assert chosen(5, 2) != chosen(6, 2)
    # Nothing was drawn: the same pool of 40 in every generation, but not the same 20 of it.
    loop = Loop(num_real=40, num_synthetic=0)
    first, second = (loop.mix(AccumulateSubsample(20), generation)[0].indices.tolist() for generation in (1, 2))
    assert first != second


def test_subsample_of_everything_is_everything():
    loop = Loop(num_real=10, num_synthetic=4)
    sources = loop.mix(AccumulateSubsample(18), 2)
    assert [source.indices.tolist() for source in sources] == [loop.real.indices.tolist(), [0, 1, 2, 3], [0, 1, 2, 3]]


def test_too_large_or_empty_a_subset_names_the_key():
    loop = Loop(num_real=10, num_synthetic=4)
    with pytest.raises(BootlightError, match=r"^data\.mixing\.size is 19, but only 18 images .* generation 2; lower it$"):
        loop.mix(AccumulateSubsample(19), 2)
    with pytest.raises(BootlightError, match=r"^data\.mixing\.size is 10, but only 4 images .* generation 1; lower it$"):
        loop.mix(AccumulateSubsample(10, keep_real=False), 1)
    with pytest.raises(BootlightError, match=r"^data\.mixing\.size is 11, but only 10 images .* generation 0; lower it$"):
        loop.mix(AccumulateSubsample(11), 0)
    for size in (0, -2):
        with pytest.raises(BootlightError, match=rf"^data\.mixing\.size is {size}; it must be at least 1$"):
            AccumulateSubsample(size)


@pytest.mark.parametrize(
    ("real_fraction", "generation", "size"),
    [(0.7, 0, 15_400), (0.7, 1, 22_000), (1.0, 0, 22_000), (1.0, 1, 28_600)],
)
def test_arms_of_the_bootstrapping_paper(real_fraction, generation, size, tmp_path):
    """22,000 images, of which 6,600 are drawn: the sizes of the four training sets."""
    from bootlight.data.datamodule import BootstrapData

    class Pixels(BootstrapData):
        def load_real(self):
            return pixels(22_000), None

        def synthetic(self, generation):
            return Source("synthetic", pixels(6_600), np.arange(6_600), generation)

    from bootlight.runs.context import GenerationContext
    from bootlight.runs.folder import RunFolder

    data = Pixels("none", 1, 1, num_steps=1, real_fraction=real_fraction, holdout_fraction=0.0)
    data.attach(GenerationContext(RunFolder(tmp_path), generation, 0))
    data.setup()
    assert data.num_real == round(real_fraction * 22_000)
    assert data.num_synthetic == 6_600 * generation
    assert data.num_real + data.num_synthetic == size
    assert data.mixing.size(generation, num_real=data.num_real, num_synthetic=6_600) == size
