"""Schedules, weightings and predictions: functions of noise levels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bootlight.checking.trials import NotHere, Trials, Wrong, demand, farthest, near, noise, repeated, tensor, uniform
from bootlight.diffusion.grid import Level
from bootlight.diffusion.prediction import Estimate, Prediction, per_image
from bootlight.diffusion.schedule import Schedule
from bootlight.diffusion.schedules import CosineSchedule, SigmaSchedule
from bootlight.diffusion.weighting import Weighting

SIGMAS = torch.logspace(-1.5, 1.2, 6, dtype=torch.float64)  # 0.03 to 16: differences that float32 sees
SHAPE = (2, 4, 4)


def levels(constant_variance: bool, sigma: Tensor = SIGMAS) -> Level:
    """Levels of these sigma, (B, 1, 1, 1), with signal^2 + noise^2 = 1 or a signal of 1."""
    sigma = sigma.view(-1, 1, 1, 1)
    signal = (1 + sigma**2).rsqrt() if constant_variance else torch.ones_like(sigma)
    return Level(signal, sigma * signal)


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
        alone = torch.cat([self._weights(Level(level.signal[i : i + 1], level.noise[i : i + 1])) for i in range(len(SIGMAS))])
        demand(near(alone, together, 1e-6), "the weight of a level changes with the other levels of the batch")

    def _weights(self, level: Level) -> Tensor:
        return tensor(self.thing(level), (len(torch.as_tensor(level.noise)), 1, 1, 1), "the weight")


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
            tensor(self.thing.target(self.x0, self.noise, level), tuple(self.x0.shape), "target(x0, noise, level)")

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
            wanted = weight.flatten() * per_image((self._estimate(wrong, level).x0 - self.x0) ** 2)
            ratio = (error / wanted).log()
            demand(near(ratio, 0 * ratio, 1e-3), "error(..., weight) is not the weight times the mean squared error in x0")
            one = Level(level.signal[:1], level.noise[:1])
            alone = self.thing.error(wrong[:1], self.x0[:1], self.noise[:1], one, weight[:1])
            demand(near(alone, error[:1], 1e-6), "the error of an image changes with the other images of the batch")

    def _answer(self, level: Level) -> Tensor:
        """The target, and zeros for what else the network answers."""
        target = self.thing.target(self.x0, self.noise, level)
        more = self.thing.num_outputs(SHAPE[0]) - target.shape[1]
        return torch.cat([target, target.new_zeros(len(target), more, *SHAPE[1:])], 1)

    def _estimate(self, answer: Tensor, level: Level) -> Estimate:
        estimate = self.thing.estimate(answer, level.signal * self.x0 + level.noise * self.noise, level)
        demand(isinstance(estimate, Estimate), f"estimate(...) answers {type(estimate).__name__}, not an Estimate")
        return estimate


class ScheduleTrials(Trials):
    """Of a `Schedule`."""

    kind = Schedule
    name = "schedule"

    def level_shape(self) -> None:
        """Signal and noise are (B, 1, 1, 1), finite and above 0."""
        for name, part in self._level(self._times())._asdict().items():
            demand(tensor(part, (len(self._times()), 1, 1, 1), name).min() > 0, f"{name} is not above 0 everywhere")

    def rising(self) -> None:
        """Noise over signal rises with `t`, between the two ends that `sigmas` tells."""
        sigma, (low, high) = self._sigma(self._times()), self.thing.sigmas()
        demand(bool((sigma.diff() > 0).all()), "sigma = noise / signal does not rise with t")
        demand(0 < low < high, f"sigmas() is {(low, high)}; it must be the lowest and the highest level, in order")
        ends = torch.tensor([low, high], dtype=torch.float64)
        demand(near(sigma[[0, -1]].log(), ends.log(), 1e-3), f"level(t) goes from {sigma[0]:.4g} to {sigma[-1]:.4g}, sigmas() not")

    def round_trip(self) -> None:
        """`level(at(sigma))` is `sigma`."""
        low, high = self.thing.sigmas()
        sigma = torch.logspace(torch.tensor(low).log10() + 1e-6, torch.tensor(high).log10() - 1e-6, 20, dtype=torch.float64)
        t = tensor(self.thing.at(sigma), (20,), "at(sigma)")
        back = self._sigma(t)
        demand(near(back.log(), sigma.log(), 1e-3), f"at() and level() are not inverse: of sigma {sigma[10]:.4g} comes {back[10]:.4g}")

    def variance(self) -> None:
        """`keeps_variance` tells whether signal^2 + noise^2 is 1."""
        level = self._level(self._times())
        total = level.signal**2 + level.noise**2
        kept = near(total, torch.ones_like(total), 1e-4)
        demand(kept == self.thing.keeps_variance, f"keeps_variance is {self.thing.keeps_variance}, but signal^2 + noise^2 says {kept}")

    def seen_apart(self) -> None:
        """What a network is told of `t` is finite and tells levels apart."""
        seen = tensor(self.thing.seen(self._times()), (len(self._times()),), "seen(t)")
        steps = seen.diff()
        demand(bool((steps > 0).all() or (steps < 0).all()), "seen(t) does not rise or fall with t: levels look alike")

    def drawn_inside(self) -> None:
        """Times for training are levels of the schedule, a function of `u` alone."""
        u = torch.cat([torch.tensor([0.0, 1 - 2.0**-24]), uniform(1000)])
        t = repeated(lambda: self.thing.drawn(u), torch.equal, "drawn(u)", "take all randomness from `u`")
        (low, high), sigma = self.thing.sigmas(), self._sigma(tensor(t, (len(u),), "drawn(u)"))
        inside = (sigma > low * 0.999) & (sigma < high * 1.001)
        demand(bool(inside.all()), f"drawn(u) leads to sigma {sigma[~inside][:1].tolist()}; there are {low:.3g} to {high:.3g}")

    def grids(self) -> str:
        """Grids fall from the noisiest level to the clean image, with as many steps as were asked for."""
        tried = 0
        for spacing in ("linspace", "leading", "trailing", "karras"):
            for steps in (1, 2, 5, 10):
                try:
                    grid = self.thing.grid(steps, spacing=spacing)
                except ValueError:  # a schedule says what it does not allow
                    continue
                tried += 1
                self._grid(grid, f"grid({steps}, spacing={spacing!r})")
                demand(grid.num_steps == steps, f"grid({steps}, spacing={spacing!r}) has {grid.num_steps} steps")
        if not tried:
            raise NotHere("it allows none of 1, 2, 5 and 10 steps")
        return f"{tried} of them"

    def starts(self) -> None:
        """A grid that starts lower keeps the levels below, and adds the start."""
        low, high = self.thing.sigmas()
        whole, start = self.thing.grid(10), (low * high) ** 0.5
        grid = self.thing.grid(10, start=start)
        self._grid(grid, "grid(10, start=...)")
        demand(abs(grid.sigma(0) / start - 1) < 1e-3, f"grid(10, start={start:.4g}) starts at {grid.sigma(0):.4g}")
        wanted = [whole.sigma(i) for i in range(10) if whole.sigma(i) < start * 0.999]
        demand(grid.num_steps == 1 + len(wanted), f"grid(10, start={start:.4g}) does not keep the {len(wanted)} levels below it")

    def _grid(self, grid: Any, name: str) -> None:
        demand((grid.level(grid.num_steps)) == (1.0, 0.0), f"{name} ends at {tuple(grid.level(grid.num_steps))}, not clean (1, 0)")
        sigma = grid.noise / grid.signal
        demand(bool((sigma.diff() < 0).all()), f"{name} does not fall")
        there = self._sigma(grid.t)
        demand(near(there.log(), sigma[:-1].log(), 1e-3), f"the levels of {name} are not those of its t")

    def _times(self) -> Tensor:
        if self.thing.num_timesteps is not None:
            return torch.arange(self.thing.num_timesteps)
        low, high = self.thing.sigmas()
        return self.thing.at(torch.logspace(torch.tensor(low).log10(), torch.tensor(high).log10(), 50, dtype=torch.float64))

    def _level(self, t: Tensor) -> Level:
        return self.thing.level(t)

    def _sigma(self, t: Tensor) -> Tensor:
        level = self._level(t)
        return (torch.as_tensor(level.noise).double() / torch.as_tensor(level.signal).double()).flatten()
