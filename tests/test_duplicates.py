"""Duplicates: which changes of a picture leave it the same, and which pairs are named."""

import io
import json

import numpy as np
import pytest
from PIL import Image, ImageFilter

from bootlight.data.store import store_from_arrays
from bootlight.errors import BootlightError
from bootlight.evaluation.duplicates import exact_pairs, near_pairs, take_prints
from bootlight.evaluation.sets.sources import StoreSource
from bootlight.io.pictures import encode_png


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
    one[:8] = 180  # structure is about half of its contrast, 40/255, so that half of it is more than the difference
    other = one.copy()
    other[:, :8] += 10  # after the mean is taken away: +-5 everywhere
    first, second = prints(one), prints(other)
    (pair,) = near_pairs(first, second)
    assert pair.difference == pytest.approx(5 / 255, rel=1e-5)  # float32 thumbnails
    assert near_pairs(first, second, limit=4.9 / 255) == []


def seeded(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def ramp(seed: int) -> np.ndarray:
    """Light from some side, of any strength."""
    x, y = np.meshgrid(np.linspace(-1, 1, 32), np.linspace(-1, 1, 32))
    along, across = seeded(seed).uniform(-60, 60, 2)
    return np.repeat((128 + along * x + across * y)[..., None], 3, 2).round().astype(np.uint8)


def vignette(seed: int) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(-1, 1, 32), np.linspace(-1, 1, 32))
    return np.repeat((200 - seeded(seed).uniform(5, 60) * (x * x + y * y))[..., None], 3, 2).round().astype(np.uint8)


def noisy(seed: int, deviation: float) -> np.ndarray:
    return (seeded(seed).uniform(50, 200) + seeded(seed).normal(0, deviation, (32, 32, 3))).round().astype(np.uint8)


def pale(seed: int, contrast: float = 0.15) -> np.ndarray:
    return (128 + contrast * (scene(seed).astype(float) - 128)).round().astype(np.uint8)


@pytest.mark.parametrize(
    "draw",
    [
        lambda seed: np.full((32, 32, 3), 50 + seed, np.uint8),
        lambda seed: np.full((32, 32, 3), seeded(seed).integers(0, 256, 3), np.uint8),
        lambda seed: noisy(seed, 1),
        lambda seed: noisy(seed, 4),
        lambda seed: noisy(seed, 12),
        ramp,
        vignette,
        lambda seed: (ramp(seed).astype(float) + noisy(seed, 3) - 128).clip(0, 255).astype(np.uint8),
        lambda seed: pale(seed, 0.02),
        lambda seed: pale(seed, 0.05),
        lambda seed: pale(seed, 0.1),
    ],
    ids=["grey", "colored", "noise 1", "noise 4", "noise 12", "ramp", "vignette", "noisy ramp", "pale 2", "pale 5", "pale 10"],
)
def test_unrelated_pictures_with_little_in_them_are_not_near(draw):
    assert near_pairs(prints(*map(draw, range(50)))) == []
    assert near_pairs(prints(*map(draw, range(25))), prints(*map(draw, range(25, 50)))) == []


@pytest.mark.parametrize("contrast", [0.1, 0.15, 0.3])
def test_pale_pictures_are_found_again_among_flat_ones(contrast):
    images = [pale(i, contrast) for i in range(20)] + [noisy(i, 1) for i in range(20)]
    brighter = np.clip(images[7].astype(int) + 8, 0, 255).astype(np.uint8)
    blurred = np.asarray(Image.fromarray(images[11]).filter(ImageFilter.GaussianBlur(1)))[:, ::-1]
    found = near_pairs(prints(*images), prints(images[25] // 2, brighter, blurred))
    assert sorted((pair.first, pair.second, pair.mirrored) for pair in found) == [(7, 1, False), (11, 2, True)]
    assert prints(*images).flat == list(range(20, 40))


def test_structure_is_what_shading_leaves():
    x, y = np.meshgrid(np.arange(16), np.arange(16))
    checks = np.repeat((128 + 10 * (-1.0) ** (x + y))[..., None], 3, 2).astype(np.uint8)
    shaded = np.repeat((100 + x * x // 8 * 8)[..., None], 3, 2).astype(np.uint8)
    found = prints(checks, ramp(0)[:16, :16], checks + shaded - 100).structure
    # A chessboard is at right angles to every polynomial of degree 2, but for the ends of its rows: 1/n² of it at most.
    assert found[0].item() == pytest.approx(10 / 255, rel=0.02)
    assert found[1].item() < 0.5 / 255  # rounding of pixels has a deviation of 1/sqrt(12)
    assert prints(ramp(0), vignette(1), scene(0)).flat == [0, 1]


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
    answer = json.loads(capsys.readouterr().out)
    found = answer["findings"]
    assert answer["too_flat"] == {"train": [], "test": []}
    assert [(f["kind"], len(f["pairs"])) for f in found] == [
        ("exact", 0), ("near", 0), ("exact", 1), ("near", 1), ("exact", 0), ("near", 0),
    ]  # fmt: skip
    with pytest.raises(BootlightError, match="a set is named twice"):
        bootlight("data", "check", "train", "train")
