"""One pass of a network over a set of images serves every metric, and is kept for the next time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from tqdm import tqdm

from bootlight.errors import BootlightError, safe
from bootlight.metrics.features.feature_cache import cached_features, feature_key
from bootlight.metrics.features.frozen import Frozen
from bootlight.metrics.features.looking import look

if TYPE_CHECKING:
    from bootlight.evaluation.sets.sources import ImageSource


def extract(
    source: ImageSource,
    network: nn.Module,
    *,
    cache: Path | None,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    check: Callable[[], None] = lambda: None,
) -> dict[str, Tensor]:
    """Everything a network answers to every image, by output: `features` (N, D), and what its method `outputs` adds.

    Args:
        source: the images.
        network: feature network; moved to `device` and left in eval mode.
        cache: folder where answers are kept, under a key made of the content of the images and the identity of the network;
            None = they are not kept.
        batch_size: images of one call.
        device: where the network runs; answers are float32 on the CPU.
        check: called before each batch; raises to stop.

    Raises:
        BootlightError: no images, or a network that does not answer with features.
    """
    frozen = Frozen(network)

    def compute() -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}  # of the full size from the start: joining parts would hold everything twice
        start = 0
        with tqdm(total=len(source.names), desc=safe(f"features of {source.where}"), unit=" images", leave=False) as bar:
            for images in source.batches(batch_size):
                check()
                for output, answer in look(frozen, images.to(device)).items():
                    rows = found.setdefault(output, torch.empty(len(source.names), answer.shape[1]))
                    rows[start : start + len(images)] = answer
                start += len(images)
                bar.update(len(images))
        if not found:
            raise BootlightError(f"{source.where} has no images; give a folder or zip that has")
        return found

    if cache is None:
        return compute()
    return cached_features(feature_key(source.key, network), compute, cache)
