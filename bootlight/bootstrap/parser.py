"""What LightningCLI reads a configuration with, and what a model is told of the images."""

from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from bootlight.bootstrap.causes import root_cause
from bootlight.bootstrap.changes import made
from bootlight.data.datamodule import BootstrapData
from bootlight.errors import BootlightError
from bootlight.terminal import Usage

USAGE = "bootlight fit --config CONFIG [--section.key VALUE ...]"
OPTIONS = {"prog": "bootlight fit", "usage": USAGE, "allow_abbrev": False}  # trainer.max_epoch would silently be max_epochs


class Parser(Usage, LightningArgumentParser):  # type: ignore[misc]
    """Lightning's, with safe errors."""

    def error(self, message: str, *more: Any) -> NoReturn:
        """What is meant for users is told as it is.

        Raises:
            BootlightError: a link has met it, in asking the data for the size of their images.
        """
        cause = root_cause(more[0]) if more and isinstance(more[0], BaseException) else None
        if isinstance(cause, BootlightError):
            raise cause
        super().error(message, *more)


def image_size(data: Any) -> Any:
    """Of the images, as the model is to be told."""
    return _told("image_size", data)


def image_channels(data: Any) -> Any:
    """Of the images, as the model is to be told."""
    return _told("channels", data)


def _told(key: str, data: Any) -> Any:
    given = data.init_args.get(key)
    own = any(data.init_args.get(name) is not None for name in ("origin", "view"))  # which have a shape of their own
    return getattr(made(BootstrapData, "data", data), key) if given is None or own else given
