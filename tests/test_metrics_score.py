"""How a score is written: with its error where that says most, with its interval where it does not."""

import json
from types import NoneType

import numpy as np
import pytest
import scipy.stats
import torch
from tracking_run import make_run, metrics

from bootlight.evaluation.answer import Answer
from bootlight.evaluation.networks.several_judges import pooled
from bootlight.evaluation.suite import METRICS, can_serve, measure_all
from bootlight.io.atomic import write_json
from bootlight.metrics.c2st import two_sample_test
from bootlight.metrics.discriminator import discriminator_score
from bootlight.metrics.distances.inception_score import InceptionScore
from bootlight.metrics.features.features import PixelFeatures
from bootlight.metrics.neighbours.authenticity import Authenticity
from bootlight.metrics.neighbours.density_coverage import Coverage, Density
from bootlight.metrics.neighbours.precision_recall import Precision
from bootlight.metrics.pixel_statistics import NAMES, pixel_differences
from bootlight.metrics.score import SHARE, Score, format_interval
from bootlight.report.scores import GenerationScores, read_generation
from bootlight.report.table import score_column

NETWORK = PixelFeatures(1)


def normal(count: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)) + shift


@pytest.mark.parametrize("shift", [0.0, 1.0, 9.0])
def test_shares_of_few_images_print_wilsons_interval_everywhere(shift):
    """At a shift of 9 nothing is near: the shares are 0 or 1."""
    real, drawn = normal(60, 0), normal(40, 1, shift)
    metrics = Precision(features=NETWORK), Precision(features=NETWORK, k=5), Authenticity(features=NETWORK)
    scores = {name: score for metric in metrics for name, score in metric.measure(real, drawn).items()}
    for name, unit in (("precision-k3", 1), ("precision-k5", 1), ("authpct", 100)):
        score = scores[name]
        count = round(score.value / unit * 40)
        expected = scipy.stats.binomtest(count, 40).proportion_ci(method="wilson")
        assert score.interval == pytest.approx((unit * expected.low, unit * expected.high), abs=unit * 1e-7)
        written = format_interval(score.value, score.interval)
        assert str(score) == written and "±" not in written and "[" in written
        assert score_column(name, [score])[1] == written
        assert Score(**score.to_json()) == score  # of JSON types, and written alike after a file
        row = next(line for line in Answer([], {name: score}, [], {}).text().split("\n") if line.startswith(name))
        assert "±" not in row and row.count("[") == 1


def test_shares_of_many_images_print_their_error():
    score = Precision(features=NETWORK).measure(normal(60, 0), normal(101, 1))["precision-k3"]
    assert "±" in str(score) and 0 < score.value < 1
    assert "[" in str(score._replace(standard_error=None))  # where all or none succeed


def test_other_scores_print_their_error_at_any_number():
    assert str(Score(1.0, 0.25, 10, {}, (0.1, 2.0))) == "1.00 ± 0.25"  # such as KID, whose interval is of something else
    assert str(Score(1.0, None, 10, {})) == "1"
    assert str(Score(1.0, None, 10, {}, (0.5, 1.5))) == "1.00 [0.50, 1.50]"
    sides = normal(60, 0), normal(40, 1)
    assert "±" in str(Density(features=NETWORK).measure(*sides)["density"])
    assert "[" in str(Coverage(features=NETWORK).measure(*sides)["coverage"])


def test_a_judge_that_is_sure_of_all_is_not_without_error():
    score = discriminator_score(torch.full((20,), 60.0))
    assert score.value == 1 and score.standard_error is None and SHARE in score.protocol
    assert 0.7 < score.interval[0] < 0.9 and score.interval[1] == 1 and "± 0" not in str(score)


@pytest.mark.parametrize(
    ("value", "interval", "text"),
    [
        (0.5, (0.2366, 0.7634), "0.50 [0.24, 0.76]"),
        (0.0, (0.0, 0.0879), "0.000 [0.000, 0.088]"),
        (97.5, (87.1, 99.6), "97.5 [87.1, 99.6]"),
        (4321.0, (4000.0, 4700.0), "4321 [4000, 4700]"),
        (1.0, (1.0, 1.0), "1 [1, 1]"),
        (1.0, (1e-9, float("inf")), "1 [1e-09, inf]"),
    ],
)
def test_an_interval_keeps_the_digits_that_matter(value, interval, text):
    assert format_interval(value, interval) == text


def test_a_table_says_what_brackets_are():
    row = GenerationScores(0, 1, 1, 1, 1, None, {"a": Score(1.0, None, 9, {SHARE: "Wilson"}, (0.7, 1.0))})
    assert score_column("a", [row.scores["a"]]) == ["a\nn=9", "1.000 [0.700, 1.000]"]


def test_every_score_says_which_direction_is_better():
    """None where the best value lies between others: 1 of a ratio, what real images have of a mean, the floor of a share."""
    torch.manual_seed(0)
    sides = [{"features": torch.randn(n, 3)} for n in (40, 90)]
    names = [name for name in METRICS if can_serve(NETWORK, name)]
    scores = measure_all(names, NETWORK, real=sides[0], synthetic=sides[1], held_out=sides[0])
    scores |= {
        "logits": InceptionScore(features=NETWORK).measure(torch.empty(0, 4), torch.randn(9, 4))["inception_score"],
        "discriminator_score": discriminator_score(torch.randn(9)),
    }
    scores |= pixel_differences(torch.rand(4, 12), torch.rand(4, 12)) | {"pooled": pooled(torch.randn(2, 9))}
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    scores |= {"c2st": two_sample_test(images, images, epochs=1)}
    told = {direction: {n for n, s in scores.items() if s.higher_is_better is direction} for direction in (True, False, None)}
    assert told == {
        True: {
            "precision-k3", "precision-k5", "recall-k3", "recall-k5", "density", "coverage",
            "logits", "discriminator_score", "pooled",
        },
        False: {"fd-pixels", "fd-pixels-infinity", "kid", "mmd-rbf", "mean-shift", "mifid", "c2st"},
        None: {"authpct", "variance-ratio", "vendi", "vendi/real", "ct", "ct-global", *NAMES},
    }  # fmt: skip
    assert all(type(json.loads(json.dumps(s.to_json()))["higher_is_better"]) in (bool, NoneType) for s in scores.values())


def test_a_direction_survives_the_file_and_older_files_have_none(tmp_path):
    folder = make_run(tmp_path / "run", 1).generation(0)
    entry = {"value": 1.0, "n": 4}
    told = {"a": True, "b": False, "c": None}
    scores = {name: {**entry, "higher_is_better": direction} for name, direction in told.items()} | {"old": entry}
    write_json(folder.metrics, metrics(0) | {"scores": scores})
    found = {name: score.higher_is_better for name, score in read_generation(folder).scores.items()}
    assert found == told | {"old": None}
