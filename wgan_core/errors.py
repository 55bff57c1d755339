"""Error messages for people: one line, without passwords and without control characters."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable
from itertools import islice
from urllib.parse import quote, unquote

HIDDEN = "***"
"""Replacement for a hidden password."""

MOST = 2_000
"""Maximum characters of an error that are shown; text from a file may be megabytes long."""

# Match `user:password@` after `://`, or at the beginning of a word if the address has no scheme. All lengths are
# bounded, because a text from a file could otherwise keep these expressions busy for hours.
_USER = re.compile(r"((?:^|(?<=[\s'\"(=/]))(?:[A-Za-z][\w+.-]{0,40}://)?[^\s/:@'\"]{0,200}):(?!//)[^\s'\"]{0,300}@")
# The same in an address that is known to be one: its password may have any characters and any length.
_OF_ADDRESS = re.compile(r"(?:^|/)[^/:@]{0,200}:(?!//)(.*)@", re.DOTALL)
# A web address may hold a token in place of the user.
_TOKEN = re.compile(r"(https?://)[^\s/@'\"]{1,2000}@", re.IGNORECASE)
_NAMED = r"passw|passphrase|pwd|token|secret|api_?key|access_?key|credential"
_VALUE = r"(?:'[^']{0,500}'|\"[^\"]{0,500}\"|[^&;\s#'\")]{1,2000})"
_QUERY_NAMED = rf"{_NAMED}|key|auth|sig|sas|code|pass|jwt|pat|bearer|odbc_connect"
_QUERY = re.compile(rf"([?&;#][\w.\-]{{0,40}}(?:{_QUERY_NAMED})[\w.\-]{{0,40}}=){_VALUE}", re.IGNORECASE)
# PostgreSQL's client writes an address as `host=... password=...`.
_WORD = re.compile(rf"(\b\w{{0,40}}(?:{_NAMED})\w{{0,40}}\s?=\s?){_VALUE}", re.IGNORECASE)
# The header of a request that a server refused, as errors quote it.
_HEADER = re.compile(r"\b(Bearer|Basic)\s+[^\s'\"]{1,2000}", re.IGNORECASE)
# Variables of the environment that hold a secret of the user's.
_VARIABLES = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD", "RAY_AUTH_TOKEN", "PGPASSWORD")
# Shorter secrets are not replaced, because they also occur inside ordinary words.
_LEAST_SECRET = 4


class UserError(ValueError):
    """Error for a request that cannot be carried out.

    The message is one line: what must hold, what was given, what to do. The command line prints it
    without a traceback and exits with status 2.
    """


def one_line(error: BaseException) -> str:
    """Return an error's type and the last line of its message.

    If an error comes from another process, its last line is the cause. A long line loses its middle.
    """
    lines = str(error).strip().splitlines()
    said = shortened(lines[-1].strip(), MOST) if lines else ""
    name = printable(type(error).__name__)
    return said if said.startswith(name) else f"{name}: {said}"


def printable(text: str, keep: str = "") -> str:
    r"""Return a text with its control characters written out, e.g. `\x1b` for the escape character.

    A terminal would obey control characters. Invisible characters, and characters that change the text direction, are
    written out too.

    Args:
        text: Any text.
        keep: Characters to leave as they are, such as the line break.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in keep else each.encode("unicode_escape").decode() for each in text
    )


def without_secrets(text: str, uri: str = "") -> str:
    """Return a text with the passwords and tokens of its addresses, and those of the environment, hidden.

    Args:
        text: Any text, such as an error message.
        uri: An address. Its passwords and tokens are hidden wherever the text contains them.
    """
    for password in _passwords(uri):
        text = text.replace(f":{password}@", f":{HIDDEN}@")
        # A library may take a password to end at its first @, and what follows for the host.
        for at in (place for place, each in enumerate(password) if each == "@"):
            text = text.replace(f"{password[at + 1 :]}@", f"{HIDDEN}@")
    for secret in sorted(_secrets(uri), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    for secret in (os.environ.get(name, "").strip() for name in _VARIABLES):
        if len(secret) >= _LEAST_SECRET:
            text = text.replace(secret, HIDDEN)
    text = _HEADER.sub(rf"\1 {HIDDEN}", text)
    text = _USER.sub(rf"\1:{HIDDEN}@", text)
    text = _TOKEN.sub(lambda found: found[0] if HIDDEN in found[0] else f"{found[1]}{HIDDEN}@", text)
    return _WORD.sub(rf"\1{HIDDEN}", _QUERY.sub(rf"\1{HIDDEN}", text))


def _passwords(uri: str) -> list[str]:
    """Return every part of an address that may be a password, whatever characters it has."""
    rest = uri.partition("://")[2] or uri
    host, found = re.split(r"[/?#]", rest, maxsplit=1)[0], []
    if "@" in host:
        found = [host.rpartition("@")[0].partition(":")[2]]
    found += [match[0][len(match[1]) + 1 : -1] for match in _USER.finditer(uri)]
    found += [whole[1]] if "@" in uri and (whole := _OF_ADDRESS.search(uri)) else []
    return [each for each in found if each]


def _secrets(uri: str) -> set[str]:
    """Return the secrets of an address, each as written there, URL-quoted and URL-unquoted."""
    found = [part for each in _passwords(uri) for part in (each, *each.split("@")[1:])]
    for pattern in (_QUERY, _WORD):
        found += [match[0][len(match[1]) :].strip("'\"") for match in pattern.finditer(uri)]
    written = {form for each in found for form in (each, unquote(each), quote(each), quote(each, safe=""))}
    return {each for each in written if len(each) >= _LEAST_SECRET}


def shortened(text: str, most: int = 300) -> str:
    """Return a text in at most `most` characters, with control characters written out and `...` in its middle."""
    shown = printable(text if len(text) <= most else f"{text[: most - 23]}...{text[-20:]}")
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."


def quoted(text: str, most: int = 80) -> str:
    """Return a text in quotation marks, with at most `most` characters between them and no control characters."""
    shown = repr(text if len(text) <= most else f"{text[: most - 23]}...{text[-20:]}")
    return shown if len(shown) <= most + 2 else f"{shown[: most - 2]}...{shown[0]}"


def as_argument(names: Iterable[str]) -> str:
    """Return names as one argument of an option that takes names separated by commas, for a shell.

    A name with a comma or a quotation mark is quoted as CSV does.
    """
    quoted_names = ('"' + name.replace('"', '""') + '"' if set(name) & set(',"') else name for name in names)
    return shlex.quote(shortened(printable(",".join(quoted_names)), MOST // 4))


def listed(texts: Iterable[str], most: int = 10) -> str:
    """Join the first `most` texts by commas, each cut to 80 characters, and add `...` if there are more."""
    shown = [shortened(text, 80) for text in islice(texts, most + 1)]
    return ", ".join([*shown[:most], "..."] if len(shown) > most else shown)
