"""Differences of scores: their errors, what pairing brings, and which differences so many images find."""

import math
from functools import partial

import pytest
import torch
from scipy import stats

from bootlight.evaluation.comparing.compare import Measured, compare_means, compare_measured, measure_set
from bootlight.evaluation.comparing.difference import Difference, difference, judged
from bootlight.evaluation.suite import measure_all
from bootlight.metrics.features.features import PixelFeatures
from bootlight.metrics.score import Score
from bootlight.metrics.uncertainty import jackknife_standard_error

NETWORK = PixelFeatures(1, channels=3)


def gaussian(count: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)) + shift


def compared(first: torch.Tensor, second: torch.Tensor, *, paired: bool, metric: str = "fd") -> Difference:
    sets = {"real": gaussian(500, 0), "first": first, "second": second}
    real, *two = ({"features": features} for features in sets.values())
    n = min(len(first), len(second))
    measured = [measure_set([metric], NETWORK, real=real, synthetic=features, n=n, paired=paired) for features in two]
    (only,) = compare_measured(*measured, paired=paired).values()
    return only


def test_independent_errors_are_added_in_squares():
    first, second = gaussian(200, 1), gaussian(200, 2, 0.5)
    found = compared(first, second, paired=False)
    scores = [
        measure_all(["fd"], NETWORK, real={"features": gaussian(500, 0)}, synthetic={"features": f})["fd-pixels"]
        for f in (first, second)
    ]
    assert found.value == scores[1].value - scores[0].value
    assert found.standard_error == math.hypot(scores[0].standard_error, scores[1].standard_error)
    assert found.interval == pytest.approx(
        [found.value - 1.959964 * found.standard_error, found.value + 1.959964 * found.standard_error]
    )
    assert found.found and found.better is False  # farther away by 3 * 0.5², with an error of about 0.1


def test_the_larger_set_is_cut_to_the_size_of_the_smaller():
    many = gaussian(200, 1)
    found = compared(many, many[::2], paired=False)  # every second one is what spreading evenly takes
    assert found.value == 0 and found.first.n == found.second.n == 100


@pytest.mark.parametrize("metric", ["fd", "kid"])
def test_paired_errors_are_the_spread_over_redraws(metric):
    """Pairs that share most of their noise: the error is that of the difference, far below that of either score."""
    values, errors = [], []
    for draw in range(30):
        first = gaussian(300, 10 + draw, 0.6)
        second = first + 0.1 * gaussian(300, 1000 + draw)
        found = compared(first, second, paired=True, metric=metric)
        values.append(found.value)
        errors.append(found.standard_error)
    spread = torch.tensor(values).std().item()
    # The spread of 30 values has a relative error of 1/sqrt(58) = 13 %; the jackknife's own spread over 19 degrees of freedom,
    # averaged over 30 draws, adds 3 %. Three of these: 40 %.
    assert torch.tensor(errors).mean().item() == pytest.approx(spread, rel=0.4)
    independent = compared(gaussian(300, 10, 0.6), gaussian(300, 11, 0.6), paired=False, metric=metric).standard_error
    assert spread < independent / 3


def test_pairs_are_taken_out_together():
    """Swapping the order of one set keeps both scores, but destroys the pairs, and with them the small error."""
    first = gaussian(300, 1, 0.6)
    second = first + 0.05 * gaussian(300, 2)
    together = compared(first, second, paired=True)
    shuffled = compared(first, second[torch.randperm(300, generator=torch.Generator().manual_seed(3))], paired=True)
    assert together.value == pytest.approx(shuffled.value, abs=1e-9)
    assert together.standard_error < shuffled.standard_error / 4


def test_means_of_one_number_per_image():
    first, second = gaussian(400, 1)[:, 0], gaussian(400, 2)[:, 0] * 2 + 0.3
    found = compare_means(first, second, paired=False, protocol={})
    reference = stats.ttest_ind(second, first, equal_var=False)
    # The same quotient; float32 data in float64 arithmetic.
    assert found.value / found.standard_error == pytest.approx(reference.statistic, rel=1e-6)
    pairs = compare_means(first, first + 0.1 * second, paired=True, protocol={})
    # The sum first + 0.1 * second is rounded to float32: 6e-8 of 1 in each of 400, against an error of 0.01.
    assert pairs.value / pairs.standard_error == pytest.approx(stats.ttest_rel(first + 0.1 * second, first).statistic, rel=1e-5)


