"""The test for data-copying: Mann-Whitney against another library, cells, removal of single images, and what it finds."""

import json
import math

import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from torch import Tensor

from bootlight.errors import BootlightError
from bootlight.metrics.features.features import PixelFeatures
from bootlight.metrics.neighbours import cells, neighbours
from bootlight.metrics.neighbours.cells import cells_of, k_means
from bootlight.metrics.neighbours.copying import MIN_IN_CELL, DataCopying, GlobalDataCopying, cell_average, mann_whitney
from bootlight.metrics.once import once
from bootlight.metrics.score import Score
from bootlight.metrics.uncertainty import jackknife_standard_error


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scipy_z(synthetic: Tensor, held_out: Tensor) -> float:
    """Z from scipy's one-sided p-value: negative where `synthetic` is the smaller one."""
    answer = scipy.stats.mannwhitneyu(synthetic, held_out, alternative="less", method="asymptotic", use_continuity=False)
    return float(scipy.stats.norm.ppf(answer.pvalue))


@pytest.mark.parametrize("shift", [-1.0, 0.0, 0.7])
def test_z_is_that_of_scipy(shift: float) -> None:
    held_out, synthetic = normal(37, seed=0), normal(52, seed=1) + shift
    # Z is some units, scipy's passes through a p-value down to 1e-6 and back: 1e-9 at worst.
    assert mann_whitney(held_out=held_out, synthetic=synthetic).value == pytest.approx(scipy_z(synthetic, held_out), rel=1e-8)


def test_equal_distances_count_half() -> None:
    held_out, synthetic = torch.tensor([1.0, 2, 2, 3]), torch.tensor([2.0, 0, 3, 5, 2])
    expected = scipy.stats.mannwhitneyu(synthetic, held_out).statistic
    assert expected == 0 + 2 + 3.5 + 4 + 2  # pairs that each of the five wins, equal ones half
    z = mann_whitney(held_out=held_out, synthetic=synthetic).value
    assert z == pytest.approx((expected - 10) / math.sqrt(20 * 10 / 12), rel=1e-12)


def test_exact_copies_have_the_least_z_there_is() -> None:
    held_out, copies = 1 + normal(30, seed=0).abs(), torch.zeros(20, dtype=torch.float64)
    least = -math.sqrt(3 * 20 * 30 / (20 + 30 + 1))  # U = 0
    assert mann_whitney(held_out=held_out, synthetic=copies).value == pytest.approx(least, rel=1e-12)
    assert mann_whitney(held_out=held_out, synthetic=copies + 100).value == pytest.approx(-least, rel=1e-12)


def test_z_without_an_image_is_the_z_of_the_others() -> None:
    held_out, synthetic = normal(12, seed=0), normal(9, seed=1) - 0.5
    found = mann_whitney(held_out=held_out, synthetic=synthetic)
    expected = [scipy_z(torch.cat([synthetic[:j], synthetic[j + 1 :]]), held_out) for j in range(9)]
    np.testing.assert_allclose(found.without, expected, rtol=1e-8)


def cell_samples() -> dict[str, Tensor]:
    """Three cells of 10, 40 and 30 held-out and 25, 50 and 19 synthetic images: the last does not count."""
    return {
        "held_out": normal(80, seed=0).abs(),
        "synthetic": normal(94, seed=1).abs() * 0.8,
        "held_out_cells": torch.tensor([0] * 10 + [1] * 40 + [2] * 30),
        "synthetic_cells": torch.tensor([1] * 50 + [0] * 25 + [2] * 19),
    }


def test_the_cells_are_weighted_by_their_held_out_images() -> None:
    samples = cell_samples()
    found = cell_average(**samples)
    assert found is not None
    first = scipy_z(samples["synthetic"][50:75], samples["held_out"][:10])
    second = scipy_z(samples["synthetic"][:50], samples["held_out"][10:50])
    assert found.value == pytest.approx((10 * first + 40 * second) / 50, rel=1e-8)
    assert abs(first - second) > 0.1
    assert found.null_deviation == pytest.approx(math.sqrt(10**2 + 40**2) / 50, rel=1e-12)


