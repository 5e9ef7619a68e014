"""`bootlight check CLASS [--argument VALUE ...]`: try a plug-in of any kind against what its kind promises."""

import sys
from typing import TYPE_CHECKING

from bootlight.cli.doctor import counted
from bootlight.terminal import Usage, say

if TYPE_CHECKING:
    from bootlight.checking.finding import Finding

HELP = """A plug-in is a class of one of the kinds that a configuration names by class path, such as my_file.MyThing (my_file.py
lies in the working folder) or bootlight.DDIM. Options after it are arguments of its constructor, as in a configuration:
--width 8, --sampler bootlight.DDIM. Exits with 1 where something is wrong."""


def main(args: list[str]) -> None:
    """Print a line for each trial.

    Raises:
        SystemExit: with 1, something is wrong.
    """
    own = Usage(prog="bootlight check", description=HELP)
    own.add_argument("plug_in", metavar="CLASS", help="class path")
    own.add_argument("arguments", nargs="...", metavar="--argument VALUE", help="of its constructor")
    options = own.parse_args(args)

    from bootlight.checking.find import arguments_of, find_class
    from bootlight.checking.kinds import findings
    from bootlight.io.quiet import quiet

    quiet()
    cls = find_class(options.plug_in)
    wrong = held = 0
    for finding in findings(cls, arguments_of(cls, options.plug_in, options.arguments)):
        say(line(finding))
        held += finding.held
        wrong += not finding.ok
    say(f"{options.plug_in}: {counted(wrong, 'fault')}, {held} of its promises are kept")
    if wrong:
        sys.exit(1)


def line(finding: "Finding") -> str:
    """What was tried, and what came of it."""
    text = f"{'ok' if finding.held else 'wrong' if finding.wrong else '-':7}{finding.tried}"
    return text + (f"\n{'':7}-> {finding.wrong}" if finding.wrong else f" ({finding.note})" if finding.note else "")
