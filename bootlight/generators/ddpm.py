"""Denoising diffusion (Ho et al. 2020), improved (Nichol and Dhariwal 2021): the model of the bootstrapping paper."""

import math
from collections.abc import Sequence
from copy import copy
from typing import Any, Literal

import torch
from torch import Tensor

from bootlight.batch import Batch
from bootlight.diffusion.denoiser import NetworkDenoiser
from bootlight.diffusion.objective import per_image, variational_term
from bootlight.diffusion.prediction import Epsilon, Prediction
from bootlight.diffusion.sampler import Ancestral, Sampler
from bootlight.diffusion.schedule import Schedule
from bootlight.errors import BootlightError, check_range
from bootlight.generators.base import GeneratorModule
from bootlight.networks.sizes import Sizes
from bootlight.networks.unet import UNet
from bootlight.rng import NoiseStreams

LEAST_RATE = 0.02  # of the learning rate, at the end of a linear decay


class DDPM(GeneratorModule):
    """Improved DDPM.

    Args:
        image_size: edge of the images in pixels; taken from the data section of a config.
        channels: 1 (grey) or 3 (RGB); taken from the data section of a config.
        width: channels of the U-Net's first level.
        channel_multipliers: channels of each level in units of `width`; each level but the last halves the size.
        num_res_blocks: residual blocks of each level.
        attention_resolutions: edges in pixels of the levels with attention.
        num_heads: attention heads.
        dropout: probability in every residual block.
        scale_shift_norm: inject the timestep by scaling and shifting the norm; otherwise by adding.
        noise_schedule: linear (Ho et al. 2020) or cosine (Nichol and Dhariwal 2021).
        num_train_timesteps: T. The network sees t * 1000 / T, as in improved-diffusion.
        prediction: what the network predicts; Epsilon if left out.
        learned_variance: predict the variance too and add the variational bound to the loss (the hybrid objective).
        num_classes: number of labels of a class-conditional model; None = unconditional. In a config, auto is the number that
            the images have, None where they have no labels.
        label_dropout: share of the images trained without their label; classifier-free guidance needs some.
        learning_rate: of AdamW, after `warmup_steps`.
        weight_decay: of AdamW.
        warmup_steps: optimizer steps over which the learning rate rises from 0.
        linear_decay: let the learning rate fall on a line over the whole training, to 2 % of it at the end.
        gradient_clip: limit of the gradient's norm; None = no limit.
        ema_decay: of the average that images are drawn from.
        sampler: how images are drawn; ancestral with every timestep if left out.
    """

    accepts_unlabelled = True

    def __init__(
        self,
        image_size: int,
        channels: int = 3,
        width: int = 64,
        channel_multipliers: Sequence[int] = (1, 2, 2, 2),
        num_res_blocks: int = 3,
        attention_resolutions: Sequence[int] = (16, 8),
        num_heads: int = 4,
        dropout: float = 0.0,
        scale_shift_norm: bool = True,
        noise_schedule: Literal["linear", "cosine"] = "linear",
        num_train_timesteps: int = 1000,
        prediction: Prediction | None = None,
        learned_variance: bool = True,
        num_classes: int | Literal["auto"] | None = None,
        label_dropout: float = 0.1,
        learning_rate: float = 1e-4,
        weight_decay: float = 0.0,
        warmup_steps: int = 0,
        linear_decay: bool = False,
        gradient_clip: float | None = None,
        ema_decay: float = 0.9999,
        sampler: Sampler | None = None,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        check_range("model.num_train_timesteps", num_train_timesteps, 2)
        check_range("model.label_dropout", label_dropout, 0, 1)
        for key, value in (("learning_rate", learning_rate), ("weight_decay", weight_decay), ("warmup_steps", warmup_steps)):
            check_range(f"model.{key}", value, 0)
        if gradient_clip is not None and not gradient_clip > 0:
            raise BootlightError(f"model.gradient_clip is {gradient_clip}; it must be above 0, or null for no limit")
        self.learned_variance = learned_variance
        self.label_dropout = label_dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup_steps = warmup_steps
        self.linear_decay = linear_decay
        self.gradient_clip = gradient_clip
        self.prediction = prediction or Epsilon()
        self.sampler = sampler or Ancestral()
        if self.sampler.guidance != 1 and (self.num_classes is None or label_dropout == 0):
            raise BootlightError(
                f"model.sampler.guidance is {self.sampler.guidance}, but the network learns nothing to guide by; set "
                "model.num_classes and a model.label_dropout above 0, or leave guidance at 1"
            )
        build = {"linear": Schedule.linear, "cosine": Schedule.cosine}[noise_schedule]
        self.schedule = build(num_train_timesteps)
        if self.schedule.alphas_cumprod.min() <= 0:
            raise BootlightError(f"model.num_train_timesteps is {num_train_timesteps}; the linear schedule needs more than 20")
        if self.sampler.num_steps is not None:
            self.set_num_steps(self.sampler.num_steps)
        outputs = 2 * channels if learned_variance else channels
        self.unet = UNet(
            Sizes(self.image_shape, outputs, self.num_classes),
            width,
            channel_multipliers,
            num_res_blocks,
            attention_resolutions,
            num_heads,
            dropout,
            scale_shift_norm,
        )
        if num_train_timesteps != 1000:
            # Part of the state where it is not 1: weights that were trained on other angles do not fit.
            self.unet.register_buffer("timestep_scale", torch.tensor(1000 / num_train_timesteps))
        self.average(self.unet, ema_decay)

    def denoiser(self, ema: bool = True) -> NetworkDenoiser:
        """The network as a denoiser, by its average unless told otherwise."""
        return NetworkDenoiser(self.drawn(self.unet, ema), self.prediction, self.schedule)

    def draw(self, noise: NoiseStreams, labels: Tensor | None) -> Tensor:
        """See `GeneratorModule.draw`."""
        return self.sampler(self.denoiser(), self.schedule, noise.normal(*self.image_shape), noise, labels)

    def protocol(self) -> dict[str, Any]:
        """The sampler and its settings."""
        protocol = self.sampler.protocol()
        return protocol | {"num_steps": protocol["num_steps"] or len(self.schedule)}

    def set_num_steps(self, num_steps: int) -> None:
        """See `GeneratorModule.set_num_steps`."""
        if not 1 <= num_steps <= len(self.schedule):
            raise BootlightError(f"model.sampler.num_steps is {num_steps}; this model allows 1 to {len(self.schedule)}")
        sampler = copy(self.sampler)
        sampler.num_steps = num_steps
        try:
            sampler.grid(self.schedule)
        except ValueError as error:
            raise BootlightError(f"model.sampler.{error}") from error
        self.sampler = sampler

    def shortened(self) -> tuple[GeneratorModule, float]:
        """The same network with two sampler steps."""
        short = copy(self)
        short.sampler = copy(self.sampler)
        short.sampler.num_steps, short.sampler.spacing = 2, "linspace"  # which takes two steps of any schedule
        return short, self.sampler.calls(self.sampler.num_steps or len(self.schedule)) / self.sampler.calls(2)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The hybrid objective, mean over the batch; the plain mean squared error where the variance is not learned."""
        simple, bound = self.losses(batch)
        self.log("train/mse", simple, batch_size=len(batch.images))
        if bound is None:
            self.log("train/loss", simple, batch_size=len(batch.images))
            return simple
        # T / 1000 makes the term 0.001 L_vlb, since L_vlb is the sum of T such terms (Nichol and Dhariwal 2021, equation 16).
        loss = simple + len(self.schedule) / 1000 * bound
        self.log("train/vlb", bound, batch_size=len(batch.images))
        self.log("train/loss", loss, batch_size=len(batch.images), prog_bar=True)
        return loss

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Mean squared error of the prediction, and the mean variational term in bits per dimension (or None)."""
        x0 = batch.images
        t = (batch.uniform("t") * len(self.schedule)).long()
        noise = batch.normal("noise", *self.image_shape)
        x_t = self.schedule.add_noise(x0, noise, t)
        output = self.unet(x_t, t * (1000 / len(self.schedule)), self._training_labels(batch)).float()
        answer = output[:, : self.channels]
        simple = per_image((self.prediction.target(x0, noise, self.schedule.level(t)) - answer) ** 2).mean()
        if not self.learned_variance:
            return simple, None
        # The bound trains the variance alone: the prediction is detached in it.
        frozen = torch.cat([answer.detach(), output[:, self.channels :]], 1)
        estimate = self.denoiser(ema=False).read(frozen, x_t, t)
        assert estimate.variance_fraction is not None
        bound = variational_term(
            self.schedule, x0=x0, x_t=x_t, t=t, estimate_x0=estimate.x0, variance_fraction=estimate.variance_fraction
        )
        return simple, bound.mean()

    def _training_labels(self, batch: Batch) -> Tensor | None:
        """Labels with some replaced by "no label", which images without one have anyway."""
        if self.num_classes is None:
            return None
        if batch.labels is None:
            raise BootlightError("model.num_classes is set, but the data have no labels: use class folders, or leave it out")
        without = (batch.uniform("label") < self.label_dropout) | (batch.labels < 0)
        return torch.where(without, self.num_classes, batch.labels)

    def configure_optimizers(self) -> Any:
        """AdamW with a linear warm-up, and a linear decay where it is wanted."""
        optimizer = torch.optim.AdamW(self.unet.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=True)

        def share(step: int) -> float:
            # The number of steps is asked for in training only: before it, Lightning would open the data, and then not restore
            # their place on resume.
            total = self.trainer.estimated_stepping_batches if self.linear_decay and step else math.inf
            return min(1.0, (step + 1) / (self.warmup_steps + 1)) * max(LEAST_RATE, 1 - step / total)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Clip the true gradients: Lightning leaves those of a fused optimizer scaled in float16."""
        if self.gradient_clip is not None:
            scaler = getattr(self.trainer.precision_plugin, "scaler", None)
            if scaler is not None:
                scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(self.unet.parameters(), self.gradient_clip)
