"""`bootlight weights`: fetch the Inception weights (91 MB) that FID needs, where there is a network."""

import argparse
from pathlib import Path

DEFAULT = Path("~/.cache/bootlight/weights-inception-2015-12-05-6726825d.pth")


def main(args: list[str]) -> None:
    """Download, check, say where."""
    parser = argparse.ArgumentParser(prog="bootlight weights", description=__doc__)
    parser.add_argument("--to", type=Path, default=DEFAULT, help="file to write (default: %(default)s)")
    destination: Path = parser.parse_args(args).to.expanduser()

    from bootlight.metrics.features import fetch_inception_weights

    print(f"{fetch_inception_weights(destination)}: give this path as evaluation.features.init_args.weights")
