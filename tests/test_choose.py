"""Choosing a setting: the best of a list by training images, drawn by afterwards; what is kept, and what is told before."""

import json

import numpy as np
import pytest
from test_closed_forms import DEVIATION, config, fitted, images, named
from test_composing import SAMPLER, extrapolated
from tiny_runs import DDPM, options, write_plain_pages

from bootlight.bootstrap import choose
from bootlight.bootstrap.choose import Choose
from bootlight.bootstrap.merge import Merge
from bootlight.bootstrap.stages import check_stages
from bootlight.bootstrap.synthesize import Synthesize
from bootlight.bootstrap.train import Train
from bootlight.diffusion.compose import Extrapolate
from bootlight.errors import BootlightError
from bootlight.io.atomic import read_json
from bootlight.metrics.score import Score
from bootlight.runs.folder import RunFolder

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and of the parser, in this process
VALUES = [0.0, 1.0, 2.0, 3.0]
PIXELS = {"class_path": "bootlight.PixelFeatures", "init_args": {"size": 4, "channels": 1}}


@pytest.fixture(autouse=True)
def plain_pages(monkeypatch):
    write_plain_pages(monkeypatch)


def narrow(deviation, **settings):
    return {"data.origin.deviation": deviation, "data.mixing": "bootlight.OnlyReal", **settings}


def run_of(bootlight, folder, stages, **changes):
    """Numbers (1, 4, 4): features are the numbers themselves."""
    made = config(str(folder), named("FittedGaussian", **SAMPLER), stages, size=4, count=1000, drawn=600)
    made["evaluation"] |= {"features": PIXELS, "metrics": ["kid"]}
    made |= changes
    with open("config.json", "w") as file:
        json.dump(made, file)
    bootlight("fit", "--config", "config.json")
    return RunFolder(folder).generation(0)


def test_the_w_that_brings_the_variance_of_the_training_images_is_chosen(bootlight, tmp_path, capsys):
    """The base was trained on a deviation of 0.2 and the auxiliary on 0.17; the real images have 0.25.

    Extrapolated v (v / u)^w, 0.04, 0.055, 0.077, 0.106 at w = 0, 1, 2, 3: 1 is nearest to 0.0625. Merged, sums of squares
    are what is extrapolated: (1 + w) v - w u, 0.04, 0.051, 0.062, 0.073: 2 is.
    """
    stages = [
        named("Train", part="base", settings=narrow(0.2)),
        named("Train", part="auxiliary", settings=narrow(0.17)),
        named("Choose", values=VALUES, n=500),
        named("Choose", key="merge.w", of="of_merged", values=VALUES[::-1], n=400),
        named("Synthesize", part="base", compose=named("Extrapolate", auxiliary="auxiliary", w=0.0)),
        named("Merge", base="base", w=0.0),
        named("Synthesize", part="merged", into="of_merged", n=20),
    ]
    folder = run_of(bootlight, tmp_path / "run", stages)
    said = capsys.readouterr().out
    (_, base), (_, auxiliary) = fitted(folder, "base"), fitted(folder, "auxiliary")
    content, of_merge = read_json(folder.choice), read_json(folder.path / "merged_choice.json")
    assert content["chosen"] == {"compose.w": 1.0} and of_merge["chosen"] == {"merge.w": 2.0}
    assert "compose.w = 1 for samples" in said and "merge.w = 2 for of_merged" in said
    for about, variances in (
        (content, [extrapolated(base, auxiliary, w) for w in VALUES]),
        (of_merge, [extrapolated((1 + w) * base - w * auxiliary, base, 0.0) for w in VALUES[::-1]]),
    ):
        assert [point["value"] for point in about["curve"]] == (VALUES if about is content else VALUES[::-1])
        # The Frechet distance of 16 numbers: that of their deviations, and what n and 800 images add: (16 + 16 x 17 / 4) v / n
        # in each set, 0.025 at the most of the nearest values; of the farthest its own error.
        wanted = [((np.sqrt(v) - DEVIATION) ** 2).sum() for v in variances]
        assert [point["score"] for point in about["curve"]] == pytest.approx(wanted, rel=0.2, abs=0.025)
        assert about["protocol"]["reference"] == "real train images" and about["protocol"]["num_real"] == 800
    assert (content["n"], of_merge["n"], content["by"], content["higher_is_better"]) == (500, 400, "fd", False)

    drawn = images(folder)
    # 600 x 16 numbers, five deviations of a variance.
    assert ((drawn - drawn.mean(0)) ** 2).mean() == pytest.approx(
        extrapolated(base, auxiliary, 1.0).mean(), rel=5 * (2 / 9600) ** 0.5
    )
    protocol = read_json(folder.protocol)
    assert protocol["chosen"] == {"compose.w": 1.0} and protocol["composition"]["init_args"]["w"] == 1.0
    assert read_json(folder.of_part("merged").model_config)["merged"]["w"] == 2.0
    _, merged = fitted(folder, "merged")
    np.testing.assert_allclose(merged, 3 * base - 2 * auxiliary, rtol=0.02)  # but for the squares of means, of 0.01
    bootlight("sample", "run@0/base", "--seeds", "0-2", "--to", "through")
    bootlight("sample", "run@0/base", "--seeds", "0-2", "--to", "alone", "--alone")
    through, alone = (np.stack([np.load(f"{name}/00000{i}.npy") for i in range(3)]) for name in ("through", "alone"))
    ratio = np.sqrt(extrapolated(base, auxiliary, 1.0) / extrapolated(base, auxiliary, 0.0)).mean()
    assert np.median(through / alone) == pytest.approx(ratio, rel=0.02) and ratio > 1.1  # linear in one noise, but for means


