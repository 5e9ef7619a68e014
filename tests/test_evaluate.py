"""`bootlight evaluate` and `bootlight compare` as their users call them."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from bootlight.errors import BootlightError
from bootlight.io.pictures import decode_whole, encode_png
from bootlight.metrics.distances.frechet import FrechetDistance
from bootlight.metrics.features.features import PixelFeatures

PIXELS = ["--features=bootlight.PixelFeatures", "--features.size=2"]


class Counted(nn.Module):
    """Mean colours; counts the images that it has seen."""

    name = "counted"
    seen = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        Counted.seen += len(images)
        return images.float().mean((2, 3))


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Noise pictures: 30 real ones, 20 others, and the same 20 a little brighter."""
    root = tmp_path_factory.mktemp("sets")
    rng = np.random.default_rng(0)
    for name, count in (("real", 30), ("drawn", 20)):
        for i in range(count):
            pixels = rng.integers(0, 200, (8, 8, 3), dtype=np.uint8)
            for folder, change in ((name, 0), ("brighter", 12)) if name == "drawn" else ((name, 0),):
                (root / folder).mkdir(exist_ok=True)
                (root / folder / f"{i:02d}.png").write_bytes(encode_png(pixels + np.uint8(change)))
    return root


def tensors(folder) -> torch.Tensor:
    images = [decode_whole(file.read_bytes(), file.name) for file in sorted(folder.iterdir())]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def test_json_holds_what_the_metrics_say(bootlight, sets, capsys):
    bootlight("evaluate", f"--real={sets / 'real'}", f"--synthetic={sets / 'drawn'}", *PIXELS, "--metrics=fd,kid", "--json")
    answer = json.loads(capsys.readouterr().out)
    metric = FrechetDistance(features=PixelFeatures(2))
    metric.update(tensors(sets / "real"), real=True)
    metric.update(tensors(sets / "drawn"), real=False)
    expected = metric.scores()["fd-pixels"]
    # The same features; those from the command went through batches of 64, which a mean over cells does not notice.
    assert answer["scores"]["fd-pixels"]["value"] == expected.value
    assert answer["scores"]["fd-pixels"]["standard_error"] == expected.standard_error
    assert [entry["n"] for entry in answer["sets"]] == [30, 20]
    assert set(answer["scores"]) == {"fd-pixels", "kid", "told-apart"}  # 30 real images are too few for a floor
    assert answer["verdict"]["told_apart"]["p"] == answer["scores"]["told-apart"]["value"]
    assert "no floor" in answer["verdict"]["remarks"][0]
    assert answer["scores"]["kid"]["higher_is_better"] is False


def test_the_table_names_sets_protocol_and_doubts(bootlight, sets, capsys):
    bootlight("evaluate", f"--real={sets / 'real'}", f"--synthetic={sets / 'drawn'}", *PIXELS, "--metrics=fd")
    text = capsys.readouterr().out
    assert f"real       {sets / 'real'} (30 images)" in text
    assert "features pixels; resize mean over 2 x 2 cells; num_features 12" in text
    assert "fd-pixels" in text and " ± " in text and "! fd-pixels: 20 synthetic images are fewer than 10 for each of 12" in text


def test_sets_of_different_sizes_are_remarked_on(bootlight, sets, tmp_path, capsys):
    (tmp_path / "large").mkdir()
    for file in (sets / "drawn").iterdir():
        larger = decode_whole(file.read_bytes(), "").repeat(2, 0)[:, :6]
        (tmp_path / "large" / file.name).write_bytes(encode_png(larger))
    for command in (["evaluate", "--synthetic=large"], ["compare", "large", "large"]):
        command += [f"--real={sets / 'real'}", *PIXELS, "--metrics=fd"]
        bootlight(*command)
        said = " ".join(capsys.readouterr().out.split())
        assert "8 x 8" in said and "6 x 16), and resolution is part of every score; --image-size 6 brings all to one" in said
        bootlight(*command, "--image-size=6")
        assert "resolution" not in capsys.readouterr().out