def test_the_average_without_an_image_is_that_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = cell_samples()
    found = cell_average(**samples)
    assert found is not None
    for j in (0, 49, 50, 74, 75, 93):
        rest = torch.arange(94) != j
        others = {**samples, "synthetic": samples["synthetic"][rest], "synthetic_cells": samples["synthetic_cells"][rest]}
        without = cell_average(**others)
        assert without is not None and found.without[j].item() == pytest.approx(without.value, rel=1e-12)
    assert (found.without[75:] == found.value).all() and not (found.without[:75] == found.value).any()


def test_cells_with_few_synthetic_images_do_not_count() -> None:
    samples = cell_samples()
    samples["synthetic_cells"][samples["synthetic_cells"] == 2] = 5  # a cell without held-out images
    found = cell_average(**samples)
    assert found is not None and found.value == cell_average(**cell_samples()).value  # type: ignore[union-attr]
    few = {**samples, "synthetic": samples["synthetic"][:19], "synthetic_cells": samples["synthetic_cells"][:19]}
    assert cell_average(**few) is None
    assert MIN_IN_CELL == 20


def test_fresh_draws_score_as_the_null_distribution_says() -> None:
    # Training images fixed; held-out and synthetic images are drawn from one distribution, again and again.
    train = normal(150, 2, seed=0)
    centres = k_means(train, 3)
    found = []
    for seed in range(1, 151):
        images = normal(240, 2, seed=seed)
        distances = torch.cdist(images, train).min(1).values
        membership = cells_of(images, centres)
        plain = mann_whitney(held_out=distances[:120], synthetic=distances[120:])
        average = cell_average(
            held_out=distances[:120],
            synthetic=distances[120:],
            held_out_cells=membership[:120],
            synthetic_cells=membership[120:],
        )
        assert average is not None
        found.append((plain.value, average.value / average.null_deviation))
    for values in np.array(found).T:
        # 150 standard normal numbers: their mean is within 4/sqrt(150), their deviation within 4/sqrt(300) of 1.
        assert abs(values.mean()) < 0.33
        assert abs(values.std() - 1) < 0.23


def measured(*, train: Tensor, held_out: Tensor, synthetic: Tensor, **settings: int) -> dict[str, Score]:
    """Of both metrics."""
    roles, network = {"train": train, "held_out": held_out, "synthetic": synthetic}, PixelFeatures(2)
    return GlobalDataCopying(features=network).measure(**roles) | DataCopying(features=network, **settings).measure(**roles)


def test_copies_are_found_and_poor_images_are_not_taken_for_copies() -> None:
    train, held_out = normal(200, 4, seed=0), normal(100, 4, seed=1)
    copies = measured(train=train, held_out=held_out, synthetic=train[:100] + 0.05 * normal(100, 4, seed=2))
    poor = measured(train=train, held_out=held_out, synthetic=2 * normal(100, 4, seed=2))
    fresh = measured(train=train, held_out=held_out, synthetic=normal(100, 4, seed=2))
    for name in ("ct", "ct-global"):
        assert copies[name].value < -6 and "closer to training images" in copies[name].remarks[-1]
        assert poor[name].value > 3 and poor[name].remarks == ()
        assert abs(fresh[name].value) < 2.5 and fresh[name].remarks == ()
    # In null deviations: of Z_U that is 1, of the mean of three independent ones between 1/sqrt(3) and 1.
    assert f"by {-copies['ct-global'].value:.1f} standard deviations" in copies["ct-global"].remarks[-1]
    stated = float(copies["ct"].remarks[-1].split(" by ")[1].split()[0])
    assert -copies["ct"].value + 0.1 < stated <= -copies["ct"].value * math.sqrt(3) + 0.1


def test_a_favoured_dense_cell_moves_the_global_score_only() -> None:
    def draw(dense: int, wide: int, seed: int) -> Tensor:
        return torch.cat([0.1 * normal(dense, 2, seed=seed), 20 + normal(wide, 2, seed=seed + 1)])

    sets = {"train": draw(100, 100, 0), "held_out": draw(60, 60, 2), "synthetic": draw(110, 30, 4)}
    scores = measured(**sets, num_cells=2)
    with once():
        assert measured(**sets, num_cells=2) == scores
    assert scores["ct-global"].value < -3
    assert abs(scores["ct"].value) < 2  # null deviation 0.7


