"""Shares of real images that synthetic images reach, without each of some groups of these, without searching anew."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bootlight.metrics.neighbours.neighbours import Block, blocks, in_balls, nearest, own_nearest

SPARE = 10  # neighbours beyond k that are looked up at once: as many of one group are hardly ever among the nearest


def recall_without(*, real: Tensor, synthetic: Tensor, ks: Sequence[int], groups: Tensor) -> list[list[float]]:
    """`precision_recall.recall` without each group of synthetic images in turn, for each k.

    Args:
        real: features (N, D).
        synthetic: features (M, D), more than k of which stay.
        ks: numbers of neighbours.
        groups: of each synthetic image the number of its group, (M,), from 0.
    """
    groups = groups.to(synthetic.device)
    radii = _radii_without(synthetic, ks, groups)
    stays = [groups != group for group in range(len(radii))]
    covered = torch.zeros(len(ks), len(radii), dtype=torch.int64)
    for block in blocks(real, synthetic):
        for group, kept in enumerate(stays):
            part = Block(block.start, block.squared[:, kept], block.slack)
            for row in range(len(ks)):
                covered[row, group] += in_balls(part, real, synthetic[kept], radii[group][row]).any(1).sum().cpu()
    shares: list[list[float]] = (covered.double() / len(real)).tolist()
    return shares


def _radii_without(synthetic: Tensor, ks: Sequence[int], groups: Tensor) -> list[Tensor]:
    """Distances of those that stay to their k-th nearest that stays, for each k, (K, images that stay) for each group."""
    distances, indices = nearest(synthetic, synthetic, min(len(synthetic) - 1, max(ks) + SPARE), same=True)
    found = []
    for group in range(int(groups.max()) + 1):
        kept = groups != group
        count = (groups[indices[kept]] != group).cumsum(1)
        if int(count[:, -1].min()) < max(ks):
            alone, _ = nearest(synthetic[kept], synthetic[kept], max(ks), same=True)
            found.append(alone[:, [k - 1 for k in ks]].T)
            continue
        places = torch.stack([(count >= k).byte().argmax(1) for k in ks], 1)
        found.append(distances[kept].gather(1, places).T)
    return found


def coverage_without(*, real: Tensor, synthetic: Tensor, k: int, groups: Tensor) -> list[float]:
    """`density_coverage.coverage` without each group of synthetic images in turn.

    Args:
        real: features (N, D), N > k.
        synthetic: features (M, D).
        k: number of neighbours.
        groups: of each synthetic image the number of its group, (M,), from 0.
    """
    radii, _ = own_nearest(real, k)
    groups = groups.to(synthetic.device)
    counts = torch.zeros(int(groups.max()) + 1, len(real), dtype=torch.int64, device=synthetic.device)  # in each ball
    for block in blocks(synthetic, real):
        inside = in_balls(block, synthetic, real, radii[:, -1])
        counts.index_add_(0, groups[block.start : block.start + len(inside)], inside.long())
    shares: list[float] = (counts.sum(0) > counts).double().mean(1).tolist()
    return shares