def test_a_detectable_difference_has_four_chances_in_five():
    """The paper's Table 1: 100 % against 100 % + 30 % samples, 0.0098 with an error of about 0.024 at n = 100."""
    first, second = (Score(value, None, 100, {}, higher_is_better=True) for value in (0.4938, 0.5036))
    found = difference(first, second, standard_error=0.024, paired=False)
    assert not found.found
    # The quantile 0.841621 is right to 1e-6, and so is the power.
    assert stats.norm.sf(1.959964 - found.detectable / 0.024) == pytest.approx(0.8, abs=1e-6)
    # With four times as many images the error is half as large.
    assert stats.norm.sf(1.959964 - found.detectable / 2 / (0.024 / math.sqrt(4))) == pytest.approx(0.8, abs=1e-6)
    assert found.sentence("discriminator_score", "A", "B") == (
        "discriminator_score: B and A are not told apart, 0.010 [-0.037, 0.057] (n = 100); "
        "so many find a difference of 0.067 in four of five attempts"
    )


def line(value: float, error: float | None, higher_is_better: bool | None = True, *, paired=False, degrees=None) -> Difference:
    first, second = (Score(v, 0.1, 50, {}, higher_is_better=higher_is_better) for v in (1.0, 1.0 + value))
    return difference(first, second, standard_error=error, paired=paired, degrees=degrees)


def test_sentences_and_verdicts_say_what_was_found():
    said = line(0.5, 0.1, False).sentence("kid", "A", "B")
    assert said == "kid: B is higher than A, which is worse, 0.500 [0.304, 0.696] (n = 50)"
    said = line(-0.5, 0.1, False, paired=True).sentence("kid", "A", "B")
    assert said == "kid: B is lower than A, which is better, -0.500 [-0.696, -0.304] (paired, n = 50)"
    assert line(0.5, 0.1, None).sentence("kid", "A", "B") == "kid: B is higher than A, 0.500 [0.304, 0.696] (n = 50)"
    assert line(0.0, 0.0).sentence("kid", "A", "B") == "kid: B and A score exactly the same"
    assert line(0.5, None).sentence("kid", "A", "B") == "kid: B differs from A by 0.5; nothing is known of the error"
    words = [one.verdict for one in (line(0.5, 0.1), line(-0.5, 0.1), line(0.5, 0.1, None), line(0.1, 0.1), line(0.5, None))]
    assert words == ["better", "worse", "higher", "-", "error unknown"]
    assert line(0.0, None).verdict == "same"


def test_an_interval_excludes_0_where_its_p_value_is_below_a_twentieth():
    assert line(0.19599, 0.1).p_value > 0.05 > line(0.19601, 0.1).p_value
    for degrees in (1, 5, 19):
        edge = 0.1 * stats.t.ppf(0.975, degrees)
        low, high = (line(edge * scale, 0.1, degrees=degrees) for scale in (0.999, 1.001))
        assert low.interval[0] < 0 < high.interval[0] and low.p_value > 0.05 > high.p_value


