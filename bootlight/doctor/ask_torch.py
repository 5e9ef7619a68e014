"""Runs `probe` in a process of its own and reads what it says."""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from bootlight.doctor.probe import STAGES

PROBE = Path(__file__).with_name("probe.py")
SECONDS = 180.0  # torch from a cold network disk takes more than one minute
Facts = dict[str, dict[str, Any]]  # by stage; a stage that failed has only `error`


def ask_torch(seconds: float = SECONDS) -> Facts:
    """What torch says about itself, its torchvision and its GPUs.

    Args:
        seconds: to wait for an answer.

    Returns:
        For each stage of `probe` its facts, or `{"error": text}`.
    """
    facts: Facts = {}
    while missing := [stage for stage in STAGES if stage not in facts]:
        output, end = _run(missing, seconds)
        facts |= _answers(output)
        silent = [stage for stage in missing if stage not in facts]
        facts |= {stage: {"error": end} for stage in silent[:1]}  # it ended the process; the others get a new one
        if "error" in facts["torch"]:  # the others need torch
            return dict.fromkeys(STAGES, facts["torch"])
    return facts


def _run(stages: list[str], seconds: float) -> tuple[bytes, str]:
    """Output of the probe, and how it ended."""
    command = [sys.executable, "-P", str(PROBE), *stages]  # -P: no module of ours hides torch's
    try:
        done = subprocess.run(command, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as expired:
        return expired.stdout or b"", f"no answer within {seconds:g} s"
    except (OSError, TypeError) as error:  # TypeError: no executable is known
        return b"", f"cannot start {sys.executable or 'Python'}: {error}"
    return done.stdout, how_it_ended(done.returncode, done.stderr)


def _answers(output: bytes) -> Facts:
    """What the probe says, among whatever libraries print."""
    facts: Facts = {}
    for line in output.decode(errors="replace").splitlines():
        with suppress(ValueError):
            answer = json.loads(line)
            if isinstance(answer, dict) and answer.keys() <= STAGES.keys():
                facts |= answer
    return facts


def how_it_ended(status: int, errors: bytes) -> str:
    """Why a process answered less than it was asked: by a signal, or its last words."""
    if status < 0:
        return f"the process was ended by signal {-status}"
    last = errors.decode(errors="replace").strip().splitlines()[-1:]
    return last[0] if last else f"the process ended with status {status}"
