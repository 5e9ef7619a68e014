"""Asymmetric multi-head self-training: heads that must agree before a label is believed (Fu et al. 2024, section 4.3)."""

from __future__ import annotations

from itertools import combinations
from typing import Literal

import torch
from torch import Tensor

from bootlight.batch import Batch
from bootlight.classifiers.augment import Augmentation, augmented
from bootlight.classifiers.classifier import ClassifierModule, MakeBackbone, main_loss
from bootlight.classifiers.softmatch import SoftMatch
from bootlight.errors import BootlightError, check_range
from bootlight.io.pictures import to_float
from bootlight.rng import by_name, derive_key, random_words, to_uniform

MAIN = "main"


class AMST(ClassifierModule):
    """A backbone with a main head and auxiliary ones, of which some see weakly, some strongly augmented images.

    With `stage: heads` it is trained on labelled images, equation 7: the cross-entropies of the auxiliary heads, and lambda
    times the entries of W1^T W2 of heads that see the same view, as absolute values. What it publishes gives labels
    (`bootlight.PseudoLabels`). With `stage: main` main head and backbone are trained, equations 8 and 9, from those weights by
    `start_from` of its `Train`; the auxiliary heads then stay as they are.

    What the paper leaves open and is chosen here: dropout stands before the auxiliary heads; the backbone is trained in both
    stages; heads are asked about the image itself, not about an augmented one.

    Args:
        image_size: see `PartModule`.
        channels: see `PartModule`.
        num_classes: of the labels; in a config, auto is the number that the images have.
        stage: heads or main.
        backbone: see `ClassifierModule`.
        weak: what becomes of images in the weak view, in this order.
        strong: the same in the strong view.
        weak_heads: auxiliary heads that see the weak view.
        strong_heads: those that see the strong one.
        orthogonality: lambda of equation 7.
        dropout: share of the features that an auxiliary head does not see.
        consistency: how much images without a label count in the main stage; SoftMatch if left out.
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
        stage: Literal["heads", "main"] = "heads",
        backbone: MakeBackbone | None = None,
        weak: list[Augmentation] | None = None,
        strong: list[Augmentation] | None = None,
        weak_heads: int = 2,
        strong_heads: int = 2,
        orthogonality: float = 0.001,
        dropout: float = 0.5,
        consistency: SoftMatch | None = None,
        learning_rate: float = 0.03,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        warmup: float = 0.05,
        ema_decay: float | None = None,
    ) -> None:
        if stage not in ("heads", "main"):
            raise BootlightError(f"model.stage is {stage!r}; it is heads or main")
        for key, value in (("weak_heads", weak_heads), ("strong_heads", strong_heads), ("orthogonality", orthogonality)):
            check_range(f"model.{key}", value, 0)
        if weak_heads + strong_heads < 1:
            raise BootlightError("model.weak_heads and model.strong_heads are 0; nobody would give a label")
        if not 0 <= dropout < 1:
            raise BootlightError(f"model.dropout is {dropout}; it must be at least 0 and below 1")
        names = [f"weak{i}" for i in range(weak_heads)], [f"strong{i}" for i in range(strong_heads)]
        how = backbone, learning_rate, momentum, weight_decay, warmup, ema_decay
        super().__init__(image_size, channels, num_classes, [MAIN, *names[0], *names[1]], *how)
        self.stage, self.views = stage, {"weak": names[0], "strong": names[1]}
        self.weak, self.strong = list(weak or ()), list(strong or ())
        self.orthogonality, self.dropout = orthogonality, dropout
        self.consistency = consistency or SoftMatch()
        self.consistency.setup(self.classes)
        for name, head in self.net.heads.items():  # several processes wait for every gradient
            head.requires_grad_((name == MAIN) == (stage == MAIN))

    @property
    def auxiliary(self) -> list[str]:
        """Names of the heads that give labels."""
        return [*self.views["weak"], *self.views["strong"]]

    def probabilities(self, features: Tensor) -> Tensor:
        """See `ClassifierModule`; of the main head, or the mean of the auxiliary ones where these are trained."""
        names = [MAIN] if self.stage == MAIN else self.auxiliary
        return torch.stack([self.trained.logits(name, features).softmax(1) for name in names]).mean(0)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Equation 7, or 8 and 9."""
        if self.stage == MAIN:
            loss, parts = main_loss(self, batch, self.weak, self.strong, self.consistency)
        else:
            loss, parts = self._of_heads(batch)
        for name, value in parts.items():
            self.log(f"train/{name}", value, batch_size=len(batch.images))
        self.log("train/loss", loss, batch_size=len(batch.images), prog_bar=True)
        return loss

    def _of_heads(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the auxiliary heads, and its parts."""
        plain = self.targets(batch)
        seen = [view for view, names in self.views.items() if names]
        both = [augmented(batch, getattr(self, view), plain, view) for view in seen]
        features = self.net(torch.cat([images for images, _ in both])).chunk(len(both))
        parts: dict[str, Tensor] = {}
        for view, (_, targets), own in zip(seen, both, features, strict=True):
            for name in self.views[view]:
                kept = self._dropped(own, batch.uniforms(f"dropout {name}", own.shape[1]))
                logits = self.net.logits(name, kept)
                parts[name] = batch.weighted(-(targets * logits.log_softmax(1)).sum(1))
        overlap = self.overlap("weak") + self.overlap("strong")
        loss = torch.stack(list(parts.values())).sum() + self.orthogonality * overlap
        return loss, parts | {"overlap": overlap}

    def overlap(self, view: str) -> Tensor:
        """Sum of |W1^T W2| over its entries and the pairs of heads that see a view; 0 where all rows are orthogonal."""
        weights: list[Tensor] = [self.net.heads[name].weight for name in self.views[view]]  # type: ignore[misc]
        total = torch.zeros((), device=self.device)
        for one, other in combinations(weights, 2):
            total = total + (one @ other.T).abs().sum()
        return total

    def _dropped(self, features: Tensor, uniform: Tensor) -> Tensor:
        return features * (uniform >= self.dropout) / (1 - self.dropout)

    @torch.no_grad()
    def opinions(self, images: Tensor, first: int, passes: int, seed: int) -> Tensor:
        """What the auxiliary heads say, with dropout, again and again: probabilities (passes, heads, B, C).

        Gal and Ghahramani 2016. What is dropped is a function of the seed, the head, the pass, and the number of the image.

        Args:
            images: as they are stored, uint8 or float32 (B, C, H, W).
            first: number of the first of them.
            passes: 1 or more.
            seed: of the dropout.
        """
        self.eval()
        features = self.trained(to_float(images.to(self.device)))
        numbers = torch.arange(first, first + len(images))
        found = []
        for number in range(passes):
            heads = []
            for name in self.auxiliary:
                key, rows = by_name(derive_key(seed, "opinion", name, number), numbers)
                uniform = to_uniform(random_words(key, rows, features.shape[1])).to(features.device)
                heads.append(self.trained.logits(name, self._dropped(features, uniform)).softmax(1))
            found.append(torch.stack(heads))
        return torch.stack(found)
