"""What a plug-in may ask of the generation that it works for; the stages hand it over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from bootlight.runs.context import GenerationContext
    from bootlight.runs.folder import GenerationFolder


class Images(Protocol):
    """Pictures that are decoded when they are asked for, in a fixed order."""

    def batches(self, size: int) -> Iterator[Tensor]:
        """Batches (B, C, H, W) of at most `size` images, in order, as they are stored: uint8, or float32 of float data."""

    def pick(self, indices: list[int]) -> Sequence[NDArray[Any]]:
        """Some images, arrays (H, W, C)."""


class Generation(Protocol):
    """One generation of a run."""

    @property
    def context(self) -> GenerationContext:
        """Run folder, number, seed of the run."""

    @property
    def number(self) -> int:
        """From 0."""

    @property
    def folder(self) -> GenerationFolder:
        """Its files."""

    @property
    def device(self) -> torch.device:
        """Of this process."""

    @property
    def real(self) -> Images:
        """The real images in use."""

    @property
    def held_out(self) -> Any:
        """The real images that nothing is trained on, an `ImageSource` with `labels` (n,), -1 = none."""

    @property
    def judge(self) -> Any:
        """Discriminator of the run, from float images (B, C, H, W) to logits of being real; None where there is none."""

    @property
    def features(self) -> Any:
        """Network of the evaluation, from images as they are stored to features; None where there is none."""

    @property
    def truth(self) -> Any:
        """The law that the real images were drawn from, where it is known; else None."""

    def published(self, part: str) -> Any:
        """The network that a part of this generation has published, in eval mode on the CPU.

        Raises:
            BootlightError: it has published none.
        """
