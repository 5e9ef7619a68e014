"""How well a diffusion model denoises images, with noise that is the same for every model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bootlight.evaluation.real_batches import labels_for, real_batches
from bootlight.io.pictures import to_float
from bootlight.metrics.score import Score
from bootlight.rng import by_name, derive_key, normal_rows

if TYPE_CHECKING:
    from bootlight.data.datamodule import BootstrapData
    from bootlight.data.mixing import Source
    from bootlight.diffusion.denoiser import Denoiser

NAME = "denoising-loss"
MAX_IMAGES = 2000  # of a set, a fixed random subset


@torch.no_grad()
def denoising_loss(
    denoiser: Denoiser,
    data: BootstrapData,
    which: Source,
    levels: int,
    *,
    num_classes: int | None = None,
    batch_size: int = 100,
    device: torch.device | str = "cpu",
    check: Callable[[], None] = lambda: None,
    encode: Callable[[Tensor], Tensor] = lambda images: images,
) -> Score:
    """The squared error of the noise per number of an image, over noise levels and images (Ho et al. 2020, equation 14).

    Levels are the middles of `levels` equal parts of the schedule's own measure, every image is seen at each, and its noise is
    a function of its name and the level alone: of two models the difference is much surer than either loss.

    Args:
        denoiser: in eval mode, on `device`; composed, if the model is drawn from that way.
        data: set up, whose view of the images is the model's.
        which: images of `data`, such as `data.holdout`; at most `MAX_IMAGES` of them are taken.
        levels: how many.
        num_classes: of a class-conditional model, which is given the labels; None = it has none.
        batch_size: images of one network call.
        device: of the denoiser.
        check: called before each batch; raises to stop.
        encode: images to what the denoiser knows, see `DenoisingModule.encode`.

    Returns:
        The mean; its standard error is over images. 1 is the loss of a model that says there is no noise.
    """
    losses = []
    for batch in real_batches(data, which, MAX_IMAGES, batch_size):
        check()
        x0, ids = encode(to_float(batch.images).to(device)), batch.ids
        assert ids is not None
        known = labels_for(batch, num_classes)
        labels = None if known is None else known.to(device)
        at_levels = [_error(denoiser, x0, ids, labels, k, levels) for k in range(levels)]
        losses.append(torch.stack(at_levels).mean(0))
    each = torch.cat(losses)
    error = each.std().item() / math.sqrt(len(each)) if len(each) > 1 else None
    protocol = {"metric": NAME, "levels": levels, "schedule": type(denoiser.schedule).__name__, "num_images": len(each)}
    return Score(each.mean().item(), error, len(each), protocol, higher_is_better=False)


def _error(denoiser: Denoiser, x0: Tensor, ids: Tensor, labels: Tensor | None, k: int, levels: int) -> Tensor:
    """Of the noise at level k, (B,) float64 on the CPU."""
    noise = normal_rows(*by_name(derive_key(NAME, k, levels), ids), *x0.shape[1:]).to(x0)
    t = denoiser.schedule.drawn(torch.full((len(x0),), (k + 0.5) / levels, device=x0.device))
    estimate = denoiser(denoiser.schedule.level(t).noisy(x0, noise), t, labels)
    return (estimate.epsilon - noise).double().square().flatten(1).mean(1).cpu()
