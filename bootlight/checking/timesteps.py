"""Timestep samplers: images of a step alone, state in checkpoints, and whether weights make up for the choice of levels."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from scipy import stats
from torch import Tensor

from bootlight.checking.trials import NotHere, Trials, demand, near, repeated, tensor, uniform
from bootlight.diffusion.schedule import Schedule
from bootlight.diffusion.schedules import CosineSchedule, SigmaSchedule
from bootlight.diffusion.timesteps import TimestepSampler
from bootlight.rng import seed_everywhere

TOTAL, STEPS = 256, 400  # images of a step, steps
TABLE = 50  # timesteps: so few that one that learns has seen each of them many times
FALSE_ALARM = 1e-7  # of a mean, with one normal number for each step; below 1e-6 for the five of a schedule
ROUNDING = 1e-5  # a shorter tensor may be rounded otherwise
RESOLUTION = 5e-4  # of the expected means, which are sums over a table or over 2^14 midpoints


class Pair(NamedTuple):
    """A sampler that knows its schedule, and the schedule."""

    sampler: TimestepSampler
    schedule: Schedule


class TimestepTrials(Trials):
    """Of a `TimestepSampler`."""

    kind = TimestepSampler
    name = "timestep sampler"

    def __init__(self, build: Any) -> None:
        super().__init__(build)
        self.pairs: list[Pair] = []
        for schedule in (CosineSchedule(TABLE), SigmaSchedule()):
            with suppress(ValueError):  # by which it says that it is for others alone
                self.pairs.append(self._set_up(schedule))
        if not self.pairs:
            self._set_up(CosineSchedule())

    def inside(self) -> str:
        """Times are levels of the schedule, (B,), and weights finite and at least 0."""
        for pair in self.pairs:
            t, weight = _drawn(pair, uniform(TOTAL))
            low, high = pair.schedule.sigmas()
            sigma = _sigma(pair.schedule, t)
            outside = sigma[(sigma < low * 0.999) | (sigma > high * 1.001)]
            demand(len(outside) == 0, f"draw leads to sigma {outside[:1].tolist()}; the schedule has {low:.3g} to {high:.3g}")
            demand(weight.min() >= 0, f"draw gives a weight of {weight.min():.3g}, below 0")
        return "with " + " and ".join(type(schedule).__name__ for _, schedule in self.pairs)

    def own_share(self) -> None:
        """Images of an optimizer step get the same times and weights, however many processes share it."""
        for pair in self.pairs:
            u = uniform(TOTAL)
            whole = repeated(lambda p=pair, u=u: _drawn(p, u), _equal, "draw", "take all randomness from `u`")  # type: ignore[misc]
            place = _place(pair.schedule, whole[0])
            for low, high in ((0, 16), (16, TOTAL), (63, 64)):
                t, weight = _drawn(pair, u, torch.arange(low, high))
                same = near(_place(pair.schedule, t), place[low:high], ROUNDING)
                demand(
                    same and near(weight, whole[1][low:high], ROUNDING),
                    f"images {low} to {high} of a step get other times or weights than when the whole step is drawn at once",
                )

    def unbiased(self) -> str:
        """The mean of weight * f(t) is that of f over the schedule's own measure."""
        if self.thing.biased:
            raise NotHere("it says that it is `biased`")
        for pair in self.pairs:
            if pair.sampler.observes:
                _watch(pair)
            _compare(pair)
        return f"{TOTAL * STEPS} draws; a false alarm in less than one of a million"

    def state_saved(self) -> None:
        """What it has learned is in its state: saved, loaded into a fresh one, it draws the same."""
        for pair in self.pairs:
            _watch(pair)
            fresh = self._set_up(pair.schedule, 1)
            try:
                fresh.sampler.load_state_dict({name: value.clone() for name, value in pair.sampler.state_dict().items()})
            except RuntimeError as error:
                cause = " ".join(str(error).split())
                demand(False, f"its state does not fit a fresh one ({cause}); give buffers their sizes in setup(schedule)")
            for seed in range(4):
                u = uniform(TOTAL, name=f"saved {seed}")
                seed_everywhere("check", "saved")
                wanted = _drawn(pair, u)
                seed_everywhere("check", "saved")
                demand(
                    _equal(_drawn(fresh, u), wanted),
                    "loaded from its state it draws otherwise: what observe() learns must be in buffers (register_buffer), "
                    "where a checkpoint finds it",
                )
                _watch(pair, steps=3, seed=seed)
                _watch(fresh, steps=3, seed=seed)

    def _set_up(self, schedule: Schedule, number: int = 0) -> Pair:
        sampler: TimestepSampler = self._fresh(number)
        sampler.setup(schedule)
        return Pair(sampler, schedule)


