"""`bootlight compare A B [C ...] --real PATH`: whether sets of images differ, with intervals, in words and as a picture."""

import json

from jsonargparse import ActionYesNo

from bootlight.errors import BootlightError, check_named
from bootlight.io.paths import expand_settings
from bootlight.terminal import say


def main(args: list[str]) -> None:
    """Measure, compare and print."""
    from bootlight.evaluation.attempt import check_complete
    from bootlight.evaluation.options import SETS, Parser, add_options, read_setting
    from bootlight.evaluation.run_compare import compare

    parser = Parser(prog="bootlight compare", description=__doc__)
    parser.add_argument("sets", type=str, nargs="+", help=f"the first is what the others are compared with: {SETS}")
    add_options(parser)
    parser.add_argument("--judge", type=str | None, help="a run, or a judge-*.safetensors of one: compares its opinions too")
    parser.add_argument("--picture", type=str | None, help="write the differences with their intervals to this .png")
    parser.add_argument(
        "--paired",
        action=ActionYesNo(yes_prefix="", no_prefix="no-"),
        default=False,
        help="images of the same name belong together (one set is made of the other); those of runs are known by their seeds",
    )
    options = parser.parse_args(args)
    expand_settings(options)
    if len(options.sets) < 2:
        raise BootlightError("compare needs two sets or more, such as runs/a runs/b")
    if options.real is None:
        raise BootlightError("--real is missing: the real images that the sets are measured against")
    for key, text in (("--real", options.real), *(("a set", text) for text in options.sets)):
        check_named(key, text)
    setting = read_setting(parser, options)
    answer = compare(
        *(setting, options.sets), real=options.real, judge=options.judge, picture=options.picture, paired=options.paired
    )
    say(json.dumps(answer.to_json(), indent=1) if options.json else answer.text())
    check_complete(answer.failed)
