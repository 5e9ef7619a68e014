"""Nearest neighbours among features: exact distances, in blocks, so that memory grows with N + M and not with N × M."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bootlight.metrics.once import kept

BLOCK_BYTES = 32 * 2**20  # of one block of distances; three or four of its size exist at a time
USUAL = 5  # neighbours that metrics ask for; who wants fewer is given the first of these
SPARE = 4  # candidates beyond k whose distance is computed directly: rounding may shift images by a few places


@dataclass(frozen=True)
class Block:
    """Squared distances of some queries to all others.

    |a - b|² = |a|² + |b|² - 2 ab is a matrix product and so fast, but what is left of two large numbers: of two equal images
    it makes any number up to `slack`. Whoever needs more takes `pair_distances`, as `nearest` and `in_balls` do.

    Attributes:
        start: index of the first query.
        squared: (B, M) float64, may be negative.
        slack: (B, 1), a bound for the error of `squared`.
    """

    start: int
    squared: Tensor
    slack: Tensor


def blocks(queries: Tensor, among: Tensor) -> Iterator[Block]:
    """Squared Euclidean distances of (N, D) to (M, D) on the device of the features, in float64, some rows at a time.

    Memory: a float64 copy of `among` and a few times `BLOCK_BYTES`.
    """
    centre = among.mean(0, dtype=torch.float64)  # distances do not change, the numbers that cancel become smaller
    columns = among - centre
    norms = torch.linalg.vector_norm(columns, dim=1).square()
    height = max(1, BLOCK_BYTES // (8 * max(columns.shape)))
    for start in range(0, len(queries), height):
        rows = queries[start : start + height] - centre
        own = rows.square().sum(1, keepdim=True)
        squared = torch.addmm(norms, rows, columns.T, alpha=-2).add_(own)
        yield Block(start, squared, rounding(among) * (own + norms.max()))


def pair_distances(queries: Tensor, among: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """Squared distances |queries[i] - among[j]|² of pairs (P,), from differences in float64: equal features have exactly 0."""
    size = max(1, BLOCK_BYTES // (8 * queries.shape[1]))
    parts = [
        (queries[rows].double() - among[columns].double()).square_().sum(1)
        for rows, columns in zip(torch.split(i, size), torch.split(j, size), strict=True)
    ]
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.float64, device=queries.device)


def nearest(queries: Tensor, among: Tensor, k: int, *, same: bool = False) -> tuple[Tensor, Tensor]:
    """The k nearest of `among` for each query.

    Args:
        queries: (N, D), any float type.
        among: (M, D).
        k: how many, at most M, or M - 1 with `same`.
        same: whether both are one set: query i then does not count as its own neighbour. It is left out by its index, not
            by its distance, so another image that equals it counts, at distance 0.

    Returns:
        Euclidean distances (N, k), ascending, float64, and indices (N, k), int64. Of equal distances the lower index comes
        first; which of several images at the distance of the k-th are taken is not defined.
    """
    # Answers have their place from the start: kept among blocks that come and go they would fragment the heap, by gigabytes.
    distances = torch.empty(len(queries), k, dtype=torch.float64, device=queries.device)
    indices = torch.empty(len(queries), k, dtype=torch.int64, device=queries.device)
    others = len(among) - same
    few = min(k + SPARE, others)
    for block in blocks(queries, among):
        rows = torch.arange(block.start, block.start + len(block.squared), device=block.squared.device)
        if same:
            block.squared[rows - block.start, rows] = torch.inf
        rough, candidates = block.squared.topk(few, largest=False)
        exact, found = _in_order(queries, among, rows, candidates.sort(1).values)
        if few < others:
            # Whoever is no candidate is at least as far as the last of them seemed, less the error of seeming.
            beyond = (rough[:, -1] - block.slack[:, 0]).clamp(min=0)
            for row in (exact[:, k - 1] > beyond).nonzero().flatten().tolist():
                everyone = torch.arange(len(among), device=rows.device)
                everyone = everyone[everyone != rows[row]] if same else everyone
                squared, nearby = _in_order(queries, among, rows[row, None], everyone[None])
                exact[row], found[row] = squared[0, :few], nearby[0, :few]
        distances[rows], indices[rows] = exact[:, :k].sqrt(), found[:, :k]
    return distances, indices


def own_nearest(features: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest others of each of (N, D), as `nearest` with `same`; for references, computed once inside `once`."""
    count = min(max(k, USUAL), len(features) - 1)

    def compute() -> dict[str, Tensor]:
        distances, indices = nearest(features, features, count, same=True)
        return {"distances": distances, "indices": indices}

    found = kept(f"neighbours {count}", features, compute)
    return found["distances"][:, :k].to(features.device), found["indices"][:, :k].to(features.device)


def _in_order(queries: Tensor, among: Tensor, rows: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances (B, C) of queries (B,) to their candidates (B, C), ascending, and those candidates."""
    width = candidates.shape[1]
    pairs = pair_distances(queries, among, rows.repeat_interleave(width), candidates.flatten())
    squared, order = pairs.view(-1, width).sort(dim=1, stable=True)
    return squared, candidates.gather(1, order)


def in_balls(block: Block, points: Tensor, centres: Tensor, radii: Tensor) -> Tensor:
    """Which points of a block lie in which closed balls.

    What the rounding of the block cannot decide is computed directly, so that the point on which a radius was measured is
    inside, and the copies of an image are inside a ball of radius 0.

    Args:
        block: of `blocks(points, centres)`.
        points: (N, D).
        centres: (M, D).
        radii: (M,), as from `nearest`.

    Returns:
        Booleans (B, M).
    """
    limits = radii.square()
    inside = block.squared <= limits
    i, j = ((block.squared - limits).abs_() <= block.slack).nonzero(as_tuple=True)
    inside[i, j] = pair_distances(points, centres, i + block.start, j) <= limits[j] * (1 + rounding(points))
    return inside


def ball_counts(points: Tensor, centres: Tensor, radii: Tensor) -> Tensor:
    """How many closed balls each point (N, D) lies in.

    Args:
        points: (N, D).
        centres: (M, D).
        radii: (K, M), K radii for each centre.

    Returns:
        Counts (K, N), int64.
    """
    counts = torch.empty(len(radii), len(points), dtype=torch.int64, device=points.device)
    for block in blocks(points, centres):
        for row, reach in zip(counts, radii, strict=True):
            row[block.start : block.start + len(block.squared)] = in_balls(block, points, centres, reach).sum(1)
    return counts


def rounding(features: Tensor) -> float:
    """A bound for the relative rounding error of a sum over the features in float64 (Higham 2002, section 3.1), doubled."""
    return (features.shape[1] + 4) * torch.finfo(torch.float64).eps
