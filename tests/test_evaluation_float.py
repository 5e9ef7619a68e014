"""Sets of numbers are measured as they are, by what takes numbers; all else refuses them by name."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from bootlight import InceptionFeatures, PixelFeatures
from bootlight.data.store import store_from_arrays
from bootlight.errors import BootlightError
from bootlight.evaluation.duplicates import exact_pairs, near_pairs, take_prints
from bootlight.evaluation.features import extract
from bootlight.evaluation.sets.sources import StoreSource, open_source
from bootlight.metrics.c2st import two_sample_test
from bootlight.metrics.discriminator import DiscriminatorScore
from bootlight.metrics.features.feature_cache import feature_key
from bootlight.metrics.features.frozen import Frozen
from bootlight.metrics.features.looking import check_float, look
from bootlight.metrics.pixel_statistics import PixelStatistics

PIXELS = ["--features", "bootlight.PixelFeatures", "--features.size", "16"]


def numbers(count, shape, seed=0, scale=50.0):
    return (scale * np.random.default_rng(seed).normal(0, 1, (count, *shape))).astype(np.float32)


@pytest.fixture
def sets(tmp_path, monkeypatch):
    """Saves arrays, and pictures, under their names in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOOTLIGHT_CACHE", str(tmp_path / "cache"))
    for name, array in (("a", numbers(40, (2, 1, 1))), ("b", numbers(30, (2, 1, 1), 1)), ("wide", numbers(30, (1, 16, 20)))):
        np.save(f"{name}.npy", array)
    np.save("bytes.npy", np.random.default_rng(2).integers(0, 256, (30, 2, 1, 1), dtype=np.uint8))
    return tmp_path


def test_features_are_the_numbers(sets):
    source = open_source("a.npy", image_size=None, cache=sets / "cache")
    found = extract(source, PixelFeatures(8, channels=2), cache=sets / "cache")["features"]
    assert found.numpy().tobytes() == numbers(40, (2, 1, 1)).tobytes()


def test_of_larger_images_the_means_of_cells():
    images = torch.from_numpy(numbers(3, (2, 4, 6)))
    found = PixelFeatures(2, channels=2)(images).reshape(3, 2, 2, 2)
    expected = images.reshape(3, 2, 2, 2, 2, 3).mean((3, 5))
    assert torch.allclose(found, expected, atol=1e-4)


def test_8_bits_are_measured_as_before():
    """On a finer grid than there are pixels too, which float data never have."""
    images = torch.arange(4, dtype=torch.uint8).reshape(1, 1, 2, 2)
    assert PixelFeatures(4, channels=1)(images).shape == (1, 16)
    assert PixelFeatures(4, channels=1)(images.float()).tolist() == [[0.0, 1.0, 2.0, 3.0]]


def test_a_network_says_whether_it_takes_them():
    images = torch.zeros(2, 3, 8, 8)

    class Other(nn.Module):
        def forward(self, images):
            return images.flatten(1).float()

    with pytest.raises(BootlightError, match="Other takes 8-bit pictures"):
        look(Frozen(Other()), images)
    network = Other()
    network.takes_float = True
    assert look(Frozen(network), images)["features"].shape == (2, 192)
    with pytest.raises(BootlightError, match="InceptionFeatures takes"):
        check_float(InceptionFeatures("nowhere"), images)
    with pytest.raises(TypeError, match="float64"):
        look(Frozen(network), images.double())
    with pytest.raises(TypeError, match="uint8"):
        DiscriminatorScore(network).update(images)


def test_pixel_statistics_of_numbers():
    """Brightness is the mean and contrast the deviation, in their own units; those of 8 bits in units of 255."""
    images = torch.from_numpy(numbers(4, (1, 16, 20)))
    found = PixelStatistics()(images)
    assert torch.allclose(found[:, 0], images.mean((1, 2, 3)), rtol=1e-4)
    assert torch.allclose(found[:, 1], images.flatten(1).std(1, correction=0), rtol=1e-5)
    small = (images.abs() * 2).clamp(max=255).to(torch.uint8)
    assert torch.equal(PixelStatistics()(small), PixelStatistics()(small.double() / 255))


