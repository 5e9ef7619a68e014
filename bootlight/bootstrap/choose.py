"""The stage that chooses a setting of the drawing, on images of its own and training images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bootlight.bootstrap.composing import compose_with, with_values
from bootlight.bootstrap.merge import KEY as MERGE
from bootlight.bootstrap.merge import Merge, choice_file
from bootlight.bootstrap.parts import PublishedParts
from bootlight.bootstrap.stage import Stage, Work
from bootlight.bootstrap.synthesize import Synthesize
from bootlight.data.store import store_from_arrays
from bootlight.distributed.processes import agree, barrier, wait_for
from bootlight.distributed.stopping import Stopped, check_stop, leave_if_asked
from bootlight.errors import BootlightError, check_range
from bootlight.evaluation.attempt import reason
from bootlight.evaluation.features import extract
from bootlight.evaluation.sources import StoreSource
from bootlight.evaluation.suite import METRICS, least_images, measure_all
from bootlight.io.atomic import write_json
from bootlight.metrics.features.features import PixelFeatures
from bootlight.runs.folder import SAMPLES
from bootlight.runs.references import check_name, parse_reference
from bootlight.runs.timing import clock
from bootlight.synthesis.asking import drawing_of
from bootlight.synthesis.in_memory import draw_in_memory
from bootlight.terminal import say

if TYPE_CHECKING:
    from pathlib import Path

    from bootlight.bootstrap.builder import Builder
    from bootlight.bootstrap.generation import Generation
    from bootlight.bootstrap.stage import Generations
    from bootlight.data.datamodule import BootstrapData
    from bootlight.metrics.score import Score
    from bootlight.runs.context import GenerationContext
    from bootlight.synthesis.drawing import Drawing

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
            drawing, merge = self._targets(later, number)
            if merge is None:
                for value in self.values:
                    with_values(drawing.synthesizer, drawing.compose, {self.key: value}, "bootstrap.stages: Choose key")
            needed = drawing.networks(number)
            needed = needed if merge is None else [*merge.networks(number), *needed[1:]]
            for reference in map(parse_reference, needed):
                here = reference.run is None and reference.generation is None
                if here and not any(s.publishes and s.part == reference.part and s.takes_part(number) for s in earlier):
                    raise BootlightError(f"bootstrap.stages: Choose needs {reference}, which no stage before it publishes")

    def _targets(self, stages: Sequence[Stage], number: int) -> tuple[Synthesize, Merge | None]:
        """The stages whose setting is looked for.

        Raises:
            BootlightError: there are none.
        """
        there = [stage for stage in stages if stage.takes_part(number)]
        drawing = next((stage for stage in there if isinstance(stage, Synthesize) and stage.into == self.of), None)
        if drawing is None:
            raise BootlightError(f"bootstrap.stages: Choose of {self.of}: no Synthesize after it draws into {self.of}")
        if self.key != MERGE:
            return drawing, None
        merge = next((stage for stage in there if isinstance(stage, Merge) and stage.part == drawing.part), None)
        if merge is None or there.index(merge) > there.index(drawing):
            raise BootlightError(
                f"bootstrap.stages: Choose {MERGE}: no Merge after it publishes {drawing.part}, which draws {self.of}"
            )
        return drawing, merge

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
        stage, merge = self._targets(builder.bootstrap.stages or (), number)
        beside = stage.beside() if merge is None else ()
        return Work(self.of, stage.part, draws=len(self.values) * self._count(builder), beside=beside)

    def is_done(self, generation: Generation) -> bool:
        """See `Stage`."""
        return self._file(generation).exists()

    def run(self, generation: Generation) -> None:
        """See `Stage`."""
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
            drawing = self._drawing(generation, value)
            size = generation.builder.synthesis.batch_size
            batch = BATCH if size == "auto" else size
            images = draw_in_memory(drawing, batch, generation.world_size, f"choosing · {self.key} = {value:g}")
        except BootlightError as error:  # too far: it diverges
            return value, None, reason(error)
        found, why = None, ""
        with suppress(Stopped):  # then all leave together, below
            if generation.is_rank_0:
                try:
                    found = self._measured(generation, data, images)
                except BootlightError as error:
                    why = reason(error)
        answer = agree((value, found, why))
        leave_if_asked()
        return answer

    def _drawing(self, generation: Generation, value: Number) -> Drawing:
        """What draws with a value, from seeds of its own."""
        stage, merge = self._targets(generation.builder.bootstrap.stages or (), generation.number)
        folder = generation.folder.of_part(stage.part).of_images(stage.into)
        values = {} if merge is not None else {self.key: value}
        synthesizer, composition = with_values(stage.synthesizer, stage.compose, values, "bootstrap.stages: Choose key")
        generator = generation.published(stage.part) if merge is None else merge.merged(generation, value)[0]
        compose_with(composition, generator, folder, PublishedParts(generation.builder).load)
        generator.to(generation.device)
        count = self._count(generation.builder)
        return drawing_of(generator, synthesizer, generation.images(), generation.context, count, f"{self.of}_choice")

    def _measured(self, generation: Generation, data: BootstrapData, images: Any) -> Score:
        """Of drawn images (n, H, W, C) against all real training images."""
        evaluation, network = generation.builder.evaluation, generation.features
        assert network is not None
        real = data.available
        sources = (
            StoreSource("real train images", real.store, real.indices[data.reference(real, evaluation.max_real)]),
            StoreSource("images to choose by", store_from_arrays(np.ascontiguousarray(images))),
        )
        with clock.part("evaluation"):
            answers = [
                extract(
                    source, network, cache=cache, batch_size=evaluation.batch_size, device=generation.device, check=check_stop
                )
                for source, cache in zip(sources, (data.cache, None), strict=True)
            ]
        with clock.part("metrics"):
            scores = measure_all([self.by], network, real=answers[0], synthetic=answers[1], cache=data.cache, check=check_stop)
        return next(iter(scores.values()))

    def _count(self, builder: Builder) -> int:
        """Images for each value; fewer in a trial."""
        drawn = builder.num_drawn(self.of)
        if self.num_images is None or builder.smoke is not None:
            return drawn if self.num_images is None else max(least_images([self.by]), min(drawn, self.num_images))
        return self.num_images

    def _file(self, generation: Generation) -> Path:
        """Where the stage that it chooses for looks."""
        stage, merge = self._targets(generation.builder.bootstrap.stages or (), generation.number)
        folder = generation.folder.of_images(self.of).of_part(stage.part)
        return folder.choice if merge is None else choice_file(folder)
