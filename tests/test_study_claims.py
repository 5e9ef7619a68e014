"""Verdicts on claims: direction, correction, what it would take, and when nothing can be said."""

import pytest
from scipy import stats
from study_folder import write_record, write_run
from tracking_run import score

from bootlight.studies.claims import judge_claims
from bootlight.studies.results import read_study
from bootlight.studies.statistics import images_needed, seeds_range

A = [0.30, 0.33, 0.36, 0.31]
BETTER = [0.41, 0.43, 0.47, 0.42]  # + 0.11, 0.10, 0.11, 0.11
SIMILAR = [0.33, 0.31, 0.40, 0.30]  # + 0.03, - 0.02, 0.04, - 0.01


def claim(higher, lower, name="discriminator_score", text="It is so."):
    return {"text": text, "score": name, "higher": higher, "lower": lower}


def judged(tmp_path, claims, name="discriminator_score", error=0.01, **arms):
    write_record(tmp_path, {arm: f"arm {arm}" for arm in arms}, range(4), claims=claims)
    for arm, values in arms.items():
        for seed, value in enumerate(values):
            write_run(tmp_path, arm, seed, [{name: score(value, error, 1000)}])
    return judge_claims(read_study(tmp_path))


def test_supported_and_contradicted_are_the_two_directions(tmp_path):
    up, down = judged(tmp_path, [claim("b", "a"), claim("a", "b")], a=A, b=BETTER)
    p_value = stats.ttest_rel(BETTER, A).pvalue
    assert (up.status, down.status) == ("supported", "contradicted")
    assert up.p_value == pytest.approx(2 * p_value) and down.p_value == pytest.approx(2 * p_value)
    assert up.difference.value == pytest.approx(0.1075) and down.difference.value == pytest.approx(-0.1075)
    # The standard error of 0.11, 0.10, 0.11, 0.11 is 0.005 / √4; t with 3 degrees of freedom 3.182.
    assert up.sentence == (
        "Supported: arm b scores higher in discriminator_score than arm a, by 0.1075 ± 0.0025 (95 % interval 0.09954 to "
        f"0.1155, 4 seeds; p = {2 * p_value:.2g} after Holm's correction for 2 claims)."
    )
    assert down.sentence.startswith("Contradicted: arm a scores lower in discriminator_score than arm b, by -0.1075")


def test_what_cannot_be_told_says_what_it_would_take(tmp_path):
    (verdict,) = judged(tmp_path, [claim("b", "a")], a=A, b=SIMILAR, error=0.02)
    found = verdict.difference
    assert verdict.status == "not distinguishable at this size"
    assert verdict.p_value == pytest.approx(stats.ttest_rel(SIMILAR, A).pvalue)  # one claim needs no correction
    assert verdict.seeds_needed == seeds_range(found) and verdict.seeds_needed[1] is None  # no difference is possible too
    assert verdict.images_needed == images_needed(found._replace(value=found.interval[1]))
    assert f"{verdict.seeds_needed[0]} seeds would find in four of five studies at 1,000 images each" in verdict.sentence
    assert "Holm" not in verdict.sentence


@pytest.mark.parametrize(
    ("error", "end"), [(None, "in four of five studies."), (0.001, "more images alone would not do at 4 seeds.")]
)
def test_images_are_no_advice_where_they_would_not_help_or_nobody_knows(tmp_path, error, end):
    (verdict,) = judged(tmp_path, [claim("b", "a")], a=A, b=SIMILAR, error=error)
    assert verdict.images_needed is None and verdict.sentence.endswith(end)
    assert ("images" in verdict.sentence) == (error is not None)


def test_seeds_are_counted_at_the_strictest_level_of_the_family(tmp_path):
    verdicts = judged(tmp_path, [claim("b", "a")] * 3, a=A, b=SIMILAR)
    found = verdicts[0].difference
    assert verdicts[0].seeds_needed == seeds_range(found, 0.05 / 3)
    assert seeds_range(found, 0.05 / 3)[0] > seeds_range(found)[0]


def test_correction_can_take_a_finding_back(tmp_path):
    # t = 0.021 / (0.0116 / 2): p = 0.036 alone, 0.072 among two claims of which the other has p > 0.036.
    third = [value + change for value, change in zip(A, (0.03, 0.025, 0.005, 0.024), strict=True)]
    p_value = stats.ttest_rel(third, A).pvalue
    assert 0.025 < p_value < 0.05
    (alone,) = judged(tmp_path / "1", [claim("c", "a")], a=A, c=third)
    two = judged(tmp_path / "2", [claim("c", "a"), claim("b", "a")], a=A, b=SIMILAR, c=third)
    assert alone.status == "supported"
    assert two[0].status == "not distinguishable at this size" and two[0].p_value == pytest.approx(2 * p_value)
    least, most = two[0].seeds_needed  # alone it was found: the interval of the effect excludes 0
    assert least <= 4 < most and f"takes {least:,} to {most:,} seeds (95 % interval)" in two[0].sentence


