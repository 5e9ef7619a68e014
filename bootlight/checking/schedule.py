"""Schedules: levels, and the grids of samplers."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from bootlight.checking.trials import NotHere, Trials, demand, near, repeated, tensor, uniform
from bootlight.diffusion.schedule import Schedule


class ScheduleTrials(Trials):
    """Of a `Schedule`."""

    kind = Schedule
    name = "schedule"

    def level_shape(self) -> None:
        """Signal and noise are (B, 1, 1, 1), finite and above 0."""
        for name, part in self.thing.level(self._times())._asdict().items():
            demand(tensor(part, (len(self._times()), 1, 1, 1), name).min() > 0, f"{name} is not above 0 everywhere")

    def rising(self) -> None:
        """Noise over signal rises with `t`, between the two ends that `sigmas` tells."""
        sigma, (low, high) = self._sigma(self._times()), self.thing.sigmas()
        demand(bool((sigma.diff() > 0).all()), "sigma = noise / signal does not rise with t")
        demand(0 < low < high, f"sigmas() is {(low, high)}; it must be the lowest and the highest level, in order")
        ends = torch.tensor([low, high], dtype=torch.float64)
        found = f"level(t) goes from {sigma[0]:.4g} to {sigma[-1]:.4g}"
        demand(near(sigma[[0, -1]].log(), ends.log(), 1e-3), f"{found}, but sigmas() is {low:.4g} to {high:.4g}")

    def round_trip(self) -> None:
        """`level(at(sigma))` is `sigma`."""
        low, high = self.thing.sigmas()
        sigma = torch.logspace(torch.tensor(low).log10() + 1e-6, torch.tensor(high).log10() - 1e-6, 20, dtype=torch.float64)
        t = tensor(self.thing.at(sigma), (20,), "at(sigma)")
        back = self._sigma(t)
        demand(
            near(back.log(), sigma.log(), 1e-3),
            f"at() and level() are not inverse: of sigma {sigma[10]:.4g} comes {back[10]:.4g}",
        )

    def variance(self) -> None:
        """`keeps_variance` tells whether signal^2 + noise^2 is 1."""
        level = self.thing.level(self._times())
        total = torch.as_tensor(level.signal**2 + level.noise**2)
        kept = near(total, torch.ones_like(total), 1e-4)
        told = self.thing.keeps_variance
        demand(kept == told, f"keeps_variance is {told}, but signal^2 + noise^2 is {'' if kept else 'not '}1")

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
        steps, start = self._allowed(), (low * high) ** 0.5
        whole, grid, name = self.thing.grid(steps), self.thing.grid(steps, start=start), f"grid({steps}, start={start:.4g})"
        self._grid(grid, name)
        demand(abs(grid.sigma(0) / start - 1) < 1e-3, f"{name} starts at {grid.sigma(0):.4g}")
        below = sum(whole.sigma(i) < start * 0.999 for i in range(steps))
        demand(grid.num_steps == 1 + below, f"{name} does not keep the {below} levels below it")

    def _allowed(self) -> int:
        """A number of steps."""
        for steps in (10, 5, 2, 1):
            with suppress(ValueError):
                self.thing.grid(steps)
                return steps
        raise NotHere("it allows none of 1, 2, 5 and 10 steps")

    def _grid(self, grid: Any, name: str) -> None:
        last = tuple(grid.level(grid.num_steps))
        demand(last == (1.0, 0.0), f"{name} ends at {last}, which is not clean: (1, 0)")
        sigma = grid.noise / grid.signal
        demand(bool((sigma.diff() < 0).all()), f"{name} does not fall")
        there = self._sigma(grid.t)
        demand(near(there.log(), sigma[:-1].log(), 1e-3), f"the levels of {name} are not those of its t")

    def _times(self) -> Tensor:
        if self.thing.num_timesteps is not None:
            return torch.arange(self.thing.num_timesteps)
        low, high = self.thing.sigmas()
        return self.thing.at(torch.logspace(torch.tensor(low).log10(), torch.tensor(high).log10(), 50, dtype=torch.float64))

    def _sigma(self, t: Tensor) -> Tensor:
        level = self.thing.level(t)
        return (torch.as_tensor(level.noise).double() / torch.as_tensor(level.signal).double()).flatten()
