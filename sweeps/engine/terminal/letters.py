"""Greek letters, on a stream whose encoding has none."""

from __future__ import annotations

import codecs
import io
import sys

NAME = "sweeps.letters"
LATIN = {"λ": "l", "β": "b", "━": "-", "╸": "-", "╺": "-"}


def spell_out() -> None:
    """Have stdout and stderr write what they cannot encode as a letter like it, or `?`, instead of failing."""
    codecs.register_error(NAME, _latin)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors=NAME)


def _latin(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(LATIN.get(each, "?") for each in error.object[error.start : error.end]), error.end
