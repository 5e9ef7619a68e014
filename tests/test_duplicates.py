"""Duplicates: which changes of a picture leave it the same, and which pairs are named."""

import io
import json

import numpy as np
import pytest
from PIL import Image, ImageFilter

from bootlight.data.store import store_from_arrays
from bootlight.errors import BootlightError
from bootlight.evaluation.duplicates import exact_pairs, near_pairs, take_prints
from bootlight.evaluation.sources import StoreSource
from bootlight.images import encode_png


def scene(seed: int, size: int = 32) -> np.ndarray:
    """Something smooth, as photographs are: noise of 4 x 4 cells, enlarged."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def prints(*images: np.ndarray):
    return take_prints(StoreSource("", store_from_arrays(np.stack(images))))


def jpeg(image: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=50)
    return np.asarray(Image.open(buffer))


def test_equal_pixels_are_exact_and_nothing_else_is():
    one = scene(0)
    other = one.copy()
    other[3, 3, 0] ^= 1
    assert [(p.first, p.second) for p in exact_pairs(prints(one, other, scene(1), one, one))] == [(0, 3), (0, 4)]
    assert [(p.first, p.second) for p in exact_pairs(prints(one, other), prints(scene(1), other, one))] == [(1, 1), (0, 2)]


@pytest.mark.parametrize(
    "change",
    [
        jpeg,
        lambda image: np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(1))),
        lambda image: np.clip(image.astype(int) + 8, 0, 255).astype(np.uint8),
    ],
    ids=["recompressed", "blurred", "brighter"],
)
def test_the_same_picture_is_near(change):
    images = [scene(i) for i in range(20)]
    (pair,) = near_pairs(prints(*images), prints(change(images[7]), scene(99)))
    assert (pair.first, pair.second, pair.mirrored) == (7, 0, False) and 0 < pair.difference < 0.03


def test_a_mirrored_picture_is_found_and_called_so():
    images = [scene(i) for i in range(20)]
    (pair,) = near_pairs(prints(*images, images[4][:, ::-1]))
    assert (pair.first, pair.second, pair.mirrored) == (4, 20, True)
    assert pair.difference == pytest.approx(0, abs=1e-7)  # the same float32 pixels in another order


def test_other_pictures_are_not_near_and_equal_ones_are_not_repeated():
    images = [scene(i) for i in range(30)]
    assert near_pairs(prints(*images)) == []
    assert near_pairs(prints(*images, images[0])) == []  # that pair is exact
    symmetric = np.concatenate([images[0][:, :16], images[0][:, 15::-1]], axis=1)
    assert near_pairs(prints(symmetric, images[1])) == []  # its own mirror image


def test_the_limit_is_a_root_mean_square():
    one = np.full((16, 16, 3), 100, np.uint8)
    one[:8] = 140
    other = one.copy()
    other[:, :8] += 10  # after the mean is taken away: +-5 everywhere
    first, second = prints(one), prints(other)
    (pair,) = near_pairs(first, second)
    assert pair.difference == pytest.approx(5 / 255, rel=1e-5)  # float32 thumbnails
    assert near_pairs(first, second, limit=4.9 / 255) == []


def test_the_command_names_leaks(bootlight, tmp_path, capsys):
    for name, seeds in (("train", range(6)), ("test", (50, 2, 51))):
        (tmp_path / name).mkdir()
        for i, seed in enumerate(seeds):
            (tmp_path / name / f"{i}.png").write_bytes(encode_png(scene(seed)))
    Image.fromarray(jpeg(scene(3))).save(tmp_path / "test" / "9.png")
    bootlight("data", "check", "train", "test")
    text = capsys.readouterr().out
    assert "✓ exact duplicates inside train: 0" in text
    assert "! exact duplicates in both train and test: 1\n    2.png = 1.png (difference 0.000)" in text
    assert "! near  duplicates in both train and test: 1\n    3.png = 9.png (difference 0.0" in text
    assert "is a leak" in text
    bootlight("data", "check", "train", "test", "--json")
    found = json.loads(capsys.readouterr().out)["findings"]
    assert [(f["kind"], len(f["pairs"])) for f in found] == [
        ("exact", 0), ("near", 0), ("exact", 1), ("near", 1), ("exact", 0), ("near", 0),
    ]  # fmt: skip
    with pytest.raises(BootlightError, match="a set is named twice"):
        bootlight("data", "check", "train", "train")
