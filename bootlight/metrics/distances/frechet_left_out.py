"""Fréchet distances without each of some groups of synthetic images, without computing each anew."""

import torch
from torch import Tensor

from bootlight.metrics.distances.congruence import congruence
from bootlight.metrics.distances.statistics import Statistics, feature_statistics, less_overlap


def frechet_without(*, real: Statistics, synthetic_features: Tensor, groups: Tensor) -> list[float]:
    """The Fréchet distance to a reference without each group in turn.

    With d what features deviate from the mean of all, those that stay have the mean m = Σ d / n and the scatter
    Σ d dᵀ - n m mᵀ, both sums over all less those over the group. Where images are fewer than features, the eigenvalues come
    from the products (N, N) of all images, of which rows and columns go and the rest is centred.

    Args:
        real: statistics of the reference.
        synthetic_features: (N, D).
        groups: of each image the number of its group, (N,), from 0.

    Returns:
        What `frechet_distance` gives for the images that stay, to rounding.

    Raises:
        BootlightError: as `feature_statistics`.
    """
    synthetic = feature_statistics(synthetic_features)
    deviations = synthetic_features.detach().cpu().double() - synthetic.mean
    groups = groups.cpu()
    squares = deviations.square().sum(1)
    width = real.factor.shape[1]
    products: Tensor | None = None
    found = []
    for group in range(int(groups.max()) + 1):
        stays = groups != group
        n = int(stays.sum())
        mean = -deviations[~stays].sum(0) / n  # of what stays; the deviations of all come to 0
        if n < width:
            if products is None:
                seen = deviations @ real.factor
                products = seen @ seen.T
            values = torch.linalg.eigvalsh(_centred(products[stays][:, stays])) / (n - 1)
            trace = (squares[stays].sum() - n * mean.square().sum()) / (n - 1)
        else:
            gone = deviations[~stays]
            cov = (synthetic.cov * (synthetic.n - 1) - gone.T @ gone - n * torch.outer(mean, mean)) / (n - 1)
            values, trace = torch.linalg.eigvalsh(congruence(cov, real.factor)), cov.trace()
        shift = (real.mean - synthetic.mean - mean).square().sum()
        found.append(less_overlap(shift + real.cov.trace() + trace, values, rank=min(real.n, n) - 1))
    return found


def _centred(products: Tensor) -> Tensor:
    """Products (n, n) of vectors as they are from the mean of these."""
    rows = products.mean(1)
    return products - rows[:, None] - rows + rows.mean()
