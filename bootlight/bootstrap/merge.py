"""The stage that makes a network of two others, in the space of their weights."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from bootlight.bootstrap.adopt import publish_untrained
from bootlight.bootstrap.composing import chosen_values
from bootlight.bootstrap.parts import PublishedParts
from bootlight.bootstrap.stage import Stage, Work, check_part, check_published
from bootlight.diffusion.compose import check_weight
from bootlight.diffusion.settings import settings_of
from bootlight.distributed.processes import barrier, check_same, wait_for
from bootlight.errors import BootlightError
from bootlight.generators.part import PartModule
from bootlight.generators.parts import attach_parts
from bootlight.generators.published import published_weights, weights_hash
from bootlight.io.atomic import file_sha256, read_json
from bootlight.runs.folder import MODEL
from bootlight.runs.references import check_name, parse_reference
from bootlight.runs.timing import clock

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from bootlight.bootstrap.builder import Builder
    from bootlight.bootstrap.generation import Generation
    from bootlight.bootstrap.stage import Generations
    from bootlight.data.datamodule import BootstrapData
    from bootlight.runs.context import GenerationContext
    from bootlight.runs.folder import GenerationFolder
    from bootlight.runs.references import Reference

NOTED = ("image_size", "channels", "dtype", "class_names")  # of the images, taken from the JSON file of the base
KEY = "merge.w"  # how a stage that chooses calls the w
VARIANCE = "running_var"  # of batch norm, which takes its root
State = dict[str, "Tensor"]


class Merge(Stage):
    """Publishes (1 + w) base - w auxiliary, weight by weight, under the name of a part: it draws at the cost of one network.

    Above 0 it goes away from the auxiliary, which was fine-tuned on images of the base (Alemohammad et al. 2025, "Neon");
    from -1 to 0 it lies between the two, at -1 it is the auxiliary. The sign of `w` is that of `Extrapolate`, with which it
    agrees where networks are linear in their weights.

    Args:
        w: how far; any finite number.
        base: reference to the network whose module the merged one has.
        auxiliary: reference to a network of the same architecture.
        part: published name of the merged one.
        generations: in which ones: all, the first, or all but the first.
    """

    publishes = True

    def __init__(
        self,
        w: float,
        base: str = MODEL,
        auxiliary: str = "auxiliary",
        part: str = "merged",
        generations: Generations = "all",
    ) -> None:
        check_name("part", part)
        check_weight("bootstrap.stages: Merge w", w)
        self.w = w
        self.base, self.auxiliary = parse_reference(base), parse_reference(auxiliary)
        self.like = base
        self.part = part
        self.generations = generations

    def check(self, earlier: list[Stage], every: list[Stage]) -> None:
        """See `Stage`."""
        check_part(self, earlier)
        for number in (0, 1):
            if self.takes_part(number):
                check_published(self, number, self.networks(number), earlier)

    def networks(self, number: int) -> list[str]:
        """See `Stage`."""
        return [str(self.base), str(self.auxiliary)]

    def rehearse(self, builder: Builder, first: GenerationContext, data: BootstrapData) -> None:
        """See whether the weights of one fit the other."""
        parts = PublishedParts(builder)
        context = replace(first, part=self.part)
        found = [parts.stand_in(reference, context) for reference in (self.base, self.auxiliary)]
        base, auxiliary = (part for part in found if part is not None)
        self._named(builder.model_of(self.part), auxiliary.published_state())
        told = [_reading(part) for part in (base, auxiliary)]
        if told[0] != told[1]:
            raise BootlightError(
                f"bootstrap.stages: Merge: {self.auxiliary} ({told[1]}) is read in another way than {self.base} ({told[0]}); "
                "give both the same prediction and schedule"
            )

    def work(self, builder: Builder, number: int) -> Work:
        """See `Stage`."""
        return Work(self.part, self.part, publishes=True)

    def is_done(self, generation: Generation) -> bool:
        """See `Stage`."""
        return generation.folder.of_part(self.part).is_trained

    def run(self, generation: Generation) -> None:
        """See `Stage`."""
        folder = generation.folder.of_part(self.part)
        if generation.writes:
            with clock.part("publishing"):
                w = chosen_weight(choice_file(folder), self.w)
                module, about = self.merged(generation, w)
                publish_untrained(generation, folder, module, about)
        barrier()
        if generation.context.shared:
            wait_for(folder.model_config)
        else:
            cure = "put --bootstrap.run_dir where all nodes see the same files"
            check_same(str(folder.weights), file_sha256(folder.weights), cure)

    def merged(self, generation: Generation, w: float) -> tuple[PartModule, dict[str, Any]]:
        """The merged network in eval mode, on the CPU, and what is noted of it.

        Raises:
            BootlightError: one of the two is missing, damaged or of another architecture, or they cannot be merged by `w`.
        """
        folder, builder = generation.folder.of_part(self.part), generation.builder
        module = builder.model_of(self.part, generation.number)
        about: dict[str, Any] = {"merged": {"w": w}}
        states: dict[str, State] = {}
        for name, reference in (("base", self.base), ("auxiliary", self.auxiliary)):
            states[name] = self._named(module, published_weights(_found(reference, folder)))
            about["merged"][name] = {"reference": str(reference), "weights_sha256": weights_hash(_found(reference, folder))}
        described = read_json(_found(self.base, folder).model_config)
        where = f"bootstrap.stages: Merge {self.part}"
        module.load_published(extrapolated_weights(states["base"], states["auxiliary"], w, where))
        module.image_dtype = described.get("dtype", "uint8")
        about |= {name: described[name] for name in NOTED if name in described}
        about |= attach_parts(module, folder, PublishedParts(builder).load)
        about |= module.described(builder.changed(builder.settings_of(self.part, generation.number)).model.as_dict())
        return module.eval(), about

    def _named(self, module: PartModule, state: State) -> State:
        """Weights under the names that a module gives them.

        Raises:
            BootlightError: they are of another architecture.
        """
        try:
            module.load_published(state)
        except BootlightError as error:
            raise BootlightError(
                f"bootstrap.stages: Merge {self.part}: {self.auxiliary} and {self.base} are not of one architecture: {error}"
            ) from error
        return {name: value.clone() for name, value in module.published_state().items()}


def extrapolated_weights(base: State, auxiliary: State, w: float, where: str = "w") -> State:
    """(1 + w) base - w auxiliary in float64, rounded to the type of each; what is no float stays the base's.

    Args:
        base: weights by name.
        auxiliary: of the same names and shapes.
        w: 0 is the base and -1 the auxiliary, to the bit.
        where: how a message begins.

    Raises:
        BootlightError: a number would not be finite, or a running variance of batch norm below 0.
    """
    found = {}
    for name, value in base.items():
        if not value.is_floating_point():
            found[name] = value
            continue
        number = (1 + w) * value.double() - w * auxiliary[name].double()
        if not bool(torch.isfinite(number.to(value.dtype)).all()):
            raise BootlightError(f"{where}: w = {w} leads to numbers in {name} that are not finite; take one nearer to 0")
        if name.endswith(VARIANCE) and bool((number < 0).any()):
            raise BootlightError(f"{where}: w = {w} leads to variances below 0 in {name}; take one nearer to 0")
        found[name] = number.to(value.dtype)
    return found


def choice_file(folder: GenerationFolder) -> Path:
    """Where a stage before has left the w that it has chosen for a part."""
    return folder.path / f"{folder.part}_choice.json"


def chosen_weight(file: Path, otherwise: float) -> float:
    """What a stage before has chosen, if one has.

    Raises:
        BootlightError: its file is damaged.
    """
    if not file.exists():
        return otherwise
    w = chosen_values(file).get(KEY)
    if not isinstance(w, int | float) or not math.isfinite(w):
        raise BootlightError(f"{file} has no number {KEY} under chosen; delete it and run the same command again")
    return float(w)


def _found(reference: Reference, folder: GenerationFolder) -> GenerationFolder:
    found = reference.resolve(folder)
    if found is None:
        raise BootlightError(f"{reference} names a generation before the first one")
    return found


def _reading(module: PartModule) -> str:
    """What the answers of a network mean, as far as it says."""
    kinds = (getattr(module, name, None) for name in ("prediction", "schedule"))
    return ", ".join(f"{type(kind).__name__} {settings_of(kind) or ''}".strip() for kind in kinds if kind is not None)
