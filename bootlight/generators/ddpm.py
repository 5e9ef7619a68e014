"""Denoising diffusion (Ho et al. 2020), improved (Nichol and Dhariwal 2021): the model of the bootstrapping paper."""

from collections.abc import Sequence
from typing import Literal

import torch

from bootlight.diffusion.objective import DSM, Hybrid
from bootlight.diffusion.prediction import Epsilon, LearnedVariance, Prediction
from bootlight.diffusion.sampler import Sampler
from bootlight.diffusion.schedules import CosineSchedule, LinearSchedule
from bootlight.errors import BootlightError, check_range
from bootlight.generators.diffusion import Diffusion
from bootlight.networks.sizes import Sizes
from bootlight.networks.unet import UNet


class DDPM(Diffusion):
    """Improved DDPM: `Diffusion` with its U-Net, one of two schedules, and the hybrid objective.

    Args:
        image_size: edge of square images in pixels, or [height, width]; taken from the data section of a config.
        channels: 1 or more; taken from the data section of a config.
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

    network_name = "unet"

    def __init__(
        self,
        image_size: int | list[int],
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
        check_range("model.num_train_timesteps", num_train_timesteps, 2)
        try:
            build = {"linear": LinearSchedule, "cosine": CosineSchedule}[noise_schedule]
            schedule = build(num_train_timesteps)
        except ValueError as error:
            raise BootlightError("model." + str(error).replace("num_timesteps", "num_train_timesteps")) from error
        inner = prediction or Epsilon()

        def network(sizes: Sizes) -> UNet:
            unet = UNet(
                sizes, width, channel_multipliers, num_res_blocks, attention_resolutions, num_heads, dropout, scale_shift_norm
            )
            if num_train_timesteps != 1000:
                # Part of the state where it is not 1: weights that were trained on other angles do not fit.
                unet.register_buffer("timestep_scale", torch.tensor(1000 / num_train_timesteps))
            return unet

        super().__init__(
            image_size,
            network,
            channels,
            schedule,
            LearnedVariance(inner) if learned_variance else inner,
            Hybrid() if learned_variance else DSM(),
            sampler=sampler,
            num_classes=num_classes,
            label_dropout=label_dropout,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            warmup_steps=warmup_steps,
            linear_decay=linear_decay,
            gradient_clip=gradient_clip,
            ema_decay=ema_decay,
        )
