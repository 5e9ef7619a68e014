"""What a denoiser is trained on: the loss of each image."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bootlight.batch import Batch
from bootlight.diffusion.denoiser import Denoiser, NetworkDenoiser
from bootlight.diffusion.grid import Level
from bootlight.diffusion.prediction import LearnedVariance, Prediction, per_image
from bootlight.diffusion.schedule import DiscreteSchedule, Schedule
from bootlight.diffusion.variational import variational_term
from bootlight.diffusion.weighting import Simple, Weighting


class Objective(nn.Module, ABC):
    """A loss."""

    @abstractmethod
    def forward(self, denoiser: Denoiser, batch: Batch, t: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Losses (B,), before any weights of images or timesteps; and parts of them (B,) that are logged by their names.

        Args:
            denoiser: in training.
            batch: images in [-1, 1], or floats as stored; labels as the network is to see them.
            t: (B,).
        """

    def usable(self, ranges: Tensor) -> Tensor:
        """Where images are trained at, of where they may be: the least and the largest sigma of each, (n, 2).

        Args:
            ranges: `Source.noise` of the images, float32 (n, 2).
        """
        return ranges

    def mean(self, losses: Tensor, parts: dict[str, Tensor], schedule: Schedule, mean: Callable[[Tensor], Tensor]) -> Tensor:
        """The loss of a batch, as `forward` has answered it.

        Args:
            losses: of its images.
            parts: of the losses.
            schedule: of the denoiser.
            mean: over the images, with all weights.
        """
        return mean(losses)


class DSM(Objective):
    """Denoising score matching: the squared error of what the network predicts (Ho et al. 2020, equation 14).

    Args:
        weighting: of the squared error in x0; None = the error in the prediction's own units; of a composition, in the noise.
    """

    def __init__(self, weighting: Weighting | None = None) -> None:
        super().__init__()
        self.weighting = weighting

    def forward(self, denoiser: Denoiser, batch: Batch, t: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective`."""
        x0, noise, x_t, level = self.noised(denoiser, batch, t)
        if isinstance(denoiser, NetworkDenoiser):
            output = denoiser.output(x_t, t, batch.labels, **batch.cond)
            error = self.error(denoiser.prediction, output, x0, noise, level)
        else:
            estimate = denoiser(x_t, t, batch.labels, **batch.cond)
            error = per_image((estimate.x0 - x0) ** 2) * (self.weighting or Simple())(level).flatten()
        return error, {"mse": error}

    def noised(self, denoiser: Denoiser, batch: Batch, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Level]:
        """Images and noise that are to be told apart, x_t = signal * x0 + noise * epsilon of them, and its level."""
        noise, x_t, level = noisy(denoiser, batch, t)
        return batch.images, noise, x_t, level

    def error(self, prediction: Prediction, output: Tensor, x0: Tensor, noise: Tensor, level: Level) -> Tensor:
        """Of what a network has answered, (B,), weighted."""
        return prediction.error(output, x0, noise, level, None if self.weighting is None else self.weighting(level))


class Hybrid(DSM):
    """The squared error, and the variational bound for the variance alone (Nichol and Dhariwal 2021, section 3.1).

    For a table of timesteps and a prediction with `LearnedVariance`.

    Args:
        weighting: of the squared error in x0; None = the error in the prediction's own units.
    """

    def forward(self, denoiser: Denoiser, batch: Batch, t: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective`.

        Raises:
            ValueError: there is no learned variance, no table, or a level between its entries.
        """
        schedule = denoiser.schedule
        prediction = denoiser.prediction if isinstance(denoiser, NetworkDenoiser) else None
        if not (
            isinstance(denoiser, NetworkDenoiser)
            and isinstance(prediction, LearnedVariance)
            and isinstance(schedule, DiscreteSchedule)
        ):
            raise ValueError("the hybrid objective needs a prediction with LearnedVariance and a schedule with timesteps")
        if t.is_floating_point():
            raise ValueError("the hybrid objective needs whole timesteps, not levels between them; take UniformTimesteps")
        x0, (noise, x_t, level) = batch.images, noisy(denoiser, batch, t)
        output = denoiser.output(x_t, t, batch.labels, **batch.cond)
        error = self.error(prediction, output, x0, noise, level)
        # The bound trains the variance alone: the prediction is detached in it.
        answer, variance = prediction.split(output, x0)
        estimate = denoiser.read(torch.cat([answer.detach(), variance], 1), x_t, t)
        assert estimate.variance_fraction is not None
        bound = variational_term(
            schedule, x0=x0, x_t=x_t, t=t, estimate_x0=estimate.x0, variance_fraction=estimate.variance_fraction
        )
        return error + share_of_bound(schedule) * bound, {"mse": error, "vlb": bound}

    def mean(self, losses: Tensor, parts: dict[str, Tensor], schedule: Schedule, mean: Callable[[Tensor], Tensor]) -> Tensor:
        """See `Objective`; of each part on its own, which is as it was always summed."""
        return mean(parts["mse"]) + share_of_bound(schedule) * mean(parts["vlb"])


def share_of_bound(schedule: Schedule) -> float:
    """T / 1000 makes a term 0.001 L_vlb, since L_vlb is the sum of T such terms (Nichol and Dhariwal 2021, equation 16)."""
    return (schedule.num_timesteps or 1000) / 1000


def noisy(denoiser: Denoiser, batch: Batch, t: Tensor) -> tuple[Tensor, Tensor, Level]:
    """The noise of this step, the images with it at `t`, and the level of that."""
    noise, level = batch.normal("noise", *batch.images.shape[1:]), denoiser.schedule.level(t)
    return noise, level.noisy(batch.images, noise), level
