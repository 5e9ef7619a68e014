"""Nearest neighbours that must lie within a small distance: exact, without comparing everything with everything in full."""

import torch
from torch import Tensor
from tqdm import tqdm

from bootlight.metrics.neighbours.neighbours import nearest, pair_distances

FEW = 2000  # points, with which everything is compared: finding directions would take longer
DIRECTIONS = 32  # of largest variance: enough to tell most pictures apart
SAMPLE = 20_000  # rows that the directions are taken from
QUERIES = 1024  # of a block
BLOCK_ELEMENTS = 2**25  # of rough distances: 128 MiB, two or three of them at a time
FIRST = 4  # candidates that are looked at before all others
MANY = 256  # candidates, from which on one matrix product with everything in reach is faster


def nearest_within(
    queries: Tensor, among: Tensor, limit: float, *, same: bool = False, description: str | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """For each query that has one within `limit`, the nearest of `among`.

    A distance between projections onto orthonormal directions is at most that between the points. So points sorted by the
    first direction are compared with those in reach of it alone, by `DIRECTIONS` numbers each; only what is in reach then is
    compared in full. Memory: the points once more as `DIRECTIONS` numbers each, and a few times `BLOCK_ELEMENTS`.

    Args:
        queries: (N, D) float32.
        among: (M, D) float32.
        limit: largest Euclidean distance.
        same: whether both are one set: query i then does not count as its own neighbor.
        description: of the progress bar; None = no bar.

    Returns:
        Indices of queries (P,), ascending, indices of their nearest (P,), of several one, and distances (P,) float64.
    """
    best = torch.full((len(queries),), torch.inf, dtype=torch.float64)
    found = torch.full((len(queries),), -1)
    if same < len(among) <= FEW:
        best, found = (answer[:, 0] for answer in nearest(queries, among, 1, same=same))
    elif len(queries) and len(among):
        _search(queries, among, limit, same, description, best, found)
    hits = (best <= limit).nonzero().flatten()
    return hits, found[hits], best[hits]


def _search(
    queries: Tensor, among: Tensor, limit: float, same: bool, description: str | None, best: Tensor, found: Tensor
) -> None:
    directions = _directions(among)
    rough_queries, rough_among = queries @ directions, among @ directions
    order, places = rough_queries[:, 0].argsort(), rough_among[:, 0].argsort()
    sorted_among = rough_among[places].contiguous()
    first = sorted_among[:, 0].contiguous()
    own_place = places.argsort()
    norms = sorted_among.square().sum(1)
    slack = 1e-5 * float(max(norms.max(), rough_queries.square().sum(1).max()))  # float32, and directions that are so nearly
    with tqdm(total=len(queries), desc=description, unit=" images", delay=1, leave=False, disable=description is None) as bar:
        start = 0
        while start < len(order):
            rows = order[start : start + QUERIES]
            low, high = _window(first, rough_queries[rows, 0], limit, slack)
            rows = rows[: max(1, BLOCK_ELEMENTS // max(1, high - low))]
            low, high = _window(first, rough_queries[rows, 0], limit, slack)
            mine = rough_queries[rows]
            rough = torch.addmm(norms[low:high], mine, sorted_among[low:high].T, alpha=-2)
            rough += mine.square().sum(1, keepdim=True)
            if same:
                own = own_place[rows] - low
                inside = (own >= 0) & (own < high - low)
                rough[inside.nonzero().flatten(), own[inside]] = torch.inf
            _look(queries, among, rows, places[low:high], rough, limit**2 + slack, slack, same, best, found)
            start += len(rows)
            bar.update(len(rows))


def _directions(points: Tensor) -> Tensor:
    """Orthonormal directions of largest variance, (D, R)."""
    sample = points[:: max(1, len(points) // SAMPLE)].double()
    centered = sample - sample.mean(0)
    return torch.linalg.eigh(centered.T @ centered).eigenvectors[:, -DIRECTIONS:].flip(1).to(points.dtype)


def _window(first: Tensor, mine: Tensor, limit: float, slack: float) -> tuple[int, int]:
    """Which of the sorted first coordinates are in reach of some query."""
    reach = limit + slack
    low = torch.searchsorted(first, mine.min() - reach)
    return int(low), int(torch.searchsorted(first, mine.max() + reach, right=True))


def _look(
    queries: Tensor,
    among: Tensor,
    rows: Tensor,
    places: Tensor,
    rough: Tensor,
    bound: float,
    slack: float,
    same: bool,
    best: Tensor,
    found: Tensor,
) -> None:
    """Note for each row the nearest of its candidates, the most promising first: they rule out most others."""
    if rough.shape[1] == 0:
        return
    active = (rough.amin(1) <= bound).nonzero().flatten()
    if not len(active):
        return
    rough, rows = rough[active], rows[active]
    values, columns = rough.topk(min(FIRST, rough.shape[1]), largest=False)
    i, k = (values <= bound).nonzero(as_tuple=True)
    _note(queries, among, rows[i], places[columns[i, k]], best, found)
    rough.scatter_(1, columns, torch.inf)  # they have been looked at
    bounds = (best[rows].square() + slack).clamp(max=bound).to(rough.dtype)
    left = rough <= bounds[:, None]
    many = left.sum(1) > MANY
    for row in torch.split(many.nonzero().flatten(), QUERIES):
        reach = places[left[row].any(0)].sort().values
        _, columns = nearest(queries[rows[row]], among[reach], min(2, len(reach)))  # two, as one may be the query itself
        i, j = rows[row].repeat_interleave(columns.shape[1]), reach[columns].flatten()
        others = i != j if same else torch.ones_like(i, dtype=torch.bool)
        _note(queries, among, i[others], j[others], best, found)
    left[many] = False
    i, j = left.nonzero(as_tuple=True)
    _note(queries, among, rows[i], places[j], best, found)


def _note(queries: Tensor, among: Tensor, i: Tensor, j: Tensor, best: Tensor, found: Tensor) -> None:
    """Keep of some pairs the nearest of each query."""
    distances = pair_distances(queries, among, i, j).sqrt()
    order = distances.argsort()
    order = order[i[order].argsort(stable=True)]
    i, j, distances = i[order], j[order], distances[order]
    head = torch.ones(len(i), dtype=torch.bool)
    head[1:] = i[1:] != i[:-1]
    i, j, distances = i[head], j[head], distances[head]
    better = distances < best[i]
    best[i[better]], found[i[better]] = distances[better], j[better]
