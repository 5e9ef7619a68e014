"""The stage that measures the images of a generation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bootlight.bootstrap.denoising import check_denoising, denoising_scores
from bootlight.bootstrap.noise_bins import write_noise_bins
from bootlight.bootstrap.stage import Stage, Work
from bootlight.distributed.processes import agree
from bootlight.distributed.stopping import Stopped, leave_if_asked
from bootlight.errors import BootlightError
from bootlight.evaluation.chosen import evaluators_of
from bootlight.evaluation.generation import final_loss
from bootlight.evaluation.whole import scores_of_generation
from bootlight.io.atomic import write_json
from bootlight.runs.folder import SAMPLES
from bootlight.runs.references import check_name, parse_reference

if TYPE_CHECKING:
    from bootlight.bootstrap.builder import Builder
    from bootlight.bootstrap.generation import Generation
    from bootlight.bootstrap.stage import Generations
    from bootlight.data.datamodule import BootstrapData
    from bootlight.metrics.evaluator import Evaluator
    from bootlight.runs.context import GenerationContext


class Evaluate(Stage):
    """Scores of the drawn images, by the section `evaluation`, in one `metrics.json` of the generation; rank 0 measures.

    Args:
        of: folders of images; the first one's scores are those of the generation, the others' stand under their own names.
        generations: in which ones: all, the first, or all but the first.
    """

    measures = True

    def __init__(self, of: Sequence[str] = (SAMPLES,), generations: Generations = "all") -> None:
        if isinstance(of, str) or not of:
            raise BootlightError(f"bootstrap.stages: Evaluate of is {of!r}; give a list of folders, such as [samples]")
        for name in of:
            check_name("of", name)
        self.of = list(of)
        self.generations = generations

    def images(self) -> list[str]:
        """See `Stage`."""
        return self.of

    def work(self, builder: Builder, number: int) -> Work:
        """See `Stage`; how long measuring takes is not counted."""
        return Work()

    def rehearse(self, builder: Builder, first: GenerationContext, data: BootstrapData) -> None:
        """See whether what is asked how well it denoises does denoise, and is trained by that."""
        number = 1 if self.generations == "later" else 0
        check_denoising(builder, self.of, number)
        there = {stage.part for stage in builder.bootstrap.stages or () if stage.publishes and stage.takes_part(number)}
        for label, evaluator in _evaluators(builder):
            for text in evaluator.references.values():
                reference = parse_reference(text)
                if reference.run is None and reference.generation is None and reference.part not in there:
                    raise BootlightError(f"evaluation.metrics: {label} needs {text}, which no stage publishes")

    def is_done(self, generation: Generation) -> bool:
        """See `Stage`."""
        return not generation.is_rank_0 or generation.folder.is_evaluated

    def run(self, generation: Generation) -> None:
        """See `Stage`."""
        data = generation.open_data()
        with suppress(Stopped):
            if generation.is_rank_0:
                self._measure(generation, data)
        if not agree(generation.folder.is_evaluated):  # else the scores are published first
            leave_if_asked()

    def _measure(self, generation: Generation, data: BootstrapData) -> None:
        folder, evaluation = generation.folder, generation.builder.evaluation
        evaluation.use(generation.features, generation.judge)
        folder.witness.unlink(missing_ok=True)  # of an evaluation before
        found: dict[str, Any] = {}
        for name in self.of:
            keep = folder.witness if name == self.of[0] else None
            scores, failed = evaluation.scores(generation.drawn(name), data, generation.device, keep=keep)
            scores |= denoising_scores(generation, name, data, failed)
            write_noise_bins(generation, name, data, failed)
            if name == self.of[0]:
                scores |= scores_of_generation(_evaluators(generation.builder), generation, self.of, scores, failed)
            found[name] = {"scores": {key: score.to_json() for key, score in scores.items()}}
            found[name] |= {"failed": failed} if failed else {}
        about = {
            "generation": generation.number,
            "num_real": data.num_real,
            "num_synthetic": data.num_synthetic,
            "steps": data.num_steps,
            "images_seen": data.num_steps * data.batch_size,
            "loss": final_loss(folder),
        }
        others = {name: found[name] for name in self.of[1:]}
        write_json(folder.metrics, about | found[self.of[0]] | ({"folders": others} if others else {}))


def _evaluators(builder: Builder) -> tuple[tuple[str, Evaluator], ...]:
    """What measures a generation as a whole, by class path."""
    return evaluators_of(builder.evaluation.metrics, "evaluation.metrics")
