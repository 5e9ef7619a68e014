"""The stage that publishes a network as its class makes it, without any training."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import safetensors.torch

from bootlight.bootstrap.changes import AsWritten
from bootlight.bootstrap.parts import PublishedParts
from bootlight.bootstrap.stage import Stage, Work, check_part
from bootlight.bootstrap.trackers import steps_in_generation
from bootlight.distributed.processes import barrier, check_same, wait_for
from bootlight.generators.parts import attach_parts
from bootlight.io.atomic import file_sha256, write_bytes, write_json
from bootlight.rng import seed_everywhere
from bootlight.runs.folder import MODEL
from bootlight.runs.references import check_name
from bootlight.runs.timing import clock
from bootlight.training.publish import class_names, noted_dtype

if TYPE_CHECKING:
    from bootlight.bootstrap.builder import Builder
    from bootlight.bootstrap.generation import Generation
    from bootlight.bootstrap.stage import Generations
    from bootlight.generators.part import PartModule
    from bootlight.runs.folder import GenerationFolder


class Adopt(Stage):
    """Publishes a network as it is made, such as a `bootlight.Pretrained` with the weights of its folder.

    Args:
        part: published name of the network.
        module: class path and arguments of its module, in the place of the section `model`.
        generations: in which ones: all, the first, or all but the first.
    """

    publishes = True

    def __init__(
        self,
        part: str = MODEL,
        module: AsWritten | dict[str, Any] | None = None,
        generations: Generations = "all",
    ) -> None:
        check_name("part", part)
        self.part = part
        self.generations = generations
        self.changes = {} if module is None else {"model": dict(module)}

    def check(self, earlier: list[Stage], every: list[Stage]) -> None:
        """See `Stage`."""
        check_part(self, earlier)

    def work(self, builder: Builder, number: int) -> Work:
        """See `Stage`."""
        return Work(self.part, self.part, publishes=True)

    def is_done(self, generation: Generation) -> bool:
        """See `Stage`."""
        return generation.folder.of_part(self.part).is_trained

    def run(self, generation: Generation) -> None:
        """See `Stage`."""
        folder = generation.folder.of_part(self.part)
        data = generation.open_data()
        if generation.writes:
            with clock.part("publishing"):
                context = generation.context
                seed_everywhere(context.seed, context.generation, "weights", *context.streams)
                builder = generation.builder
                module = builder.model_of(self.part, generation.number)
                about = attach_parts(module, folder, PublishedParts(builder).load)
                model = builder.changed(builder.settings_of(self.part, generation.number)).model.as_dict()
                about |= {"class_names": class_names(data), **noted_dtype(data, module), **module.described(model)}
                publish_untrained(generation, folder, module, about)
        barrier()
        if generation.context.shared:
            wait_for(folder.model_config)
        else:
            cure = "put --bootstrap.run_dir where all nodes see the same files"
            check_same(str(folder.weights), file_sha256(folder.weights), cure)


def publish_untrained(generation: Generation, folder: GenerationFolder, module: PartModule, about: dict[str, Any]) -> None:
    """Weights, then the file that declares the stage done, as `Publish` does after a training.

    Args:
        generation: that publishes.
        folder: of it, as seen from the part.
        module: whose weights are published.
        about: what else the file says.
    """
    weights = safetensors.torch.save(module.published_state())
    write_bytes(folder.weights, weights)
    own: dict[str, Any] = {"generation": generation.number, "image_size": module.image_size, "channels": module.channels}
    own |= {"weights_sha256": hashlib.sha256(weights).hexdigest(), "steps": 0, "steps_before": steps_in_generation(folder)}
    write_json(folder.model_config, {**own, **about})
