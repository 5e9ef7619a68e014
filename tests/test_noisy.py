"""The user's own bad images: how bad he says they are, and what their statistics say."""

import math

import numpy as np
import pytest

from bootlight import BootlightError, BootstrapData, Corrupted, GaussianNoise, ImageFiles, Noisy, StoreOrigin, store_from_arrays
from bootlight.data.noise_statistics import LEVEL, noise_statistics
from bootlight.evaluation.sets.real_images import describe_images
from bootlight.io.pictures import encode_png

RNG = np.random.default_rng(0)


def smooth(count=40, edge=16):
    """Pictures without fine details, in [-1, 1], half of them partly saturated."""
    y, x = np.mgrid[:edge, :edge] / edge
    phase = RNG.uniform(0, 6, (count, 1, 1, 1))
    return np.clip(1.3 * np.sin(3 * x + 2 * y + phase.reshape(-1, 1, 1)), -1, 1)[..., None].astype(np.float32)


def noisy(tau, clip=None, rounded=False, **options):
    images = smooth(**options)
    images = images + tau * RNG.normal(size=images.shape).astype(np.float32)
    if clip is not None:
        images = np.clip(images, -clip, clip)
    return np.clip(np.round(127.5 * images + 127.5), 0, 255).astype(np.uint8) if rounded else images.astype(np.float32)


def origin(images, names=None):
    return StoreOrigin(store_from_arrays(images, names=names), name="mine")


@pytest.mark.parametrize("tau", [0.05, 0.2, 0.59, 1.4])
def test_noise_as_it_is_passes(tau):
    made = Noisy(origin(noisy(tau)), tau)
    store, _ = made.load()
    assert made.noise == (tau, math.inf) and store.images.dtype.name == "float32" == made.dtype
    assert any(f"{tau:g}" in part for part in made.told())


@pytest.mark.parametrize("tau", [0.2, 0.59, 1.4])
@pytest.mark.parametrize("options", [{"clip": 1.0}, {"rounded": True}, {"clip": 1.2}])
def test_clipped_noise_is_refused(tau, options):
    with pytest.raises(BootlightError, match=r"mine: .* clipped"):
        Noisy(origin(noisy(tau, **options)), tau).load()


def test_rounding_alone_is_no_clipping():
    """Images far from black and white whose noise is too weak to reach them: 8 bits keep it."""
    images = 0.3 * smooth() + 0.05 * RNG.normal(size=(40, 16, 16, 1))
    stored = np.round(127.5 * images + 127.5).astype(np.uint8)
    assert Noisy(origin(stored), 0.05).load()[0].images.dtype == np.uint8


def test_a_tau_of_other_units_is_refused():
    """In [0, 1] noise of 0.2 is 0.1: it cannot be that neighbours differ by less than noise of tau makes them."""
    half = (noisy(0.2) + 1) / 2
    with pytest.raises(BootlightError, match="tau"):
        Noisy(origin(half.astype(np.float32)), 0.2).load()
    assert Noisy(origin(half.astype(np.float32)), 0.1).load()


def test_statistics_are_those_of_the_noise():
    images = np.random.default_rng(1).normal(0, 0.3, (50, 20, 20, 3)).astype(np.float32)
    seen = noise_statistics(images)
    # 15,000 details, normal: the variance is known to sqrt(2 / 15000) = 1.2 %; five of that. Its own error is the spread of 50.
    assert seen.roughness == pytest.approx(0.09, rel=0.06) and seen.roughness_error == pytest.approx(0.09 * 0.0115, rel=0.5)
    assert (seen.lowest, seen.highest) == (images.min(), images.max())
    assert seen.at_lowest == seen.at_highest == 1 / images.size
    stored = np.array([[0, 0, 255, 7]], np.uint8).reshape(1, 2, 2, 1)
    seen = noise_statistics(stored)
    assert (seen.at_lowest, seen.at_highest, seen.width) == (0.5, 0.25, LEVEL)
    # (a - b - c + d) / 2 of -1, -1, 1 and 7 / 127.5 - 1
    assert seen.roughness == pytest.approx(((-2 + 7 / 127.5) / 2) ** 2)


