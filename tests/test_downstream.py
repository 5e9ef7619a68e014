"""What a classifier gains: intervals hold, parts are compared, what is tested with is never trained on."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import norm

from bootlight import BootlightError, Classifiers, Digits, DownstreamAccuracy, Flat, ImageClassifier, PerClass, WithOwn
from bootlight.bootstrap.stage import changes_of
from bootlight.data.archive import DiskArchive
from bootlight.data.mixing import Source
from bootlight.data.store import store_from_arrays
from bootlight.evaluation.downstream import scored
from bootlight.evaluation.pseudo_labels import diversity, shares
from bootlight.metrics.paired import crossed_difference, crossed_mean
from bootlight.runs.curation import Row
from bootlight.runs.folder import GenerationFolder
from bootlight.runs.manifest import write_metadata

# Intervals


def simulated(rng, seeds, images, gap=0.0, of_image=1.0, of_seed=0.1, of_both=0.5):
    """Answers of two arms whose true difference is known; images are hard for both, trainings and answers differ."""
    hard = rng.normal(size=images) * of_image
    sides = []
    for shift in (gap, 0.0):
        own = hard + 0.3 * rng.normal(size=images)
        ability = shift + of_seed * rng.normal(size=(seeds, 1))
        sides.append((own + ability + of_both * rng.normal(size=(seeds, images)) > -1.0).astype(float))
    return sides


@pytest.mark.parametrize(("seeds", "of_seed"), [(1, 0.0), (2, 0.1), (3, 0.1), (3, 0.0), (5, 0.3)])
def test_two_equal_arms_are_told_apart_in_at_most_one_case_of_twenty(seeds, of_seed):
    rng = np.random.default_rng(seeds)
    studies = 400
    found = [crossed_difference(*simulated(rng, seeds, 150, of_seed=of_seed)) for _ in range(studies)]
    wrong = np.mean([not low <= 0 <= high for _, _, low, high in found])
    # Nominal 5 %: three standard errors of 400 studies are 3.3 %.
    assert wrong <= 0.05 + 0.033
    spread = np.std([value for value, *_ in found])
    error = np.sqrt(np.mean([error**2 for _, error, *_ in found]))
    assert spread < 1.15 * error < 2.0 * spread  # what it says of its error is about right


def test_a_difference_that_is_there_is_found():
    rng = np.random.default_rng(9)
    gap = 0.5
    found = [crossed_difference(*simulated(rng, 3, 400, gap)) for _ in range(100)]
    total = np.sqrt(1 + 0.09 + 0.01 + 0.25)
    truth = norm.cdf((1 + gap) / total) - norm.cdf(1 / total)
    # Means of 100 studies, three standard errors of their mean.
    values = np.array([value for value, *_ in found])
    assert values.mean() == pytest.approx(truth, abs=3 * values.std() / 10)
    assert np.mean([low > 0 for _, _, low, _ in found]) > 0.8


def test_the_interval_of_a_mean_holds_it_and_agreement_everywhere_is_no_certainty():
    rng = np.random.default_rng(4)
    inside = [low <= 0.9 <= high for _, _, low, high in (crossed_mean(rng.random((1, 80)) < 0.9) for _ in range(400))]
    assert np.mean(inside) > 0.95 - 0.033
    ones = np.ones((2, 50))
    value, error, low, high = crossed_difference(ones, ones)
    assert value == 0 and error > 0 and low < 0 < high
    value, _, low, high = crossed_mean(ones)
    assert value == 1 and high == 1 and 0.85 < low < 1
    one, other = np.zeros((1, 100)), np.zeros((1, 100))
    one[0, :30], other[0, 20:40] = 1, 1
    n, b, c = 100, 20, 10
    # One training each: the interval of Agresti and Min for pairs, of which 20 and 10 differ, with Student's quantile.
    error = crossed_difference(one, other).standard_error
    assert error == pytest.approx(np.sqrt(((b + c + 1) - (b - c) ** 2 / n) / ((n + 2) * (n + 1))))


def test_scores_are_of_each_arm_and_gains_over_the_baseline():
    rng = np.random.default_rng(0)
    hits = {"real": rng.random((3, 200)) < 0.6, "amst": rng.random((3, 200)) < 0.9, "labeler": rng.random((1, 200)) < 0.7}
    scores = scored({arm: rows.astype(float) for arm, rows in hits.items()}, "real")
    assert set(scores) == {"accuracy-real", "accuracy-amst", "accuracy-labeler", "gain-amst", "gain-labeler"}
    assert scores["gain-amst"].value == pytest.approx(hits["amst"].mean() - hits["real"].mean())
    assert scores["gain-amst"].interval[0] > 0 and scores["accuracy-labeler"].remarks and not scores["accuracy-amst"].remarks
    assert not any(name.startswith("gain") for name in scored({"amst": hits["amst"].astype(float)}, "real"))


# Pseudo-labels


def test_quality_of_pseudo_labels_is_counted_by_the_labels_of_parents():
    rows = [Row(f"{i}.png", accepted=i < 6, guess=g, confidence=0.9) for i, g in enumerate([0, 0, 1, 1, 1, 0, 0, 1, 1, 0])]
    drawn, believed = np.array([0, 0, 0, 1, 1, 1, 1, 1, 0, 0]), np.arange(10) < 6
    scores = shares(rows, drawn, believed, ["cat", "dog"])
    assert {name: score.value for name, score in scores.items()} == pytest.approx(
        {
            "accepted": 0.6,
            "accepted-cat": 0.6,
            "accepted-dog": 0.6,
            "pseudo-accuracy-all": 0.6,
            "pseudo-accuracy-accepted": 4 / 6,
        }
    )
    assert "pseudo-accuracy-all" not in shares(rows, np.full(10, -1), believed, ["cat", "dog"])


def test_diversity_is_that_of_the_accepted_over_that_of_all():
    rng = np.random.default_rng(1)
    labels, features = np.repeat([0, 1], 500), rng.normal(size=(1000, 4)) + 10 * np.repeat([[0.0], [1.0]], 500, 0)
    assert diversity(features, labels, np.ones(1000, bool))["accepted-diversity"].value == pytest.approx(1)
    near = (features - 10 * labels[:, None])[:, 0] ** 2 < 0.2  # alike in one of four directions
    found = diversity(features, labels, near)["accepted-diversity"].value
    assert found == pytest.approx((3 + features[near & (labels == 0), 0].var()) / 4, abs=0.06)
    assert diversity(features, labels, np.arange(1000) < 1) == {}


# What is trained on


def test_so_many_of_each_class_and_others_to_test_with():
    few, test = PerClass(Digits(), 10).load()
    more, _ = PerClass(Digits(), 30).load()
    assert len(few.images) == 100 and len(test.images) == 1697 and np.bincount(few.labels).tolist() == [10] * 10
    assert set(few.names) < set(more.names) and not set(few.names) & set(test.names)
    tests = [set(PerClass(Digits(), count, held_out=50).load()[1].names) for count in (10, 30)]
    assert tests[0] == tests[1] and len(tests[0]) == 500 and not tests[0] & set(more.names)
    assert set(PerClass(Digits(), 10, seed=1).load()[0].names) != set(few.names)
    for wrong in ({"count": 0}, {"count": 5, "held_out": 0}):
        with pytest.raises(BootlightError):
            PerClass(Digits(), **wrong)
    for wrong in ({"count": 150, "held_out": 50}, {"count": 190}):
        with pytest.raises(BootlightError, match="class"):
            PerClass(Digits(), **wrong).load()


def archive(drawn, labels, kept):
    store = store_from_arrays(np.zeros((drawn, 2, 2, 1), np.uint8), np.array(labels), ["a", "b"])
    real = Source(
        "real", store_from_arrays(np.zeros((10, 2, 2, 1), np.uint8), np.zeros(10, np.int64), ["a", "b"]), np.arange(10)
    )

    def asked(number, folder, *, curated=True):
        return Source("synthetic", store, np.array(kept) if curated else np.arange(drawn), number)

    return SimpleNamespace(real=real, seed=1, subset_seed=0, drawn=asked)


def test_own_images_join_as_curated_or_as_drawn():
    there = archive(40, [0, -1] * 20, range(30))
    counts = lambda **settings: [len(source) for source in WithOwn(**settings).sources(0, there)]  # noqa: E731
    assert counts() == [10, 30] and counts(curated=False) == [10, 40] and counts(labelled=True) == [10, 15]
    one, two = (WithOwn(expansion=n, curated=False).sources(0, there)[1].indices for n in (1, 2))
    assert len(one) == 10 and len(two) == 20 and set(one) < set(two)
    assert set(WithOwn(expansion=2.0).sources(0, there)[1].indices) == set(two) & set(range(30))
    with pytest.raises(BootlightError, match="expansion"):
        counts(expansion=5.0)
    assert DiskArchive.drawn.__kwdefaults__ == {"curated": True}


def test_arms_are_trainings_that_differ_in_what_they_say():
    module = {"class_path": "bootlight.ImageClassifier"}
    stage = Classifiers(
        arms={"real": None, "other": {"settings": {"data.num_steps": 9}, "start_from": "labeler"}},
        module=module,
        settings={"data.num_steps": 5, "data.batch_size": 4},
        repeats=2,
    )
    stages = stage.stands_for()
    assert [one.part for one in stages] == ["real_0", "real_1", "other_0", "other_1"] and {one.name for one in stages} == {
        "train"
    }
    assert changes_of(stages, "real_1") == {"model": module, "data.num_steps": 5, "data.batch_size": 4}
    assert changes_of(stages, "other_0")["data.num_steps"] == 9 and stages[2].networks(0) == ["labeler"]
    for wrong in ({"arms": {}}, {"arms": {"a": {"n": 1}}}, {"arms": {"a": None}, "repeats": 0}, {"arms": {"A b": None}}):
        with pytest.raises(BootlightError):
            Classifiers(**wrong).stands_for()


def held_out_generation(tmp_path, parents=()):
    folder = GenerationFolder(tmp_path / "gen_000")
    folder.samples.mkdir(parents=True, exist_ok=True)
    lines = [{"file_name": f"00000/{i:06d}.png", "label": 0, "parent": parent} for i, parent in enumerate(parents)]
    write_metadata(folder, lines)
    names = ("a/1.png", "a/2.png")
    images = SimpleNamespace(names=names, labels=np.array([0, 1]), batches=lambda size: iter([torch.zeros(2, 1, 2, 2)]))
    return SimpleNamespace(folder=folder, held_out=images)


def test_a_held_out_image_that_is_a_parent_is_found(tmp_path):
    planted = held_out_generation(tmp_path, ["real/a/9.png", "real/a/2.png"])
    with pytest.raises(BootlightError, match=r"a/2\.png"):
        DownstreamAccuracy().scores(planted, ["samples"])
    nobody = held_out_generation(tmp_path)
    nobody.held_out.labels = np.array([-1, -1])
    with pytest.raises(BootlightError, match="held out"):
        DownstreamAccuracy().scores(nobody, [])


def test_a_classifier_learns_and_is_asked_in_eval_mode():
    module = ImageClassifier(2, 1, 3, backbone=Flat)
    module.net.heads["main"].weight.data.copy_(torch.eye(3, 4))
    module.net.heads["main"].bias.data.zero_()
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    images.view(3, 4)[range(3), range(3)] = 255
    assert module.train().classify(images).argmax(1).tolist() == [0, 1, 2] and module.training
    with pytest.raises(BootlightError, match="num_classes"):
        ImageClassifier(2, 1, 1)
