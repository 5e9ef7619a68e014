"""Metrics of one's own, named by class path: in a generation's scores, in `evaluate` and `compare`, and what is refused."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import own_metrics
import pytest
import torch
import yaml

from bootlight.data.store import store_from_arrays
from bootlight.errors import BootlightError
from bootlight.evaluation.chosen import choose, read_entries
from bootlight.evaluation.generation import Evaluation
from bootlight.evaluation.on_images import About, OnImages, measure_images
from bootlight.evaluation.sets.sources import StoreSource
from bootlight.io.pictures import encode_png
from bootlight.metrics.features.features import PixelFeatures
from bootlight.metrics.score import Score
from bootlight.runs.folder import RunFolder
from bootlight.runs.manifest import write_metadata

REAL, DRAWN = (np.random.default_rng(seed).integers(0, 200, (n, 8, 8, 3), dtype=np.uint8) for seed, n in ((0, 15), (1, 12)))
PIXELS = ["--features=bootlight.PixelFeatures", "--features.size=1"]
CPU = torch.device("cpu")


class Part:
    def __init__(self, store, count):
        self.store, self.indices = store, np.arange(count)

    def __len__(self):
        return len(self.indices)


def scores_of(tmp_path, metrics, batch_size=5):
    """Of a generation of 12 images, against 15 real ones, 12 of them held out too."""
    folder, rows = RunFolder(tmp_path / "run").generation(0), []
    for i, image in enumerate(DRAWN):
        file = folder.sample_file(i)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode_png(image))
        name = str(file.relative_to(folder.samples))
        rows.append({"file_name": name, "label": i % 3, "parents": [f"real/{i}.png"] if i else []})
    write_metadata(folder, rows)
    store = store_from_arrays(REAL)
    data = SimpleNamespace(
        origins={},
        available=Part(store, 15), holdout=Part(store, 12), reference=lambda which, limit: np.arange(len(which)),
        cache=tmp_path / "cache", image_shape=(3, 8, 8), channels=3,
    )  # fmt: skip
    evaluation = Evaluation(metrics=metrics, batch_size=batch_size)
    evaluation.use(PixelFeatures(1), None)
    return evaluation.scores(folder, data, CPU)


def test_all_kinds_join_the_scores_of_a_generation(tmp_path):
    names = [f"own_metrics.{name}" for name in ("Gap", "ColourGap", "Light", "Lighter", "Told")]
    scores, failed = scores_of(tmp_path, ["fd", *names])
    assert failed == {}
    real, drawn = (torch.from_numpy(images).double() for images in (REAL, DRAWN))
    gap = ((real.mean((0, 1, 2)) - drawn.mean((0, 1, 2))) / 255).norm().item()
    # Features are float32 means of 64 pixels: 1e-7 of about 0.4, in a difference of about 0.01.
    assert scores["gap/train"].value == pytest.approx(gap, abs=2e-6) and type(scores["gap/train"].value) is float
    assert scores["gap/train"].protocol["features"] == "pixels" and "gap/holdout" not in scores
    assert scores["colour-gap/train"].protocol["features"] == "colours"
    light = drawn.mean().item()
    about = {"metric": "own_metrics.Light", "num_synthetic": 12}
    assert scores["light"] == Score(pytest.approx(light, rel=1e-12), None, 12, about, higher_is_better=True)
    assert scores["lighter/train"].value == pytest.approx((drawn.mean() - real.mean()).item(), rel=1e-12)
    assert scores["lighter-count/train"].value == 15 == scores["lighter-count/train"].protocol["num_real"]
    told = scores["told"].protocol["told"]
    assert [row[0] for row in told] == [0, 1, 2] * 4 and told[0][2] == [] and told[5][2] == ["real/5.png"]
    assert told[0][1].endswith("000000.png") and told[5][1].endswith("000005.png")
    assert {"fd-pixels/train", "fd-pixels/holdout"} <= set(scores)


def test_the_metrics_of_the_page_work_as_they_are_written(tmp_path, monkeypatch):
    section = (Path(__file__).parents[1] / "docs" / "plug_ins.md").read_text(encoding="utf-8").partition("\n## Metric\n")[2]
    (tmp_path / "my_file.py").write_text("\n".join(re.findall(r"```python\n(.*?)```", section, re.S)), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_file", raising=False)
    (written,) = re.findall(r"```yaml\n(.*?)```", section, re.S)
    scores, failed = scores_of(tmp_path, yaml.safe_load(written)["evaluation"]["metrics"])
    monkeypatch.delitem(sys.modules, "my_file")
    assert failed == {}
    of_classes = [DRAWN[kind::3].mean() / 255 for kind in range(3)]
    assert scores["lightestclass"].value == pytest.approx(max(of_classes), rel=1e-12)
    gap = np.linalg.norm((REAL.mean((0, 1, 2)) - DRAWN.mean((0, 1, 2))) / 255)
    assert scores["mean-gap/train"].value == pytest.approx(gap, abs=2e-6) and "kid/train" in scores


def test_batches_make_no_difference_and_real_images_are_looked_at_once(tmp_path):
    metrics = ["own_metrics.ColourGap", "own_metrics.Light", "own_metrics.Lighter"]
    first, _ = scores_of(tmp_path, metrics)
    own_metrics.Colours.seen = 0
    again, _ = scores_of(tmp_path, metrics, batch_size=100)
    assert own_metrics.Colours.seen == len(DRAWN)  # random weights are the same each time, so features of real images are kept
    assert {name: score.value for name, score in again.items()} == pytest.approx(
        {name: score.value for name, score in first.items()},
        rel=1e-4,  # float32 features of about 50, in differences of about 1
    )


def test_what_fails_is_told_and_the_rest_is_there(tmp_path):
    broken = {"Raises": "of its own", "Many": "no number", "Odd": "name", "Negative": "error", "Kid": "already"}
    scores, failed = scores_of(tmp_path, ["kid", *(f"own_metrics.{name}" for name in broken), "own_metrics.NoNumber"])
    assert {name.split("/")[0] for name in scores} == {"kid", "told-apart"} - ({"told-apart"} - set(map(part, scores)))
    for name, said in broken.items():
        found = [why for key, why in failed.items() if part(key) == f"own_metrics.{name}"]
        assert found and said in found[0], (name, found)
    assert "nan" in failed["nonumber"]


def test_names_of_other_scores_and_columns_are_taken(tmp_path):
    plain = scores_of(tmp_path, ["fd"])[0]
    scores, failed = scores_of(tmp_path, ["fd", "own_metrics.Tested", "own_metrics.Loss"])
    assert scores == plain and "told-apart/holdout" in plain
    assert "already" in failed["told-apart/holdout"] and "another name" in failed["own_metrics.Loss"]


def part(name):
    return name.split("/")[0]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("gone", "there is no 'gone'"),
        ("gone.Metric", "no module gone"),
        ("own_metrics.Gone", "has no Gone"),
        ("own_metrics.NUMBER", "no torchmetrics"),
        ("own_metrics.Colours", "no torchmetrics"),
        ("own_metrics.Abstract", "lacks measure"),
        ("own_metrics.Pair", "takes preds, target"),
        ("own_metrics.Needy", "unit"),
        ("own_metrics/Light.py", "no class path"),
        ({"class_path": "own_metrics.Needy", "init_args": {"unit": 9}}, "too large"),
        ({"class_path": "own_metrics.Light", "init_args": {"width": 9}}, "init_args: "),
        ({"class_path": "own_metrics.Light", "init_args": {"unit": "x"}}, "unit"),
        ({"class_path": "own_metrics.Light", "arguments": {}}, "init_args"),
        ({"init_args": {}}, "class_path"),
        ({"class_path": 3}, "class_path"),
    ],
)
def test_what_cannot_be_made_is_one_error_that_names_the_key(entry, said):
    with pytest.raises(BootlightError, match=r"^(evaluation\.)?metrics: ") as raised:
        choose([entry], PixelFeatures(1), "evaluation.metrics")
    assert said in str(raised.value)


def test_features_are_those_of_the_evaluation_unless_a_metric_has_its_own():
    network = PixelFeatures(1)
    given = {"class_path": "own_metrics.Gap", "init_args": {"features": {"class_path": "own_metrics.Colours"}, "power": 2}}
    shared, own, named = choose(["own_metrics.Gap", "own_metrics.ColourGap", given], network).on_features
    assert shared.network is None and shared.metric._features.network is network and shared.output == "features"
    assert isinstance(own.network, own_metrics.Colours) and isinstance(named.network, own_metrics.Colours)
    assert named.metric.power == 2 and len({shared.output, own.output, named.output}) == 3
    again = choose(["own_metrics.ColourGap"], network).on_features[0]
    assert torch.equal(own.network.layer.weight, again.network.layer.weight)  # random, and the same each time
    assert choose(["kid", "own_metrics.Light", "kid"], network).on_features == ("kid",)
    assert shared.metric.distributed_available_fn() is False  # rank 0 measures, and the others do not wait for it
    with pytest.raises(BootlightError, match="features"):
        choose(["own_metrics.Gap"], None)
    assert len(choose(["fd", "own_metrics.Light"], None).on_images) == 1


def of_images(entry) -> OnImages:
    return choose([entry], None).on_images[0]


def sides(**known):
    source = [StoreSource(name, store_from_arrays(images)) for name, images in (("real", REAL), ("drawn", DRAWN))]
    return (source[1], About(**known)), (source[0], About(**known))


@pytest.mark.filterwarnings("ignore:Metric `Kernel")
def test_metrics_of_torchmetrics_work_as_they_are():
    from torchmetrics.image.kid import KernelInceptionDistance

    feature = {"class_path": "own_metrics.Colours", "init_args": {"size": 3}}
    settings = {"subset_size": 10, "subsets": 4}
    path = "torchmetrics.image.kid.KernelInceptionDistance"
    chosen = of_images({"class_path": path, "init_args": {"feature": feature, **settings}})
    with torch.random.fork_rng():
        torch.manual_seed(3)  # its random subsets do not depend on what happened before
        found = measure_images(chosen, *sides(), 5, CPU)
    again = measure_images(chosen, *sides(), 5, CPU)
    assert again == found and list(found) == ["kernelinceptiondistance", "kernelinceptiondistance-1"]
    assert [score.higher_is_better for score in found.values()] == [False, None]  # a spread has no good direction
    whole = of_images({"class_path": path, "init_args": {"feature": feature, "subset_size": 12, "subsets": 1}})
    theirs = KernelInceptionDistance(feature=whole.metric.inception, subset_size=12, subsets=1)
    real = (StoreSource("real", store_from_arrays(REAL[:12])), About())
    for images, is_real in ((REAL[:12], True), (DRAWN, False)):
        theirs.update(torch.from_numpy(images).permute(0, 3, 1, 2), real=is_real)
    value = measure_images(whole, sides()[0], real, 12, CPU)["kernelinceptiondistance"].value
    assert value == pytest.approx(theirs.compute()[0].item(), rel=1e-3)  # the order of float32 sums is random
    assert chosen.metric.update_count == whole.metric.update_count == 0  # copies measure


def test_metrics_of_torchmetrics_that_add_pixels_are_given_no_bytes():
    found = measure_images(of_images("torchmetrics.image.TotalVariation"), *sides(), 5, CPU)["totalvariation"]
    pixels = torch.from_numpy(DRAWN).permute(0, 3, 1, 2).double() / 255
    variation = pixels.diff(dim=2).abs().sum() + pixels.diff(dim=3).abs().sum()
    assert found.value == pytest.approx(variation.item(), rel=1e-5)  # of bytes a difference of -1 is 255
    assert found.higher_is_better is False and found.protocol["images"] == "from 0 to 1"


def write_set(folder, images=DRAWN) -> None:
    """Pictures in two classes."""
    for i, image in enumerate(images):
        (folder / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        (folder / "ab"[i % 2] / f"{i:02}.png").write_bytes(encode_png(image))


def test_what_is_not_known_is_refused_before_anything_is_measured(bootlight, tmp_path, monkeypatch):
    chosen = of_images("own_metrics.Told")
    assert chosen.wanted == ("labels", "ids", "parents") and not chosen.sees_real
    known = {"labels": [0] * 12, "ids": [str(i) for i in range(12)], "parents": [("a",)] * 12}
    assert measure_images(chosen, *sides(**known), 5, CPU)["told"].value == 12
    for name, nothing in (("labels", [-1] * 12), ("ids", []), ("parents", [()] * 12)):
        with pytest.raises(BootlightError, match=f"asks for {name}"):
            measure_images(chosen, *sides(**known | {name: nothing}), 5, CPU)
    write_set(tmp_path / "set")
    monkeypatch.setattr("bootlight.evaluation.options.extract", lambda *_, **__: pytest.fail("images were looked at"))
    with pytest.raises(BootlightError, match="asks for parents"):
        bootlight("evaluate", "--real=set", "--synthetic=set", *PIXELS, "--metrics=own_metrics.Told")


def test_evaluate_takes_them(bootlight, tmp_path, capsys):
    write_set(tmp_path / "real", REAL)
    write_set(tmp_path / "drawn")
    own = "own_metrics.Gap, own_metrics.ColourGap, own_metrics.Lighter"
    own = f"[kid, {own}, {{class_path: own_metrics.Light, init_args: {{unit: 2}}}}]"
    bootlight("evaluate", "--real=real", "--synthetic=drawn", *PIXELS, f"--metrics={own}", "--json")
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert set(scores) - {"told-apart"} == {"kid", "gap", "colour-gap", "lighter", "lighter-count", "light"}
    assert scores["light"]["value"] == pytest.approx(DRAWN.mean() / 2, rel=1e-12)
    assert scores["light"]["higher_is_better"] is True
    rows = [{"file_name": f"{'ab'[i % 2]}/{i:02}.png", "label": i % 2, "parents": ["x"]} for i in range(12)]
    (tmp_path / "drawn" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    bootlight("evaluate", "--real=real", "--synthetic=drawn", *PIXELS, "--metrics=own_metrics.Told", "--json")
    told = json.loads(capsys.readouterr().out)["scores"]["told"]["protocol"]["told"]
    expected = sorted([row["label"], row["file_name"], row["parents"]] for row in rows)
    assert sorted(told) == expected


def test_compare_takes_those_of_features_and_says_what_it_leaves_out(bootlight, tmp_path, capsys):
    for name, images in (("real", REAL), ("drawn", DRAWN), ("other", DRAWN[::-1] // 2)):
        write_set(tmp_path / name, images)
    metrics = "--metrics=own_metrics.Gap,own_metrics.ColourGap,own_metrics.Light"
    bootlight("compare", "drawn", "other", "--real=real", *PIXELS, metrics, "--json")
    answer = json.loads(capsys.readouterr().out)
    assert {row["score"]: row["better"] for row in answer["differences"]} == {"gap": False, "colour-gap": False}
    assert any("own_metrics.Light" in remark for remark in answer["remarks"])
    bootlight("compare", "drawn", "other", "--real=real", *PIXELS, metrics, "--paired", "--json")
    errors = [row["standard_error"] for row in json.loads(capsys.readouterr().out)["differences"]]
    assert len(errors) == 2 and min(errors) > 0


def test_entries_on_a_command_line():
    assert read_entries("fd, my.Own ,") == ["fd", "my.Own"]
    assert read_entries("[fd, {class_path: my.Own}]") == ["fd", {"class_path": "my.Own"}]
    for text in ("[fd", "[3]", "[[fd]]"):
        with pytest.raises(BootlightError, match="metrics: "):
            read_entries(text)
