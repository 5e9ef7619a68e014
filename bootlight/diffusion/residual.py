"""The objective of a network that adds to what others know: what they miss, and as little as need be."""

from __future__ import annotations

import torch
from torch import Tensor

from bootlight.batch import Batch
from bootlight.diffusion.compose import check_weight
from bootlight.diffusion.denoiser import Denoiser, NetworkDenoiser
from bootlight.diffusion.objective import Objective, noisy
from bootlight.diffusion.prediction import per_image
from bootlight.diffusion.view_sum import SumOfViews
from bootlight.diffusion.weighting import Weighting
from bootlight.errors import BootlightError


class Residual(Objective):
    """E ||e - e_views - r||^2 + penalty E ||r||^2 for the answer r of a network that `ViewSum` composes with views.

    In the units of the network's prediction, here those of noise. Where few images are to teach much, the penalty is the
    method: without it a linear residual is the estimate of direct training. Without views it is ordinary denoising score
    matching with a penalty on the answer.

    Args:
        penalty: on the mean square of r, at least 0.
        weighting: of both terms, as of the squared error in x0; None = the units of the prediction.
    """

    def __init__(self, penalty: float = 0.0, weighting: Weighting | None = None) -> None:
        super().__init__()
        check_weight("Residual penalty", penalty)
        if penalty < 0:
            raise BootlightError(f"Residual penalty is {penalty}; it must be at least 0")
        self.penalty = penalty
        self.weighting = weighting

    def forward(self, denoiser: Denoiser, batch: Batch, t: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective`; logged are the error, and the mean square of r.

        Raises:
            BootlightError: there is no network whose answer could be the residual.
        """
        base = denoiser.base if isinstance(denoiser, SumOfViews) else denoiser
        channels = batch.images.shape[1]
        if not isinstance(base, NetworkDenoiser) or base.prediction.num_outputs(channels) != channels:
            raise BootlightError(
                "the objective Residual needs a network whose answer is one image, such as Epsilon or V, without a learned "
                "variance or several heads, alone or in a ViewSum; change model.prediction or model.objective"
            )
        (noise, x_t, level), x0 = noisy(denoiser, batch, t), batch.images
        if isinstance(denoiser, SumOfViews):
            with torch.no_grad():
                known = denoiser.of_views(x_t, t, batch.labels)
            x0, noise = x0 - known.x0, noise - known.epsilon  # targets are linear in both
        answer = base.output(x_t, t, batch.labels, **batch.cond)
        weight = None if self.weighting is None else self.weighting(level)
        error = base.prediction.error(answer, x0, noise, level, weight)
        size = per_image(answer**2)
        if weight is not None:
            size = size * (weight / base.prediction.scale(level)).flatten()
        return error + self.penalty * size, {"mse": error, "residual": size}