def test_the_scores_say_what_they_are() -> None:
    train, held_out, synthetic = normal(90, 3, seed=0), normal(70, 3, seed=1), 0.9 * normal(80, 3, seed=2)
    scores = measured(train=train, held_out=held_out, synthetic=synthetic, num_cells=2, seed=5)
    assert list(scores) == ["ct-global", "ct"]
    to_train = [torch.cdist(images, train).min(1).values for images in (held_out, synthetic)]
    membership = [cells_of(images, k_means(train, 2, seed=5)) for images in (held_out, synthetic)]
    plain = mann_whitney(held_out=to_train[0], synthetic=to_train[1])
    average = cell_average(
        held_out=to_train[0], synthetic=to_train[1], held_out_cells=membership[0], synthetic_cells=membership[1]
    )
    assert average is not None
    for name, expected in (("ct-global", plain), ("ct", average)):
        assert scores[name].value == pytest.approx(expected.value, rel=1e-12)
        assert scores[name].standard_error == pytest.approx(jackknife_standard_error(expected.without), rel=1e-9)
        assert scores[name].n == 80 and scores[name].interval is None
        assert json.loads(json.dumps(scores[name].protocol))["num_held_out"] == 70
    settings = {"num_cells": 2, "min_in_cell": 20, "seed": 5}
    assert scores["ct"].protocol == {**scores["ct-global"].protocol, **settings}
    assert scores["ct-global"].protocol["num_real"] == 90 and "num_cells" not in scores["ct-global"].protocol


@pytest.mark.parametrize("kind", [DataCopying, GlobalDataCopying])
def test_images_reach_the_arithmetic_in_their_roles(kind: type[DataCopying | GlobalDataCopying]) -> None:
    rng = torch.Generator().manual_seed(0)
    train, held_out, synthetic, others = torch.randint(0, 256, (4, 30, 3, 8, 8), generator=rng, dtype=torch.uint8)
    network = PixelFeatures(2)
    metric = kind(features=network, **({"num_cells": 1} if kind is DataCopying else {}))
    for images in train.split(7):
        metric.update(images, role="train")
    metric.update(held_out, role="held_out")
    assert metric(synthetic, role="synthetic").item() == metric.compute().item()
    expected = metric.measure(train=network(train), held_out=network(held_out), synthetic=network(synthetic))
    assert metric.scores() == expected and metric.compute().item() == expected[metric.name].value
    one_cell = measured(train=network(train), held_out=network(held_out), synthetic=network(synthetic), num_cells=1)
    assert one_cell["ct"].value == pytest.approx(one_cell["ct-global"].value)
    metric.reset()
    assert metric(held_out, role="held_out").isnan()  # images of a reference have no value of their own
    metric.update(others, role="synthetic")
    references = {"train": network(train), "held_out": network(held_out).repeat(2, 1)}
    assert metric.scores() == metric.measure(**references, synthetic=network(others))
    forgetful = kind(features=network, reset_real_features=True)
    forgetful.update(train, role="train")
    forgetful.reset()
    forgetful.update(others, role="synthetic")
    with pytest.raises(BootlightError, match="training images, got 0"):
        forgetful.compute()


def test_two_processes_answer_like_one() -> None:
    rng = torch.Generator().manual_seed(0)
    images = dict(zip(("train", "held_out", "synthetic"), torch.randint(0, 256, (3, 24, 3, 8, 8), generator=rng), strict=True))
    whole, first, second = (DataCopying(features=PixelFeatures(2), num_cells=1) for _ in range(3))
    for role, pictures in images.items():
        pictures = pictures.to(torch.uint8)
        for metric, share in ((whole, slice(None)), (first, slice(None, 9)), (second, slice(9, None))):
            metric.update(pictures[share], role=role)  # type: ignore[arg-type]
    others = iter([second.train_features[0], second.held_out_features[0], second.synthetic_features[0]])
    first.distributed_available_fn = lambda: True
    first.dist_sync_fn = lambda own, group: [own, next(others) if own.ndim else own]  # what all_gather returns on rank 0
    assert first.scores() == whole.scores()


