"""The stage that chooses a setting of the drawing, on images of its own and training images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch

from bootlight.bootstrap.choosing import drawing_with, measured, targets_of
from bootlight.bootstrap.composing import with_values
from bootlight.bootstrap.merge import choice_file
from bootlight.bootstrap.stage import Stage, Work, check_published
from bootlight.distributed.processes import agree, barrier, wait_for
from bootlight.distributed.stopping import Stopped, leave_if_asked
from bootlight.errors import BootlightError, check_range
from bootlight.evaluation.attempt import reason
from bootlight.evaluation.suite import METRICS, least_images, measure_all
from bootlight.io.atomic import write_json
from bootlight.metrics.features.features import PixelFeatures
from bootlight.runs.folder import SAMPLES
from bootlight.runs.references import check_name
from bootlight.synthesis.in_memory import draw_in_memory
from bootlight.terminal import say

if TYPE_CHECKING:
    from pathlib import Path

    from bootlight.bootstrap.builder import Builder
    from bootlight.bootstrap.generation import Generation
    from bootlight.bootstrap.merge import Merge
    from bootlight.bootstrap.stage import Generations
    from bootlight.bootstrap.synthesize import Synthesize
    from bootlight.data.datamodule import BootstrapData
    from bootlight.metrics.score import Score
    from bootlight.runs.context import GenerationContext

BATCH = 100  # images of a network call, where the size that is fastest has not been measured yet
Number = int | float


class Choose(Stage):
    """Draws some images for each value of a setting, and leaves the value whose images are best to the stage that it is of.

    The images have other seeds than those of the folder, the same ones for each value, and are compared with training images
    in the space of `evaluation.features`; so the held-out images, by which the run is judged, have no part in the choice. The
    curve is kept beside what was chosen, in `samples/choice.json` or `<part>_choice.json`.

    Args:
        key: setting of the Synthesize that draws `of`, such as `compose.w` or `synthesizer.tau`; `merge.w` is the w of the
            Merge that publishes the part which draws them.
        values: numbers to choose from; of equally good ones the first.
        of: folder of images, drawn by a later stage.
        by: key of `bootlight.evaluation.suite.METRICS`, a metric with one score and a good direction.
        n: images for each value; as many as the folder will have if left out.
        generations: in which ones: all, the first, or all but the first.
    """

    measures = True

    def __init__(
        self,
        key: str = "compose.w",
        values: Sequence[int | float] = (0.0, 0.5, 1.0, 1.5),
        of: str = SAMPLES,
        by: str = "fd",
        n: int | None = None,
        generations: Generations = "all",
    ) -> None:
        check_name("of", of)
        if not values or len(set(values)) < len(values) or not all(math.isfinite(value) for value in values):
            raise BootlightError(f"bootstrap.stages: Choose values is {list(values)}; give finite numbers, each once")
        if by not in METRICS:
            raise BootlightError(f"bootstrap.stages: Choose by: there is no {by!r}; there are {', '.join(METRICS)}")
        if n is not None:
            check_range("bootstrap.stages: Choose n", n, least_images([by]))
        self.key = key
        self.values = list(values)
        self.of = of
        self.by = by
        self.num_images = n
        self.generations = generations

    def check(self, earlier: list[Stage], every: list[Stage]) -> None:
        """See `Stage`."""
        if any(isinstance(stage, Choose) and (stage.of, stage.key) == (self.of, self.key) and stage.meets(self)
               for stage in earlier):  # fmt: skip
            raise BootlightError(f"bootstrap.stages: two Choose look for {self.key} of {self.of}; leave one of them")
        later = every[len(earlier) + 1 :]
        for number in (number for number in (0, 1) if self.takes_part(number)):
            drawing, merge = targets_of(later, number, self.of, self.key)
            if merge is None:
                for value in self.values:
                    with_values(drawing.synthesizer, drawing.compose, {self.key: value}, "bootstrap.stages: Choose key")
            needed = drawing.networks(number)
            needed = needed if merge is None else [*merge.networks(number), *needed[1:]]
            check_published(self, number, needed, earlier)

    def rehearse(self, builder: Builder, first: GenerationContext, data: BootstrapData) -> None:
        """See whether there is something to look at images with, enough of them, and one score that has a direction."""
        where = f"bootstrap.stages: Choose by {self.by}"
        if builder.evaluation.feature_network is None:
            raise BootlightError(f"{where}: the run has no features; set evaluation.features or metrics")
        least, count = least_images([self.by]), self._count(builder)
        if count < least or len(data.available) < least:
            raise BootlightError(
                f"{where} needs at least {least} images of each kind; there are {len(data.available)} to train on, and {count} "
                "are drawn"
            )
        rows = torch.rand(2, 4 * least, 3, generator=torch.Generator().manual_seed(0))
        scores = measure_all([self.by], PixelFeatures(), real={"features": rows[0]}, synthetic={"features": rows[1]})
        if len(scores) != 1 or next(iter(scores.values())).higher_is_better is None:
            found = ", ".join(scores) or "none"
            raise BootlightError(f"{where} must be one score with a better direction, such as fd or kid; it answers {found}")

    def work(self, builder: Builder, number: int) -> Work:
        """See `Stage`."""
        stage, merge = targets_of(builder.bootstrap.stages or (), number, self.of, self.key)
        beside = stage.beside() if merge is None else ()
        return Work(self.of, stage.part, draws=len(self.values) * self._count(builder), beside=beside)

    def is_done(self, generation: Generation) -> bool:
        """See `Stage`."""
        return self._file(generation).exists()

    def run(self, generation: Generation) -> None:
        """See `Stage`."""
        self._check_open(generation)
        data = generation.open_data()
        found = [self._tried(generation, data, value) for value in self.values]
        score = next((score for _, score, _ in found if score is not None), None)
        if score is None:
            raise BootlightError(f"bootstrap.stages: Choose {self.key}: no value has a score; the first: {found[0][2]}")
        sign = -1 if score.higher_is_better else 1
        known = [(value, own) for value, own, _ in found if own is not None]
        chosen = min(known, key=lambda pair: sign * pair[1].value)[0]
        file = self._file(generation)
        if generation.writes:
            write_json(file, self._content(chosen, found, score))
        if generation.is_rank_0:
            curve = ", ".join(f"{value:g}: {own or 'none'}" for value, own, _ in found)
            say(f"generation {generation.number}: {self.key} = {chosen:g} for {self.of}, by {self.by}/train ({curve})")
        barrier()
        wait_for(file)

    def _check_open(self, generation: Generation) -> None:
        """Refuse where the choice would come too late, as after `--stages` without this one.

        Raises:
            BootlightError: what is chosen for is there already.
        """
        stage, merge = self._targets(generation)
        images, part = generation.folder.of_images(self.of), generation.folder.of_part(stage.part)
        there = images.samples if images.is_synthesized else part.model_config if merge and part.is_trained else None
        if agree(there) is not None:
            raise BootlightError(
                f"{there} is there already, made without a choice of {self.key}; delete it, or leave Choose out"
            )

    def _content(self, chosen: Number, found: list[tuple[Number, Score | None, str]], score: Score) -> dict[str, Any]:
        """What is kept: the choice, and the curve with errors and the reasons of gaps."""
        curve = [
            {"value": value, "failed": why}
            if own is None
            else {"value": value, "score": own.value, "standard_error": own.standard_error}
            for value, own, why in found
        ]
        about = {"by": self.by, "n": score.n, "protocol": {**score.protocol, "reference": "real train images"}}
        return {"chosen": {self.key: chosen}, "higher_is_better": score.higher_is_better, "curve": curve, **about}

    def _tried(self, generation: Generation, data: BootstrapData, value: Number) -> tuple[Number, Score | None, str]:
        """A value with the score of its images, or the reason why it has none; the same on every rank."""
        try:
            drawing = drawing_with(generation, self._targets(generation), self.key, value, self._count(generation.builder))
            size = generation.builder.synthesis.batch_size
            batch = BATCH if size == "auto" else size
            images = draw_in_memory(drawing, batch, generation.world_size, f"choosing · {self.key} = {value:g}")
        except BootlightError as error:  # too far: it diverges
            return value, None, reason(error)
        found, why = None, ""
        with suppress(Stopped):  # then all leave together, below
            if generation.is_rank_0:
                try:
                    found = measured(generation, data, images, self.by)
                except BootlightError as error:
                    why = reason(error)
        answer = agree((value, found, why))
        leave_if_asked()
        return answer

    def _count(self, builder: Builder) -> int:
        """Images for each value; fewer in a trial."""
        drawn = builder.num_drawn(self.of)
        if self.num_images is None or builder.smoke is not None:
            return drawn if self.num_images is None else max(least_images([self.by]), min(drawn, self.num_images))
        return self.num_images

    def _targets(self, generation: Generation) -> tuple[Synthesize, Merge | None]:
        return targets_of(generation.builder.bootstrap.stages or (), generation.number, self.of, self.key)

    def _file(self, generation: Generation) -> Path:
        """Where the stage that it chooses for looks."""
        stage, merge = self._targets(generation)
        folder = generation.folder.of_images(self.of).of_part(stage.part)
        return folder.choice if merge is None else choice_file(folder)
