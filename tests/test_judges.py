"""Several judges: who judges whom, and what their disagreement does to the interval."""

import json

import numpy as np
import pytest
import torch
from few_digits import digits
from scipy import stats
from torch import nn

import bootlight.evaluation.networks.several_judges as judges
from bootlight.data.store import store_from_arrays
from bootlight.evaluation.networks.several_judges import judge_scores, pooled, train_gans
from bootlight.evaluation.sets.sources import StoreSource
from bootlight.io.pictures import encode_png
from bootlight.metrics.uncertainty import bounded_mean
from bootlight.runs import shared_cache


def source(value: int, count: int = 4) -> StoreSource:
    return StoreSource(f"grey {value}", store_from_arrays(np.full((count, 8, 8, 1), value, np.uint8)))


def test_the_mean_is_over_images_and_judges():
    logits = torch.tensor([[0.0, 1.0, -1.0], [2.0, 2.0, 0.5]])
    score = pooled(logits)
    probabilities = 1 / (1 + np.exp(-logits.double().numpy()))
    error = probabilities.mean(0).std(ddof=1) / np.sqrt(3)
    spread = probabilities.mean(1).std(ddof=1)
    assert score.value == pytest.approx(probabilities.mean(), abs=1e-12)
    assert score.standard_error == pytest.approx(error, abs=1e-12)
    assert score.protocol["spread_between_judges"] == pytest.approx(spread, abs=1e-12)
    assert score.protocol["standard_deviation"] == pytest.approx(probabilities.std(1, ddof=1).mean(), abs=1e-12)
    assert score.interval == (0, 1)  # two judges say little
    half = stats.t.ppf(0.975, 5) * np.hypot(bounded_mean(logits[0].sigmoid()).standard_error, 0)
    same = pooled(logits[:1].repeat(6, 1))  # six judges of one opinion: no spread, the draw of the images alone
    centre = bounded_mean(logits[0].sigmoid()).centre
    assert same.interval == pytest.approx((max(centre - half, 0), min(centre + half, 1)), abs=1e-6)  # float32 logits
    sure = pooled(torch.full((3, 5), 50.0))  # every probability is 1 to the last digit
    assert sure.standard_error is None and sure.interval[1] == 1
    centre, error = bounded_mean(torch.ones(5))
    assert sure.interval[0] == pytest.approx(centre - stats.t.ppf(0.975, 2) * error, abs=1e-9)


def test_the_interval_of_many_judges_covers_the_truth():
    """Judges and images with known spreads: logits 0 + judge + image, so that the mean probability is 1/2 by symmetry."""
    rng = torch.Generator().manual_seed(0)
    hits = 0
    for _ in range(400):
        offsets, images = 0.3 * torch.randn(4, 1, generator=rng), 0.5 * torch.randn(1, 50, generator=rng)
        low, high = pooled(offsets + images).interval
        hits += low <= 0.5 <= high
    # 95 %, or more because three degrees of freedom are given to the images too; 400 trials have an error of 1.1 %.
    assert hits / 400 > 0.95 - 3 * 0.011
    assert hits / 400 < 1


def test_one_judge_is_remarked_on():
    score = pooled(torch.zeros(1, 5))
    assert score.interval is None and score.protocol["spread_between_judges"] is None
    assert "use --judges 3" in score.remarks[0]


class Fake(nn.Module):
    """A GAN whose discriminator recognises its own grey level alone, and whose generator draws it."""

    channels = 1

    def __init__(self, value: int) -> None:
        super().__init__()
        self.value = value

    def net_d(self, images: torch.Tensor) -> torch.Tensor:
        return torch.where((images[:, 0, 0, 0] * 127.5 + 127.5 - self.value).abs() < 0.5, 20.0, -20.0)

    def sample(self, seeds: list[int]) -> torch.Tensor:
        return torch.full((len(seeds), 1, 8, 8), self.value / 127.5 - 1)


def test_no_judge_sees_images_of_its_own_generator(monkeypatch):
    class Judge(nn.Module):
        def __init__(self, judge, channels):
            super().__init__()
            self.judge, self.channels = judge, channels

        def forward(self, images):
            return self.judge(images.float() / 127.5 - 1).reshape(-1, 1)

    monkeypatch.setattr(judges, "JudgeLogits", Judge)

    def ask(network, images):
        return {"features": torch.cat([network(batch) for batch in images.batches(3)])}

    gans = [Fake(50), Fake(100), Fake(150)]
    scores = judge_scores(gans, {"real": source(50), "synthetic": source(100)}, ask)
    # Each set is recognised by one judge in three: probability sigmoid(20) = 1 - 2e-9, else 2e-9.
    assert scores["discriminator_score"].value == pytest.approx(1 / 3, abs=1e-8)
    assert scores["discriminator_score/real"].value == pytest.approx(1 / 3, abs=1e-8)
    assert scores["discriminator_score/second-gan"].value < 1e-8  # 1 if each judged its own
    assert list(judge_scores(gans[:1], {"synthetic": source(50)}, ask)) == ["discriminator_score"]


def test_gans_differ_by_their_seed_and_are_trained_once(tmp_path, monkeypatch):
    store = digits().real.store
    real = StoreSource("digits", store_from_arrays(store.images[:40].copy()))
    setting = {"num_steps": 2, "device": "cpu", "cache": tmp_path, "width": 4, "batch_size": 8}
    first, second = train_gans(real, count=2, **setting)
    assert not torch.equal(*(next(iter(gan.net_d.parameters())) for gan in (first, second)))
    monkeypatch.setattr(judges, "trained_gan", lambda *_, **__: pytest.fail("is there already"))
    again = train_gans(real, count=2, **setting)
    for one, other in zip((first, second), again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    monkeypatch.setattr(shared_cache, "_code", lambda: "other code")
    with pytest.raises(pytest.fail.Exception, match="is there already"):  # which might train other judges
        train_gans(real, count=1, **setting)


def test_the_command_gives_all_of_them(bootlight, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name in ("real", "drawn", "held"):
        (tmp_path / name).mkdir()
        for i in range(24):
            (tmp_path / name / f"{i}.png").write_bytes(encode_png(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)))
    bootlight(
        "evaluate", "--real=real", "--synthetic=drawn", "--held-out=held", "--features=bootlight.PixelFeatures", "--metrics=fd",
        "--judges=2", "--judge-steps=1", "--c2st", "--json",
    )  # fmt: skip
    scores = json.loads(capsys.readouterr().out)["scores"]
    names = {f"discriminator_score{which}" for which in ("", "/real", "/held-out", "/second-gan")}
    assert names | {"c2st"} <= set(scores)
    assert all(scores[name]["n"] == 24 and scores[name]["protocol"]["judges"] == 2 for name in names)
    assert scores["c2st"]["n"] == 24 and 0 <= scores["c2st"]["interval"][0] <= scores["c2st"]["value"]
