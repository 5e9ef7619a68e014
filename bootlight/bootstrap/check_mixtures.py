"""Whether every generation will have what it trains on, and what there is beside the real images."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bootlight.data.eligible import levels_first
from bootlight.errors import BootlightError
from bootlight.generators.part import no_levels

if TYPE_CHECKING:
    from bootlight.data.datamodule import BootstrapData
    from bootlight.generators.part import PartModule


def check_mixtures(
    data: BootstrapData,
    num_generations: int,
    num_drawn: int | Callable[[int, str], int],
    model: PartModule | None = None,
) -> None:
    """Every generation will have a training set, with an image for each noise level; better known now than when it begins.

    Raises:
        BootlightError: one will not.
    """
    for generation in range(num_generations):
        sources = data.planned(generation, num_drawn)
        if sum(map(len, sources)) < 1:
            raise BootlightError(
                f"data.mixing leaves no image to train on at generation {generation}; set data.mixing.keep_real, or raise "
                "data.mixing.synthetic_ratio"
            )
        if model is not None and not model.has_noise_levels and any(source.noise is not None for source in sources):
            raise BootlightError(no_levels(type(model).__name__))
        levels_first(model, sources)


def told(data: BootstrapData) -> list[str]:
    """A line for each of `data.origins` that a mixture has taken from: how many images, and what is known of them."""
    lines = []
    for name, origin in data.origins.items():
        if f"data.origins.{name}" in data.opened:
            count = len(origin.load()[0].images)
            lines.append(f"data.origins.{name}: {' · '.join([f'{origin.name}: {count:,} images', *origin.told()])}")
    return lines
