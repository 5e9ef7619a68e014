"""`bootlight weights`: fetch the Inception weights (96 MB) that FID needs, where there is a network."""

from bootlight.metrics.inception_weights import DEFAULT_FILE as DEFAULT
from bootlight.metrics.inception_weights import fetch_inception_weights
from bootlight.paths import expanded
from bootlight.terminal import Usage, say


def main(args: list[str]) -> None:
    """Download, check, say where."""
    parser = Usage(prog="bootlight weights", description=__doc__)
    parser.add_argument("--to", type=expanded, default=DEFAULT, help="file to write (default: %(default)s)")
    destination = expanded(parser.parse_args(args).to)  # the default is of this user too

    say(f"{fetch_inception_weights(destination)}: give this path as evaluation.features.init_args.weights")
