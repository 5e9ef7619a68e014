"""Drawing by a composition of published models: the closed form of extrapolation, what is recorded, and `bootlight sample`."""

import json

import numpy as np
import pytest
from test_closed_forms import config, fitted, images, named

from bootlight.errors import BootlightError
from bootlight.runs.folder import RunFolder

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and of the parser, in this process
PROBING = """
import bootlight


class Probe(bootlight.MixingPolicy):
    def __init__(self, folder: str = "probe") -> None:
        self.folder = folder

    def sources(self, generation, archive):
        return [archive.drawn(generation, self.folder)]
"""
SAMPLER = {"schedule": named("SigmaSchedule"), "sampler": named("Heun", num_steps=40, clip=False)}


def extrapolated(base, auxiliary, w, num_steps=40):
    """z' = sigma z ((1 + w) / (v_r + sigma^2) - w / (v_s + sigma^2)), by Heun's rule; z = sigma n at first."""

    def slope(sigma):
        return sigma * ((1 + w) / (base + sigma**2) - w / (auxiliary + sigma**2))

    ramp = np.linspace(0, 1, num_steps)
    levels = (80 ** (1 / 7) + ramp * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    z = np.full_like(base, 80.0)
    for now, then in zip(levels, np.append(levels[1:], 0.0), strict=True):
        h = then - now
        z = z * (1 + h * slope(now) if then == 0 else 1 + h / 2 * (slope(now) + slope(then) * (1 + h * slope(now))))
    return z**2


@pytest.fixture
def run(bootlight, tmp_path, monkeypatch):
    """Base on a variance of 1/16, auxiliary on 0.04; drawn from by both, away from the auxiliary."""
    compose = named("Extrapolate", auxiliary="auxiliary", w=0.5)
    narrower = {"data.origin.deviation": 0.2, "data.mixing": "bootlight.OnlyReal"}
    stages = [
        named("Train"),
        named("Train", part="auxiliary", settings=narrower),
        named("Synthesize", compose=compose),
        named("Synthesize", into="plain", n=50),
    ]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config("run", named("FittedGaussian", **SAMPLER), stages, size=20)))
    bootlight("fit", "--config", "config.json")
    return RunFolder(tmp_path / "run").generation(0)


def test_extrapolation_of_two_fits(run, bootlight, tmp_path, capsys):
    (_, base), (_, auxiliary) = fitted(run), fitted(run, "auxiliary")
    drawn = images(run)
    expected = extrapolated(base, auxiliary, 0.5)
    # 200 x 400 numbers, five deviations; the means of both fits differ from 0 by 0.25 / 20, which adds 1e-4 of it.
    assert ((drawn - drawn.mean(0)) ** 2).mean() == pytest.approx(expected.mean(), rel=5 * (2 / 80_000) ** 0.5 + 1 / 200)
    # Without steps v_r (v_r / v_s)^w: 40 steps of Heun are 2 % above.
    assert expected.mean() == pytest.approx((base * (base / auxiliary) ** 0.5).mean(), rel=0.04)
    decided = json.loads(run.protocol.read_text())
    assert decided["then"] == {"class": "Extrapolate", "w": 0.5, "auxiliary": "auxiliary"}
    hashes = {part: json.loads(run.of_part(part).model_config.read_text())["weights_sha256"] for part in ("model", "auxiliary")}
    assert decided["part"]["weights_sha256"] == hashes["model"]
    assert decided["references"]["auxiliary"] == {"reference": "auxiliary", "weights_sha256": hashes["auxiliary"]}

    # `sample` draws as the samples were drawn; alone, as the folder that was drawn without it.
    bootlight("sample", "run@0", "--seeds", "0-2", "--to", "through")
    assert "Extrapolate" in capsys.readouterr().out
    bootlight("sample", "run@0", "--seeds", "0-2", "--to", "alone", "--alone")
    through, alone = (np.stack([np.load(f"{folder}/00000{i}.npy") for i in range(3)]) for folder in ("through", "alone"))
    # The walks are linear in the same noise but for the means, of 0.01: in the middle their ratio is that of the deviations.
    ratio = np.sqrt(expected / extrapolated(base, auxiliary, 0.0)).mean()
    assert np.median(through / alone) == pytest.approx(ratio, rel=0.005) and ratio > 1.1

    (run.path / "auxiliary.json").write_text((run.path / "auxiliary.json").read_text().replace(hashes["auxiliary"], "0" * 64))
    with pytest.raises(BootlightError, match=r"protocol\.json"):
        bootlight("sample", "run@0", "--seeds", "0-2", "--to", "again")


FITTED = named("FittedGaussian", **SAMPLER)
OTHER_LEVELS = {"module": named("FittedGaussian", schedule=named("CosineSchedule"), sampler=named("DDIM", clip=False))}
SMALLER = {"settings": {"data.origin.image_size": 8}}


@pytest.mark.parametrize(
    ("model", "auxiliary", "w", "message"),
    [
        (named("PixelGaussian"), "model", 0.5, "PixelGaussian has no denoiser"),
        (FITTED, "other", 0.5, "synthesize needs other"),
        (FITTED, "model", float("nan"), "w is nan; give a finite number"),
        (FITTED, OTHER_LEVELS, 0.5, r"other noise levels \(CosineSchedule\)"),
        (FITTED, SMALLER, 0.5, r"has images \(1, 8, 8\), .* \(1, 20, 20\)"),
    ],
)
def test_what_cannot_be_composed_is_told_before_training(bootlight, tmp_path, monkeypatch, model, auxiliary, w, message):
    reference, trained = auxiliary, []
    if not isinstance(auxiliary, str):
        reference, trained = "auxiliary", [named("Train", part="auxiliary", **auxiliary)]
    stages = [named("Train"), *trained, named("Synthesize", compose=named("Extrapolate", auxiliary=reference, w=w))]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config("run", model, stages, size=20)).replace("NaN", ".nan"))
    with pytest.raises(BootlightError, match=message):
        bootlight("fit", "--config", "config.json")
    assert not list((tmp_path / "run").glob("gen_*/*.safetensors"))


def test_a_part_trains_on_what_an_earlier_part_of_its_generation_has_drawn(bootlight, tmp_path, monkeypatch):
    """An auxiliary on the probe alone, as its moments say; the model cannot train on its own images, and is told before."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "probing.py").write_text(PROBING)
    stages = [
        named("Train"),
        named("Synthesize", into="probe", n=100),
        named("Train", part="auxiliary", settings={"data.mixing": "probing.Probe"}),
        named("Synthesize", n=20),
    ]
    mixed = config("run", named("FittedGaussian", **SAMPLER), stages, size=8)
    (tmp_path / "config.json").write_text(json.dumps(mixed))
    bootlight("fit", "--config", "config.json")
    generation = RunFolder(tmp_path / "run").generation(0)
    probe = images(generation, "probe").astype(float)
    mean, variance = fitted(generation, "auxiliary")
    # Sums of float32 numbers in float64.
    np.testing.assert_allclose(mean, probe.mean(0), atol=1e-7)
    np.testing.assert_allclose(variance, probe.var(0), atol=1e-7)
    mixed["data"]["init_args"]["mixing"] = {"class_path": "probing.Probe", "init_args": {"folder": "samples"}}
    mixed["bootstrap"]["run_dir"] = "other"
    (tmp_path / "config.json").write_text(json.dumps(mixed))
    with pytest.raises(BootlightError, match="nobody has drawn by then"):
        bootlight("fit", "--config", "config.json")
    assert not list((tmp_path / "other").glob("gen_*/*.safetensors"))
