"""What was understood of a folder: networks that are made with its weights, and how a configuration names them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from bootlight.io.shape import Shape, as_size
from bootlight.networks.sizes import Sizes
from bootlight.pipelines.folder import PipelineFolder
from bootlight.pipelines.part import Part


@dataclass
class Found(ABC):
    """Of a folder.

    Args:
        folder: of the pipeline.
        part: the network, without its sizes.
        image_shape: (C, H, W) of its images.
        num_classes: that it tells apart; None = none.
        coder: its autoencoder, without its shape; None = images are denoised as they are.
        prompts: texts of the classes, and the empty one.
        told: what was understood or dropped, in words.
    """

    folder: PipelineFolder
    part: Part
    image_shape: Shape
    num_classes: int | None
    coder: Part | None = None
    prompts: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    @abstractmethod
    def network(self, sizes: Sizes) -> nn.Module:
        """The network with its weights."""

    def autoencoder(self, shape: Shape) -> nn.Module:
        """Where there is one, with its weights."""
        raise NotImplementedError

    def arguments(self) -> dict[str, Any]:
        """Of `bootlight.Diffusion`, as `model.json` has them."""
        channels, height, width = self.image_shape
        scheduler = self.folder.scheduler
        given: dict[str, Any] = {"image_size": as_size(height, width), "channels": channels, "num_classes": self.num_classes}
        parts = {"network": self.part, "schedule": scheduler.schedule, "prediction": scheduler.prediction}
        parts |= {"sampler": scheduler.sampler} | ({} if self.coder is None else {"autoencoder": self.coder})
        return given | {name: part.written() for name, part in parts.items()}

    def described(self) -> dict[str, Any]:
        """Where it comes from, with the hashes of the weights; for a JSON file."""
        return {**self.folder.described, **({"prompts": self.prompts} if self.prompts else {})}
