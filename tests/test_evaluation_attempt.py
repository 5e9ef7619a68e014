"""A metric that fails is told with its reason, and the others are computed and written."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from bootlight.bootstrap.evaluate import Evaluate
from bootlight.data.store import store_from_arrays
from bootlight.errors import BootlightError
from bootlight.evaluation import options
from bootlight.evaluation.attempt import attempt, check_complete
from bootlight.evaluation.comparing.compare import compare_measured, measure_set
from bootlight.evaluation.generation import Evaluation
from bootlight.evaluation.suite import finite, measure_all
from bootlight.io.atomic import read_json, write_json
from bootlight.io.pictures import encode_png
from bootlight.metrics.distances.kid import KernelDistance
from bootlight.metrics.features.features import PixelFeatures
from bootlight.metrics.score import Score
from bootlight.report.report_scores import scores_table
from bootlight.report.scores import main_scores, read_scores
from bootlight.report.table import format_table
from bootlight.runs.folder import RunFolder
from bootlight.runs.manifest import write_metadata

NETWORK = PixelFeatures(1)
PIXELS = ["--features=bootlight.PixelFeatures", "--features.size=1"]


def features(count: int, seed: int) -> dict[str, torch.Tensor]:
    return {"features": torch.rand(count, 3, generator=torch.Generator().manual_seed(seed))}


@pytest.fixture
def broken_kid(monkeypatch):
    """KID fails with an exception of torch, as where memory ends."""

    def fail(*_):
        raise torch.OutOfMemoryError("40 GiB\nare too many")

    monkeypatch.setattr(KernelDistance, "measure", fail)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BootlightError("its own words"), "its own words"),
        (ValueError("two\nlines"), r"ValueError: two\nlines"),
        (MemoryError(), "MemoryError"),
        (torch.linalg.LinAlgError("singular"), "singular"),
    ],
)
def test_a_reason_is_one_line(error, said):
    failed: dict[str, str] = {}
    with attempt("this", failed):
        raise error
    assert list(failed) == ["this"] and failed["this"].endswith(said) and "\n" not in failed["this"]
    with pytest.raises(type(error)), attempt("this", None):
        raise error
    with pytest.raises(BootlightError, match=r"this \("):
        check_complete(failed)
    check_complete({})


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_requests_to_stop_are_no_failures(stop):
    with pytest.raises(stop), attempt("this", {}):
        raise stop


def test_the_other_metrics_are_what_they_are_alone(broken_kid):
    real, drawn = features(30, 0), features(20, 1)
    failed: dict[str, str] = {}
    found = measure_all(["fd", "kid", "vendi"], NETWORK, real=real, synthetic=drawn, failed=failed)
    alone = measure_all(["fd", "vendi"], NETWORK, real=real, synthetic=drawn)
    assert {name: score.value for name, score in found.items()} == {name: score.value for name, score in alone.items()}
    assert set(failed) == {"kid"} and "40 GiB" in failed["kid"]
    with pytest.raises(torch.OutOfMemoryError):
        measure_all(["kid"], NETWORK, real=real, synthetic=drawn)


def test_a_value_that_is_no_number_is_no_score():
    failed: dict[str, str] = {}
    scores = {
        "good": Score(1.0, 0.1, 5, {}),
        "nan": Score(float("nan"), 0.1, 5, {}),
        "infinite": Score(float("inf"), None, 5, {}),
        "without error": Score(2.0, float("nan"), 5, {}),
    }
    kept = finite(scores, failed)
    assert kept == {"good": scores["good"], "without error": Score(2.0, None, 5, {})} and set(failed) == {"nan", "infinite"}
    with pytest.raises(BootlightError):
        finite(scores, None)


def test_what_concerns_every_metric_is_one_error():
    bad = features(20, 1)
    bad["features"][3, 1] = float("nan")
    failed: dict[str, str] = {}
    for sets in ({"real": bad, "synthetic": features(20, 2)}, {"real": features(20, 2), "synthetic": bad}):
        with pytest.raises(BootlightError, match="NaN or infinity"):
            measure_all(["fd", "kid"], NETWORK, **sets, failed=failed)
    assert failed == {}


def write_set(folder, count: int, seed: int) -> str:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for i in range(count):
        (folder / f"{i:02d}.png").write_bytes(encode_png(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)))
    return str(folder)


def test_commands_answer_before_they_end_with_an_error(bootlight, tmp_path, capsys, broken_kid):
    real, drawn, other = (
        write_set(tmp_path / name, count, i) for i, (name, count) in enumerate([("r", 12), ("a", 9), ("b", 9)])
    )
    (tmp_path / "taken.npz").mkdir()
    for command, failures in (
        (["evaluate", f"--synthetic={drawn}", "--save-stats=taken.npz"], {"kid", "--save-stats"}),
        (["compare", drawn, other], {"A kid", "B kid"}),
    ):
        command += [f"--real={real}", *PIXELS, "--metrics=fd,kid"]
        with pytest.raises(BootlightError, match=r"kid \(OutOfMemoryError: 40 GiB"):
            bootlight(*command)
        text = capsys.readouterr().out
        assert "fd-pixels" in text and all(f"! {name} failed" in text for name in failures)
        with pytest.raises(BootlightError):
            bootlight(*command, "--json")
        answer = json.loads(capsys.readouterr().out)
        assert set(answer["failed"]) == failures
        scored = answer.get("scores") or {row["score"] for row in answer["differences"]}
        assert set(main_scores(list(scored))) == {"fd-pixels"}


def test_a_group_that_fails_costs_the_error_of_a_pair_alone(monkeypatch):
    kid, calls = KernelDistance.values_without, []

    def fail_once(self, real, synthetic, groups):
        calls.append(len(synthetic))
        if len(calls) == 1:
            raise RuntimeError("a group")
        return kid(self, real, synthetic, groups)

    monkeypatch.setattr(KernelDistance, "values_without", fail_once)
    sets = [
        measure_set(["fd", "kid"], NETWORK, real=features(30, 0), synthetic=features(20, seed), n=20, paired=True)
        for seed in (1, 2)
    ]
    assert set(sets[0].failed) == {"kid"} and sets[1].failed == {}
    found = compare_measured(*sets, paired=True)
    assert found["kid"].value == sets[1].scores["kid"]["kid"].value - sets[0].scores["kid"]["kid"].value
    assert found["kid"].standard_error is None and found["fd-pixels"].standard_error > 0


class Diverged(nn.Module):
    """A judge that answers NaN."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((1, 2, 3)) * float("nan")


