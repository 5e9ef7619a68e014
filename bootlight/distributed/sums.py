"""Sums over processes."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from bootlight.distributed.processes import in_group, losses_explained


def add_up(tensors: Sequence[Tensor]) -> None:
    """Replace tensors, of one type and on one device, by their sums over all processes, in place; in one message."""
    if not in_group() or not tensors:
        return
    whole = torch.cat([tensor.reshape(-1) for tensor in tensors])
    with losses_explained():
        dist.all_reduce(whole)
    for tensor, part in zip(tensors, torch.split(whole, [tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))
