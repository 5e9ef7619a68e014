"""Cells of feature space: k-means (Lloyd 1982) with k-means++ starts (Arthur and Vassilvitskii 2007).

Not that of scikit-learn: it works on the CPU only, its last bits depend on the number of threads, and its random starts are
other ones, so that cells and scores would change.
"""

import torch
from torch import Tensor

from bootlight.metrics.neighbours.neighbours import blocks
from bootlight.rng import torch_rng

STARTS = 4  # the best of them is kept
MAX_PASSES = 100
MAX_FITTED = 10_000  # images that the centres are fitted to; more move them little


def k_means(features: Tensor, num_cells: int, *, seed: int = 0) -> Tensor:
    """Centres of cells with a small sum of squared distances.

    Args:
        features: (N, D), N >= num_cells; of more than `MAX_FITTED` a random choice is used.
        num_cells: K.
        seed: equal seeds and features give equal centres.

    Returns:
        (K, D) float64, on the device of the features.
    """
    rng = torch_rng("k-means", seed)
    chosen = torch.randperm(len(features), generator=rng)[:MAX_FITTED]
    fitted = features[chosen.to(features.device)].double()
    results = [_lloyd(fitted, _spread_centres(fitted, num_cells, rng)) for _ in range(STARTS)]
    return min(results, key=lambda result: result[0])[1]


def cells_of(features: Tensor, centres: Tensor) -> Tensor:
    """Index of the nearest centre for each of (N, D), int64 (N,)."""
    return _nearest_centres(features, centres)[1]


def _nearest_centres(features: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distance, up to rounding, and index of the nearest centre for each of (N, D), (N,) each."""
    squared = torch.empty(len(features), dtype=torch.float64, device=features.device)
    cells = torch.empty(len(features), dtype=torch.int64, device=features.device)
    for block in blocks(features, centres):
        rows = slice(block.start, block.start + len(block.squared))
        squared[rows], cells[rows] = block.squared.min(1)
    return squared.clamp_(min=0), cells


def _spread_centres(features: Tensor, num_cells: int, rng: torch.Generator) -> Tensor:
    """The first centre at random, each further one with probability proportional to its squared distance to the others."""
    centres = features[_draw(torch.ones(len(features)), rng)][None]
    while len(centres) < num_cells:
        squared, _ = _nearest_centres(features, centres)
        centres = torch.cat([centres, features[_draw(squared.cpu(), rng)][None]])
    return centres


def _draw(weights: Tensor, rng: torch.Generator) -> int:
    """An index with probability proportional to its weight; any index where all weights are 0."""
    edges = weights.double().cumsum(0)
    point = torch.rand(1, generator=rng, dtype=torch.float64) * edges[-1]
    return min(int(torch.searchsorted(edges, point, right=True)), len(weights) - 1)


def _lloyd(features: Tensor, centres: Tensor) -> tuple[float, Tensor]:
    """Sum of squared distances to the nearest centre, and the centres; a centre without images stays where it is."""
    cells = cells_of(features, centres)
    for _ in range(MAX_PASSES):
        centres = torch.stack(
            [features[cells == c].mean(0) if bool((cells == c).any()) else centre for c, centre in enumerate(centres)]
        )
        before, cells = cells, cells_of(features, centres)
        if torch.equal(before, cells):
            break
    return (features - centres[cells]).square().sum().item(), centres
