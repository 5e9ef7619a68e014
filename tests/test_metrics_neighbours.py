"""Nearest neighbours and balls: against double loops, at rounding error, in blocks of any size."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bootlight.metrics.neighbours import neighbours
from bootlight.metrics.neighbours.neighbours import ball_counts, blocks, nearest, pair_distances


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_hand(queries: Tensor, among: Tensor, k: int, same: bool = False) -> tuple[list[list[float]], list[list[int]]]:
    """Distances and indices of the k nearest, one pair at a time."""
    answers = []
    for i, query in enumerate(queries.tolist()):
        pairs = sorted((math.dist(query, other), j) for j, other in enumerate(among.tolist()) if not (same and i == j))
        answers.append(pairs[:k])
    return [[d for d, _ in row] for row in answers], [[j for _, j in row] for row in answers]


@pytest.mark.parametrize("block_bytes", [1, 8 * 23 * 4, 2**25])  # one row, four rows, all rows at a time
@pytest.mark.parametrize("k", [1, 3, 17])
@pytest.mark.parametrize("same", [False, True])
def test_the_nearest_are_those_of_a_double_loop(k: int, same: bool, block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", block_bytes)
    among = normal(23, 5, seed=0)
    queries = among if same else normal(11, 5, seed=1)
    distances, indices = nearest(queries, among, k, same=same)
    expected_distances, expected_indices = by_hand(queries, among, k, same)
    assert indices.tolist() == expected_indices
    # Sums of five squares in float64 in another order: some 1e-16, relatively.
    np.testing.assert_allclose(distances.numpy(), expected_distances, rtol=1e-14)
    assert distances.dtype == torch.float64


def test_blocks_hold_all_pairs_once_and_their_slack_is_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", 8 * 40 * 3)
    queries, among = 1e3 + normal(20, 40, seed=0), 1e3 + normal(9, 40, seed=1)
    parts = list(blocks(queries, among))
    assert [part.start for part in parts] == list(range(0, 20, 3))
    squared, slack = torch.cat([part.squared for part in parts]), torch.cat([part.slack for part in parts])
    exact = torch.cdist(queries.double(), among.double(), compute_mode="donot_use_mm_for_euclid_dist").square()
    assert ((squared - exact).abs() <= slack).all()
    alone = next(blocks(among.mean(0)[None], among))  # a query of length 0 makes the same errors
    assert (alone.slack > 1e-13).all()
    assert (slack < 1e-10).all()  # 44 x 2e-16 x squares of centred features, some 100, and not of 40 x 1e6


def test_equal_images_have_distance_exactly_zero() -> None:
    # Two far clusters, so that centring does not help: |a|² + |b|² - 2ab of a float64 1e6 long is wrong by some 1e-4.
    centres = torch.tensor([[1e5], [-1e5]]).expand(2, 100).repeat_interleave(10, 0)
    features = (centres + normal(20, 100, seed=0)).float()
    copies = torch.cat([features, features.flip(0)])
    distances, indices = nearest(features, copies, 3)
    assert (distances[:, :2] == 0).all() and (distances[:, 2] > 1).all()
    assert indices[:, :2].tolist() == [[i, 39 - i] for i in range(20)]
    assert any((block.squared[range(20), range(20)] != 0).any() for block in blocks(features, copies))  # as it is feared


def test_itself_is_left_out_by_index_and_not_by_distance() -> None:
    features = torch.tensor([[0.0], [5.0], [5.0], [9.0]])
    distances, indices = nearest(features, features, 2, same=True)
    assert distances.tolist() == [[5, 5], [0, 4], [0, 4], [4, 4]]
    assert indices.tolist() == [[1, 2], [2, 3], [1, 3], [1, 2]]
    assert nearest(features, features, 1)[0].flatten().tolist() == [0, 0, 0, 0]


def test_ranks_do_not_suffer_from_rounding() -> None:
    # 60 images in steps of 1e-9 along a line, and as many opposite, so that centring does not help: squared distances,
    # 1e-18, are far below the rounding error, 1e-14, of squares of size 64. Only a direct search can rank them.
    place, direction = normal(64, seed=0).double(), normal(64, seed=1).double()
    steps = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    line = 1e-9 * steps[:, None] * direction / direction.norm()
    among = torch.cat([place + line, -place - line])
    distances, indices = nearest(place[None], among, 5)
    assert steps[indices[0]].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(distances[0], 1e-9 * torch.arange(5), atol=1e-14)  # coordinates of size 1 are off by 1e-16
    distances, indices = nearest(among, among, 1, same=True)
    assert (indices != torch.arange(120)[:, None]).all()
    np.testing.assert_allclose(distances, 1e-9, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_features_stay_what_they_are(dtype: torch.dtype) -> None:
    features = 3 + normal(9, 4, seed=0).to(dtype)
    before = features.clone()
    nearest(features, features, 2, same=True)
    ball_counts(features, features, torch.ones(1, 9, dtype=torch.float64))
    assert torch.equal(features, before)


def test_distances_are_those_of_float64_also_for_float32_features() -> None:
    a, b = normal(4, 300, seed=0), normal(4, 300, seed=1)
    expected = ((a.numpy().astype(np.float64) - b.numpy().astype(np.float64)) ** 2).sum(1)
    squared = pair_distances(a, b, torch.arange(4), torch.arange(4))
    np.testing.assert_allclose(squared, expected, rtol=300 * 2.3e-16)  # 300 roundings of float64


def test_pairs_are_computed_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = normal(6, 3, seed=0), normal(7, 3, seed=1)
    i, j = torch.tensor([0, 5, 5, 2, 1]), torch.tensor([6, 0, 3, 3, 1])
    whole = pair_distances(a, b, i, j)
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", 8 * 3 * 2)  # two pairs
    assert torch.equal(pair_distances(a, b, i, j), whole)
    assert whole.tolist() == pytest.approx([math.dist(a[p].tolist(), b[q].tolist()) ** 2 for p, q in zip(i, j, strict=True)])
    assert pair_distances(a, b, i[:0], j[:0]).shape == (0,)


def test_balls_are_counted_as_in_a_double_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", 8 * 12 * 5)
    points, centres = normal(31, 4, seed=0), normal(12, 4, seed=1)
    radii = torch.stack([normal(12, seed=2).abs().double() + 1, torch.full((12,), 2.0, dtype=torch.float64)])
    expected = [
        [sum(math.dist(p, c) <= r for c, r in zip(centres.tolist(), row, strict=True)) for p in points.tolist()]
        for row in radii.tolist()
    ]
    assert ball_counts(points, centres, radii).tolist() == expected
    assert min(map(min, expected)) < max(map(max, expected))


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("block_bytes", [8 * 64 * 9, 2**25])  # nine rows, all rows at a time
def test_balls_are_closed(offset: float, block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", block_bytes)
    # Each ball reaches exactly to its k-th neighbour: it holds itself, k - 1 others and the neighbour on its border.
    features = (offset * torch.tensor([-1.0, 1.0])[torch.arange(50) % 2][:, None] + normal(50, 64, seed=0)).float()
    for k in (1, 5):
        radii, _ = nearest(features, features, k, same=True)
        assert ball_counts(features, features, radii[None, :, -1]).sum() == 50 * (k + 1)


def test_balls_of_radius_zero_hold_the_copies_of_their_centre() -> None:
    features = 100 * normal(5, 64, seed=0)
    copies = features.repeat(3, 1)
    radii, _ = nearest(copies, copies, 2, same=True)
    assert (radii == 0).all()
    assert ball_counts(features, copies, radii[None, :, -1]).tolist() == [[3] * 5]
