"""Before the first generation: check all input, then train (or load) the networks that look at the images."""

from collections.abc import Sequence
from typing import Protocol

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from torch import nn

from bootlight.callbacks.evaluation import Evaluation
from bootlight.callbacks.synthesis import Synthesis
from bootlight.checks import check_input, find_callback
from bootlight.clock import clock
from bootlight.data.datamodule import BootstrapData
from bootlight.generators.base import GeneratorModule
from bootlight.processes import rank
from bootlight.real_images import list_skipped, note_images, write_real_previews
from bootlight.reference import TrainedOnReal, train_judge
from bootlight.rehearsal import rehearse
from bootlight.run_folder import GenerationContext, RunFolder

NUM_PREVIEWS = 12  # where nothing is synthesized


class Tools(Protocol):
    """What the caller lends."""

    def judge_trainer(self, run: RunFolder) -> Trainer:
        """A trainer of the same devices and precision, without the generation's callbacks."""
        ...

    def trial_trainer(self, callbacks: Sequence[Callback], loggers: list[Logger]) -> Trainer:
        """A trainer of the first steps."""
        ...

    def begin(self, loggers: Sequence[Logger]) -> None:
        """Called when nothing was found wrong: start the loggers, and note in the run folder what is run."""
        ...


def prepare(
    model: GeneratorModule,
    data: BootstrapData,
    trainer: Trainer,
    context: GenerationContext,
    tools: Tools,
    num_generations: int,
    rehearsed: bool = True,
    compiled: bool = False,
) -> tuple[nn.Module | None, nn.Module | None]:
    """The feature network and the judge (None where there is none), after everything that can be wrong has been looked at.

    Args:
        model: a copy that nobody needs afterwards.
        data: of the first generation.
        trainer: of the first generation.
        context: of the first generation.
        tools: see there.
        num_generations: of the run.
        rehearsed: take the first steps of training on trial.
        compiled: with networks that torch compiles.

    Raises:
        BootlightError: see `check_input` and `rehearse`; until then the run folder is as it was.
    """
    run = context.run
    evaluation, synthesis = find_callback(trainer, Evaluation), find_callback(trainer, Synthesis)
    features = check_input(model, data, trainer, context, num_generations, compiled)
    if rehearsed:
        rehearse(model, data, trainer.callbacks, tools.trial_trainer, compiled)  # type: ignore[attr-defined]
    tools.begin(trainer.loggers)
    note_images(run, data)
    list_skipped(run, data)
    write_real_previews(run, data, NUM_PREVIEWS if synthesis is None else synthesis.num_previews)
    if isinstance(features, TrainedOnReal) and rank() == 0:  # it alone evaluates
        with clock.part("references"):
            features.fit_real(data, run.references, trainer.strategy.root_device)
    if evaluation is None or evaluation.judge_steps == 0:
        return features, None
    judge = train_judge(
        data,
        run.references,
        num_steps=evaluation.judge_steps,
        width=evaluation.judge_width,
        batch_size=evaluation.judge_batch_size,
        trainer=lambda: tools.judge_trainer(run),
    )
    return features, judge
