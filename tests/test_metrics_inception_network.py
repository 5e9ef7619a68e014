"""The arranged Inception network: each arrangement leaves the sums what they are."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bootlight.metrics.features.inception_network import _Branches, _MaxPool


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(7, 9), (8, 6), (3, 4)])  # odd and even: the last row of an even map is not looked at
def test_the_largest_of_rows_then_columns_is_the_largest(size: tuple[int, int]) -> None:
    x = normal(2, 5, *size, seed=1)
    assert torch.equal(_MaxPool()(x), F.max_pool2d(x, 3, 2))


def test_joined_heads_and_a_later_mean_are_the_separate_branches() -> None:
    x = normal(2, 6, 7, 5, seed=2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        one, inner, pooled = (nn.Conv2d(6, channels, 1) for channels in (3, 4, 2))
        outer, other = nn.Conv2d(4, 3, 3, padding=1), nn.Conv2d(6, 2, 3, padding=1)
    mean = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    branches = _Branches([one, inner, pooled], [nn.Identity(), nn.Sequential(nn.ReLU(), outer), mean], [other])
    before = x.clone()
    expected = torch.cat([F.relu(y) for y in (one(x), outer(F.relu(inner(x))), pooled(mean(x)), other(x))], 1)
    # Sums of up to 54 float32 products of size 1, in another order: 54 * 6e-8.
    assert (branches(x) - expected).abs().max() < 4e-6
    assert torch.equal(x, before)
