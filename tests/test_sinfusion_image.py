"""Models of one picture: windows of it, images of any size, and what is learned of it."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from test_closed_forms import named
from tiny_runs import write_plain_pages

import bootlight
from bootlight.data.crops import cropped
from bootlight.errors import BootlightError
from bootlight.runs.drawn import drawn_shape
from bootlight.runs.folder import RunFolder


@pytest.fixture(autouse=True)
def plain_pages(monkeypatch):
    write_plain_pages(monkeypatch)


def config(folder, picture, size, synthesize, network=None, **data):
    """One generation of a tiny network of 11 x 11 pixels."""
    network = network or named("NextNet", width=8, depth=1)
    return {
        "seed_everything": 0,
        "bootstrap": {
            "num_generations": 1,
            "run_dir": str(folder),
            "num_synthetic": 4,
            "stages": [
                named("Train"),
                *synthesize,
                named("Evaluate", of=[s["init_args"].get("into", "samples") for s in synthesize]),
            ],
        },
        "model": named(
            "Diffusion",
            network=network,
            schedule=named("CosineSchedule", num_timesteps=20),
            prediction=named("X0"),
            learning_rate=5e-3,
            ema_decay=0.9,
        ),
        "data": named(
            "BootstrapData", **({"origin": named("Crops", origin=picture, size=size), "batch_size": 4, "num_steps": 2} | data)
        ),
        "synthesis": {"batch_size": 4, "num_previews": 2},
        "evaluation": {"judge_steps": 0, "metrics": ["bootlight.PatchNeighbors"]},
        "trainer": {"accelerator": "cpu"},
    }


def of_size(size, **stage):
    return named("Synthesize", synthesizer=named("AnySize", size=size), **stage)


def drawn(folder, into="samples"):
    files = sorted((folder / "gen_000" / into).rglob("*.png"))
    return np.stack([np.asarray(Image.open(file)) for file in files])


def test_every_place_where_a_window_fits_is_equally_likely():
    images = torch.arange(2 * 3 * 5 * 7).reshape(2, 3, 5, 7)
    grid = torch.cartesian_prod((torch.arange(12) + 0.5) / 12, (torch.arange(10) + 0.5) / 10)  # 12 = 4 x 3 places, 10 = 2 x 5
    many = images[:1].expand(len(grid), -1, -1, -1)
    found = cropped(many, 3, 3, grid)
    counts = {}
    for window in found:
        counts[int(window[0, 0, 0])] = counts.get(int(window[0, 0, 0]), 0) + 1
    assert counts == {7 * top + left: 4 * 2 for top in range(3) for left in range(5)}
    for window in found:
        top, left = divmod(int(window[0, 0, 0]), 7)
        assert torch.equal(window, images[0, :, top : top + 3, left : left + 3])
    assert torch.equal(cropped(images, 5, 7, torch.rand(2, 2)), images)
    edge = cropped(images, 2, 2, torch.full((2, 2), 1 - 2**-24))  # the largest float32 below 1
    assert torch.equal(edge, images[:, :, 3:, 5:])


def test_a_training_step_sees_windows_of_the_picture():
    picture = bootlight.Lattice(20, tile=4)
    data = bootlight.BootstrapData(origin=bootlight.Crops(picture, [6, 9]), batch_size=8, num_steps=2)
    data.setup()
    loader = data.train_dataloader()
    seen = torch.cat([batch.images for batch in loader])
    windows = np.lib.stride_tricks.sliding_window_view(picture.pixels, (6, 9), (0, 1)).reshape(-1, 3, 6, 9)
    assert all((windows == np.asarray(window)).all((1, 2, 3)).any() for window in seen)
    assert len({window.numpy().tobytes() for window in seen}) > 8  # of 180 places; the chance of fewer is below 1e-9
    again = torch.cat([batch.images for batch in data.train_dataloader()])
    assert torch.equal(seen, again)


@pytest.mark.parametrize(("edge", "warned"), [(11, True), (12, False)])
def test_what_the_network_sees_is_told(tmp_path, capsys, edge, warned):
    made = config(tmp_path / "run", named("Lattice", size=[edge, 16]), 8, [of_size(12)])
    bootlight.run(made)
    line = next(line for line in capsys.readouterr().out.splitlines() if "a computed texture" in line)
    assert "11 x 11" in line and ("model.network.depth" in line) == warned


def test_images_of_any_size_through_the_command_line(tmp_path):
    stages = [of_size([12, 30]), of_size(8, into="own"), named("Synthesize", into="plain")]
    bootlight.run(config(tmp_path / "run", named("Lattice", size=16, tile=4), 8, stages))
    assert drawn(tmp_path / "run").shape == (4, 12, 30, 3)
    # Other seeds belong to other folders, so that equality is seen in the streams: the same synthesizer at the network's size.
    assert drawn(tmp_path / "run", "own").shape == drawn(tmp_path / "run", "plain").shape == (4, 8, 8, 3)
    with Image.open(tmp_path / "run/gen_000/previews.png") as previews:
        assert previews.width >= 2 * 30  # two, in squares
    folder = RunFolder(tmp_path / "run").generations()[0]
    assert drawn_shape(folder, (1, 1, 1)) == (3, 12, 30)
    scores = json.loads((tmp_path / "run" / "gen_000" / "metrics.json").read_text())
    metric = bootlight.PatchNeighbors()
    metric.update(torch.from_numpy(bootlight.Lattice(16, tile=4).pixels).permute(2, 0, 1)[None], real=True)
    metric.update(torch.from_numpy(drawn(tmp_path / "run")).permute(0, 3, 1, 2), real=False)
    for name in ("nnfdist", "nnfdiv"):
        assert scores["scores"][f"{name}/train"]["value"] == pytest.approx(metric.scores()[name].value, rel=1e-6)


def test_at_its_own_size_it_draws_as_ever():
    torch.manual_seed(0)
    model = bootlight.Diffusion([6, 9], lambda sizes: bootlight.NextNet(sizes, 4, 2), schedule=bootlight.CosineSchedule(5))
    torch.nn.init.normal_(model.drawn(model.network).last.weight)
    assert torch.equal(model.at_size(6, 9).sample([1, 2]), model.sample([1, 2]))
    larger = model.at_size(20, 10)
    assert larger.sample([1, 2]).shape == (2, 3, 20, 10) and larger.network is model.network
    assert model.sample([1]).shape == (1, 3, 6, 9)
    torch.testing.assert_close(larger.sample([1, 2])[1:], larger.sample([2]))


@pytest.mark.parametrize(
    ("picture", "size", "network", "said"),
    [
        (named("Lattice", size=16), 17, None, "Crops size"),
        (named("Lattice", size=16), 8, named("UNet", width=8, channel_multipliers=[1], attention_resolutions=[]), "NextNet"),
        (named("Picture", file="nowhere.png"), 8, None, "nowhere.png"),
        (named("Lattice", size=16), 8, named("NextNet", width=8, depth=1, beside=["before"]), "before"),
    ],
)
def test_one_line_before_any_training(tmp_path, picture, size, network, said):
    with pytest.raises(BootlightError) as told:
        bootlight.run(config(tmp_path / "run", picture, size, [of_size(12)], network))
    assert said in str(told.value) and "\n" not in str(told.value)
    assert not list((tmp_path / "run").glob("gen_*/*"))


def test_a_file_is_shrunk_and_told(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (30, 50, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    whole, small = (bootlight.Picture(str(tmp_path / "a.png"), longest) for longest in (None, 20))
    assert np.array_equal(whole.load()[0].images[0], pixels) and whole.shape == (3, 30, 50)
    assert small.shape == (3, 12, 20) and small.load()[0].images.shape == (1, 12, 20, 3)
    assert small.load()[0].images.mean() == pytest.approx(pixels.mean(), abs=2)
    assert "50 x 30" in small.told()[0] and "20 x 12" in small.told()[0]
    sample = bootlight.SamplePicture("flower.jpg", 64)
    assert sample.shape == (3, 43, 64)  # 427 / 640 of 64
    with pytest.raises(BootlightError, match="china"):
        bootlight.SamplePicture("other.jpg")


def test_a_picture_of_one_colour_is_drawn_in_one_colour(tmp_path):
    Image.new("RGB", (16, 16), (200, 100, 50)).save(tmp_path / "plain.png")
    made = config(tmp_path / "run", named("Picture", file=str(tmp_path / "plain.png")), 12, [of_size(20)], num_steps=300)
    bootlight.run(made)
    off = np.abs(drawn(tmp_path / "run").astype(int) - [200, 100, 50])
    # The last step's answer is the image. Trained to a mean square of 1e-3 in units of [-1, 1] it is off by 4 of 255 levels.
    assert off.mean() < 4 and np.quantile(off, 0.99) < 16