def test_one_row_has_no_details():
    assert not noise_statistics(np.random.default_rng(0).normal(size=(9, 1, 1, 2)).astype(np.float32)).too_smooth(5.0)


def test_it_is_kept_with_the_images_in_the_whole_run(tmp_path):
    images = noisy(0.3)
    data = BootstrapData(origin=Noisy(origin(images), 0.3), num_steps=1)
    data.setup()
    assert [s.noise for s in (data.real, data.available, data.holdout)] == [(0.3, math.inf)] * 3
    assert describe_images(data)["made"]["data.origin"]["tau"] == 0.3
    also = BootstrapData(origin=origin(smooth()), origins={"noisy": Noisy(origin(images), noise=[0.5, 2.0])}, num_steps=1)
    also.setup()
    found = also.archive.origin("noisy")
    assert (found.role, found.noise) == ("noisy", (0.5, 2.0)) and also.real.noise is None


def test_corrupted_images_state_their_noise():
    made = Corrupted(origin(smooth()), GaussianNoise(0.4), seed=3)
    assert made.noise == (0.4, math.inf) and Corrupted(origin(smooth()), GaussianNoise(0.0)).noise is None
    assert made.record() == {
        "corruption": "bootlight.diffusion.corruption.GaussianNoise", "settings": {"tau": 0.4}, "level": 0.4, "seed": 3,
    }  # fmt: skip
    assert Noisy(made, 0.4).load()[0].key == made.load()[0].key  # what is said of it, its statistics say too


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({}, "tau"),
        ({"tau": 0.2, "noise": [0.2, 1.0]}, "tau"),
        ({"tau": -0.1}, "noise"),
        ({"tau": math.nan}, "noise"),
        ({"noise": [1.0, 0.5]}, "noise"),
        ({"noise": [1.0]}, "noise"),
        ({"tau": 0.2, "clean": StoreOrigin(store_from_arrays(np.zeros((2, 4, 4, 1), np.uint8)))}, "same size"),
    ],
)
def test_what_is_said_must_make_sense(options, key):
    with pytest.raises(BootlightError, match=key):
        Noisy(origin(noisy(0.2)), **options)


def files(tmp_path, names, lacking=None):
    """An origin of noisy `.npy` files and their clean pictures, in another order, the i-th further off by 0.1."""
    good = np.round(127.5 * smooth(4) + 127.5).astype(np.uint8)
    for folder in ("bad", "good"):
        (tmp_path / folder / "a").mkdir(parents=True)
    for i, name in enumerate(names):
        np.save(tmp_path / "bad" / "a" / f"{name}.npy", (good[i] / 127.5 - 1 + 0.1 * i).astype(np.float32).transpose(2, 0, 1))
        if name != lacking:
            (tmp_path / "good" / "a" / f"{name}.png").write_bytes(encode_png(good[i]))
    bad, good = (ImageFiles(str(tmp_path / n), 16, 1, cache=str(tmp_path / "cache")) for n in ("bad", "good"))
    return Noisy(bad, noise=[1.0, 9.0], clean=good)


def test_clean_partners_are_found_by_name(tmp_path):
    made = files(tmp_path, "cadb")
    store, (clean, _) = made.load()[0], made.clean()
    apart = (store.images - (clean.images / 127.5 - 1)).mean((1, 2, 3))
    np.testing.assert_allclose(apart, [0.1, 0.3, 0.0, 0.2], atol=1e-6)


def test_without_partner(tmp_path):
    with pytest.raises(BootlightError, match=r"1 of the 4 images .* no partner .*d\.npy"):
        files(tmp_path, "cadb", lacking="d").load()
