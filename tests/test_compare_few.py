"""Comparisons of few images, of equal and of degenerate sets, and of sets of different size: numbers, or why there are none."""

import math
from collections import Counter

import pytest
import torch

from bootlight.errors import BootlightError
from bootlight.evaluation.comparing.compare import compare_measured, measure_set
from bootlight.evaluation.comparing.comparison import Comparison, Reference, headline
from bootlight.evaluation.comparing.difference import judged
from bootlight.evaluation.comparing.run_compare import Real, compare
from bootlight.evaluation.options import Setting
from bootlight.evaluation.suite import USUAL
from bootlight.metrics.features.features import PixelFeatures

NETWORK = PixelFeatures(1, channels=3)
METRICS = ("fd", "kid", "authpct")  # that two images are enough for


def gaussian(count, seed, shift=0.0):
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)) + shift


def differences(first, second, *, paired=True, names=METRICS, real=None):
    real = gaussian(60, 0) if real is None else real
    n = min(len(first), len(second))
    sides = [
        measure_set(names, NETWORK, real={"features": real}, synthetic={"features": side}, n=n, paired=paired)
        for side in (first, second)
    ]
    return judged([compare_measured(*sides, paired=paired)])[0], [side.failed for side in sides]


@pytest.mark.parametrize("n", [3, 4, 7, 12, 19, 20, 21, 40])
@pytest.mark.parametrize("paired", [True, False])
def test_few_images_have_finite_numbers(n, paired):
    found, failed = differences(gaussian(n, 1), gaussian(n, 2, 0.5), paired=paired, names=USUAL if n > 8 else METRICS)
    assert failed == [{}, {}] and len(found) == (9 if n > 8 else 3)
    for one in found.values():
        assert math.isfinite(one.value) and one.first.n == one.second.n == n
        if one.interval is not None:
            assert one.interval[0] < one.value < one.interval[1] and one.p_value <= one.adjusted <= 1
    errors = found["fd-pixels"], found["kid"]
    assert all(one.interval is not None for one in errors) or (not paired and n == 3)  # kid: four images for an error
    assert not paired or errors[0].degrees == min(n, 20) - 1


def test_two_pairs_are_measured_but_have_no_error():
    found, failed = differences(gaussian(2, 1), gaussian(2, 2))
    assert found["fd-pixels"].interval is None and found["fd-pixels"].verdict == "error unknown"
    assert math.isfinite(found["fd-pixels"].value)
    assert all("less a group" in why for one in failed for why in one.values()) and set(failed[0]) == set(METRICS)


def test_one_image_is_told_for_each_metric():
    found, failed = differences(gaussian(1, 1), gaussian(1, 2), paired=False)
    assert set(found) == {"authpct"} and {"fd", "kid"} <= set(failed[0])


def test_a_set_against_itself_scores_the_same_in_everything():
    first = gaussian(50, 1)
    found, _ = differences(first, first.clone(), names=USUAL)
    assert all(one.same and one.verdict == "same" and not one.found for one in found.values())
    assert headline(found, "B") == "B and A score exactly the same in 9 scores."


@pytest.mark.parametrize("paired", [True, False])
def test_sets_of_one_repeated_image(paired):
    """Neither set has any spread: no error is known or the error is 0, and nothing is called found by rounding."""
    first, second = gaussian(1, 1).expand(30, 3), gaussian(1, 2).expand(30, 3)
    found, failed = differences(first, second, paired=paired, names=USUAL)
    assert failed == [{}, {}]
    for key, one in found.items():
        assert not one.found, key
        assert one.verdict in ("same", "error unknown", "-") or one.maybe


def test_images_that_differ_by_rounding_are_no_difference():
    first = gaussian(200, 1)
    found, _ = differences(first, (first.double() * (1 + 1e-7)).float(), names=("fd", "kid"))
    assert all(abs(one.value) < 1e-5 for one in found.values())


def test_sets_of_different_size_are_cut_to_the_smaller():
    first = gaussian(90, 1)
    found, _ = differences(first, gaussian(30, 2), paired=False)
    evenly, _ = differences(first[::3], gaussian(30, 2), paired=False)
    assert {key: one.value for key, one in found.items()} == {key: one.value for key, one in evenly.items()}


class Numbered:
    """A set of images of which nothing is read but features."""

    def __init__(self, where, count):
        self.where, self.key, self.names = where, where, tuple(f"{where}{i}" for i in range(count))
        self.sizes, self.headers, self.layout, self.dtype = Counter({(1, 1): count}), Counter(), None, "uint8"


def test_a_comparison_is_refused_before_a_network_is_trained(monkeypatch, tmp_path):
    sets = {"a": 7, "b": 30}
    monkeypatch.setattr(Setting, "open", lambda self, text: Numbered(text, sets[text]))
    monkeypatch.setattr("bootlight.evaluation.comparing.run_compare.pairing", lambda *a, **k: None)
    setting = Setting(NETWORK, USUAL, None, 8, "cpu", tmp_path)

    def learn():
        raise AssertionError("trained")

    real = Real([(Reference("", "real", 60), Numbered("real", 60))], learn)
    with pytest.raises(BootlightError, match="7 pairs of images are too few"):
        compare(setting, ["a", "b"], real=real)
    with pytest.raises(AssertionError, match="trained"):
        compare(setting._replace(metrics=METRICS), ["a", "b"], real=real)


def test_the_screen_has_three_remarks_and_the_file_all_that_the_screen_says():
    found, _ = differences(gaussian(30, 1), gaussian(30, 2, 1.0), names=USUAL)
    said = Comparison("from runs", [Reference("", "faces", 60)], [("x", 30), ("y", 30)], {}, [found], ("one", "two"), [], {})
    text, answer = said.text(), said.to_json()
    remarks = [line for line in text.splitlines() if line.startswith("! ")]
    more = len(answer["remarks"]) - 3
    assert remarks[:2] == ["! one", "! two"] and remarks[3] == f"! {more} more remarks in --json" and more > 1
    assert answer["taken"] in text and answer["verdicts"][0] in text and answer["how"].split()[0] in text
    rows = {row["score"]: row for row in answer["differences"]}
    for key, one in found.items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"{key} ")]
        assert one.numbers() in line and rows[key]["verdict"] in line
        assert rows[key]["adjusted"] == one.adjusted and rows[key]["interval"] == one.interval
    assert found["fd-pixels"].verdict == "worse" and "B is worse in" in answer["verdicts"][0]
