"""`bootlight fit`: a bootstrap from a configuration."""

import logging
import os
import traceback
import warnings

from lightning.fabric.utilities.exceptions import MisconfigurationException

from bootlight.cli import BootlightCLI
from bootlight.errors import BootlightError


def main(args: list[str]) -> None:
    """Run `fit`."""
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)  # device lists and tips; warnings stay
    quiet()
    try:
        BootlightCLI(["fit", *args])
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


def root_cause(error: BaseException) -> BaseException:
    """The first of the exceptions that led to this one, as far as they were chained on purpose."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def quiet() -> None:
    """Silence advice that does not apply here, and deprecations between Lightning and what it stands on."""
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # LightningCLI calls what jsonargparse 5 will drop
    for message in (
        ".*does not have many workers.*",  # whole batches come from a memory map
        ".*smaller than the logging interval.*",
        ".*Checkpoint directory .* exists and is not empty.*",  # that is how a run is continued
        ".*pre-optimization state.*",  # the module's weights are saved after the step
        ".*module.s. in eval mode at the start of training.*",  # averages are
        ".*this fit will run with no optimizer.*",  # closed-form generators have none
        '.*was configured so `ckpt_path="best"`.*',
        ".*The `srun` command is available.*",
        ".*`isinstance.treespec, LeafSpec.` is deprecated.*",
        ".*args parameter is intended to run from within Python.*",
    ):
        warnings.filterwarnings("ignore", message=message)
