"""Scores of a generation: how far its images are from real ones, and what the judge says of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from bootlight.distributed.stopping import check_stop
from bootlight.errors import check_range
from bootlight.evaluation.attempt import attempt
from bootlight.evaluation.chosen import Chosen, choose, with_own
from bootlight.evaluation.features import extract
from bootlight.evaluation.floors.floors import fair_network
from bootlight.evaluation.floors.keep_witness import keep_witness
from bootlight.evaluation.floors.probes import probes_of, with_probes
from bootlight.evaluation.floors.run_floors import RunFloors
from bootlight.evaluation.own_metrics import with_others
from bootlight.evaluation.sets.images_of_run import ImagesOfRun
from bootlight.evaluation.sets.sources import StoreSource
from bootlight.evaluation.sets.streamed import drawn_source
from bootlight.evaluation.suite import DISTANCES, Choice, Features, measure_all
from bootlight.metrics.correlated_mean import mean_standard_error
from bootlight.metrics.discriminator import DiscriminatorScore, JudgeLogits, discriminator_score
from bootlight.metrics.features.features import score_name
from bootlight.runs.drawn import drawn_shape
from bootlight.runs.history import read_history
from bootlight.runs.timing import clock

if TYPE_CHECKING:
    from bootlight.data.datamodule import BootstrapData
    from bootlight.data.mixing import Source
    from bootlight.evaluation.sets.sources import ImageSource
    from bootlight.metrics.features.features import FeatureNetwork
    from bootlight.metrics.score import Score
    from bootlight.runs.folder import GenerationFolder

LOSS_WINDOW = 0.1  # share of the steps, at the end, over which the training loss is averaged
SYNTHETIC = "synthetic images"


class Evaluation:
    """Distances to the real training and held-out images, and the discriminator score beside that of real images.

    Args:
        features: class path of the feature network; null = LearnedFeatures, PixelFeatures for float data.
        metrics: what is measured in its space, see `bootlight.evaluation.suite.METRICS`, and metrics of one's own by class
            path, `my_file.MyMetric` or `{class_path: ..., init_args: ...}`; all against the real training images, the
            distances against held-out ones too. [] = nothing: only the judge is asked.
        judge_steps: training steps of the judge, a DCGAN trained once on all real training images; 0 = no judge.
        judge_width: channels of the judge's first stage.
        judge_batch_size: images of one of its steps, over all devices together.
        max_real: use at most so many real images as reference; `authpct` sees copies of these only.
        batch_size: images of one network call.
        denoising_levels: noise levels at which a diffusion model's error on held-out and training images is measured, see
            `denoising_loss`; 0 = it is not.
        noise_bins: parts of the levels in which a diffusion model's loss, its variance, its gradient, and what a step on one
            does to the others are measured, see `evaluation.noise_bins`; 0 = they are not.
    """

    def __init__(
        self,
        features: Callable[[], FeatureNetwork] | None = None,
        metrics: Sequence[str | dict[str, Any]] = ("fd", "kid", "precision-recall", "authpct"),
        judge_steps: int = 2000,
        judge_width: int = 64,
        judge_batch_size: int = 64,
        max_real: int = 50_000,
        batch_size: int = 100,
        denoising_levels: int = 0,
        noise_bins: int = 0,
    ) -> None:
        check_range("evaluation.judge_steps", judge_steps, 0)
        check_range("evaluation.denoising_levels", denoising_levels, 0)
        check_range("evaluation.noise_bins", noise_bins, 0)
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
        self.denoising_levels = denoising_levels
        self.noise_bins = noise_bins
        self.feature_network: nn.Module | None = None
        self.judge: nn.Module | None = None
        self._chosen: Chosen | None = None
        self._floors = RunFloors()

    def use(self, feature_network: nn.Module | None, judge: nn.Module | None) -> None:
        """Look through these networks."""
        if self._chosen is None or feature_network is not self.feature_network:
            self._chosen = choose(self.metrics, feature_network, "evaluation.metrics")
        self.feature_network = feature_network
        self.judge = judge

    def scores(
        self, folder: GenerationFolder, data: BootstrapData, device: torch.device, *, keep: Path | None = None
    ) -> tuple[dict[str, Score], dict[str, str]]:
        """Measure one folder of images.

        Args:
            folder: of the generation, as seen from the folder of images.
            data: set up for the generation.
            device: of the networks.
            keep: file for what each image adds, by which generations are compared; see `keep_witness`.

        Returns:
            Scores by name, those that lead the tables first; and why others could not be had, by name.

        Raises:
            BootlightError: an image is missing, was changed or cannot be decoded.
            Stopped: this process was asked to stop.
        """
        with clock.part("files"):
            drawn = drawn_source(SYNTHETIC, folder, drawn_shape(folder, data.image_shape))
        sets: dict[str, ImageSource] = {"synthetic": drawn}
        sets |= {name: self.reference(data, name, which) for name, which in references(data).items()}
        ask = partial(self._ask, device, data.cache)
        judge = None if self.judge is None else JudgeLogits(self.judge, data.channels)
        failed: dict[str, str] = {}
        chosen = self._chosen or Chosen()
        features = {
            name: with_own(partial(ask, source=source), self.feature_network, chosen.on_features)
            for name, source in sets.items()
        }
        opinions_of: dict[str, dict[str, Tensor]] = {}
        with attempt(DiscriminatorScore.name, failed):
            opinions_of = {name: ask(judge, source) for name, source in sets.items() if judge is not None}
        with clock.part("metrics"):
            distances, opinions = self._distances(features, data.cache, failed), self._opinions(opinions_of, failed)
            how = ImagesOfRun(sets, folder, self.batch_size, device, data.origins)
            distances |= how.scores(chosen.on_images, distances, failed)
            keys = {name: source.key for name, source in sets.items()}
            fair = partial(self._fair, sets, features, ask)
            floors = self._floors_of(keys, features, fair, data.cache, failed)
        if self.feature_network is not None:
            probe = partial(self._probe, sets, ask)
            doubts = self._floors.doubts(self.feature_network, keys, features, probe, failed)
            distances = with_probes(distances, doubts, score_name(self.feature_network))
        with clock.part("metrics"), attempt("comparison of generations", failed):
            if keep is not None and self.feature_network is not None:
                keep_witness(keep, folder, self.feature_network, features, keys)
        main = {name: score for name, score in distances.items() if self._is_main(name)}  # leads the tables
        return main | opinions | with_others(distances, opinions | floors, failed), failed

    def reference(self, data: BootstrapData, name: str, which: Source) -> StoreSource:
        """Real images; all that there are to train on, whatever share is in use: so arms have one reference."""
        return StoreSource(f"real {name} images", which.store, which.indices[data.reference(which, self.max_real)])

    def _ask(self, device: torch.device, cache: Path, network: nn.Module, source: ImageSource) -> dict[str, Tensor]:
        """Answers of a network; those to real images are kept for the next generations and runs."""
        keep = None if source.where == SYNTHETIC else cache
        with clock.part("evaluation"):
            return extract(source, network, cache=keep, batch_size=self.batch_size, device=device, check=check_stop)

    def _probe(self, sets: dict[str, ImageSource], ask: Callable[..., Features], which: str, rows: list[int]) -> Features:
        """Answers of the feature network to noise and to blurred images, by kind."""
        return {kind: ask(self.feature_network, made)["features"] for kind, made in probes_of(sets[which], rows).items()}

    def _fair(
        self, sets: dict[str, ImageSource], answers: dict[str, Features], ask: Callable[..., Features], which: str
    ) -> Features:
        """Answers to a set of the network that knows no image by heart."""
        if self.feature_network is None or (network := fair_network(self.feature_network)) is self.feature_network:
            return answers[which]
        return ask(network, sets[which])

    def _is_main(self, name: str) -> bool:
        return self.feature_network is not None and name.split("/")[0] == score_name(self.feature_network)

    def _distances(self, answers: dict[str, dict[str, Tensor]], cache: Path, failed: dict[str, str]) -> dict[str, Score]:
        """All metrics against the training images, distances against held-out ones; `failed` notes what has no score."""
        network = self.feature_network
        if network is None:
            return {}
        scores: dict[str, Score] = {}
        for which in answers.keys() - {"synthetic"}:
            none: dict[str, str] = {}
            measure = partial(measure_all, network=network, cache=cache, check=check_stop, failed=none)
            found = measure(self._names(which), real=answers[which], synthetic=answers["synthetic"])
            failed |= {f"{name}/{which}": why for name, why in none.items()}
            scores |= {f"{name}/{which}": score.noting(reference=f"real {which} images") for name, score in found.items()}
        return dict(sorted(scores.items(), key=lambda item: item[0].endswith("/holdout")))

    def _names(self, which: str) -> list[Choice]:
        """Metrics that are measured against a reference."""
        return [name for name in (self._chosen or Chosen()).on_features if which == "train" or name in DISTANCES]

    def _floors_of(
        self,
        keys: dict[str, str],
        answers: dict[str, dict[str, Tensor]],
        fair: Callable[[str], Features],
        cache: Path,
        failed: dict[str, str],
    ) -> dict[str, Score]:
        """What real images score in the place of the synthetic ones, and whether they can be told apart."""
        if self.feature_network is None:
            return {}
        measure = partial(measure_all, network=self.feature_network, cache=cache, check=check_stop)
        metrics = {which: self._names(which) for which in answers.keys() - {"synthetic"}}
        found = self._floors.scores(self.feature_network, metrics, keys, answers, fair, measure, failed)
        return {name: score.noting(reference=f"real {name.rpartition('/')[2]} images") for name, score in found.items()}

    def _opinions(self, answers: dict[str, dict[str, Tensor]], failed: dict[str, str]) -> dict[str, Score]:
        """The judge's score of synthetic images, and of real ones for comparison; `failed` notes what has no score."""
        found = {}
        for which, answer in answers.items():
            name = DiscriminatorScore.name if which == "synthetic" else f"{DiscriminatorScore.name}/{which}"
            with attempt(name, failed):
                found[name] = discriminator_score(answer["features"])
        return found


def references(data: BootstrapData) -> dict[str, Source]:
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
