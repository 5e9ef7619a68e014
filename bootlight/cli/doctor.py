"""`bootlight doctor`: look at this machine, and say what to mend before a run."""

import json
import sys
from pathlib import Path

from bootlight import terminal
from bootlight.doctor.finding import Finding
from bootlight.io.paths import expanded

MARKS = {"ok": "✓", "note": "!", "problem": "✗"}
WIDTH = 18  # of the names


def main(args: list[str]) -> None:
    """Print a line for each finding; exit with 1 when there is a problem."""
    parser = terminal.Usage(prog="bootlight doctor", description=__doc__)
    parser.add_argument("--run-dir", type=expanded, default=Path("runs"), help="folder of the run (default: %(default)s)")
    parser.add_argument(
        "--cache", type=expanded, help="folder of decoded images (default: $BOOTLIGHT_CACHE, or the usual place)"
    )
    parser.add_argument("--weights", type=expanded, help="Inception weights (default: where bootlight weights puts them)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    options = parser.parse_args(args)

    from bootlight.doctor.examine import examine

    findings = []
    for finding in examine(options.run_dir, options.cache, options.weights):
        findings.append(finding)
        if not options.json:
            say(line(finding))
    count = {status: sum(finding.status == status for finding in findings) for status in MARKS}
    if options.json:
        say(json.dumps({"problems": count["problem"], "findings": [finding._asdict() for finding in findings]}, indent=1))
    else:
        say(f"{counted(count['problem'], 'problem')}, {counted(count['note'], 'note')}")
    if count["problem"]:
        sys.exit(1)


def line(finding: Finding) -> str:
    """Mark, word, name and facts of a finding, and its cure below."""
    text = f"{MARKS[finding.status]} {finding.status:8}{finding.check:{WIDTH}}{finding.found}"
    return f"{text}\n{'':{10 + WIDTH}}-> {finding.cure}" if finding.cure else text


def counted(number: int, word: str) -> str:
    """`no problems`, `1 problem`, `2 problems`."""
    return f"{number or 'no'} {word}{'' if number == 1 else 's'}"


def say(text: str) -> None:
    """Print at once, also on a terminal that lacks the marks."""
    encoding = sys.stdout.encoding or "utf-8"
    terminal.say(text.encode(encoding, "replace").decode(encoding))
