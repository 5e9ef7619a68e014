"""NNFDIST and NNFDIV: of the source itself, of its patches in another order, against a search by brute force."""

import numpy as np
import pytest
import torch

import bootlight
from bootlight.errors import BootlightError
from bootlight.metrics import patch_neighbours
from bootlight.metrics.patch_neighbours import nearest_patches


def noise(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, shape)).float()


def by_brute_force(image, source, size):
    """Distances and places, patch by patch in float64."""
    h, w = image.shape[1] - size + 1, image.shape[2] - size + 1
    rows, columns = source.shape[1] - size + 1, source.shape[2] - size + 1
    distances, offsets = np.empty((h, w)), np.empty((h, w, 2))
    for i in range(h):
        for j in range(w):
            own = image[:, i : i + size, j : j + size].double()
            each = [
                float((own - source[:, y : y + size, x : x + size]).square().mean())
                for y in range(rows)
                for x in range(columns)
            ]
            at = int(np.argmin(each))
            distances[i, j], offsets[i, j] = each[at], (at // columns - i, at % columns - j)
    return distances, offsets


@pytest.mark.parametrize(("size", "at_once"), [(3, 2**24), (3, 100), (2, 1)])
def test_the_search_is_exact(monkeypatch, size, at_once):
    monkeypatch.setattr(patch_neighbours, "AT_ONCE", at_once)
    image, source = noise(2, 7, 9), noise(2, 8, 6, seed=1)
    distances, offsets = by_brute_force(image, source, size)
    found = nearest_patches(image, source, size)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-5)
    np.testing.assert_array_equal(found.offsets, offsets)


def test_the_source_itself_is_at_distance_0_and_has_no_diversity():
    """Also where each patch is there many times: of equally near ones that at the same place counts."""
    board = torch.ones(3, 16, 16)
    board[:, (torch.arange(16)[:, None] + torch.arange(16)) % 2 == 1] = -1
    for picture in (noise(3, 16, 16), board, torch.zeros(3, 16, 16)):
        found = nearest_patches(picture, picture)
        assert found.distances.max() == 0 and not found.offsets.any()
        assert found.diversity < 0.05  # 784 bytes that are 0, in about twenty


def test_parts_in_another_order_are_near_and_diverse():
    source = noise(3, 32, 32)
    tiles = source.reshape(3, 4, 8, 4, 8).permute(1, 3, 0, 2, 4).reshape(16, 3, 8, 8)
    order = np.random.default_rng(0).permutation(16)
    shuffled = tiles[order].reshape(4, 4, 3, 8, 8).permute(2, 0, 3, 1, 4).reshape(3, 32, 32)
    copy, moved, other = (nearest_patches(x, source) for x in (source, shuffled, noise(3, 32, 32, seed=1)))
    # Patches within a tile are exact copies: 36 of each 64 places, but for those that lie across two.
    inside = torch.arange(30) % 8 < 6
    assert moved.distances[inside][:, inside].max() < 1e-12
    assert moved.distances.mean() < 0.5 * other.distances.mean()
    assert copy.diversity < moved.diversity < other.diversity


def test_the_metric_is_the_mean_over_images_and_the_nearest_source():
    sources, images = noise(2, 3, 12, 12), noise(4, 3, 10, 11, seed=1)
    metric = bootlight.PatchNeighbors()
    metric.update(images[:3], real=False)
    with pytest.raises(BootlightError, match="real"):
        metric.compute()
    metric.update(sources, real=True)
    metric.update(images[3:], real=False)
    each = [min((nearest_patches(x, source) for source in sources), key=lambda f: float(f.distances.mean())) for x in images]
    means, fields = [float(f.distances.mean()) for f in each], [f.diversity for f in each]
    found = metric.scores()
    for name, values in (("nnfdist", means), ("nnfdiv", fields)):
        assert found[name].value == pytest.approx(np.mean(values))
        assert found[name].standard_error == pytest.approx(np.std(values, ddof=1) / 2)
        assert found[name].n == 4
    assert float(metric.compute()) == pytest.approx(np.mean(means))
    pictures = bootlight.PatchNeighbors()
    pictures.update(((sources + 1) * 127.5).round().to(torch.uint8), real=True)
    pictures.update(((images + 1) * 127.5).round().to(torch.uint8), real=False)
    assert float(pictures.compute()) == pytest.approx(np.mean(means), rel=0.01)  # 8 bits: steps of 1/127.5 in [-1, 1]


def test_what_cannot_be_compared():
    with pytest.raises(BootlightError, match="patch"):
        nearest_patches(noise(3, 2, 9), noise(3, 9, 9))
    with pytest.raises(BootlightError, match="channels"):
        nearest_patches(noise(1, 9, 9), noise(3, 9, 9))
    with pytest.raises(BootlightError, match="256"):
        bootlight.PatchNeighbors().update(noise(257, 1, 4, 4), real=True)
    with pytest.raises(BootlightError, match="patch"):
        bootlight.PatchNeighbors(patch=0)
