"""A configuration is run, planned or tried: what `bootlight fit` does, and `bootlight.run` from Python."""

import json
from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

from bootlight.bootstrap.builder import Builder
from bootlight.bootstrap.changes import as_arguments
from bootlight.bootstrap.checks import check_all
from bootlight.bootstrap.loop import run_bootstrap
from bootlight.bootstrap.parts import PublishedParts
from bootlight.bootstrap.plan import PLANNED_BATCH, alone, print_plan
from bootlight.bootstrap.plan_stages import print_stages
from bootlight.bootstrap.rehearsal import rehearse
from bootlight.bootstrap.smoke import Smoke, renew, tell
from bootlight.bootstrap.stage import Stage
from bootlight.bootstrap.stages import chosen_stages
from bootlight.bootstrap.trainers import check_trainer_settings, job_seconds, make_trainer
from bootlight.distributed.processes import check_strategy, leaving_together, meet
from bootlight.distributed.stopping import stop_request, stops_explained
from bootlight.io.lock import locked
from bootlight.io.quiet import quiet
from bootlight.runs.config import check_config, check_same_config, check_writable, run_folder_made
from bootlight.runs.context import GenerationContext
from bootlight.runs.folder import RunFolder


def run(config: str | Path | Mapping[str, Any] | None = None, **settings: Any) -> RunFolder:
    """Run a bootstrap from Python; the same run, bit for bit, as `bootlight fit` with the same settings.

    `bootlight.run("configs/digits_ddpm.yaml", **{"data.num_steps": 100, "bootstrap.run_dir": "runs/short"})`

    Args:
        config: a YAML file, or a nested dictionary with the same sections.
        settings: dotted keys and their values, which replace those of `config`.

    Returns:
        The run folder; called again with the same arguments, a run that was interrupted is continued.

    Raises:
        BootlightError: bad input, found before any training.
        SystemExit: the run was stopped early: 75 by a signal or `trainer.max_time`, 130 by Ctrl-C.
    """
    quiet()
    arguments = as_arguments(settings)
    if isinstance(config, Mapping):
        arguments = [f"--config={json.dumps(dict(config))}", *arguments]
    elif config is not None:
        arguments = [f"--config={config}", *arguments]
    return begin(Builder(arguments))


def begin(builder: Builder) -> RunFolder:
    """Check, lock and run; or what `--plan` or `--smoke` ask for."""
    folder = builder.run
    stages = chosen_stages(builder)
    check_trainer_settings(builder.config.trainer)
    check_writable(folder)
    if not builder.config.smoke:
        check_config(folder, builder.text)
    if builder.config.plan:
        plan(builder, stages)
        return folder
    seconds = job_seconds(builder.config.trainer.max_time)
    listening = stop_request.listening(seconds)
    with run_folder_made(folder), locked(folder.path), listening, leaving_together(), stops_explained():
        if not builder.config.smoke:
            check_config(folder, builder.text)  # another one may have written meanwhile
        elif builder.trainer.is_global_zero:
            renew(folder.path)
        meet(builder.trainer)
        check_same_config(builder.text)
        if builder.config.smoke:
            make_small(builder)
        run_bootstrap(builder, stages)
    if builder.config.smoke:
        tell(folder.path)
    return folder


def make_small(builder: Builder) -> None:
    """From now on every generation is a trial."""
    check_all(builder)  # all that is not small too
    builder.make_small(
        Smoke.of(builder.datamodule, builder.evaluation, builder.synthesis.num_synthetic, builder.bootstrap.num_generations)
    )


def plan(builder: Builder, stages: list[Stage]) -> None:
    """Check what a run checks, as far as one device can, and print what it would cost; one process does."""
    if not builder.trainer.is_global_zero:
        return
    if builder.trainer.world_size > 1:
        check_strategy(builder.trainer)
    check_all(builder)
    few = partial(builder.trial_trainer, **alone(builder.trainer))
    builder.model.begin(None)
    PublishedParts(builder).attach_stand_ins(builder.model, GenerationContext(builder.run, 0, builder.seed))
    rehearse(deepcopy(builder.model), builder.datamodule, builder.trainer.callbacks, few)  # type: ignore[attr-defined]
    if builder.bootstrap.stages is not None:
        print_stages(builder, stages)
        return
    drawn_at_once = builder.synthesis.batch_size
    batch_size = PLANNED_BATCH if drawn_at_once == "auto" else drawn_at_once
    make = partial(make_trainer, dict(builder.config_init.trainer))
    print_plan(builder.bootstrap, builder.model, builder.datamodule, batch_size, make, builder.drawn_by)