@pytest.mark.parametrize(("higher", "wanted"), [(True, 3.0), (False, 0.0)])
def test_the_direction_of_the_metric_decides_which_end_is_best(bootlight, tmp_path, monkeypatch, higher, wanted):
    # The variance of the images rises with w; of equally good values the first stays.
    def variance(generation, data, images, by):
        return Score(float(np.var(images)), None, len(images), {}, higher_is_better=higher)

    monkeypatch.setattr(choose, "measured", variance)
    stages = [
        named("Train", part="base", settings=narrow(0.2)),
        named("Train", part="auxiliary", settings=narrow(0.17)),
        named("Choose", values=[1.0, wanted, 2.0], n=50),
        named("Synthesize", part="base", n=20, compose=named("Extrapolate", auxiliary="auxiliary", w=0.5)),
    ]
    folder = run_of(bootlight, tmp_path / "run", stages)
    content = read_json(folder.choice)
    assert content["chosen"] == {"compose.w": wanted} and content["higher_is_better"] is higher
    scores = [point["score"] for point in content["curve"]]
    assert scores[1] == (max if higher else min)(scores)


COMPOSED = Synthesize(compose=Extrapolate("auxiliary", 1.0))
BOTH = [Train(), Train("auxiliary")]


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ([*BOTH, Choose(), COMPOSED], ""),
        ([*BOTH, COMPOSED, Choose()], "no Synthesize after it draws into samples"),
        ([*BOTH, Choose(of="probe"), COMPOSED], "no Synthesize after it draws into probe"),
        ([*BOTH, Choose(generations="later"), Synthesize(generations="first")], "no Synthesize after it"),
        ([*BOTH, Choose(), Synthesize()], r"there is no compose\.w"),
        ([*BOTH, Choose("compose.v"), COMPOSED], r"there is no compose\.v"),
        ([*BOTH, Choose("w"), COMPOSED], "there is no w"),
        ([*BOTH, Choose("merge.w"), COMPOSED], "no Merge after it publishes model"),
        ([*BOTH, Merge(1.0), Choose("merge.w"), Synthesize("merged")], "no Merge after it publishes merged"),
        ([*BOTH, Choose("merge.w"), Synthesize("merged"), Merge(1.0)], "no Merge after it publishes merged"),
        ([*BOTH, Choose("merge.w"), Merge(1.0), Synthesize("merged")], ""),
        ([Train(), Choose(), Train("auxiliary"), COMPOSED], "Choose needs auxiliary"),
        ([Train(), Choose("merge.w"), Train("auxiliary"), Merge(1.0), Synthesize("merged")], "Choose needs auxiliary"),
        ([*BOTH, Choose(), Choose(values=[1.0]), COMPOSED], "two Choose"),
        ([*BOTH, Choose(generations="first"), Choose(values=[1.0], generations="later"), COMPOSED], ""),
    ],
)
def test_what_there_is_to_choose_is_known_before_a_training(listed, message):
    if not message:
        check_stages(listed)
        return
    with pytest.raises(BootlightError, match=message):
        check_stages(listed)


@pytest.mark.parametrize(
    "settings",
    [{"values": []}, {"values": [1.0, 1]}, {"values": [float("nan")]}, {"values": [float("inf")]}, {"by": "fid"}, {"n": 1},
     {"of": "Samples"}, {"by": "precision-recall", "n": 6}],
)  # fmt: skip
def test_settings_that_cannot_be_meant_are_refused(settings):
    with pytest.raises(BootlightError):
        Choose(**settings)


@pytest.mark.parametrize(
    ("by", "changes", "message"),
    [
        ("precision-recall", {"evaluation.features": "bootlight.PixelFeatures"}, "one score with a better direction"),
        ("moments", {"evaluation.features": "bootlight.PixelFeatures"}, "one score with a better direction"),
        ("fd", {"evaluation.metrics": "[]"}, "the run has no features"),
        ("precision-recall", {"evaluation.features": "bootlight.PixelFeatures", "bootstrap.num_synthetic": 6}, "at least 7"),
    ],
)
def test_what_cannot_be_chosen_by_is_told_before_training(bootlight, pictures, tmp_path, by, changes, message):
    stages = [
        named("Train"),
        named("Choose", by=by),
        named("Synthesize", compose=named("Extrapolate", auxiliary="model", w=0.0)),
    ]
    settings = {"evaluation.metrics": '["kid"]', "bootstrap.num_synthetic": 8, **changes}
    arguments = options(pictures, tmp_path / "run", **settings)
    with pytest.raises(BootlightError, match=message):
        bootlight("fit", *DDPM, *arguments, f"--bootstrap.stages={json.dumps(stages)}")
    assert not list(tmp_path.glob("run/gen_*/*.safetensors"))


def test_a_choice_that_comes_too_late_is_told(bootlight, pictures, tmp_path):
    """`--stages` without it, and then all of them: the images were drawn with the w of the configuration."""
    compose = named("Extrapolate", auxiliary="model", w=0.0)
    stages = [named("Train"), named("Choose", values=[0.0, 1.0]), named("Synthesize", compose=compose)]
    settings = {"evaluation.features": "bootlight.PixelFeatures", "evaluation.metrics": '["kid"]'}
    command = ["fit", *DDPM, *options(pictures, tmp_path / "run", **settings), f"--bootstrap.stages={json.dumps(stages)}"]
    bootlight(*command, "--stages=train,synthesize")
    with pytest.raises(BootlightError, match=r"samples is there already, made without a choice of compose\.w"):
        bootlight(*command)
    folder = RunFolder(tmp_path / "run").generation(0)
    assert folder.is_synthesized and not folder.choice.exists()
