"""What `fit` checks before it begins, for the arms of a study that is planned."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from bootlight.bootstrap.checks import check_all
from bootlight.bootstrap.trainers import check_trainer_settings
from bootlight.terminal import say

if TYPE_CHECKING:
    from bootlight.bootstrap.builder import Builder
    from bootlight.studies.job import Job


class InputChecks:
    """Looks at the input of one arm after the other, once where several have the same, and tells each thing once."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._told: set[str] = set()

    def __call__(self, job: Job, builder: Builder) -> None:
        """Check an arm; of images that its teacher has yet to draw nothing is known.

        Args:
            job: of the arm.
            builder: its objects; the data set up.

        Raises:
            BootlightError: see `check_input`.
        """
        key = json.dumps(_input(builder.config.as_dict()), default=str, sort_keys=True)
        if key in self._seen:
            return
        self._seen.add(key)
        check_trainer_settings(builder.config.trainer)
        said = io.StringIO()
        with redirect_stdout(said):
            check_all(builder)
        for line in said.getvalue().splitlines():
            if line not in self._told:
                say(line)
            self._told.add(line)


def _without_place(mixing: Any) -> Any:
    """A mixture without where its images are, which differs between the arms of different teachers."""
    if not isinstance(mixing, dict):
        return mixing
    return {key: _without_place(value) for key, value in mixing.items() if key != "root"}


def _input(settings: dict[str, Any]) -> list[Any]:
    """What the checks depend on: of the model, whether and how it takes labels."""
    data, model, loop = settings["data"], settings["model"], settings["bootstrap"]
    ours = {**data["init_args"], "mixing": _without_place(data["init_args"].get("mixing"))}
    theirs = {key: value for key, value in loop.items() if key != "run_dir"}
    labels = model["init_args"].get("num_classes")
    return [data["class_path"], ours, model["class_path"], labels, theirs, settings["evaluation"], settings["trainer"]]
