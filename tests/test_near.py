"""Neighbors within a distance: what a search through everything finds, whatever the points look like."""

import pytest
import torch

from bootlight.evaluation import near
from bootlight.evaluation.near import nearest_within
from bootlight.metrics.neighbours.neighbours import nearest

randn = torch.randn

NUM = 150


def smooth():
    """Points with a few directions of large variance, as thumbnails have, and some pairs."""
    points = randn(NUM, 6) @ (randn(6, 48) * torch.tensor([3.0, 2, 1, 1, 0.5, 0.5])[:, None]) + 0.1 * randn(NUM, 48)
    points[50:80] = points[:30] + 0.02 * randn(30, 48)
    return points


def alike():
    """All within reach of each other, in directions that say little: every candidate must be looked at."""
    return randn(1, 48) + 0.02 * randn(NUM, 48)


def some_alike():
    points = smooth()
    points[100:140] = alike()[:40]
    return points


def equal():
    points = smooth()
    points[3] = points[7] = points[90]
    points[110:] = points[110]
    return points


@pytest.mark.parametrize("make", [smooth, alike, some_alike, equal])
@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize(("directions", "block", "many"), [(32, 2**25, 256), (2, 2000, 10), (48, 300, 1)])
def test_it_finds_what_a_search_through_everything_finds(monkeypatch, make, same, directions, block, many):
    monkeypatch.setattr(near, "FEW", 0)
    monkeypatch.setattr(near, "DIRECTIONS", directions)
    monkeypatch.setattr(near, "BLOCK_ELEMENTS", block)
    monkeypatch.setattr(near, "MANY", many)
    torch.manual_seed(0)
    points = make()
    queries = points if same else torch.cat([points[::3] + 0.01 * randn(len(points[::3]), 48), randn(5, 48) * 100])
    for limit in (0.3, 2.0):
        rows, columns, distances = nearest_within(queries, points, limit, same=same)
        all_distances, all_columns = nearest(queries, points, 1, same=same)
        within = (all_distances[:, 0] <= limit).nonzero().flatten()
        assert len(within) > 15
        assert torch.equal(rows, within) and torch.equal(distances, all_distances[within, 0])
        assert torch.equal(points[columns], points[all_columns[within, 0]])  # of equal ones any
        assert not same or not (rows == columns).any()


def test_nothing_is_near_in_small_sets():
    points = randn(2, 4)
    assert [len(part) for part in nearest_within(points[:1], points[:1], 1e9, same=True)] == [0, 0, 0]
    assert [len(part) for part in nearest_within(points[:0], points, 1e9)] == [0, 0, 0]
    assert nearest_within(points, points, 1e9, same=True)[1].tolist() == [1, 0]
