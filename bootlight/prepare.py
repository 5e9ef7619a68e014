"""Before the first generation: check all input, then train (or load) the networks that look at the images."""

import traceback
from collections.abc import Callable
from typing import TypeVar, cast

import torch
from lightning.pytorch import Callback, Trainer
from torch import nn

from bootlight.callbacks.evaluation import Evaluation
from bootlight.callbacks.synthesis import Synthesis
from bootlight.clock import clock
from bootlight.data.batches import check_shares
from bootlight.data.datamodule import BootstrapData
from bootlight.errors import BootlightError
from bootlight.evaluation.suite import check_metrics, least_images
from bootlight.generators.base import GeneratorModule
from bootlight.metrics.frechet import FrechetDistance
from bootlight.metrics.statistics import feature_statistics
from bootlight.networks.dcgan import SIZES
from bootlight.processes import barrier, check_same, rank
from bootlight.real_images import check_same_images, list_skipped, write_real_previews
from bootlight.reference import TrainedOnReal, train_judge
from bootlight.run_folder import GenerationContext, RunFolder
from bootlight.terminal import say
from bootlight.understood import layouts_of, understand

Found = TypeVar("Found", bound=Callback)
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
NUM_PREVIEWS = 12  # where nothing is synthesized


def prepare(
    model: GeneratorModule,
    data: BootstrapData,
    trainer: Trainer,
    context: GenerationContext,
    judge_trainer: Callable[[RunFolder], Trainer],
    num_generations: int,
) -> tuple[nn.Module | None, nn.Module | None]:
    """The feature network and the judge (None where there is none), after everything that can be wrong has been looked at.

    Raises:
        BootlightError: batches that the devices cannot share, unusable images or other ones than before, labels that do not
            fit the model, missing weights.
    """
    run = context.run
    evaluation, synthesis = find_callback(trainer, Evaluation), find_callback(trainer, Synthesis)
    has_judge = evaluation is not None and evaluation.judge_steps > 0
    check_batch_sizes(data, evaluation, trainer.world_size)
    if trainer.precision not in PRECISIONS:  # weights in half precision lose what an average adds, and draw from other noise
        raise BootlightError(f"trainer.precision is {trainer.precision}; weights stay float32: take {', '.join(PRECISIONS)}")
    data.attach(context)
    set_up(data, trainer)
    check_same("data.root", data.available.store.key, "give all nodes the same images")
    if rank() == 0:
        for line in understand(model, data).lines():
            say(line)
    check_labels(model, data)
    if synthesis is not None:
        check_mixtures(data, num_generations, synthesis.num_synthetic)
    features = None if evaluation is None else check_features(evaluation, data, synthesis)
    if has_judge and data.image_size not in SIZES:
        raise BootlightError(
            f"evaluation.judge_steps: the judge is a DCGAN, which has no size {data.image_size}; set it to 0, or "
            f"data.image_size to one of {', '.join(map(str, SIZES))}"
        )
    check_same_images(run, data)
    list_skipped(run, data)
    write_real_previews(run, data, NUM_PREVIEWS if synthesis is None else synthesis.num_previews)
    if isinstance(features, TrainedOnReal) and rank() == 0:  # it alone evaluates
        with clock.part("references"):
            features.fit_real(data, run.references, trainer.strategy.root_device)
    if evaluation is None or not has_judge:
        return features, None
    judge = train_judge(
        data,
        run.references,
        num_steps=evaluation.judge_steps,
        width=evaluation.judge_width,
        batch_size=evaluation.judge_batch_size,
        trainer=lambda: judge_trainer(run),
    )
    return features, judge


def check_batch_sizes(data: BootstrapData, evaluation: Evaluation | None, world_size: int) -> None:
    """All devices have equal shares of a batch, the judge's too.

    Raises:
        BootlightError: they cannot.
    """
    check_shares("data.batch_size", data.batch_size, world_size)
    if evaluation is not None and evaluation.judge_steps > 0:
        check_shares("evaluation.judge_batch_size", evaluation.judge_batch_size, world_size)


