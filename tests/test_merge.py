"""Merging in the space of weights: identities, closed forms, networks for which it extrapolates answers, and runs."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_closed_forms import config, fitted, heun, images, named
from tiny_runs import DDPM, options, write_plain_pages

from bootlight.bootstrap.merge import extrapolated_weights
from bootlight.bootstrap.stages import check_stages
from bootlight.bootstrap.synthesize import Synthesize
from bootlight.bootstrap.train import Train
from bootlight.diffusion.compose import Extrapolated
from bootlight.diffusion.denoiser import NetworkDenoiser
from bootlight.diffusion.prediction import V
from bootlight.diffusion.sampler import DDIM
from bootlight.diffusion.schedules import CosineSchedule
from bootlight.errors import BootlightError
from bootlight.io.atomic import read_json
from bootlight.runs.folder import RunFolder
from bootlight.runs.trainings import trainings_of

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and of the parser, in this process
SAMPLER = {"schedule": named("SigmaSchedule"), "sampler": named("Heun", num_steps=18, clip=False)}


@pytest.fixture(autouse=True)
def plain_pages(monkeypatch):
    write_plain_pages(monkeypatch)


def state(seed, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    values = {"a.weight": torch.randn(40, 3, generator=generator), "a.bias": torch.randn(3, generator=generator).double()}
    values["a.bias"] *= 1e-12  # far from the size of the other one's
    return {name: value + shift for name, value in values.items()} | {"steps": torch.tensor(seed)}


def test_ends_are_the_networks_themselves():
    base, auxiliary = state(1), state(2, shift=0.5)
    for w, wanted in ((0.0, base), (-1.0, auxiliary)):
        found = extrapolated_weights(base, auxiliary, w)
        assert all(torch.equal(found[name], wanted[name]) for name in ("a.weight", "a.bias"))
        assert found["steps"] == 1  # a count, of the base
    same = extrapolated_weights(base, base, 2.75)
    assert torch.equal(same["a.weight"], base["a.weight"])  # float64 inside: it rounds to the float32 that it came from
    found = extrapolated_weights(base, auxiliary, 1.5)["a.weight"]
    by_hand = base["a.weight"].double() + 1.5 * (base["a.weight"].double() - auxiliary["a.weight"].double())
    assert torch.equal(found, by_hand.float()) and found.dtype == torch.float32


@pytest.mark.parametrize(
    ("base", "auxiliary", "w"),
    [
        ({"x": torch.tensor([3e38])}, {"x": torch.tensor([-3e38])}, 1.0),  # beyond float32
        ({"bn.running_var": torch.tensor([1.0])}, {"bn.running_var": torch.tensor([3.0])}, 1.0),  # -1
    ],
)
def test_what_no_network_can_have_is_refused(base, auxiliary, w):
    with pytest.raises(BootlightError, match=r"w = 1\.0"):
        extrapolated_weights(base, auxiliary, w)
    assert extrapolated_weights(base, auxiliary, 0.0)


class Linear(torch.nn.Module):
    """Linear in its parameters, not in its input: sums of features of image and time."""

    def __init__(self, seed):
        super().__init__()
        self.mix = torch.nn.Parameter(torch.randn(3, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) / 3)

    def forward(self, x, time, labels=None):
        features = torch.stack([x.flatten(1), x.flatten(1).tanh(), torch.cos(time / 500)[:, None].expand(-1, 2)], -1)
        return torch.einsum("bdk,kd->bd", features, self.mix)[:, :, None, None]


@pytest.mark.parametrize("w", [-0.5, 1.0, 2.5])
def test_the_two_extrapolations_agree_where_a_network_is_linear_in_its_weights(w):
    base, auxiliary, merged = Linear(1), Linear(2), Linear(3)
    merged.load_state_dict(extrapolated_weights(base.state_dict(), auxiliary.state_dict(), w))
    schedule = CosineSchedule(100)
    composed = Extrapolated(*(NetworkDenoiser(net, V(), schedule) for net in (base, auxiliary)), w)
    x = torch.randn(50, 2, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sampler = DDIM(10, clip=False)
    drawn = [sampler(denoiser, x, None) for denoiser in (composed, NetworkDenoiser(merged, V(), schedule))]
    # The same numbers in another order: ten steps of rounding in float64 (times are float32, the same in both).
    torch.testing.assert_close(*drawn, rtol=1e-10, atol=1e-10)
    assert (drawn[0] - sampler(NetworkDenoiser(base, V(), schedule), x, None)).abs().mean() > 0.05


# Runs


def test_two_fits_are_merged_drawn_from_and_started_from(bootlight, tmp_path):
    """Sums over equally many images: the moments of the merged fit are (1 + w) times the one's minus w times the other's."""
    narrower = {"data.origin.deviation": 0.2, "data.mixing": "bootlight.OnlyReal"}
    stages = [
        named("Train", part="base"),
        named("Train", part="auxiliary", settings=narrower),
        named("Merge", w=0.5, base="base", part="model"),
        named("Synthesize"),
        named("Train", part="again", start_from="model", settings={"data.num_epochs": 1}),
    ]
    (tmp_path / "config.json").write_text(json.dumps(config("run", named("FittedGaussian", **SAMPLER), stages, size=20)))
    bootlight("fit", "--config", "config.json")
    folder = RunFolder(tmp_path / "run").generation(0)
    (m, v), (n, u) = fitted(folder, "base"), fitted(folder, "auxiliary")
    mean, variance = fitted(folder)
    np.testing.assert_allclose(mean, 1.5 * m - 0.5 * n, atol=1e-12)
    np.testing.assert_allclose(variance, 1.5 * (v + m**2) - 0.5 * (u + n**2) - mean**2, atol=1e-12)
    drawn = images(folder)
    # 200 x 400 numbers, five deviations of a variance.
    assert ((drawn - mean) ** 2).mean() == pytest.approx(heun(variance).mean(), rel=5 * (2 / 80_000) ** 0.5)
    about = read_json(folder.model_config)
    hashes = {part: read_json(folder.of_part(part).model_config)["weights_sha256"] for part in ("base", "auxiliary")}
    assert about["merged"] == {"w": 0.5} | {
        part: {"reference": part, "weights_sha256": hashes[part]} for part in ("base", "auxiliary")
    }
    assert (about["steps"], about["dtype"], about["model"]["class_path"]) == (0, "float32", "bootlight.FittedGaussian")
    assert {training.folder.part: training.steps for training in trainings_of(folder)} == {
        "base": 4, "auxiliary": 4, "model": 0, "again": 4,
    }  # fmt: skip
    bootlight("sample", "run@0", "--seeds", "0-2", "--to", "drawn")
    bootlight("sample", "run@0/base", "--seeds", "0-2", "--to", "of_base")
    merged, base = (np.stack([np.load(f"{name}/00000{i}.npy") for i in range(3)]) for name in ("drawn", "of_base"))
    # The walks are linear in the same noise but for the means, of 0.01.
    ratio = np.sqrt(heun(variance) / heun(v)).mean()
    assert np.median(merged / base) == pytest.approx(ratio, rel=0.01) and ratio > 1.05
    again = load_file(folder.of_part("again").weights)
    assert again["count"] == 2 * load_file(folder.weights)["count"]  # it went on from the merged sums


AUXILIARY = {"part": "auxiliary", "settings": {"model.width": 16}}
UNIT = {"model.prediction": "bootlight.V", "model.learned_variance": False}


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([named("Train"), named("Train", **AUXILIARY), named("Merge", w=1.0)], "not of one architecture"),
        ([named("Train"), named("Merge", w=1.0)], "Merge needs auxiliary"),
        ([named("Train"), named("Merge", w=1.0, auxiliary="@-1/auxiliary")], "needs @-1/auxiliary"),
        ([named("Train"), named("Merge", w=float("inf"), auxiliary="model")], "w is inf; give a finite number"),
        ([named("Train"), named("Train", part="b"), named("Merge", w=1.0, auxiliary="b", part="b")], "two stages publish"),
        ([named("Train"), named("Train", part="b"), named("Merge", w=1.0, auxiliary="b"), named("Synthesize", into="merged")],
         "the name of a part"),
        ([named("Train", settings={"model.learned_variance": False}), named("Train", part="b", settings=UNIT),
          named("Merge", w=1.0, auxiliary="b")], "another way"),
    ],
)  # fmt: skip
def test_what_cannot_be_merged_is_told_before_training(bootlight, pictures, tmp_path, stages, message):
    listed = json.dumps([*stages, named("Synthesize")]).replace("Infinity", ".inf")
    with pytest.raises(BootlightError, match=message):
        bootlight("fit", *DDPM, *options(pictures, tmp_path / "run"), f"--bootstrap.stages={listed}")
    assert not list(tmp_path.glob("run/gen_*/*.safetensors"))


def test_a_merge_needs_what_comes_before_it():
    from bootlight.bootstrap.merge import Merge

    check_stages([Train(), Train("auxiliary"), Merge(1.0), Synthesize("merged")])
    for listed in ([Train(), Merge(1.0), Train("auxiliary")], [Merge(1.0, base="merged"), Train("auxiliary")]):
        with pytest.raises(BootlightError, match="which no stage before it publishes"):
            check_stages(listed)
