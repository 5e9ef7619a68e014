"""What stands around the numbers of a run: floors by name, arrows, legend, remarks, decimals, and how far."""

import pytest

from bootlight.evaluation.answer import interval_text
from bootlight.metrics.score import NO_COMPARISON, Score, format_interval, format_number, format_value
from bootlight.report.legend import MAX_LINES, legend
from bootlight.report.remarks import MAX_REMARKS, remark_lines
from bootlight.report.scores import floor_name, floors_of, moved
from bootlight.report.verdict import told_apart
from bootlight.terminal import with_arrows


def test_floors_by_name():
    names = ["kid/train", "kid/real/train", "judge", "judge/holdout", "judge/train", "lone", "vendi/train", "vendi/real/train"]
    assert [floor_name(name, names) for name in ("kid/train", "judge", "lone", "vendi/train", "kid/holdout")] == [
        "kid/real/train", "judge/holdout", None, "vendi/real/train", None,
    ]  # fmt: skip
    assert floor_name("judge", ["judge", "judge/train"]) == "judge/train"
    assert floor_name("kid", ["kid", "kid/real"]) == "kid/real"  # of `evaluate`
    assert floors_of([]) == {}


def test_arrows_have_stand_ins_of_their_width_where_the_terminal_has_none():
    assert with_arrows("kid ↓ a ↑", "utf-8") == "kid ↓ a ↑"
    for encoding in ("ascii", "latin-1", None, "no such"):
        assert with_arrows("kid ↓ a ↑", encoding) == "kid v a ^"


def test_legend_has_a_line_for_each_kind_of_score():
    names = [
        "kid/holdout",
        "kid/train",
        "mine/train",
        "fd-x/train",
        "precision-k3/train",
        "precision-k5/train",
        "recall-k3/train",
    ]
    lines = legend(names)
    assert len(lines) == MAX_LINES and [line.split(":")[0] for line in lines] == ["kid", "fd-x", "precision-k3"]


# ---- remarks and numbers


def test_at_most_three_remarks_and_the_gravest_first():
    remarks = ["a", "only 30 images on one side: so few", "b", f"noise before reality: {NO_COMPARISON}", "c", "d"]
    scores = {f"s{i}": Score(1.0, None, 9, {}, None, (remark,)) for i, remark in enumerate(remarks)}
    lines = remark_lines(scores, more="the file")
    assert [line[2:] for line in lines] == [
        f"s3: noise before reality: {NO_COMPARISON}", "s0: a", "s2: b", "3 more remarks in the file",
    ]  # fmt: skip
    assert len(remark_lines({name: scores[name] for name in ("s0", "s1", "s2")})) == MAX_REMARKS
    assert remark_lines({"s1": scores["s1"], "s0": scores["s0"]})[0] == "! s0: a"


@pytest.mark.parametrize(
    ("value", "text"),
    [(420.0, "420"), (0.00018, "0.00018"), (11294487.3, "11,290,000"), (12345.6, "12,350"), (9999.4, "9999"), (-0.5, "-0.5"),
     (99999.0, "100,000"), (0.0, "0"), (1e20, "1e+20"), (float("inf"), "inf"), (-54321.0, "-54,320")],
)  # fmt: skip
def test_numbers_have_no_exponent_where_it_can_be_helped(value, text):
    assert format_number(value) == text


def test_large_and_tiny_values_with_errors():
    assert format_value(11294487.3, 420.0) == "11,294,487 ± 420"
    assert format_value(11294487.3, 424242.0) == "11,290,000 ± 420,000"
    assert format_value(0.000180, 0.00002) == "0.000180 ± 0.000020"
    assert format_value(1.8e-7, 2e-8) == "1.8e-07 ± 2e-08"
    assert format_interval(25000.0, (24000.0, 26000.0)) == "25,000 [24,000, 26,000]"
    assert format_interval(0.25, (0.1, 0.4)) == "0.250 [0.100, 0.400]"


@pytest.mark.parametrize(
    ("distance", "floor", "same", "said"),
    [
        (72.0, 2.0, None, "fd-x is 36 times that of real images"),
        (72.0, 2.0, 520.0, "fd-x is 260 times that of real images"),  # at equal n
        (2.8, 2.0, None, ""),  # 1.4 times is not worth a word
        (72.0, 0.0, None, ""),
        (72.0, None, None, ""),
    ],
)
def test_a_difference_that_is_found_is_told_with_its_size(distance, floor, same, said):
    values = {"told-apart": 0.001, "fd-x": distance, "fd-x/real": floor, "fd-x/same-n": same}
    scores = {name: Score(value, 0.1, 300, {"num_real": 80}) for name, value in values.items() if value is not None}
    found = told_apart(scores, "They")
    assert found["found"] and (said in found["sentence"]) and ("times" in found["sentence"]) is bool(said)
    assert "times" not in told_apart(scores | {"told-apart": scores["told-apart"]._replace(value=0.5)}, "They")["sentence"]
    moved_away = {name.replace("fd-x", "fd-x/train"): entry for name, entry in scores.items()}  # of another reference
    assert "times" not in told_apart(moved_away, "They")["sentence"]


def test_equal_n_is_told_only_where_it_says_something_else():
    coverage = Score(0.60, 0.01, 2000, {})
    assert moved(coverage, coverage._replace(value=0.68)) and moved(
        coverage._replace(standard_error=None), coverage._replace(value=0.62)
    )
    assert not moved(coverage, coverage._replace(value=0.605)) and not moved(coverage, coverage)


def test_intervals_have_the_decimals_of_their_width():
    assert interval_text(Score(0.0, None, 300, {}, (8.674e-19, 0.01264))) == "[0.0000, 0.0126]"
    assert interval_text(Score(0.621, 0.0621, 300, {})) == "[0.499, 0.743]"  # 0.621 - 1.96 x 0.0621 = 0.4993
    assert interval_text(Score(0.5, None, 300, {})) == ""


def test_a_test_by_pixels_beside_scores_of_a_network_says_what_it_has_not_seen():
    def sentence(test: str, network: str) -> str:
        scores = {"told-apart": Score(0.09, None, 300, {"features": test}), "kid": Score(0.3, 0.01, 300, {"features": network})}
        return told_apart(scores, "They")["sentence"]

    assert "no sharpness" in sentence("pixels", "learned")
    assert "no sharpness" not in sentence("pixels", "pixels") + sentence("learned", "learned")
