"""What a generator gets in the place of the networks that it refers to."""

from __future__ import annotations

from typing import Any

from bootlight.checking.stand_ins import Blend
from bootlight.checking.trials import NotHere
from bootlight.generators.base import GeneratorModule
from bootlight.generators.diffusion import Diffusion


class Missing(NotHere, AttributeError):
    """An attribute that the stand-in lacks; the network that is meant may have it."""


class StandInModel(Diffusion):
    """A small diffusion model; of what else it is asked for it says that it is a stand-in."""

    def __getattr__(self, name: str) -> Any:
        """See `torch.nn.Module`.

        Raises:
            Missing: there is none.
        """
        try:
            return super().__getattr__(name)
        except AttributeError as error:
            raise Missing(f"it asks a network that it refers to for {name}, which the one in its place here has not") from error


def stand_in(module: Any) -> GeneratorModule:
    """A small frozen diffusion model for a module that refers to one."""
    _, height, width = module.image_shape
    model = StandInModel(
        height if height == width else [height, width],
        lambda sizes: Blend(sizes.shape[0], sizes.outputs),
        module.image_shape[0],
        schedule=getattr(module, "schedule", None),
        num_classes=module.num_classes,
    )
    return model.eval().requires_grad_(False)
