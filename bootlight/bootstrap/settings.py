"""The sections of a configuration that are the loop's own."""

from dataclasses import dataclass
from typing import Literal

from bootlight.bootstrap.stage import Stage
from bootlight.errors import BootlightError, check_range
from bootlight.io.lines import MAX_IMAGES
from bootlight.io.paths import expanded_text
from bootlight.runs.spent_checkpoints import Keep, check_keep


@dataclass
class BootstrapSettings:
    """The loop over generations.

    Args:
        num_generations: how many; generation 0 trains on real images only.
        run_dir: folder of the run; the same command with the same folder continues the run.
        num_synthetic: images drawn at the end of each generation.
        warm_start: start each generation from the weights of the one before, instead of anew.
        checkpoint_every: training steps between checkpoints to resume from.
        keep_checkpoints: of which finished generations `trained.ckpt` is kept: all, last or none; no command needs it.
        compile: let torch compile the networks, for training and drawing: a minute or more before the first step, which pays
            on GPUs and in long trainings; numbers then differ in the last digits from those without.
        stages: of a generation, in their order; Train, Synthesize, Evaluate if left out.
    """

    num_generations: int = 3
    run_dir: str = "runs/bootstrap"
    num_synthetic: int = 1000
    warm_start: bool = False
    checkpoint_every: int = 1000
    keep_checkpoints: Keep = "last"
    compile: bool = False
    stages: list[Stage] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be run; `written` are the stages as the configuration has them, `stages` what they stand for."""
        for key in ("num_generations", "checkpoint_every"):
            check_range(f"bootstrap.{key}", getattr(self, key), 1)
        check_keep("bootstrap.keep_checkpoints", self.keep_checkpoints)
        check_range("bootstrap.num_synthetic", self.num_synthetic, 1, MAX_IMAGES)
        if not self.run_dir:
            raise BootlightError("bootstrap.run_dir is empty; give it the name of a folder")
        self.run_dir = expanded_text(self.run_dir)
        if self.stages is not None and not self.stages:
            raise BootlightError("bootstrap.stages is an empty list; leave it out, or name a stage")
        self.written = list(self.stages or ())
        self.stages = self.stages and [part for stage in self.stages for part in stage.stands_for()]
        if self.stages is not None and self.warm_start:
            raise BootlightError("bootstrap.warm_start and bootstrap.stages: give Train a start_from: '@-1' instead")


@dataclass
class SynthesisSettings:
    """How images are drawn at the end of each generation.

    Args:
        num_synthetic: images to draw; taken from the bootstrap section of a config.
        batch_size: images of one network call, on each device; auto = what is fastest, measured before the first image of a
            generation and kept beside the images. The last bits of an image depend on it: with auto, two runs of one seed may
            differ in them.
        num_previews: images of a row of the strip.
    """

    num_synthetic: int = 1000
    batch_size: int | Literal["auto"] = 100
    num_previews: int = 12

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        check_range("bootstrap.num_synthetic", self.num_synthetic, 1, MAX_IMAGES)
        if self.batch_size != "auto":
            check_range("synthesis.batch_size", self.batch_size, 1)
        check_range("synthesis.num_previews", self.num_previews, 1)
