"""Parts of images as training data, and a run that learns views, a residual, and draws from both."""

import json
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_closed_forms import named

import bootlight
from bootlight.data.others import Others
from bootlight.data.store import store_from_arrays
from bootlight.data.view_of import ViewOf
from bootlight.errors import BootlightError
from bootlight.generators.load import load_generator
from bootlight.runs.folder import RunFolder

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and of the parser, in this process
LOW = bootlight.LowResolution(2)


def floats(store):
    images = torch.from_numpy(np.array(store.images)).permute(0, 3, 1, 2)
    return images.float() / 127.5 - 1 if images.dtype == torch.uint8 else images


def test_parts_of_pictures_are_pictures_where_they_can_be():
    whole, _ = bootlight.Digits().load()
    half = ViewOf(bootlight.Digits(), bootlight.Half("left"))
    store, held_out = half.load()
    assert half.shape == (1, 8, 4) and half.dtype == "uint8" and held_out is None
    assert np.array_equal(store.images, whole.images[:, :, :4]) and store.names == whole.names
    low = ViewOf(bootlight.Digits(), LOW)
    store, _ = low.load()
    assert low.shape == (1, 4, 4) and low.dtype == "float32" and store.key != whole.key
    # float32 sums of four numbers in [-1, 1].
    torch.testing.assert_close(floats(store), LOW.project(floats(whole)), rtol=0, atol=1e-6)
    assert np.array_equal(store.labels, whole.labels) and low.class_names() == whole.class_names
    assert low.load()[0] is store  # every generation asks for the same


def test_a_folder_of_small_pictures_is_taken_as_parts():
    """Means of blocks that somebody has kept as pictures: the same parts, to the rounding of 8 bits."""
    whole, _ = bootlight.Digits().load()
    small = np.round(whole.images.reshape(-1, 4, 2, 4, 2, 1).mean((2, 4))).astype(np.uint8)
    kept = ViewOf(bootlight.StoreOrigin(store_from_arrays(small)), LOW, is_part=True)
    assert kept.shape == (1, 4, 4) and kept.dtype == "float32"
    # Half a grey level of 127.5 to a unit, times the scale.
    torch.testing.assert_close(floats(kept.load()[0]), LOW.project(floats(whole)), rtol=0, atol=2 * 0.5 / 127.5 + 1e-6)
    halves = bootlight.StoreOrigin(store_from_arrays(np.ascontiguousarray(whole.images[:, :, :4])))
    taken = ViewOf(halves, bootlight.Half("left"), is_part=True)
    assert taken.load()[0] is halves.store and taken.shape == (1, 8, 4)


def test_mirrored_halves_are_refused():
    origin = bootlight.Digits()
    bootlight.BootstrapData(origin=origin, view=LOW, flip=True, num_epochs=1)
    bootlight.BootstrapData(origin=origin, view=bootlight.Half("top"), flip=True, num_epochs=1)
    with pytest.raises(BootlightError, match=r"data\.flip"):
        bootlight.BootstrapData(origin=origin, view=bootlight.Half("left"), flip=True, num_epochs=1)
    with pytest.raises(BootlightError, match="LowResolution"):
        bootlight.BootstrapData(origin=origin, view=bootlight.LowResolution(3), num_epochs=1)


def ids(num_real, mixing, view=None):
    data = bootlight.BootstrapData(
        origin=bootlight.Digits(), view=view, num_real=num_real, mixing=mixing, holdout_fraction=0.2, num_epochs=1
    )
    data.setup()
    held = set(data.holdout.indices.tolist())
    return set(data.sources[0].indices.tolist()), held


def test_parts_of_others_share_no_image_with_each_other_and_with_those_in_use():
    found = [
        ids(100, bootlight.OnlyReal()),
        ids(100, Others(0, 300), LOW),
        ids(100, Others(300, 200), bootlight.Half("left")),
        ids(100, Others(500)),
    ]
    sets = [own for own, _ in found] + [found[0][1]]
    assert [len(own) for own in sets] == [100, 300, 200, 838, 359]  # 1,797 in all
    assert len(set.union(*sets)) == 1797
    with pytest.raises(BootlightError, match=r"data\.mixing"):
        ids(100, Others(1000, 400))
    small = [Others(start, count).scaled(0.13) for start, count in ((0, 300), (300, 200), (500, 10))]
    assert all(a.start + a.count <= b.start for a, b in pairwise(small))


# Through the command line

OF_VIEW = {"model.compose": None, "model.objective": "bootlight.DSM", "model.sampler.clip": False}
UNET = named("UNet", width=8, channel_multipliers=[1], num_res_blocks=1, attention_resolutions=[], num_heads=1)
LOW_VIEW, LEFT_VIEW = named("LowResolution", factor=2), named("Half", side="left")
VIEWS = {"low": {"part": "view_low", "view": LOW_VIEW}, "left": {"part": "view_left", "view": LEFT_VIEW}}


def train(part, view, **settings):
    others = named("Others", start=300 * (part == "view_left"), count=300)
    return named("Train", part=part, settings=OF_VIEW | {"data.view": view, "data.mixing": others} | settings)


