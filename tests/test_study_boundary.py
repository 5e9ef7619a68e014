"""The map of the boundary, and the closed forms of loops of normal pixels against simulation and their limits."""

import math

import numpy as np
import pytest
import torch
from study_folder import write_gaussian_weights, write_record, write_run
from tracking_run import score

from bootlight.evaluation.suite import METRICS, measure_all
from bootlight.metrics.discriminator import DiscriminatorScore, discriminator_score
from bootlight.metrics.features.features import PixelFeatures
from bootlight.studies.boundary import better, closed_form, effects, place
from bootlight.studies.derived import PIXEL_VARIANCE
from bootlight.studies.gaussian_loop import Loop, expected_variances
from bootlight.studies.results import read_study

BIAS = 0.8
REPEATS = 20000


def simulate(loop, rng):
    """Mean of the fitted variance of each generation over many loops in one dimension, and its standard error."""
    shape = (REPEATS, loop.num_real)
    standardized = rng.normal(size=shape)
    standardized -= standardized.mean(1, keepdims=True)
    real = standardized / standardized.std(1, keepdims=True)  # exactly: the formulas are given the fit of generation 0
    if loop.policy == "FreshReal":
        real = rng.normal(size=shape)
    pool, variances = real, []
    for generation in range(loop.generations):
        if generation:
            mean, deviation = train.mean(1, keepdims=True), math.sqrt(loop.bias) * train.std(1, keepdims=True)  # noqa: F821
            drawn = mean + deviation * rng.normal(size=(REPEATS, loop.num_taken))
            if loop.policy == "Replace":
                pool = np.concatenate([real, drawn], 1) if loop.keep_real else drawn
            elif loop.policy == "FreshReal":
                pool = np.concatenate([rng.normal(size=shape), drawn], 1)
            else:
                pool = drawn if generation == 1 and not loop.keep_real else np.concatenate([pool, drawn], 1)
        train = pool
        if loop.policy == "AccumulateSubsample" and generation:
            order = rng.random(pool.shape).argsort(1)[:, : loop.num_real]
            train = np.take_along_axis(pool, order, 1)
        variances.append(train.var(1))
    means = np.mean(variances, axis=1)
    return means / means[0], np.std(variances, axis=1) / math.sqrt(REPEATS) / means[0]


@pytest.mark.parametrize(
    ("policy", "keep_real"),
    [
        *((policy, keep) for policy in ("Replace", "Accumulate", "AccumulateSubsample") for keep in (True, False)),
        ("FreshReal", True),
    ],
)
def test_closed_forms_are_the_means_of_simulated_loops(policy, keep_real):
    # So few images that every 1/n matters: without the terms of order 1/n the third generation would be off by 0.1.
    num_taken = 7 if policy == "AccumulateSubsample" and not keep_real else 4
    loop = Loop(policy, num_real=6, num_taken=num_taken, generations=4, keep_real=keep_real, bias=BIAS)
    means, errors = simulate(loop, np.random.default_rng(3))
    # Four and a half standard errors, of both generations where the first one varies.
    tolerance = 4.5 * np.hypot(errors, errors[0] if policy == "FreshReal" else 0) + 1e-12
    assert np.all(np.abs(np.array(expected_variances(loop)) - means) < tolerance)


def test_limits_of_many_images_are_the_published_ones():
    # c = 0.8, 1,000 real and 300 drawn images, times 10^6 so that 1/n vanishes: replace c^10; accumulate the product of
    # (N + i m + c m) / (N + i m + m); real images that stay, share l: the fixed point l / (1 - (1 - l) c).
    many = 10**6
    replace = expected_variances(Loop("Replace", 1000 * many, 300 * many, 11, keep_real=False, bias=BIAS))
    assert replace[10] == pytest.approx(0.8**10, rel=1e-6)
    gathered = [1000 + 300 * i for i in range(10)]
    accumulate = expected_variances(Loop("Accumulate", 1000 * many, 300 * many, 11, bias=BIAS))
    assert accumulate[10] == pytest.approx(math.prod((n + 240) / (n + 300) for n in gathered), rel=1e-6)
    assert accumulate[10] == pytest.approx(0.771, abs=5e-4)
    share = 1000 / 1300
    fixed = expected_variances(Loop("Replace", 1000 * many, 300 * many, 100, bias=BIAS))
    assert fixed[-1] == pytest.approx(share / (1 - (1 - share) * BIAS), rel=1e-6)


