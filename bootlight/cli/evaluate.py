"""`bootlight evaluate --real PATH --synthetic PATH`: every metric of one set of images against another."""

import json
import sys
from contextlib import redirect_stdout

from jsonargparse import ActionYesNo

from bootlight.errors import BootlightError, check_named, check_range
from bootlight.io.paths import expand_settings
from bootlight.terminal import say

C2ST = "train a classifier to tell real from synthetic images, and test it on others"
PIXELS = "compare brightness, contrast, saturation, sharpness and spectrum too"
MORE = ("judges", "judge_steps", "c2st", "pixels")


def main(args: list[str]) -> None:
    """Measure and print."""
    from bootlight.evaluation.attempt import check_complete
    from bootlight.evaluation.options import SETS, Parser, add_options, read_setting
    from bootlight.evaluation.run import evaluate

    parser = Parser(prog="bootlight evaluate", description=__doc__)
    add_options(parser)
    parser.add_argument("--synthetic", type=str, required=True, help=f"images to judge: {SETS}")
    parser.add_argument("--held-out", type=str | None, help="real images that the generator has not seen: adds C_T")
    parser.add_argument("--reference-stats", type=str | None, help=".npz with mu and sigma in the place of --real")
    parser.add_argument("--save-stats", type=str | None, help="write mu and sigma of the real features to this .npz")
    parser.add_argument("--neighbours", type=str | None, help="write a picture of the nearest real images to this .png")
    parser.add_argument("--judges", type=int, default=0, help="train so many discriminators: their score and its spread")
    parser.add_argument("--judge-steps", type=int, default=2000, help="training steps of each judge")
    parser.add_argument("--c2st", action=ActionYesNo(yes_prefix="", no_prefix="no-"), default=False, help=C2ST)
    parser.add_argument("--pixels", action=ActionYesNo(yes_prefix="", no_prefix="no-"), default=False, help=PIXELS)
    options = parser.parse_args(args)
    expand_settings(options)
    for key in ("real", "synthetic", "held_out"):
        if options[key] is not None:
            check_named("--" + key.replace("_", "-"), options[key])
    check_range("--judges", options.judges, 0)
    check_range("--judge-steps", options.judge_steps, 1)
    if (options.real is None) == (options.reference_stats is None):
        raise BootlightError("give either --real or --reference-stats")
    if options.reference_stats is not None:
        other = [key for key in ("held_out", "save_stats", "neighbours", "judges", "c2st", "pixels") if options[key]]
        other += ["metrics"] * (options.metrics not in ("fd", parser.get_default("metrics")))
        if other:
            named = ", ".join("--" + key.replace("_", "-") for key in other)
            raise BootlightError(f"--reference-stats has no images: a Frechet distance is all there can be; leave out {named}")
        options.metrics = "fd"
    keys = ("real", "synthetic", "held_out", "reference_stats", "save_stats", "neighbours", *MORE)
    with redirect_stdout(sys.stderr):  # bars of trainings: standard output is for the answer
        answer = evaluate(read_setting(parser, options), **{key: options[key] for key in keys})
    say(json.dumps(answer.to_json(), indent=1) if options.json else answer.text())
    check_complete(answer.failed)
