"""Classifiers: a backbone, a head, and how they are trained on images of which some may have no label."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from bootlight.batch import Batch
from bootlight.classifiers.augment import Augmentation, augmented
from bootlight.classifiers.softmatch import SoftMatch, sums_of
from bootlight.distributed.processes import in_group
from bootlight.errors import BootlightError, check_range
from bootlight.generators.part import EMA_PREFIX, PartModule
from bootlight.io.pictures import to_float
from bootlight.io.shape import Shape
from bootlight.networks.backbone import Backbone, SmallResNet
from bootlight.networks.heads import Heads

MakeBackbone = Callable[[Shape], Backbone]


class ClassifierModule(PartModule, ABC):
    """A part that says of an image how likely each class is.

    Trained by SGD with Nesterov momentum, a linear warm-up and a cosine to 0 over all steps.

    Args:
        image_size: see `PartModule`.
        channels: see `PartModule`.
        num_classes: of the labels; in a config, auto is the number that the images have.
        names: of the heads.
        backbone: makes it of the shape of the images: in a config a class path, and arguments without the first one;
            `SmallResNet` if left out.
        learning_rate: at its highest.
        momentum: of SGD.
        weight_decay: of SGD.
        warmup: share of the steps over which the learning rate rises from 0.
        ema_decay: of the average that is published; None = the weights themselves.
    """

    accepts_unlabelled = True
    unpublished = (EMA_PREFIX, "consistency.")

    def __init__(
        self,
        image_size: int | list[int],
        channels: int,
        num_classes: int | str | None,
        names: Sequence[str],
        backbone: MakeBackbone | None,
        learning_rate: float,
        momentum: float,
        weight_decay: float,
        warmup: float,
        ema_decay: float | None,
    ) -> None:
        super().__init__(image_size, channels, num_classes)  # type: ignore[arg-type]
        if self.num_classes is None or self.num_classes < 2:
            raise BootlightError(f"model.num_classes is {num_classes}; a classifier needs images of two classes or more")
        for key, value, most in (
            ("learning_rate", learning_rate, math.inf),
            ("momentum", momentum, 1.0),
            ("weight_decay", weight_decay, math.inf),
            ("warmup", warmup, 1.0),
        ):
            check_range(f"model.{key}", value, 0, most)
        self.learning_rate, self.momentum, self.weight_decay, self.warmup = learning_rate, momentum, weight_decay, warmup
        self.net = Heads((backbone or SmallResNet)(self.image_shape), names, self.num_classes)
        self.average(self.net, ema_decay)

    @property
    def classes(self) -> int:
        """How many."""
        assert self.num_classes is not None
        return self.num_classes

    @property
    def trained(self) -> Heads:
        """The network to ask: the average where there is one."""
        return self.net if self.ema is None else self.ema.network  # type: ignore[return-value]

    @abstractmethod
    def probabilities(self, features: Tensor) -> Tensor:
        """(B, C) of features (B, D) of `trained`."""

    @torch.no_grad()
    def classify(self, images: Tensor) -> Tensor:
        """Probabilities (B, C) of images as they are stored, uint8 or float32 (B, C, H, W); in eval mode."""
        was_training = self.training
        self.eval()
        try:
            return self.probabilities(self.trained(to_float(images.to(self.device))))
        finally:
            self.train(was_training)

    def targets(self, batch: Batch) -> Tensor:
        """One-hot labels (B, C); all 0 of an image without one.

        Raises:
            BootlightError: no image has any.
        """
        if batch.labels is None:
            raise BootlightError("a classifier needs images with labels: use class folders")
        known = batch.labels >= 0
        return F.one_hot(batch.labels.clamp(min=0), self.classes).to(batch.images.dtype) * known[:, None]

    def configure_optimizers(self) -> Any:
        """SGD; see the class."""
        parameters = [parameter for parameter in self.net.parameters() if parameter.requires_grad]
        nesterov = self.momentum > 0
        optimizer = torch.optim.SGD(
            parameters, self.learning_rate, self.momentum, weight_decay=self.weight_decay, nesterov=nesterov
        )

        def share(step: int) -> float:
            if not step:  # before the training Lightning would open the data to count the steps
                return 1.0 if self.warmup == 0 else 0.0
            done = step / self.trainer.estimated_stepping_batches
            rising = 1.0 if self.warmup == 0 else min(1.0, done / self.warmup)
            return rising * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class ImageClassifier(ClassifierModule):
    """One head on a backbone; the main classifier of DreamDA where images without labels count (Fu et al. 2024, equation 9).

    Images with a label are trained by cross-entropy. Those without are passed over, or, with `consistency`, the prediction for
    the weakly augmented image is the label of the strongly augmented one. Both are sums over images divided by the size of a
    batch, as equations 8 and 9 are sums over sets.

    Args:
        image_size: see `PartModule`.
        channels: see `PartModule`.
        num_classes: of the labels; in a config, auto is the number that the images have.
        backbone: see `ClassifierModule`.
        augment: what becomes of images, in this order.
        strong: the same of images without a label, in their strongly augmented view.
        consistency: how much these count; None = they are passed over.
        label_smoothing: share of a label that is given to all classes alike.
        learning_rate: see `ClassifierModule`, with the other arguments of the optimizer.
        momentum: see there.
        weight_decay: see there.
        warmup: see there.
        ema_decay: see there.
    """

    def __init__(
        self,
        image_size: int | list[int],
        channels: int = 3,
        num_classes: int | Literal["auto"] | None = None,
        backbone: MakeBackbone | None = None,
        augment: list[Augmentation] | None = None,
        strong: list[Augmentation] | None = None,
        consistency: SoftMatch | None = None,
        label_smoothing: float = 0.0,
        learning_rate: float = 0.03,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        warmup: float = 0.05,
        ema_decay: float | None = None,
    ) -> None:
        how = backbone, learning_rate, momentum, weight_decay, warmup, ema_decay
        super().__init__(image_size, channels, num_classes, ["main"], *how)
        check_range("model.label_smoothing", label_smoothing, 0, 1)
        self.label_smoothing = label_smoothing
        self.augment, self.strong = list(augment or ()), list(strong or ())
        self.consistency = consistency
        if consistency is not None:
            consistency.setup(self.classes)

    def probabilities(self, features: Tensor) -> Tensor:
        """See `ClassifierModule`."""
        return self.trained.logits("main", features).softmax(1)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Equations 8 and 9."""
        loss, parts = main_loss(self, batch, self.augment, self.strong, self.consistency, self.label_smoothing)
        for name, value in parts.items():
            self.log(f"train/{name}", value, batch_size=len(batch.images))
        self.log("train/loss", loss, batch_size=len(batch.images), prog_bar=True)
        return loss


