"""`fit --smoke`: every stage of every generation in seconds, in a folder of its own."""

from __future__ import annotations

import math
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from bootlight.data.mixing import fewer
from bootlight.errors import BootlightError
from bootlight.evaluation.suite import least_images
from bootlight.generators.base import GeneratorModule
from bootlight.io.lock import LOCK_NAME
from bootlight.terminal import say

if TYPE_CHECKING:
    from bootlight.data.datamodule import BootstrapData
    from bootlight.evaluation.generation import Evaluation
    from bootlight.generators.part import PartModule

STEPS = 3
FEW = 16  # images
JUDGE_STEPS = 2
SAMPLER_STEPS = 2
MARK = ".smoke"  # a file that says that the folder may be emptied


def set_aside(settings: Any) -> None:
    """Let everything that is written lie in the folder of the trial, and keep loggers from their servers.

    Args:
        settings: the parsed configuration; changed.
    """
    settings.bootstrap.run_dir = folder = f"{settings.bootstrap.run_dir.rstrip('/')}-smoke"
    if os.environ.get("WANDB_MODE") != "disabled":
        os.environ["WANDB_MODE"] = "offline"
    elsewhere = {"save_dir": folder, "tracking_uri": None, "offline": True, "online": False, "mode": "offline"}
    for key, replaced in (("logger", elsewhere), ("callbacks", {"dirpath": folder}), ("profiler", {"dirpath": folder})):
        parts = settings.trainer[key] if isinstance(settings.trainer[key], list) else [settings.trainer[key]]
        for arguments in (part.init_args for part in parts if hasattr(part, "init_args")):
            for name in replaced.keys() & arguments.keys():
                if arguments[name] is not None or name in ("save_dir", "mode"):
                    arguments[name] = replaced[name]


def renew(folder: Path) -> None:
    """Empty the folder of an earlier trial.

    Raises:
        BootlightError: it holds something else.
    """
    entries = set(os.listdir(folder)) - {LOCK_NAME}
    if entries and MARK not in entries:
        raise BootlightError(f"{folder} was not made by --smoke, which would empty it; rename it, or change bootstrap.run_dir")
    for path in map(folder.joinpath, entries - {MARK}):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@rank_zero_only
def mark(folder: Path) -> None:
    """Say that `renew` may empty the folder."""
    (folder / MARK).touch()


@rank_zero_only
def tell(folder: Path) -> None:
    """Say what a trial has shown."""
    say(
        f"every stage of every generation works; scores of so few images and steps mean nothing. {folder} may be deleted; "
        "without --smoke the run itself begins"
    )


@dataclass(frozen=True)
class Smoke:
    """How small a run is made. Images keep their proportions, so that what can be mixed in the run can be mixed here.

    Args:
        num_images: real images, held-out ones among them.
        share: of all real images.
        num_synthetic: images that a generation draws.
        num_reference: real images that it is measured against.
    """

    num_images: int
    share: float
    num_synthetic: int
    num_reference: int

    @classmethod
    def of(cls, data: BootstrapData, evaluation: Evaluation, num_synthetic: int, num_generations: int) -> Smoke:
        """The smallest run that has all stages.

        Args:
            data: of the run, set up.
            evaluation: of the run.
            num_synthetic: images that a generation of the run draws.
            num_generations: of the run, each of which may want real images of its own.
        """
        least = least_images(evaluation.metrics)
        few = max(FEW, 2 * least)
        share = min(1.0, max(few / num_synthetic, (least + 1) / len(data.available), (num_generations + 1) / len(data.real)))
        count = data.num_images or len(data.available.store.images)
        return cls(min(count, math.ceil(share * count) + 1), share, min(num_synthetic, few), few)

    def shrink_model(self, model: PartModule) -> None:
        """Let a fresh generator draw in few steps."""
        if isinstance(model, GeneratorModule):
            with suppress(BootlightError):  # one that draws in one step
                model.set_num_steps(SAMPLER_STEPS)

    def shrink_evaluation(self, evaluation: Evaluation) -> None:
        """Let little be measured by what has learned little."""
        evaluation.judge_steps = min(evaluation.judge_steps, JUDGE_STEPS)
        evaluation.max_real = min(evaluation.max_real, self.num_reference)
        build = evaluation.features
        evaluation.features = None if build is None else lambda: hurried(build())

    def shrink_data(self, data: BootstrapData) -> None:
        """What is counted in images shrinks alike."""
        data._num_steps, data.num_epochs, data.num_images = STEPS * data.accumulate, None, self.num_images
        data.step_share = 1.0
        data.limit_real = fewer(data.limit_real, self.share)
        data.mixing = data.mixing.scaled(self.share)


def hurried(network: Any) -> Any:
    """A feature network that is trained on the real images for one pass, if it is trained at all."""
    if isinstance(network, nn.Module) and isinstance(getattr(network, "epochs", None), int):
        network.epochs = min(1, int(network.epochs))  # type: ignore[arg-type, assignment]
    return network
