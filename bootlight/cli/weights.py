"""`bootlight weights`: fetch the Inception weights (96 MB) that FID needs, where there is a network."""

from bootlight.io.paths import expanded
from bootlight.metrics.features.inception_weights import default_file, fetch_inception_weights
from bootlight.terminal import Usage, say


def main(args: list[str]) -> None:
    """Download, check, say where."""
    parser = Usage(prog="bootlight weights", description=__doc__)
    parser.add_argument("--to", type=expanded, help=f"file to write (default: {default_file()})".replace("%", "%%"))
    destination = parser.parse_args(args).to or default_file()

    say(f"{fetch_inception_weights(destination)}: give this path as evaluation.features.init_args.weights")