def test_a_generation_is_written_with_what_could_be_measured(tmp_path, broken_kid):
    run, rng = RunFolder(tmp_path / "run"), np.random.default_rng(0)
    folder = run.generation(0)
    rows = []
    for i in range(12):
        folder.sample_file(i).parent.mkdir(parents=True, exist_ok=True)
        folder.sample_file(i).write_bytes(encode_png(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)))
        rows.append({"file_name": str(folder.sample_file(i).relative_to(folder.samples)), "label": None})
    write_metadata(folder, rows)

    class Images:
        store = store_from_arrays(rng.integers(0, 256, (15, 8, 8, 3), dtype=np.uint8))
        indices = np.arange(15)

        def __len__(self) -> int:
            return 15

    data = SimpleNamespace(
        available=Images(), holdout=Images(), reference=lambda which, limit: np.arange(15), cache=tmp_path / "cache",
        image_size=8, channels=3, image_shape=(3, 8, 8), num_real=15, num_synthetic=0, num_steps=4, batch_size=2,
        origins={},
    )  # fmt: skip
    evaluation = Evaluation(metrics=["fd", "kid"])
    generation = SimpleNamespace(
        folder=folder, number=0, drawn=folder.of_images,
        open_data=lambda: data, features=PixelFeatures(1), judge=Diverged(), is_rank_0=True,
        device=torch.device("cpu"), builder=SimpleNamespace(evaluation=evaluation),
    )  # fmt: skip
    Evaluate().run(generation)
    written = read_json(folder.metrics)
    assert set(main_scores(list(written["scores"]))) == {"fd-pixels/train", "fd-pixels/holdout"}
    judged = {"discriminator_score", "discriminator_score/train", "discriminator_score/holdout"}
    assert set(written["failed"]) == {"kid/train", "kid/holdout", *judged}
    (row,) = read_scores(run)
    assert row.failed == written["failed"]
    write_json(run.generation(1).metrics, written | {"generation": 1, "failed": {}})
    assert "! kid/train failed" in " ".join(format_table(run).split())  # of any generation
    assert "40 GiB" in scores_table([row])


@pytest.mark.parametrize(
    ("option", "edges", "named"),
    [
        ("--pixels", [8] * 9, "16"),
        ("--judges=1", [9] * 9, "9 x 9"),
        ("--c2st", [8] * 8 + [16], "2 sizes"),
        ("--c2st", [8] * 9, "9"),
    ],
    ids=["short for a spectrum", "no size of a judge", "several sizes", "few"],
)
def test_what_cannot_be_measured_is_refused_before_any_pass(bootlight, tmp_path, monkeypatch, option, edges, named):
    def looked_at(*_, **__):
        raise AssertionError("images were read")

    monkeypatch.setattr(options, "extract", looked_at)
    (tmp_path / "set").mkdir()
    for i, edge in enumerate(edges):
        (tmp_path / "set" / f"{i}.png").write_bytes(encode_png(np.zeros((edge, edge, 3), np.uint8)))
    with pytest.raises(BootlightError, match=named):
        bootlight("evaluate", "--real=set", "--synthetic=set", *PIXELS, "--metrics=fd", option)