def test_lines_are_judged_together_by_holm():
    """Holm's own rule, written out: in order of p, stop at the first that is not below 5 % over those that are left."""
    errors = [1.0, 2.9, 2.2, 2.1, 3.5]
    lines = {f"s{i}": line(z * 0.1, 0.1) for i, z in enumerate(errors)} | {"unknown": line(1.0, None)}
    first, second = judged(
        [{key: lines[key] for key in ("s0", "s1", "unknown")}, {key: lines[key] for key in ("s2", "s3", "s4")}]
    )
    p_values = sorted((2 * stats.norm.sf(z), f"s{i}") for i, z in enumerate(errors))
    rejected = set()
    for left, (p, name) in zip((5, 4, 3, 2, 1), p_values, strict=True):
        if p >= 0.05 / left:
            break
        rejected.add(name)
    together = first | second
    assert rejected == {"s4", "s1"} == {key for key, one in together.items() if one.found}
    assert together["s2"].maybe and together["s2"].verdict == "(better)" and not together["s0"].maybe
    assert together["unknown"].adjusted is None
    assert together["s4"].adjusted == pytest.approx(5 * p_values[0][0], rel=1e-12)
    # Power 80 % at the strictest level: the quantile of 5 % over five lines.
    expected = (stats.norm.isf(0.05 / 5 / 2) + 0.841621) * 0.1
    assert together["s3"].detectable == pytest.approx(expected, rel=1e-6)
    assert judged([{"one": lines["s2"]}])[0]["one"].found  # alone it is what its interval says


def stub(value: float, without: list[float]) -> Measured:
    return Measured({"fd": {"fd-pixels": Score(value, 0.1, len(without), {})}}, {"fd-pixels": without}, len(without), {})


def test_a_difference_that_no_group_changes_has_no_error():
    first = stub(1.0, [1.1, 0.9, 1.0, 1.2])
    (found,) = compare_measured(first, stub(1.5, [1.6, 1.4, 1.5, 1.7]), paired=True).values()
    assert found.value == 0.5 and found.standard_error is None and not found.found
    assert found.verdict == "error unknown" and found.p_value is None


def test_few_pairs_have_the_wide_quantile_of_few_groups():
    without = [1.4, 1.7, 1.5, 1.8]
    (found,) = compare_measured(stub(1.0, [1.0] * 4), stub(1.6, without), paired=True).values()
    error = math.sqrt(3 * torch.tensor(without).double().var(correction=0))  # (G - 1) / G times the sum of squares
    assert found.standard_error == pytest.approx(error, rel=1e-12)
    # 97.5 % quantile of t with 3 degrees of freedom: 3.182.
    assert found.interval == pytest.approx((found.value - 3.18245 * error, found.value + 3.18245 * error), rel=1e-5)


def test_copies_are_found_among_all_real_images_unless_that_is_limited():
    real = gaussian(12_000, 0)
    far = torch.ones(12_000, dtype=torch.bool)
    far[torch.randperm(12_000, generator=torch.Generator().manual_seed(0))[:10_000]] = False  # what a subset would leave out
    copies = {"features": real[far][:20]}
    measure = partial(measure_all, ["authpct"], NETWORK, real={"features": real}, synthetic=copies)
    found = measure()["authpct"]
    assert found.value == 0 and not any("looked for" in remark for remark in found.remarks)
    limited = measure(max_copied=10_000)["authpct"]
    assert limited.value > 0  # their originals are not there
    assert "copies were looked for among 10,000 of the 12,000 real images" in limited.remarks[-1]


def test_classes_that_take_turns_do_not_widen_the_interval():
    """Ten classes, cyclically: groups of every twentieth pair would each be of one class."""
    first = 3 * gaussian(10, 5)[torch.arange(400) % 10] + 0.3 * gaussian(400, 1)
    second = 1.1 * first + 0.2 * gaussian(400, 2) + 0.1
    shuffled = []
    for seed in range(4):
        order = torch.randperm(400, generator=torch.Generator().manual_seed(seed))
        shuffled.append(compared(first[order], second[order], paired=True).standard_error)
    expected = sum(shuffled) / 4
    # A jackknife of 20 groups has a relative error of 1 / sqrt(2 * 19) = 16 %, the mean of four 8 %: three times 18 %.
    assert compared(first, second, paired=True).standard_error == pytest.approx(expected, rel=0.54)

    def without(group: int, features: torch.Tensor) -> float:
        kept = {"features": features[torch.arange(400) % 20 != group]}
        return measure_all(["fd"], NETWORK, real={"features": gaussian(500, 0)}, synthetic=kept)["fd-pixels"].value

    every_twentieth = torch.tensor([without(group, second) - without(group, first) for group in range(20)])
    assert jackknife_standard_error(every_twentieth) > 2.5 * expected  # so this case tells one from the other
