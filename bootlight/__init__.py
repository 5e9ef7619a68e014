"""bootlight: bootstrapping generative models. Public names are imported when first used: `import bootlight` is cheap."""

from importlib import import_module
from typing import Any

_PUBLIC = {
    "Accumulate": "bootlight.data.mixing",
    "AccumulateSubsample": "bootlight.data.mixing",
    "Ancestral": "bootlight.diffusion.sampler",
    "Batch": "bootlight.batch",
    "BootlightError": "bootlight.errors",
    "BootstrapData": "bootlight.data.datamodule",
    "BootstrapWandbLogger": "bootlight.loggers.wandb_logger",
    "ClassifierFeatures": "bootlight.evaluation.trained_networks",
    "Curator": "bootlight.synthesis.curator",
    "Curate": "bootlight.bootstrap.curate",
    "DCGAN": "bootlight.generators.dcgan",
    "DDIM": "bootlight.diffusion.sampler",
    "DPMSolver": "bootlight.diffusion.solvers",
    "DDPM": "bootlight.generators.ddpm",
    "Digits": "bootlight.data.digits",
    "DinoFeatures": "bootlight.metrics.features.dino",
    "DiscriminatorScore": "bootlight.metrics.discriminator",
    "Evaluate": "bootlight.bootstrap.evaluate",
    "Evaluation": "bootlight.evaluation.generation",
    "Draw": "bootlight.synthesis.synthesizer",
    "Epsilon": "bootlight.diffusion.prediction",
    "FreshReal": "bootlight.data.mixing",
    "FrechetDistance": "bootlight.metrics.distances.frechet",
    "GaussianImages": "bootlight.data.gaussian",
    "GeneratorModule": "bootlight.generators.base",
    "Heun": "bootlight.diffusion.solvers",
    "InceptionFeatures": "bootlight.metrics.features.inception",
    "KeepAll": "bootlight.synthesis.curator",
    "MixingPolicy": "bootlight.data.mixing",
    "NoiseStreams": "bootlight.rng",
    "PixelGaussian": "bootlight.generators.gaussian",
    "PixelFeatures": "bootlight.metrics.features.features",
    "Replace": "bootlight.data.mixing",
    "run": "bootlight.bootstrap.begin",
    "Sampler": "bootlight.diffusion.sampler",
    "Stage": "bootlight.bootstrap.stage",
    "Synthesis": "bootlight.synthesis.callback",
    "Synthesize": "bootlight.bootstrap.synthesize",
    "Synthesizer": "bootlight.synthesis.synthesizer",
    "Train": "bootlight.bootstrap.train",
    "V": "bootlight.diffusion.prediction",
    "X0": "bootlight.diffusion.prediction",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'bootlight' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
