"""Scores of a generation: how far its images are from real ones, and what the judge says of them."""

from abc import ABC
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from bootlight.atomic import write_json
from bootlight.callbacks.generation_end import GenerationEnd
from bootlight.errors import BootlightError, check_range
from bootlight.generators.base import GeneratorModule
from bootlight.images import decode
from bootlight.metrics.discriminator import DiscriminatorScore
from bootlight.metrics.frechet import FrechetDistance
from bootlight.metrics.score import Score
from bootlight.run_folder import GenerationFolder, how_to_redraw, read_metadata
from bootlight.stopping import check_stop
from bootlight.tracking.history import read_history

LOSS_WINDOW = 0.1  # share of the steps, at the end, over which the training loss is averaged


class FeatureNetwork(ABC):  # noqa: B024 - nothing to implement
    """Any `torch.nn.Module` that maps uint8 images (B, 3, H, W) to features (B, D) in a space where distances mean something.

    There is nothing to subclass: every module counts (a type of its own, because help would list all of torch's modules
    as known subclasses of `nn.Module`). An attribute `name` (str) names the score, `fd-<name>`.
    """


FeatureNetwork.register(nn.Module)


class Evaluation(GenerationEnd):
    """Fréchet distance to the real training and held-out images, and the discriminator score beside that of real images.

    Args:
        features: class path of the feature network; without one no distance is computed.
        judge_steps: training steps of the judge, a DCGAN trained once on all real training images; 0 = no judge.
        judge_width: channels of the judge's first stage.
        judge_batch_size: images of one of its steps, over all devices together.
        max_real: use at most so many real images as reference.
        batch_size: images of one network call.
    """

    stage = "evaluation"

    def __init__(
        self,
        features: Callable[[], FeatureNetwork] | None = None,
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
        real = {"train": data.real_images(data.available, self.max_real)}  # all of them: arms share their reference
        if len(data.holdout) >= 2:
            real["holdout"] = data.real_images(data.holdout, self.max_real)
        synthetic = read_samples(folder, module.image_size, module.channels)
        with tqdm(desc=f"generation {self.context.generation} · evaluation", unit="batch", leave=False) as bar:
            batches = self._batches(trainer, bar)
            scores = self._distances(batches, real, synthetic) | self._opinions(batches, real, synthetic)
        write_json(
            folder.metrics,
            {
                "generation": self.context.generation,
                "num_real": data.num_real,
                "num_synthetic": data.num_synthetic,
                "steps": data.num_steps,
                "images_seen": data.num_steps * data.batch_size,
                "loss": final_loss(folder),
                "scores": {name: score.to_json() for name, score in scores.items()},
            },
        )

    def _batches(self, trainer: Trainer, bar: Any) -> Callable[[NDArray[np.uint8]], Iterator[torch.Tensor]]:
        """Turns images (N, H, W, C) into batches (B, C, H, W) on the trainer's device."""
        device = trainer.strategy.root_device

        def batches(images: NDArray[np.uint8]) -> Iterator[torch.Tensor]:
            for start in range(0, len(images), self.batch_size):
                check_stop()
                chunk = np.ascontiguousarray(images[start : start + self.batch_size].transpose(0, 3, 1, 2))
                yield torch.from_numpy(chunk).to(device)
                bar.update()

        return batches

    def _distances(
        self,
        batches: Callable[[NDArray[np.uint8]], Iterator[torch.Tensor]],
        real: dict[str, NDArray[np.uint8]],
        synthetic: NDArray[np.uint8],
    ) -> dict[str, Score]:
        """One distance for each reference set."""
        if self.feature_network is None:
            return {}
        metric = FrechetDistance(features=self.feature_network, reset_real_features=True, sync_on_compute=False)
        for images in batches(synthetic):
            metric.update(images, real=False)
        drawn = list(metric.synthetic_features)  # one pass of the network serves every reference
        scores = {}
        for which, reference in real.items():
            metric.reset()
            metric.synthetic_features = list(drawn)
            for images in batches(reference):
                metric.update(images, real=True)
            scores[f"{metric.name}/{which}"] = with_reference(metric.compute()[metric.name], which)
        return scores

    def _opinions(
        self,
        batches: Callable[[NDArray[np.uint8]], Iterator[torch.Tensor]],
        real: dict[str, NDArray[np.uint8]],
        synthetic: NDArray[np.uint8],
    ) -> dict[str, Score]:
        """The judge's score of synthetic images, and of real ones for comparison."""
        if self.judge is None:
            return {}
        scores = {}
        for name, images in {"": synthetic, **{f"/{which}": reference for which, reference in real.items()}}.items():
            metric = DiscriminatorScore(self.judge, sync_on_compute=False)
            for batch in batches(images):
                metric.update(batch)
            scores[metric.name + name] = metric.compute()
        return scores


def with_reference(score: Score, which: str) -> Score:
    """The score with its reference set in the protocol."""
    return score._replace(protocol={**score.protocol, "reference": f"real {which} images"})


def read_samples(folder: GenerationFolder, image_size: int, channels: int) -> NDArray[np.uint8]:
    """The images of a complete samples folder, (N, H, W, C), as they are on the disk: rounded, as everyone will see them.

    Raises:
        BootlightError: one is missing or cannot be decoded.
    """
    files = [folder.samples / row["file_name"] for row in read_metadata(folder)]
    images = np.empty((len(files), image_size, image_size, channels), np.uint8)
    try:
        for image, file in zip(images, files, strict=True):
            image[:] = decode(file.read_bytes(), str(file), image_size=image_size, channels=channels)
    except (OSError, BootlightError) as error:
        raise BootlightError(f"{error}; {how_to_redraw(folder)}") from error
    return images


def final_loss(folder: GenerationFolder) -> dict[str, Any] | None:
    """Mean training loss of the last tenth of the steps, with the standard error of that mean over logged steps."""
    losses = read_history(folder.history).get("train/loss", ([], []))[1]
    if not losses:
        return None
    last = np.array(losses[-max(1, round(LOSS_WINDOW * len(losses))) :])
    if not np.isfinite(last).all():
        return None  # training diverged; NaN is no JSON
    error = float(last.std(ddof=1) / np.sqrt(len(last))) if len(last) > 1 else None
    return {"value": float(last.mean()), "standard_error": error, "n": len(last)}
