"""Weightings and predictions: functions of noise levels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bootlight.checking.trials import NotHere, Trials, Wrong, demand, farthest, near, noise, repeated, tensor, uniform
from bootlight.diffusion.grid import Level
from bootlight.diffusion.prediction import Estimate, LearnedVariance, Prediction, per_image
from bootlight.diffusion.schedules import CosineSchedule, SigmaSchedule
from bootlight.diffusion.weighting import Weighting

SIGMAS = torch.logspace(-1.5, 1.2, 6, dtype=torch.float64)  # 0.03 to 16: differences that float32 sees
SHAPE = (2, 4, 4)


def levels(constant_variance: bool, sigma: Tensor = SIGMAS) -> Level:
    """Levels of these sigma, (B, 1, 1, 1), with signal^2 + noise^2 = 1 or a signal of 1."""
    sigma = sigma.view(-1, 1, 1, 1)
    signal = (1 + sigma**2).rsqrt() if constant_variance else torch.ones_like(sigma)
    return Level(signal, sigma * signal)


def part(level: Level, i: int) -> Level:
    """Level i alone."""
    return Level(*(torch.as_tensor(value)[i : i + 1] for value in level))


class WeightingTrials(Trials):
    """Of a `Weighting`."""

    kind = Weighting
    name = "weighting"

    def size(self) -> None:
        """The weights are (B, 1, 1, 1), finite and at least 0 at every level."""
        for schedule in (CosineSchedule(), SigmaSchedule()):
            low, high = schedule.sigmas()
            sigma = torch.logspace(torch.tensor(low).log10(), torch.tensor(high).log10(), 32)
            weights = self._weights(levels(schedule.keeps_variance, sigma))
            lowest = int(weights.flatten().argmin())
            demand(weights.min() >= 0, f"the weight at sigma {sigma[lowest]:.3g} is {weights.min():.3g}, below 0")
            demand(weights.max() > 0, "all weights are 0: nothing would be learned")

    def level_alone(self) -> None:
        """The weight of a level does not depend on the others in the batch, or on random numbers."""
        level = levels(True)
        together = repeated(lambda: self._weights(level), torch.equal, "it", "a weight is a function of the level")
        alone = torch.cat([self._weights(part(level, i)) for i in range(len(SIGMAS))])
        demand(near(alone, together, 1e-6), "the weight of a level changes with the other levels of the batch")

    def identity(self) -> None:
        """With the settings that it calls `identity` it is `Simple`, the signal-to-noise ratio."""
        weighting, level = self._at_identity(), levels(True)
        found, wanted = self._weights(level, weighting), (level.signal / level.noise) ** 2
        ratio = (found / wanted).log()
        demand(near(ratio, 0 * ratio, 1e-4), f"with {dict(weighting.identity)} its weights are not the signal-to-noise ratio")

    def _weights(self, level: Level, weighting: Any = None) -> Tensor:
        return tensor((weighting or self.thing)(level), (len(torch.as_tensor(level.noise)), 1, 1, 1), "the weight")


class PredictionTrials(Trials):
    """Of a `Prediction`."""

    kind = Prediction
    name = "prediction"

    def __init__(self, build: Any) -> None:
        super().__init__(build)
        constant = [True] if self.thing.needs_constant_variance else [True, False]
        self.levels = [levels(which) for which in constant]
        self.x0 = noise(len(SIGMAS), *SHAPE, name="x0", dtype=torch.float64).clamp(-1, 1)
        self.noise = noise(len(SIGMAS), *SHAPE, dtype=torch.float64)

    def outputs(self) -> None:
        """`num_outputs` tells how many channels the network has to answer."""
        count = self.thing.num_outputs(SHAPE[0])
        whole = isinstance(count, int) and count >= SHAPE[0]
        demand(whole, f"num_outputs({SHAPE[0]}) is {count!r}; it must be a whole number, at least that of the channels")
        for level in self.levels:
            target = self.thing.target(self.x0, self.noise, level)
            channels = self._inner().num_outputs(SHAPE[0]) if self._several_heads() else SHAPE[0]
            tensor(target, (len(SIGMAS), channels, *SHAPE[1:]), "target(x0, noise, level)")

    def sees(self) -> None:
        """What the network sees is a finite image and a finite time."""
        for level in self.levels:
            x_t = level.signal * self.x0 + level.noise * self.noise
            seen = 1000 * uniform(len(SIGMAS)).double()
            x, time = self.thing.inputs(x_t, level, seen)
            tensor(time, (len(SIGMAS),), "the time of inputs(x_t, level, seen)")
            tensor(x, (len(SIGMAS), x.shape[1], *SHAPE[1:]), "the image of inputs(x_t, level, seen)")

    def reads_back(self) -> None:
        """An answer that is the target is read back as the image and the noise."""
        for level in self.levels:
            estimate = self._estimate(self._answer(level), level)
            for name, found, wanted in (("image", estimate.x0, self.x0), ("noise", estimate.epsilon, self.noise)):
                read = tensor(found, tuple(wanted.shape), f"the {name} of the estimate")
                if not near(read, wanted, 1e-4):
                    sigma = SIGMAS[(read - wanted).abs().flatten(1).max(1).values.argmax()]
                    raise Wrong(
                        f"estimate() of target() is not the {name} that was put in: off by {farthest(read, wanted)} at sigma "
                        f"{sigma:.3g}; target and x0 must be inverse to each other"
                    )

    def true_scale(self) -> None:
        """`scale` is how much larger the squared error of an answer is than that of its image."""
        if self._several_heads():
            raise NotHere("the network answers more than the image has channels")
        for level in self.levels:
            answer, change = self._answer(level), 0.1 * noise(*self.x0.shape, name="change", dtype=torch.float64)
            changed = answer.clone()
            changed[:, : SHAPE[0]] += change
            moved = per_image((self._estimate(changed, level).x0 - self._estimate(answer, level).x0) ** 2)
            wanted = (per_image(change**2) / moved).log()
            found = torch.as_tensor(self.thing.scale(level)).double().expand(len(SIGMAS), 1, 1, 1).flatten().log()
            off = (found - wanted).abs()
            i = int(off.argmax())
            demand(
                near(found, wanted, 1e-3),
                f"scale(level) is {found[i].exp():.4g} at sigma {SIGMAS[i]:.3g}, where {wanted[i].exp():.4g} is right: weights "
                "of losses would be wrong by that",
            )

    def errors(self) -> None:
        """`error` is (B,), 0 at the target, of each image alone; with a weight it is that times the squared error in x0."""
        for level in self.levels:
            count = len(SIGMAS)
            answer = self._answer(level)
            right = tensor(self.thing.error(answer, self.x0, self.noise, level), (count,), "error(...)")
            demand(near(right, 0 * right, 1e-6), f"the error of the target itself is {float(right.max()):.3g}, not 0")
            wrong = answer + 0.1 * noise(*answer.shape, name="error", dtype=torch.float64)
            weight = 0.5 + uniform(count, 1, 1, 1).double()
            error = tensor(self.thing.error(wrong, self.x0, self.noise, level, weight), (count,), "error(..., weight)")
            twice = self.thing.error(wrong, self.x0, self.noise, level, 2 * weight)
            demand(near(twice, 2 * error, 1e-6), "error(..., weight) does not double with the weight")
            if not self._several_heads():
                wanted = weight.flatten() * per_image((self._estimate(wrong, level).x0 - self.x0) ** 2)
                ratio = (error / wanted).log()
                demand(near(ratio, 0 * ratio, 1e-3), "error(..., weight) is not the weight times the mean squared error in x0")
            alone = self.thing.error(wrong[:1], self.x0[:1], self.noise[:1], part(level, 0), weight[:1])
            demand(near(alone, error[:1], 1e-6), "the error of an image changes with the other images of the batch")

    def _several_heads(self) -> bool:
        """Whether it has answers beside that for the image and that for its variance."""
        return bool(self._inner().num_outputs(SHAPE[0]) != SHAPE[0])

    def _inner(self) -> Prediction:
        """What answers for the image, without what a `LearnedVariance` adds."""
        return self.thing.inner if isinstance(self.thing, LearnedVariance) else self.thing  # type: ignore[no-any-return]

    def _answer(self, level: Level) -> Tensor:
        """The target, and zeros for what else the network answers."""
        target = self.thing.target(self.x0, self.noise, level)
        more = self.thing.num_outputs(SHAPE[0]) - target.shape[1]
        if more < 0:
            raise NotHere("the network has fewer channels than the target")
        return torch.cat([target, target.new_zeros(len(target), more, *SHAPE[1:])], 1)

    def _estimate(self, answer: Tensor, level: Level) -> Estimate:
        estimate = self.thing.estimate(answer, level.signal * self.x0 + level.noise * self.noise, level)
        demand(isinstance(estimate, Estimate), f"estimate(...) answers {type(estimate).__name__}, not an Estimate")
        return estimate