def test_a_classifier_tells_numbers_apart_that_differ():
    """Any shape; of equal sets half are told rightly, up to five deviations of a binomial share."""
    same = two_sample_test(*(numbers(80, (3, 1, 1), seed, 1.0).transpose(0, 2, 3, 1) for seed in (1, 2)), epochs=3)
    moved = two_sample_test(*(20 * seed + numbers(80, (3, 2, 5), seed, 1.0).transpose(0, 2, 3, 1) for seed in (1, 2)), epochs=5)
    assert abs(same.value - 0.5) < 5 * (0.25 / same.n) ** 0.5 and moved.value > 0.95


def test_content_decides_the_key_of_features():
    """Another last bit, and the same bits as another type, are other features."""
    images = numbers(4, (1, 2, 2)).transpose(0, 2, 3, 1)
    moved = images.copy()
    moved[0, 0, 0, 0] = np.nextafter(moved[0, 0, 0, 0], np.float32(np.inf))
    stores = [store_from_arrays(images), store_from_arrays(moved), store_from_arrays(images.astype(np.uint8))]
    keys = {feature_key(StoreSource("x", store).key, PixelFeatures(2, 1)) for store in stores}
    assert len(keys) == 3


def test_equal_numbers_are_found_and_nothing_is_near():
    images = numbers(6, (5, 3, 3), scale=1e-6).transpose(0, 2, 3, 1)
    images[4] = images[1]
    prints = take_prints(StoreSource("x", store_from_arrays(images)))
    assert [(pair.first, pair.second) for pair in exact_pairs(prints)] == [(1, 4)] and near_pairs(prints) == []


def test_through_the_command_line(bootlight, sets, capsys):
    """The Frechet distance of normal numbers in one dimension each, by the formula; every metric that needs only numbers."""
    bootlight("evaluate", "--real", "a.npy", "--synthetic", "b.npy", *PIXELS, "--features.channels", "2", "--metrics", "all",
              "--c2st", "--neighbours", "n.png", "--json")  # fmt: skip
    answer = json.loads(capsys.readouterr().out)
    real, drawn = (numbers(count, (2, 1, 1), seed).reshape(count, 2).astype(np.float64) for count, seed in ((40, 0), (30, 1)))
    scores = answer["scores"]
    assert scores["variance-ratio"]["value"] == pytest.approx(drawn.var(0).sum() / real.var(0).sum())
    assert scores["fd-pixels"]["value"] > ((drawn.mean(0) - real.mean(0)) ** 2).sum() * (1 - 1e-6)
    assert scores["c2st"]["n"] == 30 and (sets / "n.png").exists()
    bootlight("compare", "a.npy", "b.npy", "--real", "a.npy", *PIXELS, "--features.channels", "2", "--metrics", "fd")


def test_pixels_of_images_that_are_no_squares(bootlight, sets, capsys):
    network = [*PIXELS, "--features.channels", "1", "--metrics", "fd"]
    bootlight("evaluate", "--real", "wide.npy", "--synthetic", "wide.npy", *network, "--pixels", "--json")
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert scores["brightness"]["value"] == 0 and scores["spectrum-8of8"]["value"] == 0


@pytest.mark.parametrize(
    ("real", "synthetic", "more", "reason"),
    [
        ("a.npy", "bytes.npy", (), "float32"),
        ("a.npy", "wide.npy", (), r"\(1, 16, 20\)"),
        ("a.npy", "b.npy", ("--image-size", "4"), "not cut or resized"),
        ("a.npy", "b.npy", ("--judges", "1"), "--judges"),
        ("a.npy", "b.npy", ("--pixels",), "--pixels"),
        ("a.npy", "none.npy", (), "does not exist"),
    ],
)
def test_what_cannot_be_measured(bootlight, sets, real, synthetic, more, reason):
    network = [*PIXELS, "--features.channels", "2", "--metrics", "fd"]
    with pytest.raises(BootlightError, match=reason):
        bootlight("evaluate", "--real", real, "--synthetic", synthetic, *network, *more)


def test_sets_of_two_kinds_are_not_compared(bootlight, sets):
    with pytest.raises(BootlightError, match="8 bits"):
        bootlight("compare", "a.npy", "bytes.npy", "--real", "a.npy", *PIXELS, "--features.channels", "2")