def _watch(pair: Pair, steps: int = 30, seed: int = 0) -> None:
    """Let it see losses that are much larger at high levels, until it has had time to prefer some."""
    for step in range(steps):
        t, _ = _drawn(pair, uniform(TOTAL, name=f"watch {seed} {step}"))
        place = _place(pair.schedule, t)
        pair.sampler.observe(t.double(), 0.1 + place**2 + 0.05 * uniform(TOTAL, name=f"loss {seed} {step}").double())


def _compare(pair: Pair) -> None:
    """Means of weight * f(t) over steps against those of f.

    Images of a step may be chosen together, as in strata; steps are independent.
    """
    grid = (torch.arange(2**14) + 0.5) / 2**14
    wanted = _functions(_place(pair.schedule, pair.schedule.drawn(grid))).mean(1)
    means = []
    for step in range(STEPS):
        t, weight = _drawn(pair, uniform(TOTAL, name=f"step {step}"))
        means.append((weight.double() * _functions(_place(pair.schedule, t))).mean(1))
    found = torch.stack(means)
    allowed = stats.t.isf(FALSE_ALARM / 2, STEPS - 1) * found.std(0) / math.sqrt(STEPS) + RESOLUTION
    off = found.mean(0) - wanted
    worst = int((off.abs() / allowed).argmax())
    what = ("weight", "weight, for f = 1 at low noise levels", *(f"weight * cos({k} pi t)" for k in (1, 2, 3)))[worst]
    demand(
        bool((off.abs() <= allowed).all()),
        f"the mean of {what} is {found.mean(0)[worst]:.3f}, which should be {wanted[worst]:.3f} within {allowed[worst]:.2g}: "
        "its weights do not make up for how often a level is drawn; if that is meant, set `biased = True`",
    )


def _functions(place: Tensor) -> Tensor:
    """Values (5, B) of functions of the place between the lowest level (0) and the highest (1)."""
    waves = [torch.cos(k * math.pi * place) for k in (1, 2, 3)]
    return torch.stack([torch.ones_like(place), (place < 0.5).to(place.dtype), *waves])


def _place(schedule: Schedule, t: Tensor) -> Tensor:
    if schedule.num_timesteps is not None:
        return t.double() / (schedule.num_timesteps - 1)
    low, high = schedule.sigmas()
    return (_sigma(schedule, t) / low).log() / math.log(high / low)


def _sigma(schedule: Schedule, t: Tensor) -> Tensor:
    level = schedule.level(t)
    return (torch.as_tensor(level.noise).double() / torch.as_tensor(level.signal).double()).flatten()


def _drawn(pair: Pair, u: Tensor, position: Tensor | None = None) -> tuple[Tensor, Tensor]:
    position = torch.arange(len(u)) if position is None else position
    answer: Any = pair.sampler.draw(u, position)
    demand(isinstance(answer, tuple) and len(answer) == 2, "draw(u, position) must answer times and weights (or None)")
    t, weight = answer
    size = (len(position),)
    return tensor(t, size, "t"), torch.ones(size) if weight is None else tensor(weight, size, "weight")


def _equal(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> bool:
    return torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
