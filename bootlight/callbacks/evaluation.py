"""Scores of a generation: how far its images are from real ones, and what the judge says of them."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Trainer
from torch import Tensor, nn

from bootlight.atomic import write_json
from bootlight.callbacks.generation_end import GenerationEnd
from bootlight.clock import clock
from bootlight.errors import check_range
from bootlight.evaluation.attempt import attempt
from bootlight.evaluation.features import extract
from bootlight.evaluation.sources import ImageSource, StoreSource
from bootlight.evaluation.streamed import drawn_source
from bootlight.evaluation.suite import DISTANCES, measure_all
from bootlight.generators.base import GeneratorModule
from bootlight.metrics.correlated_mean import mean_standard_error
from bootlight.metrics.discriminator import DiscriminatorScore, JudgeLogits, discriminator_score
from bootlight.metrics.features import FeatureNetwork, score_name
from bootlight.metrics.score import Score
from bootlight.run_folder import GenerationFolder
from bootlight.stopping import check_stop
from bootlight.tracking.history import read_history

LOSS_WINDOW = 0.1  # share of the steps, at the end, over which the training loss is averaged
SYNTHETIC = "synthetic images"


class Evaluation(GenerationEnd):
    """Distances to the real training and held-out images, and the discriminator score beside that of real images.

    Args:
        features: class path of the feature network; without one only the judge is asked.
        metrics: what is measured in its space, see `bootlight.evaluation.suite.METRICS`; all against the real training
            images, the distances against held-out ones too.
        judge_steps: training steps of the judge, a DCGAN trained once on all real training images; 0 = no judge.
        judge_width: channels of the judge's first stage.
        judge_batch_size: images of one of its steps, over all devices together.
        max_real: use at most so many real images as reference; `authpct` sees copies of these only.
        batch_size: images of one network call.
    """

    def __init__(
        self,
        features: Callable[[], FeatureNetwork] | None = None,
        metrics: Sequence[str] = ("fd", "kid", "precision-recall", "authpct"),
        judge_steps: int = 2000,
        judge_width: int = 64,
        judge_batch_size: int = 64,
        max_real: int = 50_000,
        batch_size: int = 100,
    ) -> None:
        check_range("evaluation.judge_steps", judge_steps, 0)
        check_range("evaluation.judge_width", judge_width, 1)
        check_range("evaluation.judge_batch_size", judge_batch_size, 1)
        check_range("evaluation.max_real", max_real, 2)
        check_range("evaluation.batch_size", batch_size, 1)
        self.features = features
        self.metrics = tuple(metrics)
        self.judge_steps = judge_steps
        self.judge_width = judge_width
        self.judge_batch_size = judge_batch_size
        self.max_real = max_real
        self.batch_size = batch_size
        self.feature_network: nn.Module | None = None
        self.judge: nn.Module | None = None

    def use(self, feature_network: nn.Module | None, judge: nn.Module | None) -> None:
        """Look through these networks."""
        self.feature_network = feature_network
        self.judge = judge

    def run(self, trainer: Trainer, module: GeneratorModule) -> None:
        """Score the samples folder, on rank 0."""
        assert self.context is not None
        folder = self.context.folder
        if folder.is_evaluated or not trainer.is_global_zero:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        with clock.part("files"):
            sets: dict[str, ImageSource] = {"synthetic": drawn_source(SYNTHETIC, folder, module.image_size, module.channels)}
        sets |= {name: self._reference(data, name, which) for name, which in references(data).items()}
        ask = partial(self._ask, trainer, data.cache)
        judge = None if self.judge is None else JudgeLogits(self.judge, module.channels)
        failed: dict[str, str] = {}
        features = {name: ask(self.feature_network, source) for name, source in sets.items()}
        opinions_of: dict[str, dict[str, Tensor]] = {}
        with attempt(DiscriminatorScore.name, failed):
            opinions_of = {name: ask(judge, source) for name, source in sets.items() if judge is not None}
        with clock.part("metrics"):
            distances, opinions = self._distances(features, data.cache, failed), self._opinions(opinions_of, failed)
        main = {name: score for name, score in distances.items() if self._is_main(name)}  # leads the tables
        write_json(
            folder.metrics,
            {
                "generation": self.context.generation,
                "num_real": data.num_real,
                "num_synthetic": data.num_synthetic,
                "steps": data.num_steps,
                "images_seen": data.num_steps * data.batch_size,
                "loss": final_loss(folder),
                "scores": {name: score.to_json() for name, score in (main | opinions | distances).items()},
                **({"failed": failed} if failed else {}),
            },
        )

    def _reference(self, data: Any, name: str, which: Any) -> StoreSource:
        """Real images; all that there are to train on, whatever share is in use: so arms have one reference."""
        return StoreSource(f"real {name} images", which.store, which.indices[data.reference(which, self.max_real)])

    def _ask(self, trainer: Trainer, cache: Path, network: nn.Module | None, source: ImageSource) -> dict[str, Tensor]:
        """Answers of a network; those to real images are kept for the next generations and runs."""
        if network is None:
            return {}
        keep = None if source.where == SYNTHETIC else cache
        device = trainer.strategy.root_device
        with clock.part("evaluation"):
            return extract(source, network, cache=keep, batch_size=self.batch_size, device=device, check=check_stop)

    def _is_main(self, name: str) -> bool:
        return self.feature_network is not None and name.split("/")[0] == score_name(self.feature_network)

    def _distances(self, answers: dict[str, dict[str, Tensor]], cache: Path, failed: dict[str, str]) -> dict[str, Score]:
        """All metrics against the training images, distances against held-out ones; `failed` notes what has no score."""
        network = self.feature_network
        if network is None:
            return {}
        scores: dict[str, Score] = {}
        for which in answers.keys() - {"synthetic"}:
            names = [name for name in self.metrics if which == "train" or name in DISTANCES]
            none: dict[str, str] = {}
            found = measure_all(
                names, network, real=answers[which], synthetic=answers["synthetic"], cache=cache, check=check_stop, failed=none
            )
            failed |= {f"{name}/{which}": why for name, why in none.items()}
            scores |= {f"{name}/{which}": with_reference(score, which) for name, score in found.items()}
        return dict(sorted(scores.items(), key=lambda item: item[0].endswith("/holdout")))

    def _opinions(self, answers: dict[str, dict[str, Tensor]], failed: dict[str, str]) -> dict[str, Score]:
        """The judge's score of synthetic images, and of real ones for comparison; `failed` notes what has no score."""
        found = {}
        for which, answer in answers.items():
            name = DiscriminatorScore.name if which == "synthetic" else f"{DiscriminatorScore.name}/{which}"
            with attempt(name, failed):
                found[name] = discriminator_score(answer["features"])
        return found


def with_reference(score: Score, which: str) -> Score:
    """The score with its reference set in the protocol."""
    return score._replace(protocol={**score.protocol, "reference": f"real {which} images"})


def references(data: Any) -> dict[str, Any]:
    """The sets of real images that generations are measured against, by name."""
    return {"train": data.available} | ({"holdout": data.holdout} if len(data.holdout) >= 2 else {})


def final_loss(folder: GenerationFolder) -> dict[str, Any] | None:
    """Mean training loss of the last tenth of the steps, with its standard error; logged steps are not taken as independent."""
    losses = read_history(folder.history).get("train/loss", ([], []))[1]
    if not losses:
        return None
    last = np.array(losses[-max(1, round(LOSS_WINDOW * len(losses))) :])
    if not np.isfinite(last).all():
        return None  # training diverged; NaN is no JSON
    return {"value": float(last.mean()), "standard_error": mean_standard_error(last), "n": len(last)}
