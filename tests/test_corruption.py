"""Frozen noise and linear parts of images."""

import numpy as np
import pytest
import torch

from bootlight.data.corrupted import Corrupted
from bootlight.data.digits import Digits
from bootlight.data.image_ids import image_ids
from bootlight.data.origin import StoreOrigin
from bootlight.data.store import store_from_arrays
from bootlight.diffusion.corruption import Box, Clean, Corruption, GaussianNoise, Whole

IDS = torch.tensor([0, 5, 2**40 + 5, 2**62])


def images(count=4, *shape):
    return torch.randn(count, *(shape or (2, 6, 5)), dtype=torch.float64, generator=torch.Generator().manual_seed(count))


def test_noise_is_frozen_by_name_and_seed_alone():
    x, noise = images(), GaussianNoise(0.5)
    whole = noise(x, IDS, 3) - x
    # The sums are rounded to 1e-16 of numbers below 10.
    torch.testing.assert_close(noise(x[[2, 0]], IDS[[2, 0]], 3) - x[[2, 0]], whole[[2, 0]], rtol=0, atol=1e-14)
    torch.testing.assert_close(noise(2 * x, IDS, 3) - 2 * x, whole, rtol=0, atol=1e-14)
    torch.testing.assert_close(GaussianNoise(1.5)(x, IDS, 3) - x, 3 * whole, rtol=0, atol=1e-14)
    others = [whole[1], whole[2], noise(x, IDS, 4)[1] - x[1]]
    assert all(not torch.allclose(a, b) for i, a in enumerate(others) for b in others[i + 1 :])
    assert noise.level == 0.5
    with pytest.raises(ValueError, match="tau is"):
        GaussianNoise(-1.0)


def test_noise_is_standard_normal():
    x = torch.zeros(1000, 1, 10, 10)
    n = GaussianNoise(1.0)(x, torch.arange(1000) * 2**33, 0)
    # 100,000 numbers: five deviations of their mean, of their variance and of the mean product of neighbours (by name).
    assert n.mean().item() == pytest.approx(0, abs=5 / 100_000**0.5)
    assert n.var().item() == pytest.approx(1, abs=5 * (2 / 100_000) ** 0.5)
    assert (n[1:] * n[:-1]).mean().item() == pytest.approx(0, abs=5 / 99_900**0.5)


def test_without_corruption_an_image_is_itself():
    x = images()
    for nothing in (Clean(), GaussianNoise(0.0), Whole(), Box(0, 0, 6, 5, [6, 5])):
        assert torch.equal(nothing(x, IDS, 1), x) and nothing.level == 0


@pytest.mark.parametrize("view", [Whole(), Box(1, 2, 3, 2, [6, 5])])
def test_the_adjoint_is_one(view):
    x, part = images(), view.project(images(3))
    y = torch.randn(part.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = x[:3]
    assert (view.project(x) * y).sum().item() == pytest.approx((x * view.adjoint(y)).sum().item(), rel=1e-12)
    assert torch.equal(view.project(view.adjoint(y)), y)  # rows of a projection


def test_a_box_keeps_its_pixels_and_no_others():
    x = torch.ones(1, 1, 6, 6)
    seen = Box(1, 2, 3, 2, 6)(x, torch.tensor([0]), 0)
    assert seen.sum() == 6 and (seen[0, 0, 1:4, 2:4] == 1).all()
    assert Box(1, 2, 3, 2, 6).level == pytest.approx(30 / 36)
    for wrong in ((-1, 0, 2, 2), (5, 0, 2, 2), (0, 0, 0, 2), (0, 4, 1, 3)):
        with pytest.raises(ValueError, match="not inside"):
            Box(*wrong, 6)


def test_an_origin_of_corrupted_images():
    clean, _ = Digits().load()
    good = torch.from_numpy(np.array(clean.images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    ids = torch.from_numpy(image_ids(clean.key, np.arange(len(clean.images))))
    for corruption in (GaussianNoise(0.3), Box(2, 2, 4, 4, 8), Clean()):
        origin = Corrupted(Digits(), corruption, seed=7)
        store, held_out = origin.load()
        assert held_out is None and origin.dtype == "float32" and origin.shape == (1, 8, 8) == Digits().shape
        assert store.images.dtype == np.float32 and store.class_names == clean.class_names and store.names == clean.names
        ours = torch.from_numpy(np.array(store.images)).permute(0, 3, 1, 2)
        assert torch.equal(ours, corruption(good, ids, 7))  # the same arithmetic, whatever the batches
        assert np.array_equal(store.labels, clean.labels) and origin.load()[0].key == store.key
    assert (
        Corrupted(Digits(), GaussianNoise(0.3), seed=8).load()[0].key != Corrupted(Digits(), GaussianNoise(0.3)).load()[0].key
    )


def test_corruptions_that_differ_in_what_they_hide_make_other_images():
    class Times(Corruption):
        def __init__(self, factor):
            self._factor = factor

        def __call__(self, x, ids, seed):
            return self._factor(x) if callable(self._factor) else x * self._factor

    pixels = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 1), dtype=np.uint8)
    origin, good = StoreOrigin(store_from_arrays(pixels)), pixels / 127.5 - 1
    mask = torch.ones(1, 1, 40, 40)  # more numbers than torch prints
    other = mask.clone()
    other[..., 20, 20] = 0
    for pair in ((0.5, 0.25), (mask, other), (lambda x: x, lambda x: 0 * x)):
        for factor, found in zip(pair, [Corrupted(origin, Times(factor)).load()[0].images for factor in pair], strict=True):
            by = factor[0].permute(1, 2, 0).numpy() if isinstance(factor, torch.Tensor) else factor
            np.testing.assert_allclose(found, by(good) if callable(by) else good * by, atol=1e-6)  # float32 near 1
