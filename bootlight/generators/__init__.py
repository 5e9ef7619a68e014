"""Generators: thin LightningModules over `networks` and `diffusion`; a new one subclasses `GeneratorModule` in a new file."""

from bootlight.lazy import public

__getattr__, __dir__, __all__ = public(
    __name__,
    {
        "base": "GeneratorModule",
        "dcgan": "DCGAN",
        "ddpm": "DDPM",
        "ddpo": "DDPO",
        "denoising": "DenoisingModule",
        "diffusion": "Diffusion",
        "fitted": "FittedGaussian FittedMixture",
        "gaussian": "PixelGaussian",
        "part": "PartModule",
        "pretrained": "Pretrained",
    },
)