def main_loss(
    module: ClassifierModule,
    batch: Batch,
    weak: Sequence[Augmentation],
    strong: Sequence[Augmentation],
    consistency: SoftMatch | None,
    smoothing: float = 0.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of the head `main`: supervised, and of consistency on images without a label.

    Args:
        module: with a head of that name.
        batch: of a step.
        weak: of images with a label, and of the view that gives those without their label.
        strong: of the view that is trained to have it.
        consistency: see `ImageClassifier`.
        smoothing: see `ImageClassifier`.
    """
    targets = module.targets(batch)
    without = (targets.sum(1) == 0).nonzero()[:, 0]
    wanted = consistency is not None and len(without) > 0
    images, targets = augmented(batch, weak, targets, "weak")
    if wanted:
        images = torch.cat([images, augmented(batch, strong, targets, "strong")[0][without]])
    logits = module.net.logits("main", module.net(images))
    known = targets.sum(1, keepdim=True)
    smoothed = (1 - smoothing) * targets + smoothing * known / module.classes
    first = logits[: len(targets)].log_softmax(1)
    supervised = batch.weighted(-(smoothed * first).sum(1))
    parts = {"labelled": known.mean()}
    if consistency is None:
        return supervised, parts
    guess = first[without].detach().exp()
    consistency.observe(_over_all(sums_of(guess)))
    if not wanted:
        return supervised, parts
    weight = consistency(guess) * (1 if batch.weights is None else batch.weights[without])
    errors = F.cross_entropy(logits[len(targets) :], guess.argmax(1), reduction="none")
    extra = (weight * errors).sum() / len(targets)
    return supervised + extra, parts | {"supervised": supervised, "consistency": extra, "weight": weight.mean()}


def _over_all(sums: Tensor) -> Tensor:
    """Sums over the processes of a training."""
    if in_group():
        torch.distributed.all_reduce(sums)
    return sums