def test_what_must_be_known_is_remarked() -> None:
    train, held_out, synthetic = normal(90, 3, seed=0), normal(70, 3, seed=1), normal(19, 3, seed=2)
    few = measured(train=train, held_out=held_out, synthetic=synthetic)
    assert list(few) == ["ct-global"]
    assert few["ct-global"].remarks == ("fewer than 20 held-out or synthetic images: the normal approximation is poor",)
    shared = measured(train=train, held_out=torch.cat([held_out, train[:2]]), synthetic=normal(90, 3, seed=2))
    assert shared["ct"].remarks == ("2 held-out images equal a training image, which hides copying; take them out",)


def test_too_few_images_and_bad_settings_are_refused() -> None:
    metric = DataCopying(features=PixelFeatures())
    images = normal(30, 3, seed=0)
    with pytest.raises(BootlightError, match="at least 3 training images, got 2"):
        metric.measure(train=images[:2], held_out=images, synthetic=images)
    with pytest.raises(BootlightError, match="at least 1 held-out images, got 0"):
        metric.measure(train=images, held_out=images[:0], synthetic=images)
    with pytest.raises(BootlightError, match="at least 2 synthetic images, got 1"):
        metric.measure(train=images, held_out=images, synthetic=images[:1])
    with pytest.raises(BootlightError, match="num_cells is 0"):
        DataCopying(features=PixelFeatures(), num_cells=0)


def test_k_means_is_as_good_as_that_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = torch.from_numpy(load_digits().data[:600])
    centres = k_means(digits, 10)
    ours = (digits - centres[cells_of(digits, centres)]).square().sum().item()
    theirs = KMeans(10, n_init=4, random_state=0).fit(digits.numpy()).inertia_
    assert ours == pytest.approx(theirs, rel=0.02)  # both find one of many near-equal minima; one start differs by 3 %
    assert torch.equal(cells_of(digits, centres), torch.cdist(digits, centres).argmin(1))
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", 8 * 64 * 7)  # seven rows at a time
    for cell in range(10):
        members = digits[cells_of(digits, centres) == cell]
        np.testing.assert_allclose(centres[cell], members.mean(0), rtol=1e-12, atol=1e-12)  # a fixed point of Lloyd's steps


def test_k_means_finds_separate_clusters_and_depends_on_the_seed_alone() -> None:
    middles = torch.tensor([[0.0, 0], [9, 0], [0, 9], [9, 9]], dtype=torch.float64)
    features = (middles.repeat(25, 1) + 0.1 * normal(100, 2, seed=0)).float()
    centres = k_means(features, 4, seed=3)
    assert torch.equal(centres, k_means(features, 4, seed=3))
    assert torch.cdist(middles, centres).min(1).values.max() < 0.1  # 0.1 / sqrt(25) in each direction, times 5
    torch.manual_seed(1)
    state = torch.get_rng_state()
    k_means(features, 4)
    assert torch.equal(torch.get_rng_state(), state)


def test_k_means_finds_small_clusters_beside_a_large_one() -> None:
    # Uniform starts would fall into the large cluster, with 500 of 535 images, seven times out of eight or more.
    middles = 100 * torch.eye(8, dtype=torch.float64)
    sizes = torch.tensor([500] + [5] * 7)
    features = middles.repeat_interleave(sizes, 0) + 0.1 * normal(535, 8, seed=0)
    centres = k_means(features, 8)
    assert sorted(torch.bincount(cells_of(features, centres)).tolist()) == [5] * 7 + [500]


def test_k_means_bears_repeated_images_and_fits_to_a_choice_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    same = torch.ones(5, 2)
    assert k_means(same, 3).tolist() == [[1, 1]] * 3
    monkeypatch.setattr(cells, "MAX_FITTED", 40)
    features = torch.cat([normal(60, 2, seed=0), 50 + normal(60, 2, seed=1)])
    centres = k_means(features, 2)
    assert sorted(torch.bincount(cells_of(features, centres)).tolist()) == [60, 60]
    assert not torch.allclose(centres.sort(0).values[0], features[:60].mean(0), atol=1e-6)
