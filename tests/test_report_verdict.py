"""What the scores of a run say: better, worse or neither; told apart or not; and where that stands."""

import json
import re

import pytest
import torch
from tracking_run import make_run, metrics, score

from bootlight.io.atomic import read_json
from bootlight.loggers.wandb_generation import verdict_values
from bootlight.metrics.distances.kernel_distance import kernel_distance
from bootlight.metrics.distances.kid import polynomial_kernel
from bootlight.metrics.distances.witness import witness
from bootlight.metrics.score import NO_COMPARISON
from bootlight.report.report import write_report
from bootlight.report.scores import main_scores, read_scores
from bootlight.report.strip import _rows
from bootlight.report.table import format_table, table_is_current, write_table
from bootlight.report.verdict import run_verdict
from bootlight.runs.witness import KeptWitness, read_witness, write_witness

REAL = torch.randn(80, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def drawn(shift: float, seed: int, n: int = 60) -> torch.Tensor:
    return torch.randn(n, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def evaluated(run, generation: int, shift: float, *, p: float = 0.001, real_p: float = 0.5, key: str = "k", seeds: str = "s"):
    """A generation whose features are normal numbers with a mean off by `shift`."""
    found = witness(real=REAL, synthetic=drawn(shift, generation), kernel=polynomial_kernel)
    estimate = kernel_distance(real=REAL, synthetic=drawn(shift, generation), kernel=polynomial_kernel)
    write_witness(
        run.generation(generation).witness,
        KeptWitness("kid/holdout", key, f"{seeds}{generation}", found.value, found.real.tolist(), found.synthetic.tolist()),
    )
    entry = metrics(generation)
    reference = {"reference": "real holdout images", "features": "pixels"}
    kid = score(estimate.value, estimate.standard_error, 60, **reference) | {"higher_is_better": False}
    entry["scores"] = {
        "kid/holdout": kid,
        "discriminator_score": score(0.4, 0.01, 60) | {"higher_is_better": True},
        "discriminator_score/holdout": score(0.5, 0.02, 80) | {"higher_is_better": True},
        "kid/real/holdout": kid | {"value": 0.0004, "standard_error": 0.0012},
        "told-apart/holdout": score(p, None, 60, num_real=80, **reference),
        "told-apart/real/train": score(real_p, None, 80, num_real=90, reference="real train images"),
    }
    run.generation(generation).metrics.write_text(json.dumps(entry))
    return estimate.value


def verdict(run):
    return run_verdict(run, read_scores(run))


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("shifts", "better", "said"),
    [
        ((0.1, 0.1, 0.9), (False, False), ("worse", "worse")),
        ((0.9, 0.1, 0.1), (True, None), ("better", "cannot be told from")),
        ((0.2, 0.9, 0.2), (None, True), ("cannot be told from", "better")),
        ((0.1, 0.1, 0.1), (None, None), ("cannot be told from", "cannot be told from")),
    ],
)
def test_the_last_generation_is_compared_with_the_first_and_the_one_before(run, shifts, better, said):
    values = [evaluated(run, k, shift) for k, shift in enumerate(shifts)]
    found = verdict(run).comparisons
    assert [(one.generation, one.than, one.score) for one in found] == [(2, 0, "kid/holdout"), (2, 1, "kid/holdout")]
    assert tuple(one.better for one in found) == better
    for one, words, other in zip(found, said, values[:2], strict=True):
        assert words in one.sentence
        assert one.difference == pytest.approx(values[2] - other, rel=1e-9)
        low, high = one.interval
        assert (low + high) / 2 == pytest.approx(one.difference, rel=1e-9)
        assert (low > 0 or high < 0) is (one.better is not None)


def test_one_generation_and_two_have_fewer_comparisons(tmp_path):
    run = make_run(tmp_path / "run", generations=1)
    evaluated(run, 0, 0.1)
    assert verdict(run).comparisons == [] and len(verdict(run).sentences) == 1
    run = make_run(tmp_path / "two", generations=2)
    for k in range(2):
        evaluated(run, k, 0.1)
    assert [(one.generation, one.than) for one in verdict(run).comparisons] == [(1, 0)]


def test_pairs_are_compared_as_pairs(run):
    evaluated(run, 0, 0.3)
    kept = read_witness(run.generation(0).witness)
    evaluated(run, 2, 0.3)
    moved = witness(real=REAL, synthetic=drawn(0.33, 0), kernel=polynomial_kernel)
    entry = kept._replace(value=moved.value, real=moved.real.tolist(), synthetic=moved.synthetic.tolist())
    write_witness(run.generation(2).witness, entry)  # the same noise
    (first, _) = verdict(run).comparisons
    assert first.paired and first.better is False
    write_witness(run.generation(2).witness, entry._replace(drawn=None))
    assert not verdict(run).comparisons[0].paired and verdict(run).comparisons[0].better is None


def test_other_features_or_real_images_are_not_compared(run):
    for k, key in enumerate(("a", "b", "b")):
        evaluated(run, k, 0.1 * k, key=key)
    first, second = verdict(run).comparisons
    assert (first.difference, first.better) == (None, None) and "cannot be compared" in first.sentence
    assert second.difference is not None


@pytest.mark.parametrize("damage", ["{", '{"score": 1}', "[]", "null"])
def test_a_damaged_file_is_told_and_takes_nothing_with_it(run, damage):
    for k in range(3):
        evaluated(run, k, 0.1)
    run.generation(0).witness.write_text(damage)
    first, second = verdict(run).comparisons
    assert first.difference is None and "witness.json" in first.sentence and second.difference is not None


@pytest.mark.parametrize("field", ["value", "real", "synthetic", "drawn", "key"])
@pytest.mark.parametrize("wrong", [[1.0, "2"], "x", [], {"a": 1}, [float("nan"), 1.0]])
def test_numbers_that_are_none_are_refused(run, field, wrong):
    evaluated(run, 0, 0.1)
    path = run.generation(0).witness
    if (field, wrong) in (("drawn", "x"), ("key", "x")):
        return
    path.write_text(json.dumps(read_json(path) | {field: wrong}))
    evaluated(run, 2, 0.1)
    assert "witness.json" in verdict(run).comparisons[0].sentence


def old(run, generation: int, value: float, error: float, name: str = "fd-x/holdout", n: int = 500, **more):
    entry = metrics(generation)
    entry["scores"] = {name: score(value, error, n) | {"higher_is_better": False} | more}
    run.generation(generation).metrics.write_text(json.dumps(entry))


def test_without_what_each_image_adds_errors_are_added(run):
    old(run, 0, 3.0, 0.3)
    old(run, 2, 4.0, 0.4)
    found = verdict(run).comparisons[0]
    assert found.score == "fd-x/holdout" and found.difference == 1.0 and found.better is False
    assert found.interval == pytest.approx((1 - 1.96 * 0.5, 1 + 1.96 * 0.5), abs=1e-4)  # 3, 4, 5
    old(run, 2, 3.9, 0.4)
    assert verdict(run).comparisons[0].better is None
    # Intervals that are not symmetric: the ends that lie towards the other value count (Zou & Donner 2008).
    old(run, 0, 0.2, 0.1, interval=[0.1, 0.6])
    old(run, 2, 1.0, 0.1, interval=[0.7, 1.1])
    assert verdict(run).comparisons[0].interval == pytest.approx((0.8 - 0.5, 0.8 + 0.02**0.5))


def test_kid_to_held_out_images_goes_before_other_distances(run):
    for k, value in ((0, 1.0), (2, 2.0)):
        entry = metrics(k)
        names = ("fd-x/holdout", "kid/train", "kid/holdout")
        entry["scores"] = {name: score(value, 0.1, 500) | {"higher_is_better": False} for name in names}
        run.generation(k).metrics.write_text(json.dumps(entry))
    assert verdict(run).comparisons[0].score == "kid/holdout"


def test_a_score_that_depends_on_n_is_compared_at_equal_n_alone(run):
    old(run, 0, 3.0, 0.3)
    old(run, 2, 4.0, 0.4, n=400)
    assert "number of images" in verdict(run).comparisons[0].sentence and verdict(run).comparisons[0].difference is None
    old(run, 0, 3.0, 0.3, name="mmd-rbf/train")
    old(run, 2, 4.0, 0.4, name="mmd-rbf/train", n=400)
    assert verdict(run).comparisons[0].difference == 1.0


def test_a_score_of_other_protocol_or_without_direction_is_no_comparison(run):
    old(run, 0, 3.0, 0.3, protocol={"features": "a"})
    old(run, 2, 4.0, 0.3, protocol={"features": "b"})
    assert verdict(run).comparisons[0].difference is None
    old(run, 2, 4.0, 0.3, higher_is_better=None)
    assert verdict(run).comparisons[0:1] == [] or verdict(run).comparisons[0].than == 1
    assert [one for one in verdict(run).comparisons if one.than == 0] == []


@pytest.mark.parametrize(("higher", "better"), [(True, True), (False, False)])
def test_the_direction_decides_what_is_better(run, higher, better):
    old(run, 0, 3.0, 0.1, name="my-score/train", higher_is_better=higher)
    old(run, 2, 4.0, 0.1, name="my-score/train", higher_is_better=higher)
    assert verdict(run).comparisons[0].better is better


def test_a_run_that_an_older_version_has_begun_goes_by_the_direction_that_is_known(run):
    old(run, 0, 3.0, 0.1, name="my-score/train", higher_is_better=None)
    old(run, 2, 4.0, 0.1, name="my-score/train", higher_is_better=True)
    assert verdict(run).comparisons[0].better is True
    assert format_table(run).splitlines()[0].endswith("my-score ↑")


@pytest.mark.parametrize(("p", "found"), [(0.001, True), (0.05, True), (0.051, False), (0.6, False)])
def test_whether_images_are_told_from_real_ones(run, p, found):
    evaluated(run, 2, 0.1, p=p)
    told = verdict(run).told
    assert (told["found"], told["p"], told["reference"]) == (found, p, "held-out real images")
    assert ("cannot" in told["sentence"]) is not found


def test_copies_are_told_where_they_may_be_what_is_found(run):
    evaluated(run, 2, 0.1)
    entry = read_json(run.generation(2).metrics)
    entry["scores"]["told-apart/holdout"]["remarks"] = ["only 30 differ"]
    run.generation(2).metrics.write_text(json.dumps(entry))
    assert verdict(run).told["sentence"].endswith("; only 30 differ.")


def test_held_out_images_of_another_distribution_are_no_floor(run):
    evaluated(run, 2, 0.1, real_p=0.02)
    assert len(verdict(run).remarks) == 1 and "no floor" in verdict(run).remarks[0]
    evaluated(run, 2, 0.1, real_p=0.06)
    assert verdict(run).remarks == []


def test_a_missing_floor_is_told_of_scores_of_this_version_alone(run):
    assert verdict(run).remarks == []
    old(run, 2, 4.0, 0.3)
    assert verdict(run).remarks == []
    entry = read_json(run.generation(2).metrics)
    entry["scores"]["told-apart/train"] = score(0.3, None, 20)
    run.generation(2).metrics.write_text(json.dumps(entry))
    assert "no floor" in verdict(run).remarks[0]


# ---- where it stands


def test_it_stands_in_table_page_files_and_summary(run):
    for k, shift in enumerate((0.1, 0.1, 0.9)):
        evaluated(run, k, shift)
    found = verdict(run)
    text = " ".join(format_table(run).split())
    write_table(run)
    page = write_report(run).read_text()
    assert len(found.sentences) == 4
    assert all(sentence in text and sentence in page for sentence in found.sentences)
    assert read_json(run.metrics)["verdict"] == json.loads(json.dumps(found.to_json()))
    assert table_is_current(run)
    values = verdict_values(run)
    assert values["verdict"] == " ".join(found.sentences) and values["verdict/told_apart_p"] == 0.001
    assert values["verdict/kid/holdout/2-0"] == found.comparisons[0].difference


def test_a_doubtful_score_is_called_that_where_it_decides(run):
    for k in range(3):
        evaluated(run, k, 0.1 * k)
    entry = read_json(run.generation(2).metrics)
    entry["scores"]["kid/holdout"]["remarks"] = [f"noise: {NO_COMPARISON}"]
    run.generation(2).metrics.write_text(json.dumps(entry))
    assert all(NO_COMPARISON in one.sentence for one in verdict(run).comparisons)


def test_the_row_of_real_images_and_arrows(run):
    for k in range(3):
        evaluated(run, k, 0.1)
    lines = format_table(run).splitlines()
    assert lines[0].split()[5:] == ["kid", "↓", "discriminator_score", "↑"]
    assert lines[4].split() == ["real", "-", "-", "-", "-", "0.0004", "±", "0.0012", "0.500", "±", "0.020", "(n=80)"]
    assert _rows(run)[0].lines == ["kid/holdout ↓ 0.0004 ± 0.0012 (n=60)", "discriminator_score ↑ 0.500 ± 0.020 (n=80)"]
    page = write_report(run).read_text()
    assert "<td>real</td><td>0.0004 ± 0.0012</td><td>0.500 ± 0.020 (n=80)</td>" in page
    assert page.count("<td>0.0004 ± 0.0012</td>") == 1  # a floor that all generations share needs no column


def test_floors_are_a_row_of_the_page_and_no_columns(run):
    for k in range(3):
        evaluated(run, k, 0.1)
    page = write_report(run).read_text()
    curves = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    assert {"kid", "discriminator_score", "loss"} <= set(curves) and "told-apart" not in curves
    heads = re.findall(r"<th>(.*?)</th>", page[page.index("Scores</h2>") :].split("</table>")[0], re.DOTALL)
    assert [head.split("<br>")[0] for head in heads] == [
        "generation", "kid ↓", "discriminator_score ↑", "loss", "real", "synthetic", "steps", "images seen",
    ]  # fmt: skip


def test_a_score_at_the_number_of_images_of_its_floor_stands_below(run):
    entry = metrics(2)
    for name, value in (("fd-x/train", 9.0), ("fd-x/real/train", 2.0), ("fd-x/same-n/train", 11.0)):
        entry["scores"][name] = score(value, 0.5, 500 if value == 9.0 else 80)
    run.generation(2).metrics.write_text(json.dumps(entry))
    rows = read_scores(run)
    assert "fd-x/train" in main_scores(list(rows[2].scores)) and "fd-x/same-n/train" not in main_scores(list(rows[2].scores))
    for name in ("fd-digits/train", "fd-digits/holdout", "discriminator_score", "discriminator_score/real"):
        del entry["scores"][name]
    for k in range(3):
        run.generation(k).metrics.write_text(json.dumps(entry | {"generation": k}))
    assert "at equal n = 80: fd-x/train 11.00 ± 0.50 of generation 2, 2.00 ± 0.50 of real images" in format_table(run)
