"""Diffusion models with every part by class path: network, schedule, prediction, objective, timesteps, sampler, composition."""

import math
from collections.abc import Callable
from copy import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bootlight.batch import Batch
from bootlight.diffusion.compose import Composition
from bootlight.diffusion.denoiser import NetworkDenoiser
from bootlight.diffusion.levels import DrawnLevels, sigma_at
from bootlight.diffusion.objective import DSM, Objective
from bootlight.diffusion.prediction import Epsilon, Prediction
from bootlight.diffusion.sampler import Sampler
from bootlight.diffusion.schedule import Schedule
from bootlight.diffusion.timesteps import TimestepSampler, UniformTimesteps
from bootlight.errors import BootlightError, check_range
from bootlight.generators.denoising import DenoisingModule
from bootlight.generators.part import EMA_PREFIX
from bootlight.io.shape import Shape, shape_of, size_words
from bootlight.networks.sizes import Sizes

NETWORK_NAMES = ("net", "unet")  # under which networks are published, here and in DDPM
LEAST_RATE = 0.02  # of the learning rate, at the end of a linear decay


class Diffusion(DenoisingModule):
    """A network that denoises, and how it is trained and drawn from.

    Args:
        image_size: edge of square images in pixels, or [height, width]; taken from the data section of a config.
        network: makes the network of its `Sizes`: in a config a class path, and arguments without the first one.
        channels: 1 or more; taken from the data section of a config.
        schedule: noise levels; cosine with 1000 timesteps if left out.
        prediction: what the network predicts; Epsilon if left out.
        objective: what it is trained on; DSM if left out.
        timesteps: which levels a step sees; UniformTimesteps if left out.
        sampler: how images are drawn; ancestral with every timestep if left out.
        compose: what the denoiser is composed with, in training and in drawing; nothing if left out.
        num_classes: number of labels of a class-conditional model; None = unconditional. In a config, auto is the number that
            the images have, None where they have no labels.
        label_dropout: share of the images trained without their label; classifier-free guidance needs some.
        learning_rate: of AdamW, after `warmup_steps`.
        weight_decay: of AdamW.
        warmup_steps: optimizer steps over which the learning rate rises from 0.
        linear_decay: let the learning rate fall on a line over the whole training, to 2 % of it at the end.
        gradient_clip: limit of the gradient's norm; None = no limit.
        ema_decay: of the average that images are drawn from; None = no average.
        autoencoder: makes what images are encoded by, of their (C, H, W): see `bootlight.Autoencoder`. Its weights stay, and
            the sampler must not clip. None = the images themselves are denoised.
    """

    accepts_unlabelled = has_noise_levels = True
    network_name = "net"  # what its weights are published under
    unpublished: tuple[str, ...] = (EMA_PREFIX, "timesteps.", "objective.")

    def __init__(
        self,
        image_size: int | list[int],
        network: Callable[[Sizes], nn.Module],
        channels: int = 3,
        schedule: Schedule | None = None,
        prediction: Prediction | None = None,
        objective: Objective | None = None,
        timesteps: TimestepSampler | None = None,
        sampler: Sampler | None = None,
        compose: Composition | None = None,
        num_classes: int | Literal["auto"] | None = None,
        label_dropout: float = 0.1,
        learning_rate: float = 1e-4,
        weight_decay: float = 0.0,
        warmup_steps: int = 0,
        linear_decay: bool = False,
        gradient_clip: float | None = None,
        ema_decay: float | None = 0.9999,
        autoencoder: Callable[[Shape], nn.Module] | None = None,
    ) -> None:
        if sampler is not None and sampler.guidance != 1 and (num_classes is None or label_dropout == 0):
            raise BootlightError(
                f"model.sampler.guidance is {sampler.guidance}, but the network learns nothing to guide by; set "
                "model.num_classes and a model.label_dropout above 0, or leave guidance at 1"
            )
        super().__init__(image_size, channels, num_classes, schedule, sampler, compose, autoencoder)
        check_range("model.label_dropout", label_dropout, 0, 1)
        for key, value in (("learning_rate", learning_rate), ("weight_decay", weight_decay), ("warmup_steps", warmup_steps)):
            check_range(f"model.{key}", value, 0)
        if gradient_clip is not None and not gradient_clip > 0:
            raise BootlightError(f"model.gradient_clip is {gradient_clip}; it must be above 0, or null for no limit")
        self.label_dropout = label_dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup_steps = warmup_steps
        self.linear_decay = linear_decay
        self.gradient_clip = gradient_clip
        self.prediction = prediction or Epsilon()
        self.objective = objective or DSM()
        self.timesteps = timesteps or UniformTimesteps()
        self.timesteps.setup(self.schedule)
        self._observed: list[Tensor] = []  # times and losses (n, 2) of the batches of an optimizer step
        self._noted: list[Tensor] = []  # by the prediction, in the same
        self._check_prediction()
        shape = self.latent_shape
        sizes = Sizes(shape, self.prediction.num_outputs(shape[0]), self.num_classes)
        self.add_module(self.network_name, network(sizes))
        self.average(self.network, ema_decay)

    def _check_prediction(self) -> None:
        if self.prediction.needs_constant_variance and not self.schedule.keeps_variance:
            raise BootlightError(
                f"model.prediction is {type(self.prediction).__name__}, which is not meant for a "
                f"{type(self.schedule).__name__}; take EDM, Epsilon or X0, or a schedule with a table of timesteps"
            )

    @property
    def network(self) -> nn.Module:
        """What is trained."""
        return self.get_submodule(self.network_name)

    def at_size(self, height: int, width: int) -> "Diffusion":
        """See `GeneratorModule.at_size`: with a network of any size, such as `NextNet`."""
        if (height, width) == self.image_shape[1:]:
            return self
        if self.autoencoder is not None or not getattr(self.network, "any_size", False):
            raise BootlightError(
                f"{type(self.network).__name__} draws images of {size_words(*self.image_shape[1:])} pixels alone, not of "
                f"{size_words(height, width)}; take a network of any size as model.network, such as bootlight.NextNet"
            )
        found = copy(self)
        found._shape = shape_of([height, width], self.channels)
        return found

    def load_published(self, state: dict[str, Tensor]) -> None:
        """See `GeneratorModule.load_published`; the network may have been published by a preset that calls it otherwise."""
        parts = {name: name.split(".", 1) for name in state}
        super().load_published(
            {
                f"{self.network_name}.{part[1]}" if part[0] in NETWORK_NAMES else name: state[name]
                for name, part in parts.items()
            }
        )

    def own_denoiser(self, ema: bool = True) -> NetworkDenoiser:
        """The network, by its average unless told otherwise."""
        return NetworkDenoiser(self.drawn(self.network, ema), self.prediction, self.schedule)

    def compile_networks(self) -> None:
        """See `GeneratorModule.compile_networks`."""
        self.network.compile()
        if self.ema is not None:
            self.ema.network.compile()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The objective, its mean over the batch."""
        losses, parts, weight = self.losses(batch)

        def mean(values: Tensor) -> Tensor:
            return batch.weighted(values if weight is None else values * weight)

        loss = self.objective.mean(losses, parts, self.schedule, mean)
        size = len(batch.images)
        for name, values in parts.items():
            self.log(f"train/{name}", (values if weight is None else values * weight).mean(), batch_size=size)
        self.log("train/loss", loss, batch_size=size, prog_bar=True)
        return loss

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor], Tensor | None]:
        """Losses (B,), the parts of them that are logged, and the weights of their noise levels, None = 1."""
        batch = self.encoded(batch)
        t, weight = self._times(batch)
        if batch.noise is not None and batch.t is None:  # images that were not chosen for their level, by another loader
            allowed = self._allowed(t, batch.noise)
            weight = allowed if weight is None else allowed * weight
        with self.prediction.watched() as noted:
            losses, parts = self.objective(self.denoiser(ema=False), batch._replace(labels=self._training_labels(batch)), t)
        if self.timesteps.observes:
            self._observed.append(self._of_all(torch.stack([t.double(), losses.detach().double()], 1)))
        if self.prediction.observes:
            self._noted += [self._of_all(rows) for rows in noted]
        return losses, parts, weight

    def _allowed(self, t: Tensor, ranges: Tensor) -> Tensor:
        """1 where an image may be trained at its noise level, else 0, (B,)."""
        sigma, usable = sigma_at(self.schedule, t), self.objective.usable(ranges)
        return ((usable[:, 0] <= sigma) & (sigma <= usable[:, 1])).to(sigma.dtype)

    def _times(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Noise levels, no finer than the images, or those that came with them; and weights of the losses."""
        t, weight = batch.t, None
        if t is None:
            t, weight = self.timesteps.draw(batch.uniform("t", whole=True), batch.positions())
        finer = t.is_floating_point() and t.element_size() > batch.images.element_size()
        return t.to(batch.images.dtype) if finer else t, weight

    def noise_levels(self) -> DrawnLevels:
        """See `GeneratorModule.noise_levels`."""
        return DrawnLevels.of(self.timesteps, self.objective.usable)

    def _of_all(self, rows: Tensor) -> Tensor:
        """Rows (n, m) of all devices, to be kept until the whole optimizer step is there: all its parts are drawn alike."""
        gathered: Any = self.all_gather(rows)
        return gathered.reshape(-1, rows.shape[1])  # type: ignore[no-any-return]

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
        modules = self.network, self.prediction, self.objective  # the others may have something to learn too
        trained = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=self.learning_rate, weight_decay=self.weight_decay, fused=True)

        def share(step: int) -> float:
            # The number of steps is asked for in training only: before it, Lightning would open the data, and then not restore
            # their place on resume.
            total = self.trainer.estimated_stepping_batches if self.linear_decay and step else math.inf
            return min(1.0, (step + 1) / (self.warmup_steps + 1)) * max(LEAST_RATE, 1 - step / total)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Let timestep sampler and prediction see what came of the step, and clip the true gradients.

        Lightning leaves gradients of a fused optimizer scaled in float16.
        """
        if self._observed:
            self.timesteps.observe(*torch.cat(self._observed).T)
            self._observed.clear()
        if self._noted:
            self.prediction.observe(torch.cat(self._noted))
            self._noted.clear()
        if self.gradient_clip is not None:
            scaler = getattr(self.trainer.precision_plugin, "scaler", None)
            if scaler is not None:
                scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.gradient_clip)
