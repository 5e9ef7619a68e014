"""The scheduler of diffusers that draws as a module does."""

from __future__ import annotations

from typing import Any

import torch

from bootlight.diffusion.betas import BetaSchedule
from bootlight.diffusion.prediction import LearnedVariance, Prediction
from bootlight.diffusion.sampler import DDIM, Ancestral, Sampler
from bootlight.diffusion.schedule import DiscreteSchedule, Schedule
from bootlight.diffusion.schedules import CosineSchedule, LinearSchedule
from bootlight.errors import BootlightError
from bootlight.pipelines.scheduler import LEARNED, PREDICTIONS


def scheduler_of(schedule: Schedule, prediction: Prediction, sampler: Sampler) -> tuple[str, dict[str, Any], list[str]]:
    """A class of diffusers and its settings.

    Args:
        schedule: of the module.
        prediction: of the module.
        sampler: of the module.

    Returns:
        Class, settings, and what was dropped, in words.

    Raises:
        BootlightError: diffusers has no such schedule or prediction.
    """
    settings = _betas(schedule) | _answers(prediction)
    settings |= {"clip_sample": sampler.clip, "timestep_spacing": sampler.spacing}
    if sampler.spacing == "karras":
        settings["timestep_spacing"] = "linspace"
    total = schedule.num_timesteps or 1
    steps = sampler.num_steps or total
    learned = settings.get("variance_type") == LEARNED
    if (
        type(sampler) is DDIM
        and sampler.eta == 0
        and not learned
        and not sampler.clip
        and _meets(sampler.spacing, steps, total)
    ):
        return "DDIMScheduler", settings | {"set_alpha_to_one": True}, []
    if not learned:
        large = isinstance(sampler, Ancestral) and sampler.fixed_variance == "large"
        settings["variance_type"] = "fixed_large" if large else "fixed_small"
    told = [] if type(sampler) is Ancestral else [f"its sampler {type(sampler).__name__}: the folder draws by DDPMScheduler"]
    return "DDPMScheduler", settings, told


def _meets(spacing: str, steps: int, total: int) -> bool:
    """Whether DDIMScheduler, whose steps all are T // S long, visits the same timesteps."""
    return steps == total or (spacing in ("leading", "trailing") and total % steps == 0)


def _betas(schedule: Schedule) -> dict[str, Any]:
    if not isinstance(schedule, DiscreteSchedule):
        raise BootlightError(f"model.schedule is {type(schedule).__name__}, which is no table of betas, as diffusers needs one")
    t = torch.arange(len(schedule))
    if not torch.equal(schedule.seen(t).double(), t.double()):
        raise BootlightError(
            f"model.schedule has {len(schedule)} timesteps and tells the network t * 1000 / {len(schedule)}, where diffusers "
            "tells it t; train with 1000 timesteps, or with bootlight.BetaSchedule"
        )
    known = {"num_train_timesteps": len(schedule)}
    if type(schedule) is BetaSchedule and schedule.kind is not None:
        ends = {} if schedule.ends is None else dict(zip(("beta_start", "beta_end"), schedule.ends, strict=True))
        return known | {"beta_schedule": schedule.kind} | ends
    if type(schedule) is LinearSchedule:
        return known | {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
    if type(schedule) is CosineSchedule:
        return known | {"beta_schedule": "squaredcos_cap_v2"}
    return known | {"trained_betas": schedule.betas.tolist()}


def _answers(prediction: Prediction) -> dict[str, Any]:
    learned = type(prediction) is LearnedVariance
    inner = prediction.inner if isinstance(prediction, LearnedVariance) else prediction
    kind = next((name for name, cls in PREDICTIONS.items() if type(inner) is cls), None)
    if kind is None:
        known = ", ".join(f"bootlight.{cls.__name__}" for cls in PREDICTIONS.values())
        raise BootlightError(
            f"model.prediction is {type(inner).__name__}, which diffusers does not know; it knows {known}, each of them in a "
            "bootlight.LearnedVariance too"
        )
    return {"prediction_type": kind} | ({"variance_type": LEARNED} if learned else {})
