"""A W&B report of a study: one line with a band for each arm over generations; made through W&B's own API, online.

python -m bootlight.studies.tracker runs/studies/table1 --entity my-team
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bootlight.errors import BootlightError
from bootlight.io.paths import expanded
from bootlight.report.scores import main_scores
from bootlight.studies.claims import judge_claims
from bootlight.studies.results import StudyResults, read_study
from bootlight.studies.settings import arguments, class_name
from bootlight.studies.table import format_markdown, table_lines
from bootlight.terminal import Usage, say

INSTALL = "wandb-workspaces is not installed; run pip install 'wandb[workspaces]'"
MAX_PANELS = 24
COLUMNS, PANEL_WIDTH, PANEL_HEIGHT = 3, 8, 6  # of W&B's grid, which is 24 wide
LOSSES = ("train/loss", "train/loss_d")


class Place(NamedTuple):
    """Where the runs of a study are on W&B.

    Attributes:
        entity: user or team; None for the default one.
        project: of the runs.
        group: of the runs.
    """

    entity: str | None
    project: str
    group: str


def write_wandb_report(folder: Path, *, entity: str | None = None, project: str | None = None, group: str | None = None) -> str:
    """Make a report of a study whose runs were logged with `BootstrapWandbLogger`, the arm's name among their tags.

    Args:
        folder: of the study.
        entity: user or team that the runs belong to; None = the default one of W&B.
        project: of the runs; None = what their configurations say.
        group: of the runs; None likewise.

    Returns:
        Address of the report.

    Raises:
        BootlightError: no W&B or its report API, offline, runs that did not log to W&B, or W&B refused.
    """
    results = read_study(folder)
    found = _place(results)
    if found is None and (project is None or group is None):
        raise BootlightError(
            f"{folder}: its runs did not log to W&B; set trainer.logger in the study, or --project and --group"
        )
    place = Place(entity, project or (found.project if found else ""), group or (found.group if found else ""))
    if os.environ.get("WANDB_MODE") in ("offline", "disabled", "dryrun"):
        raise BootlightError(
            f"WANDB_MODE is {os.environ['WANDB_MODE']}: reports are made online; unset it, and wandb sync first"
        )
    try:
        import wandb
        import wandb_workspaces.reports.v2 as api  # type: ignore[import-not-found]
    except ImportError as error:
        raise BootlightError(INSTALL) from error
    try:
        report = build_report(api, results, place)
        report.save()
    except (wandb.Error, OSError) as error:  # OSError: what requests raises
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BootlightError(f"W&B: {reason}; run wandb login, and check --entity and --project") from error
    return str(report.url)


def build_report(api: Any, results: StudyResults, place: Place) -> Any:
    """The report, not saved yet.

    Args:
        api: the module `wandb_workspaces.reports.v2`.
        results: of the study.
        place: of its runs.
    """
    claims = "\n".join(f"- **{verdict.claim.text.rstrip('.')}.** {verdict.sentence}" for verdict in judge_claims(results))
    names = main_scores(results.score_names())
    panels = [_curve(api, f"generation/{name}", "generation") for name in names]
    panels += [_curve(api, name, "total_step") for name in LOSSES]
    panels.append(api.MediaBrowser(title="previews", media_keys=["generation/previews"]))
    panels = panels[:MAX_PANELS]
    for k, panel in enumerate(panels):
        x, y = PANEL_WIDTH * (k % COLUMNS), PANEL_HEIGHT * (k // COLUMNS)
        panel.layout = api.Layout(x=x, y=y, w=PANEL_WIDTH, h=PANEL_HEIGHT)
    blocks = [
        api.MarkdownBlock(text=format_markdown(table_lines(results)) + (f"\n{claims}\n" if claims else "")),
        api.PanelGrid(runsets=[_runset(api, arm.name, arm.label, place) for arm in results.record.arms], panels=panels),
    ]
    options = {} if place.entity is None else {"entity": place.entity}
    title = f"{results.record.name} (bootlight study)"[:128]
    return api.Report(project=place.project, title=title, blocks=blocks, width="fluid", **options)


def _curve(api: Any, name: str, axis: str) -> Any:
    """Mean of the seeds of an arm with a band of one standard deviation."""
    return api.LinePlot(title=name, x=axis, y=[name], groupby_aggfunc="mean", groupby_rangefunc="stddev")


def _runset(api: Any, arm: str, label: str, place: Place) -> Any:
    """The runs of an arm as one group, for all have the group of the study: panels draw it as one line."""
    filters = f"Metric('Group') == {place.group!r} and Tags() in [{arm!r}]"
    options = {} if place.entity is None else {"entity": place.entity}
    return api.Runset(project=place.project, name=label, filters=filters, groupby=["group"], **options)


def _place(results: StudyResults) -> Place | None:
    """What the configuration of a run says; None where none logs to W&B."""
    for cell in results.cells.values():
        for logger in _loggers(cell.config):
            options = arguments({"logger": logger}, "logger")
            return Place(None, str(options.get("project") or "bootlight"), str(options.get("group") or results.record.name))
    return None


def _loggers(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The W&B loggers of a run."""
    trainer = config.get("trainer")
    found = trainer.get("logger") if isinstance(trainer, dict) else None
    for logger in found if isinstance(found, list) else [found]:
        if isinstance(logger, dict) and class_name(logger).endswith("WandbLogger"):
            yield logger


def main(given: list[str] | None = None) -> int:
    """Make the report and print its address."""
    parser = Usage(prog="python -m bootlight.studies.tracker", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=expanded, help="folder of the study")
    parser.add_argument("--entity", help="user or team that the runs belong to")
    parser.add_argument("--project", help="of the runs; their configurations say it")
    parser.add_argument("--group", help="of the runs; likewise")
    options = parser.parse_args(given)
    try:
        say(write_wandb_report(options.folder, entity=options.entity, project=options.project, group=options.group))
    except BootlightError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