def test_unbiased_refits_lose_one_part_in_n():
    # E v_t = (1 - 1/n)^t v (Alemohammad et al. 2024, fully synthetic loop).
    found = expected_variances(Loop("Replace", 50, 20, 31, keep_real=False))
    assert found == pytest.approx([(1 - 1 / 20) ** t for t in range(31)], rel=1e-12)


def test_no_formula_no_curve():
    assert expected_variances(Loop("Curated", 100, 100, 3)) is None
    assert expected_variances(Loop("Accumulate", 100, 0, 3)) is None
    assert expected_variances(Loop("AccumulateSubsample", 100, 50, 3, keep_real=False)) is None  # 50 images for 100 places


def test_direction_of_scores_is_that_of_their_metrics():
    class Three(PixelFeatures):
        def outputs(self, images):
            raise AssertionError("features are there already")

    sides = [dict.fromkeys(("features", "logits", "spatial"), torch.rand(n, 3)) for n in (30, 25)]
    scores = measure_all(tuple(METRICS), Three(1), real=sides[0], synthetic=sides[1], held_out=sides[0])
    scores |= {f"{DiscriminatorScore.name}/train": discriminator_score(torch.rand(4))}
    assert len(scores) >= 20
    assert {name: better(name) for name in scores} == {name: score.higher_is_better for name, score in scores.items()}
    assert better("discriminator_score") is DiscriminatorScore.higher_is_better


def study(tmp_path, values, name="fd-tiny/train", **changes):
    """Arms by name: for each seed the values of the generations."""
    write_record(tmp_path, {arm: f"the {arm}" for arm in values}, range(3), layout="curves", **changes)
    for arm, seeds in values.items():
        for seed, generations in enumerate(seeds):
            rows = [{name: score(value, 0.1, 100)} for value in generations]
            write_run(tmp_path, arm, seed, rows, num_real=500 if arm == "half" else 1000)
    return read_study(tmp_path)


def test_verdicts_compare_with_generation_zero_of_the_same_seed(tmp_path):
    results = study(
        tmp_path,
        {
            "up": [[1.0, 9.0, 3.0], [5.0, 0.0, 7.1], [2.0, 2.0, 3.9]],  # + 2.0, 2.1, 1.9, though seeds differ by 4
            "half": [[3.0, 1.0], [7.1, 5.0], [3.9, 2.0]],
            "flat": [[1.0, 2.0], [2.0, 1.0], [1.5, 1.5]],
        },
        baseline=None,
    )
    up, half, flat = effects(results, "fd-tiny/train")
    assert up.difference.value == pytest.approx(2.0) and up.verdict == "hurts" and up.reference == "generation 0"
    assert half.difference.value == pytest.approx(-2.0) and half.verdict == "helps"
    assert flat.verdict == "nothing found" and flat.difference.value == 0.0
    assert (half.place.real_fraction, half.place.synthetic_ratio) == (0.5, 0.6)
    assert (up.place.real_fraction, up.place.synthetic_ratio) == (1.0, 0.3)


def test_scores_without_direction_rise_or_fall(tmp_path):
    results = study(tmp_path, {"a": [[1.0, 3.0], [1.0, 3.1], [1.0, 2.9]]}, name="authpct/train")
    assert effects(results, "authpct/train")[0].verdict == "raises"


def test_single_generations_are_compared_with_the_baseline(tmp_path):
    results = study(tmp_path, {"base": [[1.0], [2.0], [3.0]], "other": [[0.5], [1.6], [2.4]]})
    (effect,) = effects(results, "fd-tiny/train")
    assert (effect.arm, effect.reference, effect.verdict) == ("other", "base", "helps")


