"""Samplers: what is known of them for any denoiser, and for data whose denoiser is known."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from bootlight.checking.stand_ins import Exact
from bootlight.checking.trials import SEEDS, Trials, demand, farthest, near, readable, repeated, tensor
from bootlight.diffusion.grid import Grid
from bootlight.diffusion.sampler import MarkovSampler, Sampler
from bootlight.diffusion.schedule import Schedule
from bootlight.diffusion.schedules import CosineSchedule, SigmaSchedule
from bootlight.rng import NoiseStreams

SHAPE = (1, 3, 3)
TOLERANCE = 1e-3  # of images; levels of 80 cost five digits of float32
FROM_NOISE = "take all randomness from `noise`"


class SamplerTrials(Trials):
    """Of a `Sampler`."""

    kind = Sampler
    name = "sampler"

    def __init__(self, build: Any) -> None:
        super().__init__(build)
        steps = self.thing.num_steps or 50
        self.schedules: list[Schedule] = []
        for schedule in (CosineSchedule(steps * math.ceil(50 / steps)), SigmaSchedule()):  # which the steps divide
            with suppress(ValueError):  # by which it says that it is for others alone
                self.thing.grid(schedule)
                self.schedules.append(schedule)
        if not self.schedules:
            self.thing.grid(CosineSchedule())

    def follows(self) -> str:
        """The grid has as many steps as were asked for, and may start lower."""
        for schedule in self.schedules:
            grid = self._grid(schedule)
            wanted = self.thing.num_steps or schedule.num_timesteps
            demand(grid.num_steps == wanted, f"grid(schedule) has {grid.num_steps} steps, not the {wanted} that were asked for")
            start = math.sqrt(grid.sigma(0) * grid.sigma(grid.num_steps - 1))
            found = self.thing.grid(schedule, start).sigma(0)
            demand(abs(found / start - 1) < 1e-3, f"grid(schedule, {start:.3g}) starts at {found:.3g}")
        return "with " + " and ".join(type(schedule).__name__ for schedule in self.schedules)

    def constant(self) -> None:
        """Of data that are one constant image, that image is drawn, whatever the steps."""
        for schedule in self.schedules:
            images = self._drawn(Exact(schedule, 0.3, 0.0))
            off = farthest(images, torch.full_like(images, 0.3))
            demand(
                near(images, torch.full_like(images, 0.3), TOLERANCE), f"it answers images that are {off} away from the data"
            )

    def seed_alone(self) -> None:
        """Image i depends on its own noise alone, and on no global random generator."""
        for schedule in self.schedules:
            denoiser = Exact(schedule, 0.1, 0.2)
            together = repeated(lambda d=denoiser: self._drawn(d), torch.equal, "the sampler", FROM_NOISE)  # type: ignore[misc]
            for chosen in ([2, 1], [3, 0, 2], [0]):
                images = self._drawn(denoiser, tuple(SEEDS[i] for i in chosen))
                demand(
                    near(images, together[chosen], TOLERANCE),
                    f"an image drawn with {len(chosen) - 1} others is not what it is with {len(SEEDS) - 1} others, off by "
                    f"{farthest(images, together[chosen])}: it depends on the batch",
                )
            apart = (together[0] - together[1]).abs().max()
            demand(apart > 1e-3, "images of different seeds are equal: the noise is not used")

    def no_gradient(self) -> None:
        """Drawn images keep no gradient."""
        with torch.enable_grad():
            schedule = self.schedules[0]
            grid = self._grid(schedule)
            streams = NoiseStreams(SEEDS)
            images = self.thing(Exact(schedule, 0.1, 0.2), self._start(schedule, grid, streams), streams, grid=grid)
        demand(not images.requires_grad, "images require a gradient, and memory grows with each step: use torch.no_grad()")

    def cost(self) -> None:
        """`calls` tells how often the denoiser is called."""
        for schedule in self.schedules:
            denoiser, steps = Exact(schedule, 0.1, 0.2), self._grid(schedule).num_steps
            self._drawn(denoiser)
            told = self.thing.calls(steps)
            demand(denoiser.calls == told, f"calls({steps}) is {told}, but the denoiser was called {denoiser.calls} times")

    def recorded(self) -> None:
        """Each step is recorded once, in order; the last one adds no noise."""
        for schedule in self.schedules:
            grid = self._grid(schedule)
            steps = self._recorded(Exact(schedule, 0.1, 0.2), grid)[1]
            order = [i for i, *_ in steps]
            demand(order == list(range(grid.num_steps)), f"steps {order[:5]}... were recorded, of {grid.num_steps}")
            demand(float(torch.as_tensor(steps[-1][3]).max()) == 0, "the last step adds noise to the image")

    def told(self) -> None:
        """`protocol` can be written down, with the name of the sampler."""
        protocol = self.thing.protocol()
        readable(protocol, "protocol()")
        demand("sampler" in protocol and "num_steps" in protocol, "protocol() lacks `sampler` or `num_steps`")

    def _grid(self, schedule: Schedule) -> Grid:
        return self.thing.grid(schedule)

    def _start(self, schedule: Schedule, grid: Grid, streams: NoiseStreams) -> Tensor:
        return schedule.deviation(grid) * streams.normal(*SHAPE)

    def _recorded(self, denoiser: Exact, grid: Grid) -> tuple[Tensor, list[tuple[int, Tensor, Tensor, Any]]]:
        streams, steps = NoiseStreams(SEEDS), []
        x = self._start(denoiser.schedule, grid, streams)
        images = self.thing(denoiser, x, streams, grid=grid, record=lambda *step: steps.append(step))
        return tensor(images, (len(SEEDS), *SHAPE), "what it draws"), steps

    def _drawn(self, denoiser: Exact, seeds: tuple[int, ...] = SEEDS) -> Tensor:
        streams, grid = NoiseStreams(seeds), self._grid(denoiser.schedule)
        x = self._start(denoiser.schedule, grid, streams)
        return tensor(self.thing(denoiser, x, streams, grid=grid), (len(seeds), *SHAPE), "what it draws")


class MarkovTrials(SamplerTrials):
    """Of a `MarkovSampler`."""

    kind = MarkovSampler
    name = "sampler"

    def transitions(self) -> None:
        """`transition` tells mean and deviation of what is drawn next, with a gradient."""
        for schedule in self.schedules:
            denoiser, grid = Exact(schedule, 0.1, 0.2), self._grid(schedule)
            images, steps = self._recorded(denoiser, grid)
            replayed = NoiseStreams(SEEDS)
            replayed.normal(*SHAPE)
            following = [x for _, x, *_ in steps[1:]] + [images]
            for (i, x, mean, deviation), then in zip(steps, following, strict=True):
                told_mean, told_deviation = self.thing.transition(denoiser, x, grid, i)
                demand(near(told_mean.detach(), mean, TOLERANCE), f"the mean of transition(..., {i}) is not that of the step")
                wide = torch.as_tensor(deviation, dtype=mean.dtype).expand_as(mean)
                demand(
                    near(told_deviation.detach().expand_as(mean), wide, TOLERANCE),
                    f"the deviation of transition(..., {i}) is not that of the step",
                )
                drawn = mean + wide * replayed.normal(*SHAPE) if wide.max() > 0 else mean
                demand(near(drawn, then, TOLERANCE), f"step {i} does not draw from the mean and deviation that it tells")
            demand(self.thing.transition(denoiser, steps[0][1], grid, 0)[0].requires_grad, "transition() has no gradient")

    def inverted(self) -> None:
        """`invert` leads up to noise, and the recorded noise back to the image."""
        for schedule in self.schedules:
            denoiser, grid = Exact(schedule, 0.1, 0.2), self._grid(schedule)
            x0 = self._drawn(denoiser)
            start, record = self.thing.invert(denoiser, x0, NoiseStreams([1, 2, 3, 4]), grid=grid)
            back = tensor(self.thing(denoiser, start, record.again(), grid=grid), tuple(x0.shape), "what the record leads to")
            demand(near(back, x0, TOLERANCE), f"the recorded noise leads to another image, {farthest(back, x0)} away")
