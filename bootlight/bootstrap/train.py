"""The stage that trains a network and publishes its weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Trainer

from bootlight.bootstrap.changes import AsWritten
from bootlight.bootstrap.checks import check_clip, check_labels, check_training, open_images
from bootlight.bootstrap.judging import check_judges, for_all
from bootlight.bootstrap.parts import PublishedParts
from bootlight.bootstrap.rehearsal import rehearse
from bootlight.bootstrap.stage import Stage, Work, check_part, drawn_before
from bootlight.bootstrap.trackers import follow, steps_in_generation
from bootlight.bootstrap.trainers import check_trainer_settings
from bootlight.distributed.processes import agree, barrier, check_same, in_group, losses_explained, rank, send_file
from bootlight.distributed.stopping import stop_request
from bootlight.errors import RUN_AGAIN, BootlightError
from bootlight.evaluation.sets.real_images import note_part
from bootlight.generators.parts import attach_parts
from bootlight.generators.published import published_weights, weights_hash
from bootlight.io.atomic import file_sha256
from bootlight.rng import seed_everywhere
from bootlight.runs.folder import MODEL
from bootlight.runs.references import check_name, parse_reference
from bootlight.terminal import say
from bootlight.training.checkpoints import newest_readable, restoring_explained

if TYPE_CHECKING:
    from bootlight.bootstrap.builder import Builder
    from bootlight.bootstrap.generation import Generation
    from bootlight.bootstrap.stage import Generations
    from bootlight.data.datamodule import BootstrapData
    from bootlight.runs.context import GenerationContext


class Train(Stage):
    """A fresh module, data and `Trainer`, and `trainer.fit`; the averaged weights are published under the name of the part.

    Args:
        part: published name of the network.
        module: class path and arguments of its module, in the place of the section `model`.
        start_from: weights to begin with: `part` of the same generation, `@-1/part` of the one before (generation 0 then starts
            anew), `@0/part` of a certain one, `runs/x@2/part` of another run; without a part, `model`.
        settings: dotted keys that replace those of the configuration for this part, such as `data.num_steps: 100`.
        generations: in which ones: all, the first, or all but the first.
    """

    trains = publishes = True

    def __init__(
        self,
        part: str = MODEL,
        module: AsWritten | dict[str, Any] | None = None,
        start_from: str | None = None,
        settings: AsWritten | dict[str, Any] | None = None,
        generations: Generations = "all",
    ) -> None:
        check_name("part", part)
        self.part = part
        self.start_from = None if start_from is None else parse_reference(start_from)
        self.generations = generations
        self.changes = {**({} if module is None else {"model": dict(module)}), **(settings or {})}

    def check(self, earlier: list[Stage], every: list[Stage]) -> None:
        """See `Stage`."""
        check_part(self, earlier)
        start = self.start_from
        if start is None or start.run is not None:
            return
        if not any(stage.publishes and stage.part == start.part for stage in every):
            raise BootlightError(
                f"bootstrap.stages: Train {self.part} starts from {start}, which no stage trains; name another part"
            )

    def networks(self, number: int) -> list[str]:
        """See `Stage`; a training that starts from a generation before the first one starts anew."""
        start = self.start_from
        return [] if start is None or (start.run is None and start.at(number) < 0) else [str(start)]

    def looks(self, builder: Builder) -> bool:
        """See `Stage`."""
        return len(PublishedParts(builder).untrained(self.part, 1 if self.generations == "later" else 0).judges_by) > 0

    def rehearse(self, builder: Builder, first: GenerationContext, data: BootstrapData) -> None:
        """Take the first steps on trial, from weights like those that it will start from."""
        model, own, trainer, context = builder.parts(replace(first, part=self.part), self.changes)
        if self.changes:
            check_trainer_settings(builder.changed(self.changes).trainer)
            check_training(model, own, trainer)
            own.ahead = drawn_before(builder.bootstrap.stages or (), self, builder.drawn_by)
            open_images(own, trainer, context)
            check_labels(model, own)
            check_clip(model, own)
        else:
            own = data
        check_judges(f"bootstrap.stages: Train {self.part}: {type(model).__name__}", model.judges_by, builder)
        model.begin(None)
        parts = PublishedParts(builder)
        parts.attach_stand_ins(model, context)
        if self.start_from is not None and (start := parts.stand_in(self.start_from, context)) is not None:
            model.load_published(start.published_state())
        rehearse(model, own, trainer.callbacks, builder.trial_trainer, builder.bootstrap.compile)  # type: ignore[attr-defined]

    def work(self, builder: Builder, number: int) -> Work:
        """See `Stage`."""
        return Work(self.part, self.part, trains=True, publishes=True)

    def is_done(self, generation: Generation) -> bool:
        """See `Stage`."""
        return generation.folder.of_part(self.part).is_trained

    def run(self, generation: Generation) -> None:
        """See `Stage`."""
        context = replace(generation.context, part=self.part, origin={})  # filled below; `Publish` writes it at the end
        seed_everywhere(context.seed, context.generation, "weights", *context.streams)
        start = None if self.start_from is None else self.start_from.resolve(context.folder)
        if start is not None:
            context.origin["start_from"] = {"reference": str(self.start_from), "weights_sha256": weights_hash(start)}
        context.origin["steps_before"] = steps_in_generation(context.folder)
        model, data, trainer, context = generation.builder.parts(context, self.changes)
        context.origin.update(attach_parts(model, context.folder, PublishedParts(generation.builder).load))
        if self.changes == generation.settings:
            data = generation.new_data  # what the later stages of the generation look at too
        if context.part != MODEL and any(key.startswith("data.") for key in self.changes):
            open_images(data, trainer, context)
            note_part(context.run, data)
        follow(trainer.loggers, context)
        if start is not None:
            model.load_published(published_weights(start))
        model.begin(for_all(generation, model.judges_by))
        if generation.builder.bootstrap.compile:
            model.compile_networks()
        checkpoint = checkpoint_for_all(context, trainer)
        with stop_request.saving(), losses_explained(), restoring_explained(checkpoint, trainer):
            trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        if not agree(context.folder.is_trained):
            if rank() == 0:
                say(f"generation {context.generation} was stopped early; run the same command again to continue")
            raise SystemExit(RUN_AGAIN if rank() == 0 else 0)


def checkpoint_for_all(context: GenerationContext, trainer: Trainer) -> Path | None:
    """The checkpoint that rank 0 continues from, on every rank; it is sent to nodes that have a run folder of their own.

    Raises:
        BootlightError: a rank sees another file.
    """
    newest = newest_readable(context.folder) if rank() == 0 else None
    name = agree(newest and newest.name)
    if name is None:
        return None
    path = context.folder.checkpoints / name
    if not context.shared:
        send_file(path, keep=trainer.local_rank == 0)
    barrier()
    if in_group():
        digest = file_sha256(path) if path.exists() else "no file"
        check_same(f"checkpoint {name}", digest, "put --bootstrap.run_dir where all nodes see the same files")
    return path
