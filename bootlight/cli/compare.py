"""`bootlight compare A B [C ...]`: whether sets of images differ, with intervals, in words and as a picture.

Runs are measured as they were made: against their own real images, at their size, with their feature network. An option wins.
"""

import json

from jsonargparse import ActionYesNo

from bootlight.errors import BootlightError, check_named
from bootlight.io.paths import expand_settings
from bootlight.terminal import say

TRUST = "[my_file.MyNetwork,...]: import these classes, where runs name code that is not bootlight's"


def main(args: list[str]) -> None:
    """Measure, compare and print."""
    from bootlight.evaluation.attempt import check_complete
    from bootlight.evaluation.comparing.real_of_runs import real_of_runs
    from bootlight.evaluation.comparing.run_compare import Real, compare
    from bootlight.evaluation.comparing.run_setting import network_of, runs_of
    from bootlight.evaluation.comparing.runs_agree import check_agree
    from bootlight.evaluation.options import SETS, Parser, add_options, read_setting

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
    parser.add_argument("--trust", type=list[str], default=[], help=TRUST)
    options = parser.parse_args(args)
    expand_settings(options)
    if len(options.sets) < 2:
        raise BootlightError("compare needs two sets or more, such as runs/a runs/b")
    for key, text in (("--real", options.real), *(("a set", text) for text in options.sets)):
        if text is not None:
            check_named(key, text)
    runs = runs_of(options.sets)
    if options.real is None and not runs:
        raise BootlightError("--real is missing: the real images that the sets are measured against")
    features = None
    if runs:
        given = {key: options[name] is not None for key, name in (("real", "real"), ("size", "image_size"))}
        check_agree(runs, **given, features=options.features is not None)
        features = network_of(runs[0], options.trust) if options.features is None else None
    setting = read_setting(parser, options, features)
    real: Real | str = options.real
    if runs:
        setting, real = real_of_runs(setting, runs, options.real, options.trust)
    answer = compare(setting, options.sets, real=real, judge=options.judge, picture=options.picture, paired=options.paired)
    say(json.dumps(answer.to_json(), indent=1) if options.json else answer.text())
    check_complete(answer.failed)
