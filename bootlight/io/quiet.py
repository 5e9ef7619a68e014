"""Lightning's advice, kept from users to whom it does not apply."""

import logging
import os
import warnings

# What is printed by these was asked for: trainer.profiler, trainer.enable_model_summary.
REPORTS = ("lightning.pytorch.profilers", "lightning.pytorch.callbacks.model_summary")


def quiet() -> None:
    """Silence advice that does not apply here, and deprecations between Lightning and what it stands on."""
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)  # device lists and tips; warnings stay
    for name in REPORTS:
        logging.getLogger(name).setLevel(logging.INFO)
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # LightningCLI calls what jsonargparse 5 will drop
    for message in (
        ".*does not have many workers.*",  # whole batches come from a memory map
        ".*smaller than the logging interval.*",
        ".*Checkpoint directory .* exists and is not empty.*",  # that is how a run is continued
        ".*The dirpath has changed from.*",  # a run folder may be moved
        ".*pre-optimization state.*",  # the module's weights are saved after the step
        ".*module.s. in eval mode at the start of training.*",  # averages are
        ".*this fit will run with no optimizer.*",  # closed-form generators have none
        '.*was configured so `ckpt_path="best"`.*',
        ".*The `srun` command is available.*",
        ".*`isinstance.treespec, LeafSpec.` is deprecated.*",
        ".*args parameter is intended to run from within Python.*",
    ):
        warnings.filterwarnings("ignore", message=message)
