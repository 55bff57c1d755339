"""Errors as a person meets them: one line, without passwords and without control characters."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from urllib.parse import quote, unquote, urlsplit

HIDDEN = "***"
"""What stands for a password that is not shown."""

# `user:password@` after `://`, or at the beginning of a word: also where the scheme was left out.
_USER = re.compile(r"((?:^|(?<=[\s'\"(=]))(?:[A-Za-z][\w+.-]*://)?[^\s/:@'\"]*):(?!//)[^\s'\"]*@")
# A web address may hold a token in place of the user.
_TOKEN = re.compile(r"(https?://)[^\s/@'\"]+@")
_SECRET = r"[\w.\-]*(?:passw|passphrase|pwd|token|secret|key|auth|credential|signature|sig)[\w.\-]*"
_QUERY = re.compile(rf"([?&;]{_SECRET}=)[^&;\s#'\")]+", re.IGNORECASE)
# A shorter secret would be found inside ordinary words.
_LEAST_SECRET = 4


class UserError(ValueError):
    """Something the person asked for cannot be done.

    The message is one line: what must hold, what was given, what to do. The command line prints it
    without a traceback and exits with status 2.
    """


def one_line(error: BaseException) -> str:
    """Return an error's type and its last line, which in an error passed on from another process is the cause."""
    lines = str(error).strip().splitlines()
    said = printable(lines[-1].strip()) if lines else ""
    name = type(error).__name__
    return said if said.startswith(name) else f"{name}: {said}"


def printable(text: str, keep: str = "") -> str:
    r"""Return a text whose control characters are written out, as `\x1b` for the escape character.

    A terminal would obey them. Characters that are invisible, or change the direction of what follows, are written
    out too.

    Args:
        text: any text.
        keep: characters that stay as they are, such as the line break.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in keep else each.encode("unicode_escape").decode() for each in text
    )


def without_secrets(text: str, uri: str = "") -> str:
    """Return a text without the passwords in the addresses that it has.

    Args:
        text: any text, such as an error's.
        uri: an address whose passwords are hidden wherever they stand in the text.
    """
    for secret in sorted(_secrets(uri), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _USER.sub(rf"\1:{HIDDEN}@", text)
    text = _TOKEN.sub(lambda found: found[0] if HIDDEN in found[0] else f"{found[1]}{HIDDEN}@", text)
    return _QUERY.sub(rf"\1{HIDDEN}", text)


def _secrets(uri: str) -> set[str]:
    """Return the passwords of an address, as they stand there and as others may write them."""
    found = [match[0][len(match[1]) + 1 : -1] for match in _USER.finditer(uri)]
    found += [match[0][len(match[1]) :] for match in _QUERY.finditer(uri)]
    with suppress(ValueError):  # no address
        found += [urlsplit(uri).password or ""]
    written = {form for each in found for form in (each, unquote(each), quote(each), quote(each, safe=""))}
    return {each for each in written if len(each) >= _LEAST_SECRET}


def shortened(text: str, most: int = 300) -> str:
    """Return a text in at most so many characters, control characters written out; the middle makes way for `...`."""
    shown = printable(text if len(text) <= most else f"{text[: most - 23]}...{text[-20:]}")
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."


def quoted(text: str, most: int = 80) -> str:
    """Return a text in quotation marks as an error quotes it: cut to so many characters, no control characters."""
    shown = repr(text if len(text) <= most else f"{text[: most - 23]}...{text[-20:]}")
    return shown if len(shown) <= most + 2 else f"{shown[: most - 2]}...{shown[0]}"


def listed(texts: Iterable[str], most: int = 10) -> str:
    """Return the first of some texts, joined by commas, as `shortened` shows each."""
    shown = [shortened(text, 80) for text in islice(texts, most + 1)]
    return ", ".join([*shown[:most], "..."] if len(shown) > most else shown)
