"""Mixing policies: sizes and origin of every image, and the uniformity of the random subset."""

import numpy as np
import pytest
from few_digits import Drawn, FewDigits, grey

from bootlight.data.around import WithCopies, WithTeacher
from bootlight.data.datamodule import BootstrapData
from bootlight.data.mixing import Accumulate, AccumulateSubsample, FreshReal, MixingPolicy, OnlyReal, Replace
from bootlight.data.origin import StoreOrigin
from bootlight.errors import BootlightError
from bootlight.rng import numpy_rng
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import RunFolder

SEED = 3


def mix(policy, generation, archive=None, seed=SEED, num_real=10, num_drawn=4):
    return policy.sources(generation, archive or Drawn(num_real, num_drawn, seed))


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
        archive = Drawn(10, 4)
        sources = policy.sources(generation, archive)
        assert origins(sources) == wanted
        assert archive.opened == [source.generation for source in sources if source.role == "synthetic"]  # opens nothing else
        assert all(source is archive.real for source in sources if source.role == "real")


@pytest.mark.parametrize("size", [None, 7])
@pytest.mark.parametrize("keep_real", [True, False])
def test_subsample_has_a_fixed_size_and_no_duplicates(size, keep_real):
    policy = AccumulateSubsample(size, keep_real)
    for generation in range(4):
        archive = Drawn(10, 12)
        sources = policy.sources(generation, archive)
        assert sum(map(len, sources)) == (size or 10)
        pool = [archive.real] if generation == 0 or keep_real else []
        pool += [archive.drawn(g) for g in range(generation)]
        assert [(s.role, s.generation) for s in sources] == [(s.role, s.generation) for s in pool]
        for chosen, available in zip(sources, pool, strict=True):
            items = chosen.indices.tolist()
            assert len(set(items)) == len(items) and set(items) <= set(available.indices.tolist())


def test_generation_0_is_all_real_images_unless_a_size_is_set():
    archive = Drawn(10, 4)
    assert AccumulateSubsample().sources(0, archive) == [archive.real]


def test_subsample_is_uniform_over_the_pool():
    policy, draws, size = AccumulateSubsample(7), 800, 7
    counts = np.zeros(20)  # 8 real images and two folders of 6
    pairs = 0
    for seed in range(draws):
        real, first, second = policy.sources(2, Drawn(8, 6, seed))
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
        archive = Drawn(40, 20, seed)
        return [source.indices.tolist() for source in AccumulateSubsample().sources(generation, archive)]

    assert chosen(5, 2) == chosen(5, 2)
    assert chosen(5, 2) != chosen(6, 2)
    # Nothing was drawn: the same pool of 40 in every generation, but not the same 20 of it.
    archive = Drawn(40, 0)
    first, second = (AccumulateSubsample(20).sources(generation, archive)[0].indices.tolist() for generation in (1, 2))
    assert first != second


def test_subsample_of_everything_is_everything():
    archive = Drawn(10, 4)
    sources = AccumulateSubsample(18).sources(2, archive)
    assert [source.indices.tolist() for source in sources] == [archive.real.indices.tolist(), [0, 1, 2, 3], [0, 1, 2, 3]]


def test_too_large_or_empty_a_subset_names_the_key():
    with pytest.raises(BootlightError, match=r"^data\.mixing\.size is 19, but only 18 images .* generation 2; lower it$"):
        mix(AccumulateSubsample(19), 2)
    with pytest.raises(BootlightError, match=r"^data\.mixing\.size is 10, but only 4 images .* generation 1; lower it$"):
        mix(AccumulateSubsample(10, keep_real=False), 1)
    with pytest.raises(BootlightError, match=r"^data\.mixing\.size is 11, but only 10 images .* generation 0; lower it$"):
        mix(AccumulateSubsample(11), 0)
    for size in (0, -2):
        with pytest.raises(BootlightError, match=rf"^data\.mixing\.size is {size}; it must be at least 1$"):
            AccumulateSubsample(size)


@pytest.mark.parametrize(
    ("real_fraction", "generation", "size"),
    [(0.7, 0, 15_400), (0.7, 1, 22_000), (1.0, 0, 22_000), (1.0, 1, 28_600)],
)
def test_arms_of_the_bootstrapping_paper(real_fraction, generation, size, tmp_path):
    """22,000 images, of which 6,600 are drawn: the sizes of the four training sets, as they are planned."""
    data = BootstrapData(origin=StoreOrigin(grey(22_000).store), num_steps=1, real_fraction=real_fraction, holdout_fraction=0.0)
    data.attach(GenerationContext(RunFolder(tmp_path), 0, 0))
    data.setup()
    assert data.num_real == round(real_fraction * 22_000) == len(data.sources[0])
    assert [len(source) for source in data.planned(generation, 6_600)[1:]] == [6_600] * generation
    assert data.train_size(generation, 6_600) == size


