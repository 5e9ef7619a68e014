"""Floors: what is measured against what, at which n, how often; and where there is none."""

from functools import partial

import pytest
import torch
from torch import Tensor

from bootlight.evaluation.floors.floors import LEAST, STAND_IN, count, place
from bootlight.evaluation.floors.run_floors import RunFloors
from bootlight.evaluation.networks.learned_features import LearnedFeatures
from bootlight.evaluation.suite import measure_all, subset
from bootlight.metrics.distances.frechet import FrechetDistance
from bootlight.metrics.distances.kid import KernelDistance
from bootlight.metrics.features.features import PixelFeatures
from bootlight.metrics.two_sample import LEAST as LEAST_TOLD_APART

NETWORK = PixelFeatures(1)
NAMES = {"train": ["fd", "kid"], "holdout": ["fd"]}
KEYS = {"train": "a", "holdout": "b", "synthetic": "c"}


def features(n: int, seed: int, shift: float = 0.0) -> dict[str, Tensor]:
    return {"features": torch.randn(n, 3, generator=torch.Generator().manual_seed(seed)) + shift}


def scores(answers, floors=None, failed=None, measure=measure_all):
    failed = {} if failed is None else failed
    metrics = {which: names for which, names in NAMES.items() if which in answers}
    measure = partial(measure, network=NETWORK)
    found = (floors or RunFloors()).scores(NETWORK, metrics, KEYS, answers, answers.__getitem__, measure, failed)
    assert failed == {}
    return found


def fd(real: Tensor, synthetic: Tensor) -> float:
    metric = FrechetDistance(features=NETWORK, sync_on_compute=False)
    return metric.measure(real, synthetic)["fd-pixels"].value


def kid(real: Tensor, synthetic: Tensor) -> float:
    return KernelDistance(features=NETWORK, sync_on_compute=False).measure(real, synthetic)["kid"].value


def test_held_out_images_stand_for_the_synthetic_ones_at_their_number():
    train, held_out = features(90, 0), features(60, 1)
    found = scores({"train": train, "holdout": held_out, "synthetic": features(30, 2, shift=1)})
    some = subset(held_out["features"], 30)
    assert found["fd-pixels/real/train"].value == fd(train["features"], some)
    assert found["kid/real/train"].value == kid(train["features"], some)
    assert found["fd-pixels/real/holdout"].value == fd(held_out["features"], subset(train["features"], 30))
    assert {score.n for name, score in found.items() if "/real/" in name and "fd" in name} == {30}
    assert found["fd-pixels/real/train"].protocol[STAND_IN] == "real holdout images"
    assert not [name for name in found if "same-n" in name]
    assert found["told-apart/holdout"].value == 0.001  # a shift by a standard deviation of each feature
    assert found["told-apart/real/train"].value > 0.05 and found["told-apart/real/train"].n == 60


def test_with_fewer_held_out_images_biased_scores_are_measured_at_their_number_too():
    train, held_out, synthetic = features(90, 0), features(25, 1), features(40, 2)
    found = scores({"train": train, "holdout": held_out, "synthetic": synthetic})
    assert found["fd-pixels/real/train"].n == found["fd-pixels/same-n/train"].n == 25
    assert found["fd-pixels/same-n/train"].value == fd(train["features"], subset(synthetic["features"], 25))
    assert "kid/same-n/train" not in found  # unbiased
    assert found["fd-pixels/real/holdout"].n == 40 and "fd-pixels/same-n/holdout" not in found


def test_equal_sets_have_a_floor_of_zero():
    """The training images as held-out ones: the plain distance is 0 but for rounding of matrices of size 1."""
    train = features(30, 0)
    found = scores({"train": train, "holdout": train, "synthetic": features(30, 2)})
    assert abs(found["fd-pixels/real/train"].value) < 1e-6
    assert found["told-apart/real/train"].value > 0.9  # nothing is less different