def test_one_seed_is_not_measured(tmp_path):
    results = study(tmp_path, {"a": [[1.0, 3.0]]})
    assert effects(results, "fd-tiny/train")[0].verdict == "not measured"


def gaussian_study(tmp_path, mixing, variances, data=None, images_seen=100 * 140 * 180, **model):
    """Every size of a training set, 100 real images and 20 or 40 of some generations, divides the images seen."""
    origin = {"class_path": "bootlight.GaussianImages", "init_args": {"count": 200}}
    data = {"class_path": "bootlight.BootstrapData", "init_args": {"origin": origin, "mixing": mixing} | (data or {})}
    write_record(tmp_path, {"a": "A"}, [0], layout="curves")
    run = write_run(
        *(tmp_path, "a", 0, [{} for _ in variances]),
        num_real=100, num_synthetic=40, class_path="bootlight.PixelGaussian", data=data, images_seen=images_seen, **model,
    )  # fmt: skip
    write_gaussian_weights(run, variances)
    return read_study(tmp_path)


def test_variances_come_from_the_weights_and_curves_from_the_configuration(tmp_path):
    mixing = {"class_path": "bootlight.Replace", "init_args": {"keep_real": False, "synthetic_ratio": 0.2}}
    results = gaussian_study(tmp_path, mixing, [0.04, 0.03, 0.01], sampling_bias=0.9)
    cell = results.cells["a", 0]
    found = [row.scores[PIXEL_VARIANCE].value for row in cell.generations]
    assert found == pytest.approx([1.0, 0.75, 0.25], rel=1e-6)  # the square of 0.25 is exact, float32 enters in `variances`
    # 20 images of each generation: 0.2 of the 100 real ones, not the 40 drawn.
    assert closed_form(cell) == pytest.approx([(0.9 * (1 - 1 / 20)) ** k for k in range(3)])
    assert place(results, cell).policy == "Replace, without real images, bias 0.9"


def test_default_policy_accumulates_all_that_is_drawn(tmp_path):
    cell = gaussian_study(tmp_path, None, [0.04, 0.03]).cells["a", 0]
    assert closed_form(cell) == expected_variances(Loop("Accumulate", 100, 40, 2))


def test_no_closed_form_where_none_is_known(tmp_path):
    sized = {"class_path": "bootlight.AccumulateSubsample", "init_args": {"size": 50}}  # how many there were is not written
    for k, mixing in enumerate([{"class_path": "mine.Curated"}, sized]):
        assert closed_form(gaussian_study(tmp_path / str(k), mixing, [0.04, 0.03]).cells["a", 0]) is None


@pytest.mark.parametrize(
    ("images_seen", "data", "bootstrap"),
    [
        (1000, {}, {}),  # 100 in ten passes, but not 140 in a whole number of them
        (100 * 140 * 180, {"mixing": {"class_path": "bootlight.WithTeacher", "init_args": {"root": "x"}}}, {}),
        (100 * 140 * 180, {"mixing": {"class_path": "bootlight.WithCopies", "init_args": {"mixing": None}}}, {}),
        (100 * 140 * 180, {}, {"warm_start": True}),  # goes on adding to the sums of the generation before
    ],
)
def test_no_closed_form_where_the_fit_is_not_that_of_the_whole_set(tmp_path, images_seen, data, bootstrap):
    cell = gaussian_study(tmp_path, None, [0.04, 0.03], data=data, images_seen=images_seen).cells["a", 0]
    cell.config["bootstrap"] |= bootstrap
    assert closed_form(cell) is None


def test_no_closed_form_for_real_pictures(tmp_path):
    cell = gaussian_study(tmp_path, None, [0.04, 0.03]).cells["a", 0]
    assert closed_form(cell) is not None
    cell.config["data"]["init_args"]["origin"]["class_path"] = "bootlight.Digits"  # which are not normal
    assert closed_form(cell) is None


def test_other_generators_have_no_closed_form(tmp_path):
    results = study(tmp_path, {"a": [[1.0, 3.0]]})
    assert closed_form(results.cells["a", 0]) is None
