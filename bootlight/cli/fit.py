"""`bootlight fit`: a bootstrap from a configuration."""

import traceback

from lightning.fabric.utilities.exceptions import MisconfigurationException

from bootlight.bootstrap.begin import begin
from bootlight.bootstrap.builder import Builder
from bootlight.bootstrap.causes import root_cause
from bootlight.errors import BootlightError
from bootlight.io.paths import expanded_text
from bootlight.io.quiet import quiet


def main(args: list[str]) -> None:
    """Run `fit`."""
    if any(arg.partition("=")[0] in ("--ckpt_path", "--fit.ckpt_path") for arg in args):
        raise BootlightError("--ckpt_path is not taken: the run folder decides what is continued; name it, --bootstrap.run_dir")
    quiet()
    try:
        begin(Builder(with_paths(args)))
    except MisconfigurationException as error:  # what Lightning has to say to its users
        raise BootlightError(" ".join(str(error).split())) from error
    except UnicodeDecodeError as error:
        raise BootlightError(f"--config: not a text file ({error}); give a YAML file") from error
    except ValueError as error:  # jsonargparse wraps what constructors raise
        cause = root_cause(error)
        if isinstance(cause, BootlightError):
            raise cause from error
        if str(error).startswith("Does not validate") and cause is not error:  # a fault in a user's own constructor
            where = traceback.extract_tb(cause.__traceback__)[-1]
            raise BootlightError(f"{type(cause).__name__}: {cause} ({where.filename}, line {where.lineno})") from error
        raise


def with_paths(args: list[str]) -> list[str]:
    """The arguments with whole paths of configurations, which are read before any setting is looked at."""
    whole = list(args)
    for i, arg in enumerate(args):
        name, equals, value = arg.partition("=")
        if name == "--config" and equals:
            whole[i] = f"{name}={expanded_text(value)}"
        elif i and args[i - 1] == "--config":
            whole[i] = expanded_text(arg)
    return whole
