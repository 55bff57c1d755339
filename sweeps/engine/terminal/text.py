"""Text that any terminal can show, and where it goes."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast

from wgan_core.errors import printable

NAME = "sweeps.letters"
KEPT = "\n\t"
LATIN = {"λ": "l", "β": "b", "━": "-", "╸": "-", "╺": "-"}


def spell_out() -> None:
    """Have stdout and stderr write what they cannot encode as a letter like it, or `?`, instead of failing."""
    codecs.register_error(NAME, _latin)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors=NAME)


@contextmanager
def escaped() -> Iterator[None]:
    """Have stdout and stderr write control characters out, as `\\x1b`: a name or a reason may hold some."""
    with redirect_stdout(cast("TextIO", _Escaped(sys.stdout))), redirect_stderr(cast("TextIO", _Escaped(sys.stderr))):
        yield


class _Escaped:
    """A stream in front of another."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(printable(text, KEPT))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _latin(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(LATIN.get(each, "?") for each in error.object[error.start : error.end]), error.end


def put(text: str) -> None:
    """Print at once, with control characters written out.

    A reader that has gone, as `head` or a terminal that is closed, ends no sweep.
    """
    try:
        print(printable(text, KEPT), flush=True)
    except OSError:
        fall_silent()


def fall_silent() -> None:
    """Send what is printed from now on nowhere, and what Python itself flushes at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