def config(folder, views=VIEWS, low=None, **model):
    alone = named("ViewSum", views=views, residual=False)
    made = named(
        "Diffusion",
        network=UNET,
        compose=named("ViewSum", views=views),
        objective=named("Residual", penalty=0.1),
        sampler=named("DDIM", num_steps=3),
        ema_decay=0.5,
    )
    made["init_args"] |= model
    data = {"origin": named("Digits"), "num_real": 40, "holdout_fraction": 0.2, "batch_size": 16, "num_steps": 4}
    return {
        "seed_everything": 0,
        "bootstrap": {
            "num_generations": 1,
            "num_synthetic": 8,
            "run_dir": str(folder),
            "stages": [
                train("view_low", LOW_VIEW, **(low or {})),
                train("view_left", LEFT_VIEW),
                named("Train"),
                named("Synthesize", into="views", compose=alone),
                named("Synthesize"),
                named("Evaluate", of=["samples", "views"]),
            ],
        },
        "model": made,
        "data": named("BootstrapData", mixing=named("OnlyReal"), **data),
        "evaluation": {"features": "bootlight.PixelFeatures", "metrics": ["kid"], "judge_steps": 0, "denoising_levels": 3},
        "trainer": {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False},
    }


def test_a_run_trains_views_and_a_residual_and_draws_from_their_sum(tmp_path):
    run = bootlight.run(config(tmp_path / "run"))
    folder = RunFolder(run.path).generation(0)
    described = json.loads(folder.model_config.read_text())
    assert {name: r["reference"] for name, r in described["references"].items()} == {"low": "view_low", "left": "view_left"}
    own = json.loads(folder.of_part("view_low").model_config.read_text())
    assert described["references"]["low"]["weights_sha256"] == own["weights_sha256"]
    assert own["image_size"] == 4 and own["dtype"] == "float32"
    checkpoint = torch.load(folder.trained_checkpoint, weights_only=True)["state_dict"]
    assert not [name for name in checkpoint if "view" in name or "seen" in name]  # views are no part of the residual's state
    scores = json.loads(folder.metrics.read_text())
    assert "denoising-loss/holdout" in scores["scores"] and "denoising-loss/holdout" in scores["folders"]["views"]["scores"]
    # What is drawn again from the files alone is what the run has drawn, to the rounding of another batch.
    drawn = load_generator(folder).sample([3, 4])
    assert drawn.shape == (2, 1, 8, 8) and drawn.abs().max() <= 1  # the sum is clipped
    assert bootlight.run(config(tmp_path / "run")).path == run.path  # finished, and the same images


def test_a_residual_that_learns_nothing_leaves_the_views(tmp_path):
    """Its last layer starts at zero: without steps of any size the two folders are drawn by one denoiser."""
    run = bootlight.run(config(tmp_path / "run", learning_rate=0.0))
    found = json.loads((run.path / "gen_000/metrics.json").read_text())
    losses = [scores["denoising-loss/holdout"]["value"] for scores in (found["scores"], found["folders"]["views"]["scores"])]
    assert losses[0] == losses[1]


def changed(views=None, **changes):
    return {"views": VIEWS | (views or {}), **changes}


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        (changed({"low": {"part": "view_low", "view": named("LowResolution", factor=4)}}), "view_low"),
        (changed({"low": {"part": "view_lost", "view": LOW_VIEW}}), "view_lost"),
        (changed({"more": {"part": "view_low", "view": LOW_VIEW}}), "low and more"),
        (changed({"low": {"part": "view_low", "view": named("Box", top=0, left=0, height=4, width=4, image_size=6)}}), "low"),
        (changed(low={"model.schedule": named("LinearSchedule")}), "noise levels"),
        (changed(low={"model.sampler.clip": True}), "clip"),
        (changed(low={"data.mixing": named("Others", start=1400, count=300)}), "Others"),
    ],
)
def test_what_cannot_work_is_refused_before_any_training(tmp_path, changes, wanted):
    with pytest.raises(BootlightError, match=wanted):
        bootlight.run(config(tmp_path / "run", **changes))
    assert not (tmp_path / "run/gen_000").exists()


def test_a_part_with_images_of_its_own_goes_on_with_those_alone(tmp_path):
    made = config(tmp_path / "run")
    small = named("ViewOf", origin=named("Digits", image_size=4), view=LOW_VIEW, is_part=True)
    made["bootstrap"]["stages"][0]["init_args"]["settings"] |= {"data.view": None, "data.origin": small}
    run = bootlight.run(made)
    noted = json.loads(run.real_images.read_text())
    assert noted["parts"].keys() == {"view_low", "view_left"} and noted["parts"]["view_low"]["content"] != noted["content"]
    (run.path / "gen_000/metrics.json").unlink()
    bootlight.run(made)
    noted["parts"]["view_low"]["content"] = "0" * 64  # as if the folder had other pictures then
    run.real_images.write_text(json.dumps(noted))
    for file in run.path.glob("gen_000/view_low.*"):
        file.unlink()
    with pytest.raises(BootlightError, match=r"begun with"):
        bootlight.run(made)


def test_an_archive_without_spare_images_is_told():
    source = SimpleNamespace(indices=np.arange(5))
    archive = SimpleNamespace(available=source, real=source, subset_seed=0)
    with pytest.raises(BootlightError, match="not in use"):
        Others().sources(0, archive)
