"""Values without each group of images, against those of measuring what stays anew."""

import math

import pytest
import torch

from bootlight.evaluation.suite import METRICS
from bootlight.metrics.features.feature_metric import FeatureMetric
from bootlight.metrics.features.features import PixelFeatures
from bootlight.metrics.neighbours.left_out import recall_without
from bootlight.metrics.neighbours.precision_recall import recall
from bootlight.metrics.uncertainty import group_numbers, means_without, without_groups

NETWORK = PixelFeatures(1, channels=3)
FAST = ("fd", "kid", "mmd-rbf", "precision-recall", "density-coverage", "authpct", "mifid")


def features(count, width, seed, shift=0.0):
    scale = torch.logspace(0, -1, width)
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)) * scale + shift


def check(metric, real, synthetic, groups):
    found = metric.values_without(real, synthetic, groups)
    anew = FeatureMetric.values_without(metric, real, synthetic, groups)
    assert found.keys() == anew.keys()
    for name, values in found.items():
        # Both are float64 sums of the same numbers in another order: 1e-16 of each of some thousands of terms of the size of
        # the value or, of a kernel distance, 100 times that; a root of an eigenvalue doubles what is lost of it.
        assert values == pytest.approx(anew[name], rel=1e-9, abs=1e-12), name


@pytest.mark.parametrize("key", FAST)
@pytest.mark.parametrize(
    ("width", "num_real", "count", "groups"),
    [(8, 60, 50, 20), (40, 30, 50, 10), (40, 60, 30, 20), (60, 80, 41, 20), (3, 20, 9, 9), (5, 30, 24, 2)],
)
def test_values_are_those_of_what_stays(key, width, num_real, count, groups):
    """More features than images and fewer, also only after a group is gone (41 and 39 of 40); groups of one and of half."""
    real = features(num_real, width, 0)
    for metric in METRICS[key](NETWORK):
        check(metric, real, features(count, width, 1, 0.2), group_numbers(count, groups))


@pytest.mark.parametrize("key", FAST)
def test_copies_of_real_and_of_each_other_are_told_as_anew(key):
    """Balls of radius 0, ties, and a set most of which is one image: what rounding could decide, it must decide alike."""
    real = features(40, 6, 0)
    synthetic = torch.cat([real[:10], real[:10], features(10, 6, 1), features(1, 6, 2).expand(10, 6)])
    for metric in METRICS[key](NETWORK):
        check(metric, real, synthetic, group_numbers(40, 20))


def test_neighbours_of_one_group_are_all_taken_away():
    """All near ones are in one group, more of them than are looked up at once: the rest is searched anew."""
    crowd = features(20, 4, 1) * 1e-3
    synthetic, groups = torch.cat([crowd, features(30, 4, 2)]), torch.cat([torch.zeros(20), torch.arange(30) % 2 + 1]).long()
    groups[0] = 1  # one of the crowd stays, whose 19 nearest go
    real = features(100, 4, 3)
    found = recall_without(real=real, synthetic=synthetic, ks=(3, 5), groups=groups)
    for group in range(3):
        anew = recall(real=real, synthetic=synthetic[groups != group], ks=(3, 5))
        assert [share[group] for share in found] == [one.value for one in anew]


def test_groups_by_number_are_those_by_indices():
    numbers = group_numbers(43, 20)
    for group, kept in enumerate(without_groups(43, 20)):
        assert sorted(kept.tolist()) == (numbers != group).nonzero().flatten().tolist()


def test_means_without_groups():
    values, groups = torch.tensor([1.0, 2.0, 4.0, 8.0]), torch.tensor([0, 1, 0, 2])
    assert means_without(values, groups) == [(2 + 8) / 2, (1 + 4 + 8) / 3, (1 + 2 + 4) / 3]


def test_a_metric_without_a_way_of_its_own_measures_anew():
    (metric,) = METRICS["vendi"](NETWORK)
    synthetic, groups = features(12, 4, 1), torch.arange(12) % 3
    found = metric.values_without(features(10, 4, 0), synthetic, groups)
    assert found["vendi"] == [metric.measure(synthetic[:0], synthetic[groups != g])["vendi"].value for g in range(3)]
    assert all(math.isfinite(value) for value in found["vendi"])