def check_mixtures(data: BootstrapData, num_generations: int, num_synthetic: int) -> None:
    """Every generation will have a training set; better known now than when it begins.

    Raises:
        BootlightError: one will not.
    """
    for generation in range(num_generations):
        if data.train_size(generation, num_synthetic) < 1:
            raise BootlightError(
                f"data.mixing leaves no image to train on at generation {generation}; set data.mixing.keep_real, or raise "
                "data.mixing.synthetic_ratio"
            )


def set_up(data: BootstrapData, trainer: Trainer) -> None:
    """One rank of each node decodes, the others find what it decoded."""
    for first in (True, False):
        if (trainer.local_rank == 0) is first:
            data.setup()
        barrier()


def check_labels(model: GeneratorModule, data: BootstrapData) -> None:
    """A class-conditional model needs labelled images of exactly its number of classes.

    Raises:
        BootlightError: says how many classes there are, or images without a label.
    """
    if model.num_classes is None:
        return
    for source in () if model.accepts_unlabelled else data.joining:
        if (source.store.labels[source.indices] < 0).any() and len(data.real.store.class_names) > 0:
            raise BootlightError(
                f"model.num_classes is {model.num_classes}, but images of data.teacher have no label, or one that the real "
                "images lack; leave model.num_classes out, or take a teacher with the same classes"
            )
    found = len(data.real.store.class_names)
    missing = int((data.real.store.labels[data.real.indices] < 0).sum())
    reasons = [f"{layout.where}: {layout.why_no_classes}" for layout in layouts_of(data) if layout.stray]
    if missing and reasons:
        raise BootlightError(
            f"model.num_classes is {model.num_classes}, but {'; '.join(reasons)}, so that none of them is a class; put each "
            "picture into a folder or away, or leave model.num_classes out for an unconditional model"
        )
    if missing:
        raise BootlightError(
            f"model.num_classes is {model.num_classes}, but {missing} of the {len(data.real)} images in use of {data.root} "
            "have no label; give them one, or leave model.num_classes out for an unconditional model"
        )
    if found != model.num_classes:
        raise BootlightError(
            f"model.num_classes is {model.num_classes}, but {data.root} has {found} classes; set it to that number, or leave "
            "it out for an unconditional model"
        )


def find_callback(trainer: Trainer, kind: type[Found]) -> Found | None:
    """The trainer's callback of a class, if it has one."""
    return next((callback for callback in trainer.callbacks if isinstance(callback, kind)), None)  # type: ignore[attr-defined]


def check_features(evaluation: Evaluation, data: BootstrapData, synthesis: Synthesis | None) -> nn.Module | None:
    """Build the feature network, let it check its weights, if it can (a method `check`), and show it two real images.

    Raises:
        BootlightError: too few images for a distance, or a network that cannot be built or does not answer with features.
    """
    if evaluation.features is None:
        return None
    least = least_images(evaluation.metrics)
    if synthesis is not None and synthesis.num_synthetic < least:
        raise BootlightError(
            f"bootstrap.num_synthetic is {synthesis.num_synthetic}; evaluation.metrics needs at least {least} images"
        )
    if len(data.available) < least:
        raise BootlightError(
            f"{data.root}: {len(data.available)} images to train on; evaluation.metrics needs at least {least}, add some"
        )
    if evaluation.max_real < least:
        raise BootlightError(f"evaluation.max_real is {evaluation.max_real}; evaluation.metrics needs at least {least}")
    try:
        network = cast(nn.Module, evaluation.features())
        check = getattr(network, "check", None)
        if callable(check):
            check()
        check_metrics(evaluation.metrics, network)
        if not isinstance(network, TrainedOnReal):  # that one cannot answer yet
            probe_features(network, data)
    except BootlightError:
        raise
    except Exception as error:  # someone else's code
        where = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise BootlightError(f"evaluation.features: {what} ({where.filename}, line {where.lineno}); correct it") from error
    return network


def probe_features(network: nn.Module, data: BootstrapData) -> None:
    """Measure two real images as the evaluation will.

    Raises:
        BootlightError: the answer is not one row of finite features for each image.
    """
    metric = FrechetDistance(features=network, sync_on_compute=False)
    images = data.real_images(data.real, 2)
    metric.update(torch.from_numpy(images).permute(0, 3, 1, 2), real=True)
    feature_statistics(metric.real_features[0])
