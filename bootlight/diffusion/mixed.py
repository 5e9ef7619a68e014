"""Several predictions of one network, mixed into one estimate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bootlight.diffusion.grid import Level
from bootlight.diffusion.head_weights import HeadWeights, InverseError
from bootlight.diffusion.prediction import X0, Epsilon, Prediction, V, per_image
from bootlight.errors import BootlightError

LEAST_SCALE = 1e-12  # of a head that can say what the image is: below it float32 cannot
MOST_SCALE = 1e30


class Mixed(Prediction):
    """A network with several heads, each a prediction of its own, whose images are added up with weights.

    The loss is the sum of those of the heads, each in its own units; and, of weights that are trained, the squared error of the
    combined image with the heads detached. Mixing image and noise was proposed by Benny and Wolf 2022 ("Dynamic dual-output
    diffusion models"), of three types by Xie and Agam 2025. Estimates are finite at both ends of a schedule, also where the
    signal is 0: a head that cannot say there what the image is has a weight of 0.

    In a composition of denoisers, whose loss is that of the whole, the heads are trained through their weights alone.

    Args:
        heads: one or more that see the same input; X0, Epsilon and V if left out.
        by: how they are weighed; InverseError if left out.

    Raises:
        BootlightError: no heads, or one that needs an input or channels of its own.
    """

    def __init__(self, heads: Sequence[Prediction] | None = None, by: HeadWeights | None = None) -> None:
        super().__init__()
        chosen = [X0(), Epsilon(), V()] if heads is None else list(heads)
        if not chosen:
            raise BootlightError("Mixed heads is empty; give one or more, such as bootlight.X0 and bootlight.Epsilon")
        for head in chosen:
            if type(head).inputs is not Prediction.inputs or head.num_outputs(3) != 3:
                raise BootlightError(
                    f"Mixed heads has {type(head).__name__}, which sees or answers something else than an image; take such as "
                    "X0, Epsilon and V, and LearnedVariance around the mixture"
                )
        self.heads = nn.ModuleList(chosen)
        self.by = by or InverseError()
        self.by.setup(len(chosen))
        self.needs_constant_variance = any(head.needs_constant_variance for head in chosen)
        self.observes = self.by.observes
        self._noted: list[Tensor] | None = None

    @property
    def _each(self) -> list[Prediction]:
        return list(self.heads)  # type: ignore[arg-type]

    def num_outputs(self, channels: int) -> int:
        """Those of the heads, and of the weights."""
        return len(self.heads) * channels + self.by.num_outputs(len(self.heads))

    def target(self, x0: Tensor, noise: Tensor, level: Level) -> Tensor:
        """Those of the heads one after the other, and 0 where the network answers for the weights."""
        targets = [head.target(x0, noise, level) for head in self._each]
        more = self.by.num_outputs(len(self.heads))
        return torch.cat([*targets, x0.new_zeros(len(x0), more, *x0.shape[2:])], 1)

    def scale(self, level: Level) -> Tensor | float:
        """Of heads that are equally wrong about the image: the sum of theirs."""
        return torch.stack([torch.as_tensor(head.scale(level)) for head in self._each]).sum(0)

    def x0(self, output: Tensor, x_t: Tensor, level: Level) -> Tensor:
        """The images of the heads, weighted."""
        weights = self.weights(output, x_t, level)
        return (weights * self.images(output, x_t, level)).sum(1)

    def images(self, output: Tensor, x_t: Tensor, level: Level) -> Tensor:
        """The clean image that each head stands for, (B, heads, C, H, W); something finite where it cannot say."""
        signal, noise = (torch.as_tensor(value).to(x_t).expand(len(x_t), 1, 1, 1) for value in level)
        able = self._scales(level, x_t) > LEAST_SCALE
        found = []
        for k, (head, answer) in enumerate(zip(self._each, self._split(output, x_t)[0], strict=True)):
            can = able[:, k, None, None, None]
            there = Level(torch.where(can, signal, 1.0), torch.where(can, noise, 1.0))
            found.append(head.x0(answer, x_t, there))
        return torch.stack(found, 1)

    def weights(self, output: Tensor, x_t: Tensor, level: Level) -> Tensor:
        """How much each head counts, (B, heads, 1, H, W) or (B, heads, 1, 1, 1), with a sum of 1."""
        scales = self._scales(level, x_t)
        log_scale = torch.where(scales > LEAST_SCALE, scales.clamp(max=MOST_SCALE).log(), -torch.inf)
        logits = self.by(self._split(output, x_t)[1], log_sigma(level, x_t), log_scale)
        return torch.softmax(logits, 1).reshape(*logits.shape[:2], 1, *(logits.shape[2:] or (1, 1))).to(output)

    def error(self, output: Tensor, x0: Tensor, noise: Tensor, level: Level, weight: Tensor | None = None) -> Tensor:
        """The sum of the heads' errors, and, of weights that are trained, the combined one in x0; see `Prediction`."""
        each = torch.stack(
            [head.error(a, x0, noise, level) for head, a in zip(self._each, self._split(output, x0)[0], strict=True)],
            1,
        )
        if self._noted is not None:
            self._noted.append(torch.cat([log_sigma(level, x0)[:, None], each.detach()], 1).double())
        if weight is not None:
            scales = self._scales(level, x0)
            each = each * torch.where(scales > LEAST_SCALE, weight.flatten(1) / scales, 1.0)  # not infinite where it cannot say
        total = each.sum(1)
        if not self.by.trained:
            return total
        x_t = level.noisy(x0, noise)
        weights, images = self.weights(output, x_t, level), self.images(output, x_t, level).detach()
        combined = per_image(((weights * images).sum(1) - x0) ** 2)
        return total + (combined if weight is None else weight.flatten() * combined)

    @contextmanager
    def watched(self) -> Iterator[list[Tensor]]:
        """See `Prediction`; a row is log sigma, and the error of each head in its own units."""
        noted: list[Tensor] = []
        self._noted = noted if self.observes else None
        try:
            yield noted
        finally:
            self._noted = None

    def observe(self, rows: Tensor) -> None:
        """See `Prediction`."""
        self.by.observe(rows[:, 0], rows[:, 1:])

    def _split(self, output: Tensor, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Answers of the heads, and that for the weights, for images like `x`."""
        count = len(self.heads) * x.shape[1]
        return list(output[:, :count].chunk(len(self.heads), 1)), output[:, count:]

    def _scales(self, level: Level, x: Tensor) -> Tensor:
        """`Prediction.scale` of each head, (B, heads)."""
        scales = [torch.as_tensor(head.scale(level)).to(x).expand(len(x), 1, 1, 1) for head in self._each]
        return torch.cat(scales, 1).flatten(1)


def log_sigma(level: Level, x: Tensor) -> Tensor:
    """Of images like `x`, (B,); infinite where there is no signal."""
    signal, noise = (torch.as_tensor(value).to(x).expand(len(x), 1, 1, 1).flatten() for value in level)
    return noise.log() - signal.log()
