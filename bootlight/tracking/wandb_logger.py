"""A whole bootstrap as one W&B run: training over `total_step`, scores and previews over `generation`."""

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import WandbLogger

from bootlight.atomic import atomic_write
from bootlight.errors import BootlightError
from bootlight.run_folder import GenerationFolder, RunFolder
from bootlight.tracking.scores import read_generation

AXES = {"train/*": "total_step", "generation/*": "generation"}
FLUSH_SECONDS = 1.0  # W&B's default of 15 s is what a kill would lose
ID_FILE = "wandb_id.txt"


class BootstrapWandbLogger(WandbLogger):
    """Log every generation of a bootstrap into one W&B run.

    Lightning's own logger counts steps from 0 in every fit; here `start_generation` says how many steps went before.
    Each row of the W&B history has a number of its own, ``total_step + generation``: the generation's closing row
    (scores, previews) fits between the last training row and the first one of the next generation. A row that W&B
    already has, because a killed run repeats steps after its last checkpoint, is left out: it has the same values.

    The id of the W&B run is kept in the run folder, so that the same command continues the same W&B run. Offline, each
    start writes a file of its own with that id; `wandb sync` joins them. ``WANDB_MODE=offline`` and
    ``WANDB_MODE=disabled`` work as usual.

    Args:
        project: W&B project.
        name: name of the W&B run; None lets W&B choose.
        group: group of the W&B run, for instance the study that the bootstrap belongs to.
        job_type: job type of the W&B run.
        tags: tags of the W&B run.
        offline: write to disk only; `wandb sync` uploads it later.
        save_dir: W&B makes its folder `wandb` in here.
        id: id of the W&B run; None takes the one in the run folder, or a new one.

    Raises:
        BootlightError: wandb is not installed.
    """

    def __init__(
        self,
        project: str = "bootlight",
        name: str | None = None,
        group: str | None = None,
        job_type: str | None = None,
        tags: list[str] | None = None,
        offline: bool = False,
        save_dir: str = ".",
        id: str | None = None,
    ) -> None:
        if importlib.util.find_spec("wandb") is None:
            raise BootlightError("trainer.logger: wandb is not installed; run pip install bootlight[wandb]")
        # Not offline=: Lightning would then set WANDB_MODE for the whole process.
        mode = "offline" if offline else None
        super().__init__(project=project, name=name, save_dir=save_dir, id=id, group=group, tags=tags, mode=mode)
        self._wandb_init.pop("anonymous", None)  # W&B warns about this argument of Lightning's
        self._wandb_init |= {
            "job_type": job_type,
            "reinit": "finish_previous",  # several bootstraps in one process are several W&B runs
            "settings": {"x_transaction_log_flush_interval": FLUSH_SECONDS},
        }
        self._chosen_id = id
        self._run_folder: RunFolder | None = None
        self._config: dict[str, Any] | None = None
        self._generation = 0
        self._step_offset = 0
        self._step = 0
        self._next_row = 0

    def attach(self, run_folder: Path, config: dict[str, Any] | None = None) -> None:
        """Connect the logger with a run folder: its W&B id is kept there, its `config.yaml` becomes the W&B config.

        Args:
            run_folder: folder of the bootstrap; call before the first fit.
            config: in place of `config.yaml`, which is written when the logger has begun.
        """
        self._run_folder = RunFolder(run_folder)
        self._config = config

    def start_generation(self, generation: int, step_offset: int) -> None:
        """Say what the following steps belong to.

        Args:
            generation: number of the generation, from 0.
            step_offset: training steps of all generations before it.
        """
        self._generation = generation
        self._step_offset = step_offset
        self._step = 0

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The `wandb.Run`, started at the first use; on ranks other than 0 an object that does nothing."""
        if self._experiment is None:
            self._experiment = self._start()
        return self._experiment

    def _start(self) -> Any:
        import wandb

        if self._run_folder:
            self._wandb_init |= _from_folder(self._run_folder, chosen=self._chosen_id)
            self._wandb_init |= {"config": self._config} if self._config else {}
        try:
            run = wandb.init(**self._wandb_init)
        except wandb.Error as error:
            reason = str(error).splitlines()[0]
            raise BootlightError(f"trainer.logger: W&B: {reason}; run wandb login, or set offline: true") from error
        if self._run_folder and not run.disabled:
            with atomic_write(self._run_folder.path / ID_FILE, "w") as file:
                file.write(run.id + "\n")
        for axis in AXES.values():
            run.define_metric(axis)
        for metric, axis in AXES.items():
            run.define_metric(metric, step_metric=axis)
        self._next_row = run.starting_step  # not 0 when W&B resumed the run online
        return run

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the resolved configuration is the W&B config."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log values of one training step.

        Args:
            metrics: scalars, or W&B media, by name.
            step: training step within the generation; None repeats the last one.
        """
        self._step = self._step if step is None else step
        values = {key: value for key, value in metrics.items() if key != "epoch"}  # a generation is one epoch
        total_step = self._step_offset + self._step
        self._log_row(values, total_step=total_step, row=total_step + self._generation, closed=False)

    @rank_zero_only
    def log_generation(self, folder: GenerationFolder, total_step: int) -> None:
        """Log what an evaluated generation left on disk: scores, previews, and the manifest of its synthetic images.

        Scores become ``generation/<name>`` and ``generation/<name>_se``. The manifest becomes an artifact of type
        ``synthetic-images`` with generation, n and the hash of the weights; the images themselves stay on disk.

        Args:
            folder: the generation; its `metrics.json` must exist.
            total_step: training steps up to the end of this generation.

        Raises:
            BootlightError: `metrics.json` is missing or not complete.
        """
        import wandb

        scores = read_generation(folder)
        values: dict[str, Any] = {f"generation/{name}": value for name, value in scores.flat().items()}
        if folder.previews.exists():
            caption = f"generation {scores.generation}"
            values["generation/previews"] = wandb.Image(str(folder.previews), caption=caption)
        self._generation = scores.generation
        self._log_row(values, total_step=total_step, row=total_step + scores.generation, closed=True)
        if folder.is_synthesized:
            self._log_manifest(folder, scores.generation)

    def finish(self) -> None:
        """Close the W&B run; the end of the process does the same."""
        if self._experiment is not None:
            self._experiment.finish()
            self._experiment = None

    def _log_row(self, values: dict[str, Any], *, total_step: int, row: int, closed: bool) -> None:
        """Add values to a row; a closed row is written at once, an open one when a later row begins."""
        run = self.experiment
        if row < self._next_row:
            return
        run.log({**values, "generation": self._generation, "total_step": total_step}, step=row, commit=closed)
        self._next_row = row + closed

    def _log_manifest(self, folder: GenerationFolder, generation: int) -> None:
        import wandb

        with open(folder.metadata, "rb") as file:
            count = sum(1 for _ in file)
        with open(folder.weights, "rb") as file:
            weights_hash = hashlib.file_digest(file, "sha256").hexdigest()
        artifact = wandb.Artifact(
            f"synthetic-images-{self.experiment.id}",
            type="synthetic-images",
            metadata={"generation": generation, "n": count, "weights_sha256": weights_hash},
        )
        artifact.add_file(str(folder.metadata))
        self.experiment.log_artifact(artifact, aliases=["latest", f"gen-{generation:03d}"])


def _from_folder(run_folder: RunFolder, chosen: str | None) -> dict[str, Any]:
    """Arguments of `wandb.init` that the run folder knows; a `chosen` id goes before the stored one."""
    id_file = run_folder.path / ID_FILE
    stored = id_file.read_text(encoding="utf-8").strip() if id_file.exists() else None
    config = yaml.safe_load(run_folder.config.read_text(encoding="utf-8")) if run_folder.config.exists() else None
    return {"id": chosen or stored, "config": config}
