"""`bootlight data preview`: a sheet of clean and corrupted images, or of those that a generation has restored."""

from bootlight.errors import BootlightError, check_range
from bootlight.io.paths import expanded
from bootlight.terminal import Usage, say

USAGE = """bootlight data preview --config CONFIG [--section.key VALUE ...] --to FILE
       bootlight data preview RUN[@GENERATION[/FOLDER]] --to FILE"""
MOST = 64  # images of a row


def preview(args: list[str]) -> None:
    """Draw the origins of a configuration, or what a generation of a run has made of them.

    Raises:
        BootlightError: neither is named, or there is nothing to see.
    """
    parser = Usage(prog="bootlight data preview", usage=USAGE, description=__doc__, allow_abbrev=False)
    parser.add_argument("run", nargs="?", help="folder of a run; its newest generation unless @GENERATION[/FOLDER] follows")
    parser.add_argument("--config", action="append", help="of `bootlight fit`, with settings of its own after it")
    parser.add_argument("--count", type=int, default=8, help="images of each kind (default: %(default)s)")
    parser.add_argument("--to", type=expanded, required=True, help="PNG to write")
    options, settings = parser.parse_known_args(args)
    check_range("--count", options.count, 1, MOST)
    if (options.run is None) == (options.config is None):
        raise BootlightError("bootlight data preview: name either a run, or a configuration with --config")
    if options.to.suffix.lower() != ".png":
        raise BootlightError(f"--to {options.to}: the sheet is a PNG; give it that ending")

    from bootlight.bootstrap.preview import rows_of_config, rows_of_run
    from bootlight.io.atomic import write_bytes
    from bootlight.report.sheet import sheet

    if options.run is None:
        given = [f"--config={expanded(text)}" for text in options.config]
        rows = rows_of_config([*given, *settings], options.count)
    else:
        rows = rows_of_run(options.run, settings, options.count)
    write_bytes(options.to, sheet(rows))
    say(f"{options.to}: " + " · ".join(f"{row.label} ({len(row.images)})" for row in rows))