def test_too_few_pairs_are_told_before_anything_is_measured(bootlight, sets, tmp_path):
    (tmp_path / "few").mkdir()
    for file in sorted((sets / "drawn").iterdir())[:7]:
        (tmp_path / "few" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(BootlightError, match=r"7 pairs of images are too few: the metrics need 7 where some are left out"):
        bootlight("compare", "few", "few", f"--real={sets / 'real'}", *PIXELS)


def test_a_network_sees_each_set_once_ever(bootlight, sets, capsys):
    command = ["evaluate", f"--real={sets / 'real'}", "--features=test_evaluate.Counted", "--metrics=fd,precision-recall"]
    Counted.seen = 0
    bootlight(*command, f"--synthetic={sets / 'drawn'}")
    assert Counted.seen == 50  # whatever the number of metrics
    bootlight(*command, f"--synthetic={sets / 'brighter'}")
    assert Counted.seen == 70  # the real ones are known
    bootlight(*command, f"--synthetic={sets / 'brighter'}", "--image-size=4")
    assert Counted.seen == 120  # these are other pictures


def test_saved_statistics_take_the_place_of_the_images(bootlight, sets, tmp_path, capsys):
    command = ["evaluate", f"--synthetic={sets / 'drawn'}", *PIXELS, "--metrics=fd", "--json"]
    bootlight(*command, f"--real={sets / 'real'}", f"--save-stats={tmp_path / 'stats.npz'}")
    direct = json.loads(capsys.readouterr().out)["scores"]["fd-pixels"]
    bootlight(*command, f"--reference-stats={tmp_path / 'stats.npz'}")
    again = json.loads(capsys.readouterr().out)["scores"]["fd-pixels"]
    # The file holds float64; symmetrising the covariance again moves its last bit.
    assert again["value"] == pytest.approx(direct["value"], rel=1e-9)
    with np.load(tmp_path / "stats.npz") as file:
        features = PixelFeatures(2)(tensors(sets / "real")).double().numpy()
        np.testing.assert_allclose(file["mu"], features.mean(0), rtol=1e-12)
        np.testing.assert_allclose(file["sigma"], np.cov(features.T), rtol=1e-9, atol=1e-15)
    for also, named in (["--c2st", "--judges=2"], "--judges, --c2st"), (["--metrics=fd,kid"], "--metrics"):
        with pytest.raises(BootlightError, match=rf"a Frechet distance is all there can be; leave out {named}$"):
            bootlight(*command, f"--reference-stats={tmp_path / 'stats.npz'}", *also)
    with pytest.raises(BootlightError, match=r"stats\.npz holds statistics of 12 features, but PixelFeatures answers 192"):
        bootlight("evaluate", f"--synthetic={sets / 'drawn'}", PIXELS[0], f"--reference-stats={tmp_path / 'stats.npz'}")


def test_held_out_images_add_the_copying_test(bootlight, sets, capsys):
    bootlight(
        "evaluate", f"--real={sets / 'real'}", f"--synthetic={sets / 'real'}", f"--held-out={sets / 'drawn'}", *PIXELS,
        "--metrics=fd", "--json",
    )  # fmt: skip
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert scores["fd-pixels"]["value"] < 1e-9  # of a set to itself: rounding of 12 eigenvalues around 1e-3
    assert scores["ct-global"]["value"] < -5  # all 30 copies are nearer to the training images than all 20 others: z = -5.9


def test_the_closest_pairs_are_drawn(bootlight, sets, tmp_path, capsys):
    bootlight(
        "evaluate", f"--real={sets / 'real'}", f"--synthetic={sets / 'drawn'}", *PIXELS, "--metrics=fd",
        f"--neighbours={tmp_path / 'pairs.png'}",
    )  # fmt: skip
    real, drawn = (PixelFeatures(2)(tensors(sets / name)).double() for name in ("real", "drawn"))
    closest = torch.cdist(drawn, real).min(1).values.argmin().item()
    picture = decode_whole((tmp_path / "pairs.png").read_bytes(), "")
    tile = decode_whole((sets / "drawn" / f"{closest:02d}.png").read_bytes(), "").repeat(8, 0).repeat(8, 1)
    places = [(y, x) for y in range(60) for x in range(60) if np.array_equal(picture[y : y + 64, x : x + 64], tile)]
    assert len(places) == 1  # the first picture at the top left, enlarged eight times


def test_compare_finds_what_is_there_and_says_what_is_not(bootlight, sets, tmp_path, capsys):
    command = ["compare", *(str(sets / name) for name in ("drawn", "brighter", "drawn")), f"--real={sets / 'real'}", *PIXELS]
    bootlight(*command, "--metrics=fd", f"--picture={tmp_path / 'forest.png'}", "--paired")
    text = capsys.readouterr().out
    rows = [line.split() for line in text.splitlines() if line.startswith("fd-pixels")]
    assert "20 pairs" in text and rows[0][-1] == "worse" and rows[1][-1] == "same"
    assert "Compared with A, B is worse in 1 of 1 score." in text and "C and A score exactly the same in 1 score." in text
    assert (tmp_path / "forest.png").read_bytes().startswith(b"\x89PNG")
    bootlight(*command, "--metrics=fd", "--json", "--paired")
    answer = json.loads(capsys.readouterr().out)
    found = answer["differences"]
    assert answer["verdicts"][1] == "C and A score exactly the same in 1 score." and answer["references"][0]["n"] == 30
    assert found[0]["sentence"].startswith("fd-pixels: ") and "which is worse" in found[0]["sentence"]
    assert [(row["second"].rpartition("/")[2], row["score"]) for row in found] == [
        ("brighter", "fd-pixels"),
        ("drawn", "fd-pixels"),
    ]
    # 12 grey levels more in 12 cells: |m_r - m_s|² grows by 12 (12/255)² and by twice the product with the shift before.
    real, drawn = (PixelFeatures(2)(tensors(sets / name)).double() for name in ("real", "drawn"))
    shift, step = drawn.mean(0) - real.mean(0), 12 / 255
    assert found[0]["value"] == pytest.approx((12 * step**2 + 2 * step * shift.sum()).item(), rel=1e-4)
    assert found[0]["paired"] is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--synthetic=x"], "give either --real or --reference-stats"),
        (["--synthetic=x", "--real=y", "--reference-stats=z"], "give either --real or --reference-stats"),
        (["--synthetic=x", "--real=y"], "does not exist"),
        (["--synthetic=x", "--real=y", *PIXELS, "--metrics=fid"], "there is no 'fid'; there are fd, "),
        (["--synthetic=x", "--real=y", *PIXELS, "--metrics=sfid"], "sfid needs the Inception network, not PixelFeatures"),
        (["--synthetic=x", "--real=y", *PIXELS], "y does not exist"),
        (["--synthetic=x", "--real=y", *PIXELS, "--neighbours=no/where.png"], "no/where.png: its folder does not exist"),
        (["--synthetic=x", "--real=y", *PIXELS, "--batch-size=0"], "--batch-size is 0"),
    ],
)
def test_mistakes_are_named_before_any_work(bootlight, monkeypatch, tmp_path, options, message):
    monkeypatch.setenv("HOME", str(tmp_path))  # no weights there
    with pytest.raises(BootlightError, match=message.replace(".", r"\.")):
        bootlight("evaluate", *options)
