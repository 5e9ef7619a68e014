"""Networks compiled by torch: the same run but for float rounding, under the same names."""

import os
import shutil

import numpy as np
import pytest
from oracle import tiny_ddpm
from safetensors.numpy import load_file
from tiny_runs import DCGAN, DDPM, draw_pictures, options
from torch import nn

from bootlight.data.reader import open_images
from bootlight.generators.dcgan import DCGAN as DCGANModule
from bootlight.io.pictures import decode
from bootlight.runs.folder import RunFolder
from bootlight.runs.history import read_history


@pytest.mark.parametrize(
    ("model", "compiled"),
    [
        (tiny_ddpm, {"unet", "ema.network"}),
        (lambda: DCGANModule(8, 1, width=4, latent_dim=4, ema_decay=0.9), {"net_g", "net_d", "ema.network"}),
        (lambda: DCGANModule(8, 1, width=4, latent_dim=4), {"net_g", "net_d"}),
    ],
)
def test_every_network_and_the_average_are_compiled(monkeypatch, model, compiled):
    found = []
    monkeypatch.setattr(nn.Module, "compile", lambda self: found.append(self))
    module = model()
    module.compile_networks()
    names = {id(part): name for name, part in module.named_modules()}
    assert {names[id(part)] for part in found} == compiled


def test_nothing_is_compiled_unless_asked(bootlight, monkeypatch, tmp_path):
    monkeypatch.setattr(nn.Module, "compile", lambda self: pytest.fail("compiled"))
    bootlight("fit", *DCGAN, *options(draw_pictures(tmp_path / "pictures"), tmp_path / "run"))


def pictures(run):
    with open_images(RunFolder(run).generation(0).samples) as images:
        whole = [decode(images.read(i), images.names[i], image_size=8, channels=3) for i in range(len(images))]
    return np.stack(whole).astype(int)


COMPILERS = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++"]


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="torch.compile needs a C++ compiler, such as g++")
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch looks at it, and hides the warning itself
@pytest.mark.parametrize("model", [DDPM, DCGAN], ids=["ddpm", "dcgan"])
def test_a_compiled_run_is_the_same_run_but_for_rounding(bootlight, tmp_path, model):
    made = draw_pictures(tmp_path / "pictures")
    runs = {name: tmp_path / name for name in ("plain", "compiled")}
    for name, run in runs.items():
        bootlight("fit", *model, *options(made, run, **{"bootstrap.compile": str(name == "compiled").lower()}))
    plain, compiled = (RunFolder(run).generation(0) for run in runs.values())
    weights = [load_file(folder.weights) for folder in (plain, compiled)]
    assert weights[0].keys() == weights[1].keys()
    losses = [np.array(read_history(folder.history)["train/loss"][1]) for folder in (plain, compiled)]
    # Sums in another order: some units of float32's 6e-8 in a loss. After a step Adam divides gradients that are zero but for
    # rounding by their own size: such weights differ by up to the learning rate of 1e-2, and the loss by what they matter.
    np.testing.assert_allclose(losses[0][0], losses[1][0], rtol=1e-5)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-2)
    assert np.abs(pictures(runs["plain"]) - pictures(runs["compiled"])).max() <= 3  # grey levels