@pytest.mark.parametrize("held_out", [None, features(LEAST - 1, 1)], ids=["none", "few"])
def test_without_held_out_images_a_part_of_the_training_images_stands_for_them(held_out):
    train, synthetic = features(50, 0), features(200, 2)
    answers = {"train": train, "synthetic": synthetic} | ({} if held_out is None else {"holdout": held_out})
    found = scores(answers)
    held = place(train, held_out, n=200, who="")
    assert (count(held.images), count(held.reference)) == (25, 25) and held.own_reference
    both = torch.cat([held.images["features"], held.reference["features"]])
    assert both.sort(0).values.equal(train["features"].sort(0).values)  # a division of it
    assert found["fd-pixels/real/train"].value == fd(held.reference["features"], held.images["features"])
    some = subset(synthetic["features"], 25)  # against the same part, also of what is unbiased
    assert found["fd-pixels/same-n/train"].value == fd(held.reference["features"], some)
    assert found["kid/same-n/train"].value == kid(held.reference["features"], some)
    assert ("told-apart/train" in found) is (held_out is None)


@pytest.mark.parametrize("held_out", [30, LEAST_TOLD_APART - 1])
def test_what_a_network_has_by_heart_is_told_apart_by_pixels(held_out):
    """To it the training images are others, by a standard deviation; by pixels nothing differs."""
    sizes = {"train": 90, "holdout": held_out, "synthetic": 30}
    pixels = {which: features(n, i) for i, (which, n) in enumerate(sizes.items())}
    known = pixels | {"train": features(90, 0, shift=1)}
    network = LearnedFeatures(8)
    metrics, measure = {"train": [], "holdout": []}, partial(measure_all, network=network)
    found = RunFloors().scores(network, metrics, KEYS, known, pixels.__getitem__, measure, {})
    against_train = found["told-apart/real/train" if held_out >= LEAST_TOLD_APART else "told-apart/train"]
    assert against_train.protocol["features"] == "pixels" and against_train.value > 0.01  # and not 0.001
    if held_out >= LEAST_TOLD_APART:
        assert found["told-apart/holdout"].protocol["features"] == "learned"
    else:
        assert list(found) == ["told-apart/train"]


def test_few_synthetic_images_leave_the_rest_as_reference():
    held = place(features(50, 0), None, n=10, who="")
    assert (count(held.images), count(held.reference)) == (10, 40)


def test_too_few_real_images_have_no_floor():
    found = scores({"train": features(2 * LEAST - 1, 0), "synthetic": features(30, 2)})
    assert list(found) == ["told-apart/train"]


def test_real_images_are_measured_once_for_all_generations_of_equal_n():
    calls = []

    def counted(names, **how):
        calls.append((tuple(names), count(how["synthetic"])))
        return measure_all(names, **how)

    floors, real = RunFloors(), {"train": features(90, 0), "holdout": features(60, 1)}
    first = scores(real | {"synthetic": features(30, 2)}, floors, measure=counted)
    assert calls == [(("fd", "kid"), 30), (("fd",), 30)]
    second = scores(real | {"synthetic": features(30, 3)}, floors, measure=counted)
    assert len(calls) == 2
    real_names = [name for name in first if "/real/" in name]
    assert {name: first[name] for name in real_names} == {name: second[name] for name in real_names}
    assert first["told-apart/holdout"] != second["told-apart/holdout"]
    scores(real | {"synthetic": features(20, 3)}, floors, measure=counted)
    assert [n for _, n in calls[2:]] == [20, 20]


def test_why_a_floor_failed_is_noted_in_each_generation():
    def broken(names, *, failed, **how):
        if count(how["synthetic"]) == 30 and how["synthetic"] is not synthetic:
            failed["kid"] = "not today"
            names = [name for name in names if name != "kid"]
        return measure_all(names, failed=failed, **how)

    floors, synthetic = RunFloors(), features(30, 2)
    answers = {"train": features(90, 0), "holdout": features(60, 1), "synthetic": synthetic}
    for _ in range(2):
        failed: dict[str, str] = {}
        measure = partial(broken, network=NETWORK)
        found = floors.scores(NETWORK, NAMES, KEYS, answers, answers.__getitem__, measure, failed)
        assert failed["kid/real/train"] == "not today" and "kid/real/train" not in found and "fd-pixels/real/train" in found
