"""Plug-ins of synthesis as a user writes them, each a file, run by `bootlight fit`: synthesizers, a curator, a reward."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import DDPM, fingerprint, options, write_plain_pages

from bootlight.errors import BootlightError
from bootlight.generators.ddpm import DDPM as DDPMModule
from bootlight.generators.load import load_generator
from bootlight.io.atomic import read_json
from bootlight.io.pictures import decode, to_float, to_uint8
from bootlight.rng import NoiseStreams, derive_seed
from bootlight.runs.curation import read_curation
from bootlight.runs.folder import RunFolder
from bootlight.runs.manifest import read_metadata
from bootlight.synthesis.synthesizer import Draw

GAUSSIAN = ["--model=bootlight.PixelGaussian"]


class Narrow(Draw):
    """Needs what the model is not."""

    needs = DDPMModule


class TooFew(Draw):
    """Asks for one image less."""

    def requests(self, generator, data, context, count, into="samples"):
        return super().requests(generator, data, context, count, into)[1:]


@pytest.fixture(autouse=True)
def plain_pages(monkeypatch):
    write_plain_pages(monkeypatch)


def stages(*listed: object) -> str:
    return f"--bootstrap.stages={json.dumps(listed)}"


def synthesize(class_path: str | None = None, into: str = "samples", **arguments: object) -> dict[str, object]:
    synthesizer = None if class_path is None else {"class_path": class_path, "init_args": arguments}
    return {"class_path": "bootlight.Synthesize", "init_args": {"into": into, "synthesizer": synthesizer}}


def curate(class_path: str, **arguments: object) -> dict[str, object]:
    return {"class_path": "bootlight.Curate", "init_args": {"curator": {"class_path": class_path, "init_args": arguments}}}


def pixels(file):
    return np.array(decode(file.read_bytes(), str(file), image_size=8, channels=3))


def images_of(folder):
    """Grey levels (N, H, W, C), in the order of the manifest."""
    return np.stack([pixels(folder.samples / row["file_name"]) for row in read_metadata(folder)])


def test_a_synthesizer_with_parents(bootlight, pictures, tmp_path):
    run = RunFolder(tmp_path / "run")
    listed = stages("bootlight.Train", synthesize("halfway.Halfway"), synthesize("halfway.Halfway", "second", of="samples"))
    command = [
        "fit",
        *GAUSSIAN,
        *options(pictures, run.path, **{"bootstrap.num_synthetic": 6, "synthesis.batch_size": 3}),
        listed,
    ]
    bootlight(*command)
    calm = fingerprint(run.path)
    folder = run.generation(0)
    for into, of in (("samples", pictures), ("second", folder.samples)):
        rows = list(read_metadata(folder.of_images(into)))
        assert len({row["parent"] for row in rows}) == 3 and rows[0]["deviation"] == 0.5
        for row, image in zip(rows, images_of(folder.of_images(into)), strict=True):
            name, _, own = row["parent"].partition("/")
            assert name == ("real" if into == "samples" else "samples")
            parent = to_float(torch.from_numpy(pixels(of / own)).permute(2, 0, 1))
            expected = to_uint8((parent + 0.5 * NoiseStreams([row["seed"]]).normal(3, 8, 8)[0]) / 2)
            assert np.array_equal(image, expected.permute(1, 2, 0).numpy())
    for into in ("samples", "second"):  # as a kill would leave it
        images = folder.of_images(into)
        images.metadata.unlink()
        images.sample_file(4).unlink()
    bootlight(*command)
    assert fingerprint(run.path) == calm


def test_a_synthesizer_of_clips(bootlight, pictures, tmp_path):
    run = RunFolder(tmp_path / "run")
    listed = stages("bootlight.Train", synthesize("walk.Walk"))
    command = ["fit", *GAUSSIAN, *options(pictures, run.path, **{"bootstrap.num_synthetic": 9}), listed]
    bootlight(*command)
    calm = fingerprint(run.path)
    folder = run.generation(0)
    rows, images = list(read_metadata(folder)), images_of(folder)
    module = load_generator(folder)
    for i in range(3):
        assert [row["frame"] for row in rows[3 * i : 3 * i + 3]] == [0, 1, 2]
        frame = None
        for k in range(3):
            new = module.sample([derive_seed(rows[3 * i]["seed"], k)])
            frame = to_float(to_uint8(new if frame is None else (frame + new) / 2))
            assert np.array_equal(images[3 * i + k], to_uint8(frame)[0].permute(1, 2, 0).numpy())
    folder.metadata.unlink()
    for i in (1, 2, 8):  # of the first clip two frames, of the last one: as a kill would leave it
        folder.sample_file(i).unlink()
    bootlight(*command)
    assert fingerprint(run.path) == calm
    with pytest.raises(BootlightError, match="clips of 3"):  # before anything
        bootlight("fit", *GAUSSIAN, *options(pictures, tmp_path / "x", **{"bootstrap.num_synthetic": 8}), listed)
    assert not list(tmp_path.glob("x/gen_*"))


def test_a_curator_whose_weights_and_labels_are_learned_from(bootlight, pictures, tmp_path):
    run = RunFolder(tmp_path / "run")
    listed = stages("bootlight.Train", synthesize(), curate("by_class.ByDarkness", power=2.0))
    mixing = {"data.mixing": "bootlight.Replace", "data.mixing.keep_real": "false"}
    sizes = {"data.num_steps": 1, "data.batch_size": 7, "bootstrap.num_synthetic": 8, "bootstrap.num_generations": 2}
    bootlight("fit", *GAUSSIAN, *options(pictures, run.path, **mixing | sizes | {"data.flip": "false"}), listed)
    folder = run.generation(0)
    images = images_of(folder).astype(np.float64)
    means = images.mean((1, 2, 3))
    said = read_curation(folder)
    rows = [said[row["file_name"]] for row in read_metadata(folder)]
    kept = means < means.max()
    assert [row.keep for row in rows] == kept.tolist() and kept.sum() == 7
    weights = (255 - means[kept]) ** 2
    assert np.allclose([row.weight for row in rows if row.keep], weights, rtol=1e-5)  # means are float32 there
    fit = load_file(run.generation(1).weights)
    mean, square = (fit["sums"] / fit["count"]).numpy().transpose(0, 2, 3, 1)
    expected = np.average(images[kept] / 127.5 - 1, axis=0, weights=weights)
    # One step over all seven images. Weights and pixels are float32 on the way: 1e-7 of numbers up to 1, a few of them.
    assert np.allclose(mean, expected, atol=1e-6)
    assert np.allclose(square, np.average((images[kept] / 127.5 - 1) ** 2, axis=0, weights=weights), atol=1e-6)


def test_a_reward(bootlight, pictures, tmp_path):
    run = RunFolder(tmp_path / "run")
    reward = {"class_path": "contrast.Contrast", "init_args": {"bonus": 1000.0}}
    listed = stages("bootlight.Train", synthesize(), curate("bootlight.ByReward", reward=reward, share=0.75, beta=500.0))
    classes = {"model.num_classes": 2, "bootstrap.num_synthetic": 8, "data.num_steps": 1}
    bootlight("fit", *DDPM, *options(pictures, run.path, **classes), listed)
    folder = run.generation(0)
    labels = np.array([row["label"] for row in read_metadata(folder)])
    values = images_of(folder).astype(np.float64).reshape(8, -1).std(1, ddof=1) + 1000 * labels
    rows = list(read_curation(folder).values())
    best = np.sort(np.argsort(-values)[:6])
    assert [i for i, row in enumerate(rows) if row.keep] == best.tolist()
    assert labels.sum() == 4 and set(np.flatnonzero(labels)) <= set(best.tolist())
    expected = np.exp((values[best] - values.max()) / 500)
    assert np.allclose([rows[i].weight for i in best], expected, rtol=1e-9)  # the same in float64
    assert read_json(folder.path / "samples_curation.json")["kept"] == 6


@pytest.mark.parametrize(
    ("listed", "named"),
    [
        (synthesize("test_plug_ins_synthesis.Narrow", "second"), "Narrow draws with a DDPM"),
        (synthesize("bootlight.Draw", "second", label_weights={"a": 1.0}), "num_classes"),
        (synthesize("test_plug_ins_synthesis.TooFew", "second"), "TooFew"),
        (synthesize("halfway.Halfway", "real"), "real"),
        (curate("bootlight.ByReward", reward={"class_path": "contrast.Contrast"}, share=0), "share"),
    ],
)
def test_what_cannot_work_is_told_before_a_training(bootlight, pictures, tmp_path, listed, named):
    with pytest.raises(BootlightError, match=named):
        bootlight("fit", *GAUSSIAN, *options(pictures, tmp_path / "run"), stages("bootlight.Train", synthesize(), listed))
    assert not list(tmp_path.glob("run/gen_*"))


def test_a_folder_that_will_be_drawn_may_have_parents(bootlight, pictures, tmp_path):
    """Whose names nobody knows before."""
    bootlight(
        "fit", *GAUSSIAN, *options(pictures, tmp_path / "run"), "--smoke",
        stages("bootlight.Train", synthesize(), synthesize("halfway.Halfway", "second", of="samples")),
    )  # fmt: skip
    folder = RunFolder(tmp_path / "run-smoke").generation(0).of_images("second")
    assert {row["parent"] for row in read_metadata(folder)} == {"samples/00000/000000.png", "samples/00000/000001.png"}


def test_what_a_curator_left_out_is_no_parent(bootlight, pictures, tmp_path):
    listed = stages(
        "bootlight.Train", synthesize(), curate("by_class.ByDarkness"), synthesize("halfway.Halfway", "second", of="samples")
    )
    command = ["fit", *GAUSSIAN, *options(pictures, tmp_path / "run", **{"bootstrap.num_synthetic": 6}), listed]
    bootlight(*command)
    folder = RunFolder(tmp_path / "run").generation(0)
    kept = [row.file_name for row in read_curation(folder).values() if row.keep]
    parents = [row["parent"] for row in read_metadata(folder.of_images("second"))]
    assert parents == [f"samples/{kept[i // 2]}" for i in range(6)] and len(kept) == 5


def test_labels_are_drawn_in_the_proportions_that_were_asked_for(bootlight, pictures, tmp_path):
    run = RunFolder(tmp_path / "run")
    sizes = {"model.num_classes": 2, "bootstrap.num_synthetic": 8, "data.num_steps": 1}
    listed = stages("bootlight.Train", synthesize("bootlight.Draw", label_weights={"a": 1, "b": 3}))
    bootlight("fit", *DDPM, *options(pictures, run.path, **sizes), listed)
    assert sorted(row["label"] for row in read_metadata(run.generation(0))) == [0, 0, 1, 1, 1, 1, 1, 1]
