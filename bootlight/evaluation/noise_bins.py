"""What the loss of a diffusion model is at each noise level, and what a training step at one of them does to the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bootlight.batch import Batch
from bootlight.diffusion.levels import sigma_at
from bootlight.diffusion.prediction import per_image
from bootlight.evaluation.real_batches import labels_for, real_batches
from bootlight.io.pictures import to_float
from bootlight.rng import derive_seed

if TYPE_CHECKING:
    from bootlight.data.datamodule import BootstrapData
    from bootlight.data.mixing import Source
    from bootlight.generators.diffusion import Diffusion

NAME = "noise-bins"
IMAGES = 64  # of the set, a fixed random subset; each is seen in every bin
STEP = 1e-4  # length of a step, as a share of that of all weights
FORMAT = 1


@dataclass(frozen=True)
class NoiseBins:
    """Numbers of each bin, the lowest level first.

    Args:
        sigma: at the middle of the bin.
        loss: mean of what is trained on, in its own units and without weights of timesteps.
        variance: of the loss, between images, their noise and the levels in the bin.
        x0_error: mean squared error of the image, which is in the same units for every prediction type.
        gradient_norm: of the mean loss.
        interference: how much the loss of bin a (row) changes by a step on bin b (column), as a share of the loss of a.
        step: length of that step, the same for all bins, along minus the gradient.
        n: images.
        format: of the file.
    """

    sigma: list[float]
    loss: list[float]
    variance: list[float]
    x0_error: list[float]
    gradient_norm: list[float]
    interference: list[list[float]]
    step: float
    n: int
    format: int = field(default=FORMAT)

    def to_json(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)


def noise_bins(
    model: Diffusion,
    data: BootstrapData,
    which: Source,
    bins: int,
    *,
    batch_size: int = 100,
    device: torch.device | str = "cpu",
    check: Callable[[], None] = lambda: None,
) -> NoiseBins:
    """Ask a model; its weights are afterwards as they were.

    Bins are equal parts of the schedule's own measure. Images, their levels within a bin, and noise are the same for every
    model with such a schedule. A step is one of plain gradient descent on the mean loss of a bin over the same images; as
    those of AdamW, it is as long in one bin as in another. To first order its effect is -step g_a g_b / ||g_b||.

    Args:
        model: in eval mode, on `device`; composed, if it was trained that way.
        data: set up, whose view of the images is the model's.
        which: images of `data`, such as `data.holdout`; at most `IMAGES` of them are taken.
        bins: how many.
        batch_size: images of one network call.
        device: of the model.
        check: called before each bin is gone through; raises to stop.
    """
    batches = list(real_batches(data, which, IMAGES, batch_size))
    loss = _Loss(model, batches, bins, device)
    with _trainable(model) as weights:
        before = torch.stack([loss.losses(k) for k in range(bins)])
        x0_error = [loss.x0_error(k) for k in range(bins)]
        length = STEP * float(torch.stack([w.detach().double().square().sum() for w in weights]).sum().sqrt())
        norms, changes = [], []
        for b in range(bins):
            check()
            gradient = loss.gradient(b, weights)
            norm = float(torch.stack([g.double().square().sum() for g in gradient]).sum().sqrt())
            with _moved(weights, gradient, -length / norm if norm > 0 else 0.0):
                after = torch.stack([loss.losses(a) for a in range(bins)])
            norms.append(norm)
            changes.append((after - before).mean(1) / before.mean(1))
    return NoiseBins(
        [float(sigma_at(model.schedule, model.schedule.drawn(torch.tensor([(k + 0.5) / bins])))) for k in range(bins)],
        before.mean(1).tolist(),
        before.var(1).tolist(),
        x0_error,
        norms,
        torch.stack(changes, 1).tolist(),
        length,
        before.shape[1],
    )


class _Loss:
    """Losses of a model in bins, with frozen levels and noise."""

    def __init__(self, model: Diffusion, batches: list[Batch], bins: int, device: torch.device | str) -> None:
        self.model = model
        self.batches = batches
        self.bins = bins
        self.device = device

    @torch.no_grad()
    def losses(self, k: int) -> Tensor:
        """Of each image, float64 (n,) on the CPU."""
        return torch.cat([self._asked(batch, t)[0].double().cpu() for batch, t in self._at(k)])

    def gradient(self, k: int, weights: list[Tensor]) -> list[Tensor]:
        """Of the mean loss."""
        total = [torch.zeros_like(weight) for weight in weights]
        for batch, t in self._at(k):
            with torch.enable_grad():
                losses, parts = self._asked(batch, t)
                mean = self.model.objective.mean(losses, parts, self.model.schedule, torch.mean)
                found = torch.autograd.grad(mean * (len(t) / batch.total), weights, allow_unused=True)
            for sum_, part in zip(total, found, strict=True):
                if part is not None:
                    sum_ += part
        return total

    @torch.no_grad()
    def x0_error(self, k: int) -> float:
        """Mean squared error of the estimated image."""
        denoiser, found = self.model.denoiser(ema=False), []
        for batch, t in self._at(k):
            x_t = self.model.schedule.level(t).noisy(batch.images, batch.normal("noise", *batch.images.shape[1:]))
            x0 = denoiser(x_t, t, batch.labels, **batch.cond).x0
            found.append(per_image((x0 - batch.images) ** 2).double().cpu())
        return float(torch.cat(found).mean())

    def _asked(self, batch: Batch, t: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.model.objective(self.model.denoiser(ema=False), batch, t)  # type: ignore[no-any-return]

    def _at(self, k: int) -> Iterator[tuple[Batch, Tensor]]:
        """The images as a step sees them, with noise of the bin's own, and where in the bin they are."""
        for stored in self.batches:
            labels = labels_for(stored, self.model.num_classes)
            batch = stored._replace(
                images=to_float(stored.images).to(self.device),
                labels=None if labels is None else labels.to(self.device),
                seed=derive_seed(NAME, k, self.bins),
                cond={name: value.to(self.device) for name, value in stored.cond.items()},
                noise=None,
            )
            batch = self.model.encoded(batch)
            t = self.model.schedule.drawn((k + batch.uniform("t").double()) / self.bins)
            yield batch, t.to(batch.images.dtype) if t.is_floating_point() else t


@contextmanager
def _trainable(model: Diffusion) -> Iterator[list[Tensor]]:
    """All that is trained: weights of the network, and of what else learns."""
    modules = model.network, model.prediction, model.objective
    weights = [weight for module in modules for weight in module.parameters()]
    wanted = [weight.requires_grad for weight in weights]
    try:
        for weight in weights:
            weight.requires_grad_(True)
        yield list(weights)
    finally:
        for weight, had in zip(weights, wanted, strict=True):
            weight.requires_grad_(had)


@contextmanager
@torch.no_grad()
def _moved(weights: list[Tensor], direction: list[Tensor], factor: float) -> Iterator[None]:
    """Weights are elsewhere meanwhile, and afterwards exactly where they were."""
    kept = [weight.clone() for weight in weights]
    try:
        for weight, part in zip(weights, direction, strict=True):
            weight.add_(part, alpha=factor)
        yield
    finally:
        for weight, old in zip(weights, kept, strict=True):
            weight.copy_(old)
