"""A whole bootstrap as one W&B run: training over `total_step`, scores and previews over `generation`."""

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import WandbLogger

from bootlight.compat import set_wandb_run, wandb_arguments, wandb_run
from bootlight.errors import BootlightError
from bootlight.io.atomic import atomic_write
from bootlight.loggers.run_rows import Row, num_rows, of_part, rows_of
from bootlight.loggers.wandb_generation import closing_values, log_manifest, verdict_values
from bootlight.loggers.wandb_row_count import RowsKept
from bootlight.report.scores import read_generation
from bootlight.runs.folder import MODEL, GenerationFolder, RunFolder

AXES = {"train/*": "total_step", "generation/*": "generation"}
FLUSH_SECONDS = 1.0  # W&B's default of 15 s is what a kill would lose
ID_FILE = "wandb_id.txt"


class BootstrapWandbLogger(WandbLogger):
    """Log every generation of a bootstrap into one W&B run.

    Lightning's own logger counts steps from 0 in every fit; here `start_generation` says how many steps went before.
    Each row of the W&B history has a number of its own, ``total_step + generation``: the generation's closing row
    (scores, previews) fits between the last training row and the first one of the next generation.

    W&B writes when it likes, so a kill takes rows with it, or leaves some that the resumed run logs again. What the run's
    own files hold is the truth: rows that W&B lacks are logged from there before the first new one, and those that it has
    are left out, as they have the same values. What it has is said online by its server, offline by its files. A row is
    handed over when the next one begins, so that none is left half-filled.

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
        arguments = wandb_arguments(self)
        arguments.pop("anonymous", None)  # W&B warns about this argument of Lightning's
        arguments |= {
            "job_type": job_type,
            "reinit": "finish_previous",  # several bootstraps in one process are several W&B runs
            "settings": {"x_transaction_log_flush_interval": FLUSH_SECONDS},
        }
        self._chosen_id = id
        self._run_folder: RunFolder | None = None
        self._kept = RowsKept(None)
        self._config: dict[str, Any] | None = None
        self._generation = 0
        self._part = MODEL
        self._step_offset = 0
        self._step = 0
        self._next_row = 0  # of those that may still get values
        self._values: dict[str, Any] = {}  # of the row before, which is not handed over yet
        self._caught_up = False

    def attach(self, run_folder: Path, config: dict[str, Any] | None = None) -> None:
        """Connect the logger with a run folder: its W&B id is kept there, its `config.yaml` becomes the W&B config.

        Args:
            run_folder: folder of the bootstrap; call before the first fit.
            config: in place of `config.yaml`, which is written when the logger has begun.
        """
        self._run_folder = RunFolder(run_folder)
        self._kept = RowsKept(self._run_folder)
        self._config = config

    def start_generation(self, generation: int, step_offset: int, part: str = MODEL) -> None:
        """Say what the following steps belong to.

        Args:
            generation: number of the generation, from 0.
            step_offset: training steps of all generations, and of all parts of this one, before it.
            part: of the generation; the curves of another one than `model` have its name before theirs.
        """
        self._generation = generation
        self._part = part
        self._step_offset = step_offset
        self._step = 0

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The `wandb.Run`, started at the first use; on ranks other than 0 an object that does nothing."""
        if wandb_run(self) is None:
            set_wandb_run(self, self._start())
        return wandb_run(self)

    def _start(self) -> Any:
        import wandb

        arguments = wandb_arguments(self)
        if self._run_folder:
            arguments |= _from_folder(self._run_folder, chosen=self._chosen_id)
            arguments |= {"config": self._config} if self._config else {}
        folder = os.path.abspath(arguments["dir"])  # W&B's own process may work elsewhere
        try:
            run = wandb.init(**arguments | {"dir": folder})
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
        self._values = {}
        self._next_row = 0 if run.disabled else self._kept.at_start(run)
        self._caught_up = False
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
        self._log(Row(self._generation, self._step_offset + self._step, of_part(values, self._part)))

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
        self._log(Row(read_generation(folder).generation, total_step, {}, closes=folder))

    @rank_zero_only
    def catch_up(self) -> None:
        """Log what the run folder has of evaluated generations and W&B lacks.

        Raises:
            BootlightError: W&B cannot begin, or a `metrics.json` is not complete.
        """
        if self._run_folder:
            self._log_up_to(num_rows(self._run_folder))

    def is_complete(self) -> bool:
        """Whether W&B is known to have every row of the run folder; does not start it."""
        if self._run_folder is None:
            return True
        return self._kept.noted(self._chosen_id or _stored_id(self._run_folder)) >= num_rows(self._run_folder)

    @rank_zero_only
    def finish(self) -> None:
        """Close the W&B run, what the scores say in its summary, and note what it has; the end of the process closes it too."""
        run = wandb_run(self)
        if run is None:
            return
        self._hand_over()
        if self._run_folder and not run.disabled:
            run.summary.update(verdict_values(self._run_folder))
        set_wandb_run(self, None)
        run.finish()
        if not run.disabled:
            self._kept.at_end(run, self._next_row)

    def _log(self, row: Row) -> None:
        """Log a new row; before the first one of this start, those that W&B lacks."""
        run = self.experiment
        if not (self._caught_up or run.disabled):
            self._log_up_to(row.number)
        self._caught_up = True
        self._fill(row)

    def _log_up_to(self, number: int) -> None:
        """Log rows of the run's own files that W&B lacks, up to a number."""
        run = self.experiment
        if self._run_folder and not run.disabled:
            for row in rows_of(self._run_folder, self._next_row):
                if row.number >= number:
                    break
                self._fill(row)

    def _fill(self, row: Row) -> None:
        """Add values to a row that W&B lacks; a closing row is handed over at once, another when a later row begins."""
        if row.number < self._next_row:
            return
        if row.number > self._next_row:
            self._hand_over()
        self._next_row = row.number
        self._values |= {**row.values, "generation": row.generation, "total_step": row.total_step}
        if row.closes is not None:
            # The manifest goes first: it is not missing where the row is there. What is logged twice is kept once by W&B.
            log_manifest(self.experiment, row.closes, row.generation)
            self._values |= closing_values(row.closes, row.generation)
            self._hand_over()

    def _hand_over(self) -> None:
        if self._values:
            self.experiment.log(self._values, step=self._next_row, commit=True)
            self._values = {}
            self._next_row += 1


def _from_folder(run_folder: RunFolder, chosen: str | None) -> dict[str, Any]:
    """Arguments of `wandb.init` that the run folder knows; a `chosen` id goes before the stored one."""
    config = yaml.safe_load(run_folder.config.read_text(encoding="utf-8")) if run_folder.config.exists() else None
    return {"id": chosen or _stored_id(run_folder), "config": config}


def _stored_id(run_folder: RunFolder) -> str | None:
    id_file = run_folder.path / ID_FILE
    return id_file.read_text(encoding="utf-8").strip() if id_file.exists() else None
