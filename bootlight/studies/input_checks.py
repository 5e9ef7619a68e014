"""What `fit` checks before it begins, for the arms of a study that is planned."""

import io
import json
from contextlib import redirect_stdout
from typing import Any

from bootlight.checks import check_input
from bootlight.cli import BootlightCLI
from bootlight.run_folder import GenerationContext
from bootlight.studies.job import Job
from bootlight.terminal import say
from bootlight.trainers import check_trainer_settings


class InputChecks:
    """Looks at the input of one arm after the other, once where several have the same, and tells each thing once."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._told: set[str] = set()

    def __call__(self, job: Job, cli: BootlightCLI) -> None:
        """Check an arm; of images that its teacher has yet to draw nothing is known.

        Args:
            job: of the arm.
            cli: its objects; the data set up.

        Raises:
            BootlightError: see `check_input`.
        """
        key = json.dumps(_input(cli.settings.as_dict()), default=str, sort_keys=True)
        if key in self._seen:
            return
        self._seen.add(key)
        check_trainer_settings(cli.settings.trainer)
        loop = cli.config_init[cli.subcommand].bootstrap
        said = io.StringIO()
        with redirect_stdout(said):
            context = GenerationContext(job.run, 0, job.seed)
            check_input(cli.model, cli.datamodule, cli.trainer, context, loop.num_generations, loop.compile)
        for line in said.getvalue().splitlines():
            if line not in self._told:
                say(line)
            self._told.add(line)


def _input(settings: dict[str, Any]) -> list[Any]:
    """What the checks depend on: of the model, whether and how it takes labels."""
    data, model, loop = settings["data"], settings["model"], settings["bootstrap"]
    ours = {key: value for key, value in data["init_args"].items() if key != "teacher"}
    theirs = {key: value for key, value in loop.items() if key != "run_dir"}
    labels = model["init_args"].get("num_classes")
    return [data["class_path"], ours, model["class_path"], labels, theirs, settings["evaluation"], settings["trainer"]]
