"""Interrupt runs at random moments and see that they end as if nothing had happened.

    make kills ARGS="--trials 200 --kinds sigkill --seed 3"

Each trial starts a run of a list of small ones, interrupts it, once or several times in a row, starts the same command again
until it is through, and compares weights, pictures, manifests, curves, scores and the names of all files with those of a run
that nothing happened to. The kinds: SIGKILL (to all processes, or to one), SIGTERM, Ctrl-C, SIGSTOP, a full disk, damage.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from random import Random

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MPLBACKEND": "agg"}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser("make kills", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=56, help="how many (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no trial after so many")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    parser.add_argument("--kinds", help="of interruptions, separated by commas (default: all)")
    parser.add_argument("--only", help="configurations, separated by semicolons (default: all)")
    parser.add_argument("--fresh-every", type=int, default=25, help="a trial in so many starts new interpreters, not forks")
    parser.add_argument("--output", type=Path, default=Path("runs/kills"), help="for results.json and what went wrong")
    return parser.parse_args()


def main() -> None:
    options = parsed()
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):  # read when numpy and torch are imported
        os.execve(sys.executable, [sys.executable, "-m", "kills", *sys.argv[1:]], os.environ | ENVIRONMENT)
    from kills.session import KINDS_OF_TRIALS, Session, chosen

    kinds = chosen(options.kinds, ",", KINDS_OF_TRIALS, "kind")
    from kills.configurations import CONFIGURATIONS

    names = chosen(options.only, ";", CONFIGURATIONS, "configuration")
    options.output.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        session = Session(Path(folder), options.output, f"make kills ARGS={' '.join(sys.argv[1:])!r}", options.fresh_every)
        try:
            for number in range(options.trials):
                if time.monotonic() > deadline:
                    break
                name, kind = names[number % len(names)], kinds[number // len(names) % len(kinds)]
                session.try_once(number, name, kind, Random(f"{options.seed} {number} {name} {kind}"))
        except KeyboardInterrupt:
            print("\nstopped")
        sys.exit(session.close())


if __name__ == "__main__":
    main()
