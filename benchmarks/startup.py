"""How long the command line takes to answer, in processor time of fresh processes, against its libraries alone."""

import os
import subprocess
import sys
from functools import partial
from typing import Any

from ratios import compare, print_table

LIBRARIES = [sys.executable, "-c", "import torch, lightning.pytorch"]
NOTHING = [sys.executable, "-c", "pass"]


def seconds(command: list[str]) -> float:
    """Processor time of a command and what it starts."""
    before = os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def bootlight(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bootlight", *arguments]


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of `ratios.compare`."""
    repeats = 1 if quick else 5
    ask = partial(seconds, bootlight("fit", "--help"))
    return [
        compare(
            "bootlight --help", "python alone", partial(seconds, bootlight("--help")), partial(seconds, NOTHING), repeats=5
        ),
        compare("bootlight fit --help", "import torch, lightning", ask, partial(seconds, LIBRARIES), repeats=repeats),
    ]


if __name__ == "__main__":
    print_table(run(quick="--quick" in sys.argv))
