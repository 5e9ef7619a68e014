"""Corruptions of pictures: what JPEG, marks and masks do, and that pictures stay pictures."""

import io

import numpy as np
import pytest
import torch
from few_digits import FewDigits
from PIL import Image

from bootlight import (
    JPEG,
    BootlightError,
    Box,
    Corrupted,
    GaussianImages,
    GaussianNoise,
    ImageFiles,
    PixelMask,
    StoreOrigin,
    Subtitle,
    Watermark,
    store_from_arrays,
)
from bootlight.data import store_made
from bootlight.data.image_ids import image_ids
from bootlight.io.pictures import encode_png

IDS = torch.arange(5) * 2**40 + 7


def pictures(count=5, channels=3, edge=16, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, edge, edge, channels), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_what_pillow_writes(channels):
    stored = pictures(3, channels)
    made = Corrupted(StoreOrigin(store_from_arrays(stored)), JPEG(30)).load()[0]
    for picture, found in zip(stored, made.images, strict=True):
        file = io.BytesIO()
        Image.fromarray(picture[:, :, 0] if channels == 1 else picture).save(file, "JPEG", quality=30)
        wanted = np.asarray(Image.open(io.BytesIO(file.getvalue()))).reshape(picture.shape)
        np.testing.assert_array_equal(found, wanted)
    assert made.images.dtype == np.uint8


def test_the_level_of_jpeg_is_the_deviation_of_rounding():
    """Of images whose coefficients are large against the steps it is what is lost; at quality 100 each step is 1."""
    assert JPEG(100).level == pytest.approx(1 / np.sqrt(12) / 127.5, rel=1e-12)
    assert JPEG(10).level > JPEG(50).level > JPEG(95).level
    rng = np.random.default_rng(0)
    grey = (rng.uniform(-1, 1, (8, 64, 64, 1)) * 60 + 127.5).astype(np.uint8)  # white: every coefficient has a deviation of 35
    corruption = JPEG(90)  # steps of 2 to 24
    lost = corruption(torch.from_numpy(grey).permute(0, 3, 1, 2) / 127.5 - 1, torch.arange(8), 0)
    lost = (lost - (torch.from_numpy(grey).permute(0, 3, 1, 2) / 127.5 - 1)).square().mean().sqrt()
    # Rounding to grey levels adds 1 / 12 to about 12; 32,768 numbers, whose mean square is known to 1 %.
    assert float(lost) == pytest.approx(np.hypot(corruption.level, 1 / np.sqrt(12) / 127.5), rel=0.05)


@pytest.mark.parametrize("quality", [0, 101])
def test_no_such_quality(quality):
    with pytest.raises(ValueError, match="quality"):
        JPEG(quality)


