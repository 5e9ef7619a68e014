"""`bootlight report RUN`: table, strip and report from what a run has left on the disk."""

from bootlight.errors import BootlightError
from bootlight.io.paths import expanded
from bootlight.runs.folder import RunFolder
from bootlight.runs.links import check_links
from bootlight.terminal import Usage


def main(args: list[str]) -> None:
    """Rebuild and print."""
    parser = Usage(prog="bootlight report", description=__doc__)
    parser.add_argument("run", type=expanded, help="folder of the run")
    run = RunFolder(parser.parse_args(args).run)
    check_links(run.path)
    if not any(folder.is_evaluated for folder in run.generations()):
        raise BootlightError(f"{run.path} has no evaluated generation; run bootlight fit with this bootstrap.run_dir first")

    from bootlight.bootstrap.loop import finish

    finish(run, rebuild=True)