@pytest.mark.parametrize(
    ("policy", "same"),
    [
        (Replace(synthetic_ratio=0), OnlyReal()),
        (Accumulate(synthetic_ratio=0), OnlyReal()),
        (WithCopies(number=0), Accumulate()),
        (WithTeacher("x", number=0, mixing=Replace(False)), Replace(False)),
        (WithCopies(fraction=0, mixing=OnlyReal()), OnlyReal()),
        (FreshReal(1), OnlyReal()),
    ],
)
def test_at_their_limits_policies_choose_what_simpler_ones_do(policy, same):
    for generation in range(1 if isinstance(policy, FreshReal) else 4):
        found, expected = (
            [(source.role, source.generation, source.indices.tolist()) for source in chosen if len(source)]
            for chosen in (each.sources(generation, Drawn(10, 4)) for each in (policy, same))
        )
        assert found == expected
    archive = Drawn(10, 4)
    assert OnlyReal().sources(7, archive) == [archive.real] and archive.opened == []


def test_policies_around_policies_add_in_order_and_shrink_alike():
    policy = WithTeacher("x", number=3, mixing=WithCopies(fraction=0.3, mixing=AccumulateSubsample(8)))
    sources = policy.sources(1, Drawn(10, 6))
    assert [source.role for source in sources] == ["real", "synthetic", "copy", "teacher"]
    assert sum(map(len, sources[:2])) == 8 and [len(source) for source in sources[2:]] == [3, 3]
    assert set(sources[2].indices) <= set(sources[0].indices)
    small = policy.scaled(0.4)
    assert (small.number, small.mixing.fraction, small.mixing.mixing.size) == (1, 0.3, 3)
    assert (policy.number, policy.mixing.mixing.size) == (3, 8)  # as it was


def test_subsets_are_those_of_their_streams():
    """Runs of earlier versions chose by these streams; the same arms train on the same images."""
    archive = Drawn(10, 6, seed=5, subset_seed=9)
    real = archive.real.indices

    def some(indices, count, *stream):
        return sorted(indices[numpy_rng(*stream).permutation(len(indices))[:count]].tolist())

    def chosen(policy):
        return [source.indices.tolist() for source in policy.sources(2, archive)]

    six = np.arange(6)
    ratio = [real.tolist(), some(six, 3, 5, 0, "synthetic ratio"), some(six, 3, 5, 1, "synthetic ratio")]
    assert chosen(Accumulate(synthetic_ratio=0.3)) == ratio
    assert chosen(WithCopies(4))[-1] == some(real, 4, 9, "duplicates")
    assert chosen(WithTeacher("x", 4))[-1] == some(six, 4, 9, "teacher")
    order = real[numpy_rng(5, "fresh real").permutation(10)]
    assert chosen(FreshReal(3))[0] == sorted(order[6:9].tolist())
    pool = np.concatenate([real, 100 + six, 200 + six])
    found = chosen(AccumulateSubsample(8))
    assert [i + 100 * k for k, part in enumerate(found) for i in part] == some(pool, 8, 5, 2, "subsample")


class Answers(MixingPolicy):
    """What a function of generation and archive does."""

    def __init__(self, function):
        self.function = function

    def sources(self, generation, archive):
        return self.function(generation, archive)


@pytest.mark.parametrize(
    ("function", "generation"),
    [
        (lambda number, archive: archive.real, 0),
        (lambda number, archive: None, 0),
        (lambda number, archive: [archive.real, 3], 0),
        (lambda number, archive: [archive.real, archive.drawn(number)], 0),  # which trains before it draws
        (lambda number, archive: [archive.real, archive.drawn(number - 1)], 0),
        (lambda number, archive: [archive.real, archive.drawn(number + 1, "probe")], 1),
    ],
)
def test_what_no_mixture_can_be_is_told_before_a_run(function, generation):
    with pytest.raises(BootlightError, match=r"^data\.mixing"):
        FewDigits(mixing=Answers(function)).planned(generation, 7)
    earlier = Answers(lambda number, archive: (archive.real, *map(archive.drawn, range(number))))
    assert [len(source) for source in FewDigits(mixing=earlier).planned(2, 7)] == [90, 7, 7]
