"""What a command prints: nothing in it commands the terminal, a reader that leaves ends it quietly, warnings are one line."""

import argparse
import errno
import io
import logging
import os
import signal
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

from bootlight.errors import safe

READER_LEFT = 128 + 13  # SIGPIPE, as shells have it
ARROWS = {ord("↓"): "v", ord("↑"): "^"}
FULL = (errno.ENOSPC, errno.EDQUOT)
PACKAGE = str(Path(__file__).parent) + os.sep


def say(text: str) -> None:
    """Print on standard output, at once. All of bootlight does it by this."""
    print(safe(with_arrows(text, getattr(sys.stdout, "encoding", None))), flush=True)


def with_arrows(text: str, encoding: str | None) -> str:
    """The text, with signs of the same width in the place of arrows that an encoding does not have."""
    try:
        "".join(map(chr, ARROWS)).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return text.translate(ARROWS)
    return text


class Usage(argparse.ArgumentParser):
    """A parser whose errors quote arguments and files as a terminal may show them."""

    def error(self, message: str, *more: Any) -> NoReturn:
        """End the program with the usage and a message."""
        super().error(safe(message), *more)  # `more`: of jsonargparse, which stands behind this class where it is mixed in


class _Record(logging.LogRecord):
    """A line of a log, of whatever library: it may quote names of files."""

    def getMessage(self) -> str:
        """The text."""
        return safe(super().getMessage())


class _Stream(io.FileIO):
    """A standard stream whose reader may leave, as `head` does, or that goes into a file for which the disk has no more space.

    From then on it goes nowhere, and the command ends: as by SIGTERM where that is listened to, because work is saved then;
    else at once. A terminal that was closed (EIO) is no reason to end: who wants that is sent SIGHUP.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)

    def write(self, data: Any) -> int:
        """Write, or find that nobody reads.

        Raises:
            SystemExit: nobody reads, or the disk is full.
        """
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO, *FULL):
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if error.errno == errno.EPIPE:
                _leave(READER_LEFT)
            elif error.errno in FULL:
                with suppress(OSError):  # the other stream may be in the same file
                    os.write(2, f"bootlight: nothing more can be printed: {error.strerror}; free space there\n".encode())
                _leave(1)
        return len(data)


_leaving = False


def _leave(status: int) -> None:
    global _leaving
    if _leaving:
        return
    _leaving = True
    if callable(signal.getsignal(signal.SIGTERM)):
        signal.raise_signal(signal.SIGTERM)
    else:
        raise SystemExit(status)  # no OSError, which would be taken for a fault of whatever file is at hand


def open_streams() -> None:
    """Prepare the streams of this process, if they are its own, and how warnings and logs are shown."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # started with `>&-`: the next file that is opened would be the standard output
    os.close(descriptor)
    sys.stdout = _opened(sys.stdout, sys.__stdout__)
    sys.stderr = _opened(sys.stderr, sys.__stderr__)
    warnings.showwarning = _show_warning
    logging.setLogRecordFactory(_Record)


def close_streams() -> None:
    """Write what waits to be written; later, as when the interpreter ends, a reader that has left is no matter.

    Raises:
        SystemExit: nobody reads.
    """
    global _leaving
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        _leaving = True


def _opened(stream: TextIO | None, own: TextIO | None) -> TextIO:
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    if stream is not own or not isinstance(stream, io.TextIOWrapper):  # somebody else's, as in a test
        return stream
    stream.flush()
    raw = _Stream(stream.fileno())
    buffer: Any = raw if isinstance(stream.buffer, io.RawIOBase) else io.BufferedWriter(cast(io.FileIO, raw))  # python -u
    return io.TextIOWrapper(
        buffer,
        encoding=stream.encoding,
        errors="backslashreplace",  # a terminal of another locale lacks signs, which is no fault
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """One line; where it comes from only if that is not bootlight, which says what to do."""
    origin = "bootlight: " if filename.startswith(PACKAGE) else f"{filename}:{lineno}: {category.__name__}: "
    print(safe(f"{origin}{' '.join(str(message).split())}"), file=file or sys.stderr)
