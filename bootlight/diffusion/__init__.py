"""Gaussian diffusion in pure PyTorch: schedules, prediction types, objectives, samplers and denoiser compositions.

Conventions: `t` counts from 0 and t = 0 already has one step of noise; `abar` is the cumulative product of 1 - beta at `t`;
x_t = sqrt(abar) x0 + sqrt(1 - abar) noise. Images are in [-1, 1].
"""

from bootlight.lazy import public

__getattr__, __dir__, __all__ = public(
    __name__,
    {
        "prediction": "Epsilon V X0",
        "sampler": "Ancestral DDIM Sampler",
        "solvers": "DPMSolver Heun",
    },
)
