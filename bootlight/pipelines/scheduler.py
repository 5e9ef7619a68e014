"""The scheduler of a folder: which schedule, prediction and sampler its `scheduler_config.json` stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

from bootlight.diffusion.betas import Betas, BetaSchedule
from bootlight.diffusion.prediction import X0, Epsilon, LearnedVariance, V
from bootlight.diffusion.sampler import DDIM, Ancestral
from bootlight.diffusion.solvers import DPMSolver
from bootlight.diffusion.spacing import Spacing
from bootlight.errors import BootlightError
from bootlight.pipelines.part import Part

PREDICTIONS: dict[str, type] = {"epsilon": Epsilon, "v_prediction": V, "sample": X0}
LEARNED = "learned_range"  # of `variance_type`
FIXED = {"fixed_small": "small", "fixed_small_log": "small", "fixed_large": "large", None: "small"}
# Schedulers of a table of betas, whose networks are told its entries. Those of a flow or of sigmas alone are others.
KNOWN = {
    *(
        "DDPMScheduler",
        "DDIMScheduler",
        "DDIMInverseScheduler",
        "PNDMScheduler",
        "DDPMParallelScheduler",
        "DDIMParallelScheduler",
    ),
    *("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "DEISMultistepScheduler", "UniPCMultistepScheduler"),
    *("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler", "LMSDiscreteScheduler"),
    *("KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler"),
}
CLIP = {"DDPMScheduler", "DDIMScheduler"}  # that limit x0 to [-1, 1] unless told otherwise
SIGMAS = ("use_flow_sigmas", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
# What a network cannot be used without, or is of another kind with.
REFUSED = {
    "thresholding": "limits x0 by a percentile of each image, which no sampler of bootlight does",
    "rescale_betas_zero_snr": "ends at noise alone, where noise over signal is infinite and bootlight has no level",
    "use_flow_sigmas": "is of a flow, which is no table of betas",
}


class Scheduler(NamedTuple):
    """What a folder's scheduler stands for.

    Args:
        schedule: noise levels.
        prediction: what the network answers.
        sampler: the nearest to its own.
        told: what was dropped, in words; each a part of a sentence.
    """

    schedule: Part
    prediction: Part
    sampler: Part
    told: list[str]


def read_scheduler(config: Mapping[str, Any], where: str, pixels: bool) -> Scheduler:
    """What a scheduler's settings stand for; those that are left out have diffusers' defaults.

    Args:
        config: content of the file.
        where: the file.
        pixels: whether images are in [-1, 1], where x0 may be limited to that.

    Raises:
        BootlightError: names a setting that cannot be represented.
    """
    name = str(config.get("_class_name", ""))
    if name not in KNOWN:
        raise BootlightError(f"{where}: its _class_name is {name!r}; those that are understood are {', '.join(sorted(KNOWN))}")
    for key, why in REFUSED.items():
        if config.get(key):
            raise BootlightError(f"{where}: {key} is {config[key]}: that {why}; take another folder")
    _check_value(where, "timestep_type", config.get("timestep_type", "discrete"), ("discrete",))
    variance = config.get("variance_type") if name in CLIP | {"DPMSolverMultistepScheduler"} else None
    _check_value(where, "variance_type", variance, (*FIXED, LEARNED))
    kind = config.get("prediction_type", "epsilon")
    _check_value(where, "prediction_type", kind, tuple(PREDICTIONS))
    prediction = Part(PREDICTIONS[kind])
    sampler, told = _sampler(name, config, where, pixels)
    learned = Part(LearnedVariance, {"inner": prediction}) if variance == LEARNED else prediction
    return Scheduler(_schedule(config, where), learned, sampler, told)


def _check_value(where: str, key: str, value: Any, known: tuple[Any, ...]) -> None:
    if value not in known:
        raise BootlightError(f"{where}: {key} is {value!r}; those that can be represented are {', '.join(map(str, known))}")


def _schedule(config: Mapping[str, Any], where: str) -> Part:
    if config.get("trained_betas") is not None:
        part = Part(BetaSchedule, {"betas": [float(beta) for beta in config["trained_betas"]]})
    else:
        kind = config.get("beta_schedule", "linear")
        _check_value(where, "beta_schedule", kind, get_args(Betas))
        given = {"kind": kind, "num_timesteps": config.get("num_train_timesteps", 1000)}
        ends = {key: config.get(key, default) for key, default in (("beta_start", 1e-4), ("beta_end", 0.02))}
        part = Part(BetaSchedule, given if kind == "squaredcos_cap_v2" else given | ends)
    try:
        part.make()
    except (ValueError, TypeError, RuntimeError) as error:
        raise BootlightError(f"{where}: its betas make no schedule: {error}; take another folder") from error
    return part


def _sampler(name: str, config: Mapping[str, Any], where: str, pixels: bool) -> tuple[Part, list[str]]:
    """The nearest sampler, and what of the folder's own it does not do."""
    clip = bool(config.get("clip_sample", name in CLIP))
    if clip and config.get("clip_sample_range", 1.0) != 1:
        reach = config["clip_sample_range"]
        raise BootlightError(
            f"{where}: clip_sample_range is {reach}, and samplers limit x0 to [-1, 1] or not at all; set clip_sample to false"
        )
    told = [] if pixels or not clip else ["clip_sample, which latents have no range for"]
    common: dict[str, Any] = {"clip": clip and pixels}
    spacing = config.get("timestep_spacing", "leading")
    if spacing in get_args(Spacing)[:3]:
        common["spacing"] = spacing
    told += [f"steps_offset {config['steps_offset']}"] if config.get("steps_offset") else []
    told += ["set_alpha_to_one false: the last step goes to the clean image"] if config.get("set_alpha_to_one") is False else []
    told += [key for key in SIGMAS if config.get(key)]
    if name == "DDPMScheduler":
        fixed = FIXED.get(config.get("variance_type"), "small")
        return Part(Ancestral, common | {"num_steps": None, "fixed_variance": fixed}), told
    if name == "DDIMScheduler":
        told += ["that its noise is not made anew where x0 is limited"] if common["clip"] else []
        return Part(DDIM, common | {"num_steps": 50}), told
    if name == "DPMSolverMultistepScheduler":
        return Part(DPMSolver, common | {"num_steps": 20, "rho": None}), [*told, f"{name}, drawn by DPMSolver"]
    return Part(DDIM, common | {"num_steps": 50}), [*told, f"{name}, drawn by DDIM"]
