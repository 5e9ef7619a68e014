"""A generator that begins as a local folder of diffusers: to be trained on, whole or by adapters, or used as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch import nn

from bootlight.diffusion.compose import Composition
from bootlight.diffusion.objective import Objective
from bootlight.diffusion.sampler import Sampler
from bootlight.diffusion.timesteps import TimestepSampler
from bootlight.errors import BootlightError
from bootlight.generators.diffusion import Diffusion
from bootlight.io.paths import expanded
from bootlight.networks.lora import LoRA
from bootlight.networks.sizes import Sizes
from bootlight.pipelines.folder import PipelineFolder
from bootlight.pipelines.understood import understood

OWN = ("folder", "class_names", "template", "rank", "targets")  # arguments that `bootlight.Diffusion` does not have


class Pretrained(Diffusion):
    """A `Diffusion` whose network, schedule, prediction and autoencoder come from a folder; needs `bootlight[diffusers]`.

    Folders of `DDPMPipeline`, `DDIMPipeline` and `StableDiffusionPipeline` are understood. Of the last one, a label stands for
    a prompt and no label for the empty one, so that `model.sampler.guidance` is the pipeline's `guidance_scale`; the text
    encoder is not trained. What is published is a plain `Diffusion` with the folder's hashes, which needs neither folder nor
    adapters.

    Args:
        image_size: edge of square images in pixels, or [height, width]; taken from the data section of a config.
        folder: that `save_pretrained` has written, with weights as safetensors.
        channels: 1 or more; taken from the data section of a config.
        num_classes: number of labels of a class-conditional model; None = unconditional. In a config, auto is the number that
            the images have, None where they have no labels.
        class_names: words for the classes, by label, of which prompts are made; only of a text-to-image pipeline.
        template: prompt of a class, with {} where its name goes; `a photo of a {}` if left out.
        rank: of low-rank adapters, which alone are trained then; None = all weights are.
        targets: names of layers that are adapted, see `bootlight.LoRA`; all if left out.
        objective: what it is trained on; DSM if left out.
        timesteps: which levels a step sees; UniformTimesteps if left out.
        sampler: how images are drawn; the nearest to the folder's own if left out.
        compose: what the denoiser is composed with, in training and in drawing; nothing if left out.
        label_dropout: share of the images trained without their label; classifier-free guidance needs some.
        learning_rate: of AdamW, after `warmup_steps`.
        weight_decay: of AdamW.
        warmup_steps: optimizer steps over which the learning rate rises from 0.
        linear_decay: let the learning rate fall on a line over the whole training, to 2 % of it at the end.
        gradient_clip: limit of the gradient's norm; None = no limit.
        ema_decay: of the average that images are drawn from; None = no average.

    Raises:
        BootlightError: the folder is not understood, or does not fit these images and classes.
    """

    def __init__(
        self,
        image_size: int | list[int],
        folder: str,
        channels: int = 3,
        num_classes: int | Literal["auto"] | None = None,
        class_names: list[str] | None = None,
        template: str | None = None,
        rank: int | None = None,
        targets: list[str] | None = None,
        objective: Objective | None = None,
        timesteps: TimestepSampler | None = None,
        sampler: Sampler | None = None,
        compose: Composition | None = None,
        label_dropout: float = 0.1,
        learning_rate: float = 1e-5,
        weight_decay: float = 0.0,
        warmup_steps: int = 0,
        linear_decay: bool = False,
        gradient_clip: float | None = 1.0,
        ema_decay: float | None = 0.9999,
    ) -> None:
        pipeline = PipelineFolder(Path(expanded(folder)))
        found = understood(pipeline, image_size, class_names, template)
        for key, own, theirs in (("channels", channels, found.image_shape[0]), ("num_classes", num_classes, found.num_classes)):
            if own != theirs:
                raise BootlightError(f"model.{key} is {own}, and {folder} has {theirs}; {_cure(key, pipeline)}")

        def network(sizes: Sizes) -> nn.Module:
            return found.network(sizes) if rank is None else LoRA(sizes, found.network, rank, targets=targets)

        scheduler = pipeline.scheduler
        super().__init__(
            image_size,
            network,
            channels,
            scheduler.schedule.make(),
            scheduler.prediction.make(),
            objective,
            timesteps,
            sampler or scheduler.sampler.make(),
            compose,
            num_classes,
            label_dropout,
            learning_rate,
            weight_decay,
            warmup_steps,
            linear_decay,
            gradient_clip,
            ema_decay,
            None if found.coder is None else found.autoencoder,
        )
        self._found = found

    def described(self, model: Mapping[str, Any]) -> dict[str, Any]:
        """See `GeneratorModule.described`: a plain `Diffusion`, and where its weights come from."""
        given = {name: value for name, value in model.get("init_args", {}).items() if name not in OWN}
        if given.get("sampler") is None:
            given.pop("sampler", None)
        arguments = self._found.arguments() | given
        return {
            "pretrained": self._found.described(),
            "model": {"class_path": "bootlight.Diffusion", "init_args": arguments},
        }


def _cure(key: str, pipeline: PipelineFolder) -> str:
    if key == "num_classes" and pipeline.is_latent:
        return "give model.class_names, a word for each class, by label; or leave both out"
    return "take data of that kind" if key == "channels" else "set it to that, and take data with as many classes"
