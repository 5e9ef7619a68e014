"""The standard streams: a reader that leaves, streams that are closed, a terminal that lacks signs, warnings."""

import ast
import io
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from bootlight import terminal
from bootlight.__main__ import run_verb
from bootlight.data.store import store_from_arrays
from bootlight.distributed.stopping import stop_request
from bootlight.errors import BootlightError, safe
from bootlight.evaluation.duplicates import take_prints
from bootlight.evaluation.features import extract
from bootlight.evaluation.sets.sources import StoreSource
from bootlight.metrics.features.features import PixelFeatures
from bootlight.studies.child import Children
from bootlight.terminal import say

PROGRAM = "import sys; sys.argv = ['bootlight', *sys.argv[1:]]\nfrom bootlight.__main__ import main\n"


@pytest.fixture
def broken(monkeypatch):
    """A stream into a pipe that nobody reads any longer."""
    monkeypatch.setattr(terminal, "_leaving", False)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    reading, writing = os.pipe()
    os.close(reading)
    yield io.TextIOWrapper(io.BufferedWriter(terminal._Stream(writing)), encoding="utf-8", line_buffering=True)
    os.close(writing)
    signal.signal(signal.SIGTERM, before)


def test_a_reader_that_leaves_ends_a_command_once(broken):
    with pytest.raises(SystemExit) as end:
        print("lost", file=broken)
    assert end.value.code == 141
    print("nowhere", file=broken)  # while everything is being put in order


def test_a_run_is_asked_to_stop_and_goes_on_to_where_it_can(broken):
    with stop_request.listening():
        print("lost", file=broken)
        assert stop_request.made and stop_request.reason == "SIGTERM"
        print("nowhere", file=broken)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full is a device of Linux")
def test_a_disk_that_has_no_space_for_what_is_printed(monkeypatch):
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [sys.executable, "-c", PROGRAM + "main()", "--help"], stdout=full, stderr=subprocess.PIPE, text=True
        )
        assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 1 and "No space left on device" in ended.stderr
        monkeypatch.setattr(terminal, "_leaving", False)
        stream = io.TextIOWrapper(io.BufferedWriter(terminal._Stream(full.fileno())), line_buffering=True)
        with stop_request.listening():  # a run saves before it ends
            print("lost", file=stream)
            assert stop_request.made
            print("nowhere", file=stream)


def test_a_worker_of_a_study_is_asked_to_stop(broken):
    children = Children()
    with children.listening():
        print("lost", file=broken)
    assert children.status == 75


def test_a_terminal_that_is_gone_is_no_reason_to_stop(monkeypatch):
    leader, terminal_side = os.openpty()
    os.close(leader)  # writing is EIO from now on
    with pytest.raises(OSError, match="Input/output error"):
        os.write(terminal_side, b"lost")
    print("lost", file=io.TextIOWrapper(io.BufferedWriter(terminal._Stream(terminal_side)), line_buffering=True))
    os.close(terminal_side)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["report", "--help"], ["doctor", "--help"], ["no-verb"]])
@pytest.mark.parametrize("both", [False, True])
def test_verbs_whose_reader_has_left(arguments, both):
    reading, writing = os.pipe()
    os.close(reading)
    streams = {"stdout": writing, "stderr": writing if both else subprocess.PIPE}
    ended = subprocess.run([sys.executable, "-c", f"{PROGRAM}main()", *arguments], **streams)
    os.close(writing)
    if arguments == ["no-verb"] and not both:
        assert ended.returncode == 1 and ended.stderr.startswith(b"bootlight: no verb")
    else:
        assert (ended.returncode, ended.stderr) == (141, None if both else b"")


def test_a_stream_that_was_closed_before_the_start_is_no_file_that_is_opened_later():
    code = "import os, sys\nfrom bootlight.terminal import open_streams\nopen_streams()\nprint(1)\n"
    code += "sys.exit(open(os.devnull).fileno())"
    closed = f"import os, sys; os.close(1); os.close(2); os.execv(sys.executable, [sys.executable, '-c', {code!r}])"
    assert subprocess.run([sys.executable, "-c", closed]).returncode > 2


def test_signs_that_a_terminal_lacks_and_streams_of_others():
    code = "from bootlight.terminal import open_streams; open_streams(); print('\\xb1 \\u202e')"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for flag in ("-c", "-uc"):
        ended = subprocess.run([sys.executable, flag, code], stdout=subprocess.PIPE, env=environment, check=True)
        assert ended.stdout == b"\\xb1 \\u202e\n"
    theirs = io.StringIO()
    assert terminal._opened(theirs, sys.__stdout__) is theirs


def test_a_warning_is_one_line(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = terminal._show_warning
        warnings.warn_explicit("no\n  cache", UserWarning, f"{terminal.PACKAGE}x.py", 1)
        warnings.warn_explicit("old", FutureWarning, "other.py", 7)
    assert capsys.readouterr().err == "bootlight: no cache\nother.py:7: FutureWarning: old\n"


HOSTILE = "a\x1b]0;OWNED\x07\x1b[2J\x9b31m\r\u202egnp.exe\u2066\x00\ud800"


def test_nothing_in_a_text_commands_the_terminal(capsys):
    spelled = r"a\x1b]0;OWNED\x07\x1b[2J\x9b31m\r\u202egnp.exe\u2066\x00\ud800"
    assert safe(HOSTILE) == spelled and safe(f"ü ± 中\n\t{HOSTILE}") == f"ü ± 中\n\t{spelled}"
    assert str(BootlightError(f"{HOSTILE}\n")) == f"{spelled}\\n"
    say(HOSTILE)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = terminal._show_warning
        warnings.warn_explicit(HOSTILE, UserWarning, f"{terminal.PACKAGE}x.py", 1)
    said = capsys.readouterr()
    assert said.out == f"{spelled}\n" and said.err == f"bootlight: {safe(HOSTILE.replace(chr(13), ' '))}\n"


@pytest.mark.parametrize("verb", ["sample", "report", "study", "doctor", "data", "weights", "fit", "evaluate", "compare"])
def test_usage_errors_quote_what_is_safe(verb, capsys):
    with pytest.raises(SystemExit):
        run_verb(
            verb,
            {"data": [HOSTILE], "study": ["--seeds", HOSTILE], "sample": ["x", "--label", HOSTILE]}.get(
                verb, ["x", f"--{HOSTILE}=1"]
            ),
        )
    assert "OWNED" in (err := capsys.readouterr().err) and not {"\x1b", "\x07", "\u202e"} & set(err)


def test_logs_of_libraries_quote_what_is_safe():
    code = "import logging; from bootlight.terminal import open_streams; open_streams(); "
    code += "logging.getLogger('x').error('%s', 'a\\x1b]0')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert ended.stderr == rb"a\x1b]0" + b"\n"


def test_a_bar_has_no_other_text_than_a_safe_one(tmp_path, capsys):
    source = StoreSource(HOSTILE, store_from_arrays(np.zeros((2, 4, 4, 3), np.uint8)))
    extract(source, PixelFeatures(), cache=None)
    take_prints(source)
    assert "OWNED" in (err := capsys.readouterr().err) and not {"\x1b", "\x07", "\u202e"} & set(err)


def test_all_of_bootlight_prints_by_say():
    for file in Path(terminal.PACKAGE).rglob("*.py"):
        names = {
            getattr(node.func, "id", "") for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Call)
        }
        if file.name not in ("terminal.py", "__main__.py", "probe.py", "tracker.py"):  # errors only, JSON for a program
            assert "print" not in names, file