@pytest.mark.parametrize("make", [Watermark, Subtitle])
def test_a_mark_covers_what_it_covers_and_nothing_else(make):
    x = torch.rand(5, 3, 24, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    corruption = make(opacity=0.75, ink=-0.5, per_image=True)
    mark = corruption.mark(IDS, 24, 24, 3)
    assert set(mark.unique().tolist()) == {0.0, 1.0} and 0.02 < mark.mean() < 0.3
    y = corruption(x, IDS, 3)
    wanted = torch.where(mark.expand_as(x) > 0, 0.25 * x + 0.75 * -0.5, x)
    torch.testing.assert_close(y, wanted, rtol=0, atol=1e-6)
    assert len({tuple(m.flatten().tolist()) for m in mark}) == 5


@pytest.mark.parametrize("make", [Watermark, Subtitle])
def test_a_fixed_mark_is_the_same_on_all(make):
    corruption = make(opacity=1.0, ink=1.0, per_image=False)
    x = torch.full((5, 1, 16, 16), -1.0)
    y = corruption(x, IDS, 3)
    assert torch.equal(y, y[:1].expand_as(y)) and torch.equal(corruption(x, IDS + 1, 3), y)


def test_a_mark_of_the_users_own(tmp_path):
    mask = np.zeros((6, 9), np.uint8)
    mask[1, 2:5], mask[4] = 255, 51
    (tmp_path / "mark.png").write_bytes(encode_png(mask[:, :, None]))
    corruption = Watermark(opacity=0.5, ink=1.0, mask=str(tmp_path / "mark.png"))
    found = corruption(torch.zeros(2, 1, 6, 9), IDS[:2], 0)
    torch.testing.assert_close(found[1, 0], 0.5 * torch.from_numpy(mask) / 255, rtol=1e-6, atol=0)
    origin = StoreOrigin(store_from_arrays(pictures(edge=6)))
    with pytest.raises(BootlightError, match=r"mark\.png has 6 x 9 pixels .* 6 x 6"):
        Corrupted(origin, corruption).load()
    with pytest.raises(BootlightError, match="nothing"):
        Watermark(mask=str(tmp_path / "nothing.png"))


def test_masks_hide_their_share_and_say_which():
    corruption = PixelMask(0.3, patch=2)
    ids = torch.arange(2000)
    seen = corruption.seen(ids, 7, 8, 1)
    # 2000 x 16 squares: a deviation of sqrt(0.21 / 32000) = 0.0026; five of them. Those at the edge are cut, not weighted.
    assert abs(float(seen[:, :, ::2, ::2].float().mean()) - 0.7) < 0.013
    assert torch.equal(seen[:, :, 0:6:2], seen[:, :, 1:7:2])
    x = torch.ones(2000, 2, 7, 8)
    assert torch.equal(corruption(x, ids, 1), seen.float().expand_as(x))
    whole = PixelMask(0.3, per_image=False).seen(ids, 7, 8, 1)
    assert torch.equal(whole, whole[:1].expand_as(whole))


def test_an_origin_has_the_masks_of_its_images():
    good = StoreOrigin(store_from_arrays(pictures()), store_from_arrays(pictures(2, seed=1)))
    origin = Corrupted(good, PixelMask(0.4), seed=5)
    (store, held_out), (seen, seen_held_out) = origin.load(), origin.masks()
    for images, masks, clean in ((store, seen, good.store), (held_out, seen_held_out, good.held_out)):
        masks = masks.images
        assert masks.shape == (*images.images.shape[:3], 1) and masks.dtype == np.uint8
        np.testing.assert_array_equal(images.images, (clean.images.astype(np.float32) / np.float32(127.5) - 1) * masks)
    assert Corrupted(good, JPEG()).masks() is None


@pytest.mark.parametrize(("options", "key"), [({"share": 1.0}, "share"), ({"patch": 0}, "patch")])
def test_no_such_mask(options, key):
    with pytest.raises(ValueError, match=key):
        PixelMask(**options)


@pytest.mark.parametrize("options", [{"opacity": 1.1}, {"ink": 2.0}, {"height": 0.0}])
def test_no_such_mark(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Subtitle(**options)


@pytest.mark.parametrize(
    ("corruption", "dtype"),
    [
        (JPEG(), "uint8"),
        (Subtitle(), "uint8"),
        (Watermark(), "uint8"),
        (GaussianNoise(0.2), "float32"),
        (PixelMask(), "float32"),
    ],
)
def test_pictures_stay_pictures_and_noise_becomes_numbers(corruption, dtype):
    origin = Corrupted(FewDigits().origin, corruption)
    assert origin.load()[0].images.dtype.name == dtype == origin.dtype
    floats = Corrupted(GaussianImages(8, 3, count=4, rounded=False), corruption)
    assert floats.load()[0].images.dtype.name == "float32" == floats.dtype


def test_the_type_of_files_is_that_of_what_they_hold(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32))
    origin = Corrupted(ImageFiles(str(tmp_path), 8, cache=str(tmp_path / "cache")), Subtitle())
    assert origin.load()[0].images.dtype == np.float32


@pytest.mark.parametrize("corruption", [GaussianNoise(0.5), Subtitle(), Box(0, 0, 4, 4, 16), PixelMask()])
def test_many_images_are_written_and_mapped_and_are_the_same(corruption, monkeypatch):
    good = StoreOrigin(store_from_arrays(pictures(600, 1), np.arange(600) % 2, ["a", "b"]))
    kept = Corrupted(good, corruption, seed=1)
    monkeypatch.setattr(store_made, "IN_MEMORY", 10)
    monkeypatch.setattr("bootlight.data.store_made._made", {})
    mapped = Corrupted(good, corruption, seed=1)
    store, again = kept.load()[0], None
    monkeypatch.setattr(store_made, "IN_MEMORY", 2**30)
    monkeypatch.setattr("bootlight.data.store_made._made", {})
    again = mapped.load()[0]
    assert isinstance(store.images, np.memmap) and not isinstance(again.images, np.memmap)
    assert (store.key, store.names, store.class_names) == (again.key, again.names, again.class_names)
    np.testing.assert_array_equal(store.images, again.images)
    ids = torch.from_numpy(image_ids(good.store.key, np.array([450])))
    alone = corruption(torch.from_numpy(good.store.images[450:451] / np.float32(127.5) - 1).permute(0, 3, 1, 2), ids, 1)
    wanted = alone if store.images.dtype == np.float32 else (alone * 127.5 + 127.5).round()
    np.testing.assert_array_equal(store.images[450], wanted[0].permute(1, 2, 0).numpy().astype(store.images.dtype))
