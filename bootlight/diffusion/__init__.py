"""Gaussian diffusion in pure PyTorch: schedules, prediction types, objectives, samplers and denoiser compositions.

Conventions: x_t = signal * x0 + noise * epsilon, sigma = noise / signal. With a table of timesteps `t` counts from 0, and t = 0
already has one step of noise; `abar`, the cumulative product of 1 - beta, is signal^2. Without a table `t` is sigma.
"""

from bootlight.lazy import public

__getattr__, __dir__, __all__ = public(
    __name__,
    {
        "ambient": "Ambient",
        "betas": "BetaSchedule",
        "compose": "Alone Composition Extrapolate",
        "corruption": "Box Clean Corruption GaussianNoise View Whole",
        "denoiser": "Denoiser NetworkDenoiser",
        "edm": "EDM",
        "exact": "GaussianDenoiser MixtureDenoiser",
        "feature_noise": "BottleneckNoise DecoderNoise EncoderNoise",
        "grid": "Grid Level",
        "head_weights": "Gate HeadWeights InverseError RunningErrors Switch",
        "importance": "LossSecondMoment",
        "masked": "MaskedAmbient ThroughMask",
        "mixed": "Mixed",
        "objective": "DSM Hybrid Objective",
        "perturbation": "ImageNoise LevelNoise Perturbation StartNoise",
        "prediction": "Epsilon Estimate LearnedVariance Prediction V X0",
        "residual": "Residual",
        "sampler": "Ancestral DDIM MarkovSampler Sampler",
        "scaled": "ScaledScore",
        "schedule": "DiscreteSchedule Schedule",
        "schedules": "CosineSchedule LinearSchedule SigmaSchedule",
        "solvers": "DPMSolver Heun",
        "strata": "Antithetic Stratified",
        "timesteps": "LogNormal LogitNormal TimestepSampler UniformTimesteps",
        "view_sum": "ViewModel ViewSum",
        "views": "Channels Frames Half LowResolution Unmasked",
        "weighting": "EDMWeighting MinSNR P2 Simple Weighting",
    },
)
