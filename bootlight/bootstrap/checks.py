"""Everything that can be found wrong before anything is trained or written; `fit` and its `--plan` ask the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch import nn

from bootlight.bootstrap.check_features import check_features
from bootlight.bootstrap.check_mixtures import check_mixtures, told
from bootlight.bootstrap.trackers import check_loggers
from bootlight.bootstrap.trainers import find_callback
from bootlight.bootstrap.understood import layouts_of, understand
from bootlight.data.batches import check_shares, check_whole_steps
from bootlight.data.loader import accumulated
from bootlight.distributed.processes import check_same, in_turn, rank
from bootlight.errors import BootlightError
from bootlight.evaluation.sets.real_images import check_same_images
from bootlight.generators.denoising import DenoisingModule
from bootlight.io.shape import size_words
from bootlight.networks.dcgan import ALLOWED, halvings
from bootlight.runs.context import GenerationContext
from bootlight.terminal import say
from bootlight.training.portable_states import PortableStates

if TYPE_CHECKING:
    from bootlight.bootstrap.builder import Builder
    from bootlight.data.datamodule import BootstrapData
    from bootlight.evaluation.generation import Evaluation
    from bootlight.generators.part import PartModule

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


def check_all(builder: Builder) -> None:
    """See `check_input`."""
    context = GenerationContext(builder.run, 0, builder.seed)
    settings, drawn = builder.bootstrap, builder.num_drawn()
    check_input(
        builder.model,
        builder.datamodule,
        builder.trainer,
        context,
        settings.num_generations,
        drawn,
        builder.evaluation,
        settings.compile,
        builder.drawn_by,
    )


def check_input(
    model: PartModule,
    data: BootstrapData,
    trainer: Trainer,
    context: GenerationContext,
    num_generations: int,
    num_synthetic: int,
    evaluation: Evaluation | None,
    compiled: bool = False,
    drawn_by: Callable[[int, str], int] | None = None,
) -> nn.Module | None:
    """Look at settings, images, labels, mixtures and loggers; open the data. Writes nothing into the run folder.

    Args:
        model: of a generation.
        data: set up afterwards, for the generation of `context`.
        trainer: of a generation.
        context: of the first generation.
        num_generations: of the run.
        num_synthetic: images that a generation draws.
        evaluation: what is measured; None = nothing.
        compiled: with networks that torch compiles.
        drawn_by: images that a generation draws into a folder, where that differs from `num_synthetic`.

    Returns:
        The feature network, not yet trained if it is one that is; None where there is none.

    Raises:
        BootlightError: batches that the devices cannot share, unusable images or other ones than before, labels that do not
            fit the model, missing weights, a logger that cannot be used, no compiler where one is needed.
    """
    check_training(model, data, trainer, evaluation)
    if compiled:
        check_compiler(trainer.strategy.root_device)
    check_loggers(trainer.loggers)
    states = find_callback(trainer, PortableStates)
    if states is not None:
        states.on_train_start(trainer, model)  # whether what callbacks keep can be read back
    open_images(data, trainer, context)
    if rank() == 0:
        for line in understand(model, data).lines():
            say(line)
    check_labels(model, data)
    check_clip(model, data)
    check_mixtures(data, num_generations, num_synthetic if drawn_by is None else drawn_by, model)
    if rank() == 0:
        for line in told(data):
            say(line)
    check_same_images(context.run, data)  # of all generations
    features = None if evaluation is None else check_features(evaluation, data, num_synthetic)
    if evaluation is not None and evaluation.judge_steps > 0:
        check_judged(data)
    return features


def check_clip(model: PartModule, data: BootstrapData) -> None:
    """Float data have no range to which a sampler could limit its estimates.

    Raises:
        BootlightError: it would.
    """
    sampler = model.sampler if isinstance(model, DenoisingModule) else None
    if sampler is not None and sampler.clip and data.real.store.images.dtype != np.uint8:
        raise BootlightError(
            "model.sampler.clip limits images to [-1, 1], and float data have no range; set model.sampler.clip to false"
        )


def check_judged(data: BootstrapData) -> None:
    """The judge is a DCGAN: of images of certain sizes, that it draws in [-1, 1].

    Raises:
        BootlightError: it cannot judge such images.
    """
    _, height, width = data.image_shape
    if halvings(height, width) is None:
        raise BootlightError(
            f"evaluation.judge_steps: the judge is a DCGAN, which {ALLOWED}, and the images have {size_words(height, width)}; "
            "set it to 0, or take another data.image_size"
        )
    if data.real.store.images.dtype != np.uint8:
        raise BootlightError(
            "evaluation.judge_steps: the judge is a DCGAN, which draws in [-1, 1], and float data have no range; set it to 0"
        )


def check_compiler(device: torch.device) -> None:
    """For a CPU torch writes C++, which it hands to a compiler when a network is first called.

    Raises:
        BootlightError: there is none that works.
    """
    if device.type != "cpu":
        return
    from torch._inductor.cpp_builder import get_cpp_compiler  # slow to import

    try:
        get_cpp_compiler()
    except RuntimeError as error:
        raise BootlightError(
            f"bootstrap.compile needs a C++ compiler ({' '.join(str(error).split())}); install g++, name one that works in the "
            "variable CXX, or leave bootstrap.compile out"
        ) from error


def check_training(model: PartModule, data: BootstrapData, trainer: Trainer, evaluation: Evaluation | None = None) -> None:
    """What a trainer cannot do with a model and these batches.

    Raises:
        BootlightError: names the setting.
    """
    check_batch_sizes(data, evaluation, trainer.world_size)
    if trainer.precision not in PRECISIONS:  # weights in half precision lose what an average adds, and draw from other noise
        raise BootlightError(f"trainer.precision is {trainer.precision}; weights stay float32: take {', '.join(PRECISIONS)}")
    if model.automatic_optimization:
        check_whole_steps(data._num_steps, accumulated(trainer))
    else:
        check_manual(type(model).__name__, trainer)


def open_images(data: BootstrapData, trainer: Trainer, context: GenerationContext) -> None:
    """Open the data, and make sure that they are those of the run, on every node.

    Raises:
        BootlightError: unusable images, or others.
    """
    data.attach(context)
    in_turn(trainer, data.setup)  # the first one decodes
    check_same("data.root", data.available.store.key, "give all nodes the same images")
    check_same_images(context.run, data)


def check_manual(name: str, trainer: Trainer) -> None:
    """A model that steps its optimizers itself has gradients that Lightning does not touch.

    Raises:
        BootlightError: names the setting that would have no effect, or stop the training.
    """
    given = {
        "trainer.accumulate_grad_batches": trainer.accumulate_grad_batches not in (None, 1),
        "trainer.gradient_clip_val": bool(trainer.gradient_clip_val),
        "trainer.gradient_clip_algorithm": trainer.gradient_clip_algorithm is not None,
        "trainer.callbacks: GradientAccumulationScheduler": find_callback(trainer, GradientAccumulationScheduler) is not None,
    }
    for key, is_given in given.items():
        if is_given:
            raise BootlightError(f"{key} has no meaning for {name}, which steps its optimizers itself; leave it out")


def check_batch_sizes(data: BootstrapData, evaluation: Evaluation | None, world_size: int) -> None:
    """All devices have equal shares of a batch, the judge's too.

    Raises:
        BootlightError: they cannot.
    """
    check_shares("data.batch_size", data.batch_size, world_size)
    if evaluation is not None and evaluation.judge_steps > 0:
        check_shares("evaluation.judge_batch_size", evaluation.judge_batch_size, world_size)


def check_labels(model: PartModule, data: BootstrapData) -> None:
    """A class-conditional model needs labelled images of exactly its number of classes.

    Raises:
        BootlightError: says how many classes there are, or images without a label.
    """
    if model.num_classes is None:
        return
    joining = [] if model.accepts_unlabelled else [s for s in data.sources if s.store is not data.real.store]
    for source in joining:
        if (source.store.labels[source.indices] < 0).any() and len(data.real.store.class_names) > 0:
            raise BootlightError(
                f"model.num_classes is {model.num_classes}, but data.mixing takes images of role {source.role} that have no "
                "label, or one that the real images lack; leave model.num_classes out, or take images of the same classes"
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
