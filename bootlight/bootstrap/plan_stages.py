"""What a run with stages of its own would do and cost: each part, its training and its drawing, generation after generation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from bootlight.bootstrap.checks import open_images
from bootlight.bootstrap.parts import PublishedParts
from bootlight.bootstrap.plan import (
    COPIES_OF_WEIGHTS,
    PLANNED_BATCH,
    PROBE,
    drawn_image_bytes,
    seconds_an_image,
    weight_bytes,
)
from bootlight.bootstrap.trainers import make_trainer
from bootlight.runs.context import GenerationContext
from bootlight.terminal import say

if TYPE_CHECKING:
    from bootlight.bootstrap.builder import Builder
    from bootlight.bootstrap.stage import Stage, Work
    from bootlight.data.datamodule import BootstrapData
    from bootlight.generators.part import PartModule

COLUMNS = {"training set": 13, "steps": 9, "images seen": 13, "drawn": 8, "disk (MiB)": 12, "time (min)": 12}
HEADER = f"generation  {'stage':22}" + "".join(f"{name:>{width}}" for name, width in COLUMNS.items())


class Cost(NamedTuple):
    """Of the module of a part.

    Attributes:
        train: seconds of a training image.
        draw: seconds of a drawn image.
        weights: bytes.
        module: itself.
        data: that it trains on.
    """

    train: float
    draw: float
    weights: float
    module: PartModule
    data: BootstrapData


class Costs:
    """Costs of parts, each measured once on this machine.

    Args:
        builder: of the run.
        measured: seconds of a training image and of a drawn one, by what decides them; runs that share it measure equal
            modules once.
    """

    def __init__(self, builder: Builder, measured: dict[str, tuple[float, float]] | None = None) -> None:
        self.builder = builder
        self.make = partial(make_trainer, dict(builder.config_init.trainer))
        self.configured = self.make(**PROBE)
        size = builder.synthesis.batch_size
        self.batch_size = PLANNED_BATCH if size == "auto" else size
        self._measured = {} if measured is None else measured
        self._known: dict[str, Cost] = {}

    def of(self, part: str, number: int) -> Cost:
        """Of a part in a generation."""
        settings = self.builder.settings_of(part, number)
        key = f"{part} {dict(settings)}"
        if key not in self._known:
            context = GenerationContext(self.builder.run, 0, self.builder.seed, part=part)
            model, data = self.builder.model, self.builder.datamodule  # which is open
            if settings:
                model, data, trainer, context = self.builder.parts(context, settings)
                data.ahead = self.builder.drawn_by
                open_images(data, trainer, context)
            model.begin(None)
            PublishedParts(self.builder).attach_stand_ins(model, context)
            train, draw = self._seconds(model, data, settings)
            self._known[key] = Cost(train, draw, weight_bytes(model), model, data)
        return self._known[key]

    def told(self, devices: int) -> list[str]:
        """What the modules say besides, each thing once."""
        lines = [line for cost in self._known.values() for line in cost.module.planned(cost.data.batch_size // devices)]
        return list(dict.fromkeys(lines))

    def _seconds(self, model: PartModule, data: BootstrapData, settings: Mapping[str, Any]) -> tuple[float, float]:
        """Of a training image and of a drawn one, where so many devices as a run has are so many times as fast as one."""
        config = self.builder.changed(settings)
        decides = [config.model.as_dict(), data.image_shape, data.batch_size, self.batch_size, config.trainer.as_dict()]
        key = json.dumps(decides, default=str, sort_keys=True)
        if key not in self._measured:
            self._measured[key] = seconds_an_image(model, data, self.batch_size, self.configured, self.make)
        return self._measured[key]


class Planned(NamedTuple):
    """What a stage does in a generation, and its cost.

    Attributes:
        number: of the generation.
        name: of the stage, and what it is about.
        part: whose module trains or draws.
        size: images of its training set; 0 = it trains nothing.
        steps: batches.
        seen: images in them.
        drawn: images.
        disk: bytes.
        seconds: of training and drawing, on this machine.
    """

    number: int
    name: str
    part: str
    size: int
    steps: int
    seen: int
    drawn: int
    disk: float
    seconds: float


def planned(costs: Costs, stages: list[Stage]) -> Iterator[Planned]:
    """Each stage of each generation that costs something."""
    builder, image_bytes = costs.builder, drawn_image_bytes(costs.builder.datamodule)
    settings = builder.bootstrap
    for number in range(settings.num_generations):
        kept = {"all": True, "last": number == settings.num_generations - 1, "none": False}[settings.keep_checkpoints]
        for stage in (stage for stage in stages if stage.takes_part(number)):
            work = stage.work(builder, number)
            if work is not None and work.part:
                yield _planned(costs, f"{stage.name} {work.what}", work, number, kept, image_bytes)


def print_stages(builder: Builder, stages: list[Stage]) -> None:
    """Print a row for each stage of each generation; then what nobody can count.

    Times are of this machine, measured on one device.
    """
    costs = Costs(builder)
    say(HEADER)
    total = 0.0
    for row in planned(costs, stages):
        total += row.seconds
        counts = zip((row.size, row.steps, row.seen, row.drawn), COLUMNS.values(), strict=False)
        numbers = "".join(f"{value or '':>{width}}" for value, width in counts)
        say(f"{row.number:10}  {row.name:22}{numbers}{row.disk / 2**20:12.1f}{row.seconds / 60:12.1f}")
    devices = costs.configured.world_size
    for line in costs.told(devices):
        say(line)
    shared = f" if {devices} such devices are {devices} times as fast as one" if devices > 1 else ""
    say(
        f"about {total / 60:.0f} min in all on this machine{shared}; judge and evaluation come on top; results in "
        f"{builder.bootstrap.run_dir}"
    )
    if unknown := list(dict.fromkeys(stage.name for stage in stages if stage.work(builder, 0) is None)):
        say(f"not counted in this plan: {', '.join(unknown)}")


def _planned(costs: Costs, name: str, work: Work, number: int, kept: bool, image_bytes: float) -> Planned:
    cost = costs.of(work.part, number)
    size = steps = seen = 0
    if work.trains:
        size = cost.data.train_size(number, costs.builder.drawn_by)
        steps = cost.data.steps_for(size)
        seen = steps * cost.data.batch_size
    draw = cost.draw + sum(costs.of(part, number).draw for part in work.beside)
    relative = work.synthesizer.relative_cost(cost.module, cost.data) if work.synthesizer and work.draws else 1.0
    seconds = seen * cost.train + work.draws * draw * relative
    disk = work.keeps * image_bytes + work.publishes * cost.weights * (1 + COPIES_OF_WEIGHTS * (kept and work.trains))
    return Planned(number, name, work.part, size, steps, seen, work.draws, disk, seconds)
