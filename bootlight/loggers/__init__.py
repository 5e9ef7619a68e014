"""Where curves and scores go while a run is running: its own files, and W&B. The only room that imports wandb."""

from bootlight.lazy import public

__getattr__, __dir__, __all__ = public(
    __name__,
    {
        "wandb_logger": "BootstrapWandbLogger",
    },
)
