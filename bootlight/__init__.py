"""bootlight: bootstrapping generative models. Public names are imported when first used: `import bootlight` is cheap."""

from importlib import import_module

from bootlight.lazy import public

_ROOMS = (
    "checking",
    "bootstrap",
    "synthesis",
    "evaluation",
    "loggers",
    "classifiers",
    "generators",
    "data",
    "metrics",
    "diffusion",
    "networks",
)
_NAMES = {
    **{room: " ".join(import_module(f"bootlight.{room}").__all__) for room in _ROOMS},
    "batch": "Batch",
    "errors": "BootlightError",
    "rng": "NoiseStreams",
}
__getattr__, __dir__, __all__ = public(__name__, _NAMES)
