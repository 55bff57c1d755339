"""Safe printing of text on any terminal."""

from __future__ import annotations

import codecs
import io
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast

from wgan_core.errors import printable

NAME = "sweeps.letters"
KEPT = "\n\t"
LATIN = {"λ": "l", "β": "b", "━": "-", "╸": "-", "╺": "-"}


def replace_unencodable() -> None:
    """Make stdout and stderr replace letters that they cannot encode by similar letters or `?`, instead of failing."""
    codecs.register_error(NAME, _latin)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors=NAME)


@contextmanager
def escaped() -> Iterator[None]:
    """Make stdout and stderr escape control characters, such as `\\x1b`, which a name or a reason may hold."""
    with redirect_stdout(cast("TextIO", _Escaped(sys.stdout))), escaped_errors(bars=False):
        yield


@contextmanager
def escaped_errors(before: TextIO | None = None, bars: bool = True) -> Iterator[None]:
    """Make stderr escape control characters, and with it the logging handlers of all libraries.

    A handler keeps the stream that it was created with, so replacing `sys.stderr` alone does not redirect it.

    Args:
        before: The stream of these handlers; None for stderr.
        bars: Whether progress bars stay readable, such as those of a user's script.
    """
    stream, before = cast("TextIO", _Escaped(sys.stderr, bars)), before or sys.stderr
    loggers = [logging.getLogger(), *map(logging.getLogger, tuple(logging.root.manager.loggerDict))]
    moved = [
        handler
        for logger in loggers
        for handler in logger.handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is before
    ]
    for handler in moved:
        handler.setStream(stream)
        # The codes of colours would be written out too.
        if type(handler.formatter).__module__.startswith("colorlog"):
            handler.setFormatter(logging.Formatter("[%(levelname)s] %(message)s"))
    try:
        with redirect_stderr(stream):
            yield
    finally:
        for handler in moved:
            handler.setStream(before)


class _Escaped:
    """A stream that escapes control characters and writes to another stream.

    With `bars`, a text that begins with a carriage return and has no line break keeps it, as a progress bar needs.
    """

    def __init__(self, stream: TextIO, bars: bool = False) -> None:
        self._stream, self._bars = stream, bars

    def write(self, text: str) -> int:
        bar = "\r" if self._bars and text.startswith("\r") and "\n" not in text else ""
        self._stream.write(bar + printable(text[len(bar) :], KEPT))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _latin(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(LATIN.get(each, "?") for each in error.object[error.start : error.end]), error.end


def put(text: str) -> None:
    """Print a text at once, with control characters escaped.

    If the reader is gone (`head`, a closed terminal), the sweep continues without output.
    """
    try:
        print(printable(text, KEPT), flush=True)
    except OSError:
        discard_output()


def discard_output() -> None:
    """Discard everything printed to stdout from now on, including Python's own flush at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