def test_an_untested_claim_counts_as_one_of_the_family(tmp_path):
    verdicts = judged(tmp_path, [claim("b", "a"), claim("c", "a")], a=A, b=BETTER, c=[])
    assert verdicts[0].p_value == pytest.approx(2 * stats.ttest_rel(BETTER, A).pvalue)
    assert verdicts[1].status == "not tested" and verdicts[1].difference is None
    assert verdicts[1].sentence == "Not tested: arm c has no finished run with discriminator_score yet."


def test_one_seed_allows_no_claim(tmp_path):
    # Errors 0.03 and 0.04 add to 0.05.
    write_record(tmp_path, {"a": "A", "b": "B"}, [0], claims=[claim("b", "a")])
    write_run(tmp_path, "a", 0, [{"discriminator_score": score(0.5, 0.03, 1000)}])
    write_run(tmp_path, "b", 0, [{"discriminator_score": score(0.6, 0.04, 1000)}])
    (verdict,) = judge_claims(read_study(tmp_path))
    assert (verdict.status, verdict.p_value, verdict.seeds_needed, verdict.images_needed) == ("not tested", None, None, None)
    assert verdict.sentence == (
        "Not tested: one seed only. In discriminator_score, B and A differ by 0.1, but no claim can be made: a difference "
        "between two trainings says nothing of other trainings. The drawing of 1,000 images alone has a standard error of "
        "0.05."
    )


def test_equal_differences_tell_nothing(tmp_path):
    (verdict,) = judged(tmp_path, [claim("b", "a")], a=[1.0, 2.0, 3.0, 4.0], b=[2.0, 3.0, 4.0, 5.0])
    assert verdict.status == "not tested" and "4 seeds all give the difference 1 " in verdict.sentence


def test_no_common_seed(tmp_path):
    write_record(tmp_path, {"a": "A", "b": "B"}, [0, 1], claims=[claim("b", "a")])
    write_run(tmp_path, "a", 0, [{"discriminator_score": score(0.5, 0.03, 1000)}])
    write_run(tmp_path, "b", 1, [{"discriminator_score": score(0.6, 0.04, 1000)}])
    assert judge_claims(read_study(tmp_path))[0].sentence == "Not tested: no seed is finished in both arms yet."


def history(leaves, trained):
    """A discriminator's loss that leaves its plateau at a step, or drifts from the first on where it is None."""

    def loss(t):
        return t / 100 if leaves is None else (0.2 if t < leaves else 1.2)

    return lambda _: [{"step": t, "train/loss_d": loss(t)} for t in range(1, trained + 1)]


def judged_times(folder, slow, quick, trained=(1000, 480)):
    """Verdict on the slow arm's later leaving."""
    claims = [claim("slow", "quick", "plateau_steps", "The quick one is quicker.")]
    write_record(folder, {"slow": "slow", "quick": "quick"}, range(len(slow)), layout="gan", claims=claims)
    for seed, leaves in enumerate(zip(slow, quick, strict=True)):
        for arm, step, end in zip(("slow", "quick"), leaves, trained, strict=True):
            write_run(folder, arm, seed, [{}], history=history(step, end))
    return judge_claims(read_study(folder))[0]


def test_times_on_the_plateau_are_compared_as_far_as_all_trained(tmp_path):
    # The slow arm trains for 1,000 steps, the quick one for 480, so leaving is seen until 400. Of four against four the
    # p-value of the one most extreme deal and its mirror is 2 / 70.
    verdict = judged_times(tmp_path, (350, 2000, 390, 500), (170, 180, 190, 100))
    assert verdict.difference.value == pytest.approx((350 + 400 + 390 + 400 - 170 - 180 - 190 - 160) / 4)
    assert verdict.difference.restricted == (160.0, 400.0)
    assert (verdict.status, verdict.p_value, verdict.seeds_needed) == ("supported", pytest.approx(2 / 70), None)
    assert "of 8 trainings 5 left it, 1 left it before the margin, 2 never left it" in verdict.sentence


def test_three_trainings_of_unknown_times_cannot_support_a_claim(tmp_path):
    verdict = judged_times(tmp_path, (350, 2000, 390), (170, 180, 190))
    assert (verdict.status, verdict.p_value) == ("not distinguishable at this size", pytest.approx(0.1))
    assert "cannot give less than p = 0.1" in verdict.sentence


def test_equal_trainings_of_unequal_length_do_not_differ(tmp_path):
    steps = (190, 260, 340, 2000, 100, 380)
    verdict = judged_times(tmp_path, steps, steps)
    assert (verdict.difference.value, verdict.p_value) == (0.0, 1.0)


def test_arms_without_a_plateau_are_not_tested(tmp_path):
    verdict = judged_times(tmp_path, (None, None), (200, 300))
    assert (verdict.status, verdict.difference) == ("not tested", None)
    assert "of 4 trainings 2 left it, 2 had none" in verdict.sentence
