"""Addresses of MLflow stores and databases, and the environment variables that MLflow reads."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from wgan_core.data.folder import Folder
from wgan_core.errors import UserError, quoted, shortened, without_secrets

MLFLOW_FILE = "mlflow.db"

NOT_RECORDED = "none"
"""Tracking URI of a sweep that is not recorded in MLflow."""

ANSWER_S = 5.0
"""Longest wait for a server's first answer, in seconds."""

_PORTS = {"postgresql": 5432, "mysql": 3306}

LONGEST = 300
"""Largest number of characters of an error to show."""

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    # The uploader retries by itself, and looks for a run before it creates one. MLflow's own retries block for minutes,
    # and can create a run twice.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    # A server could otherwise have the password that `.netrc` holds for another host sent to that host.
    "MLFLOW_ALLOW_HTTP_REDIRECTS": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}


class MisplacedFiles(UserError):
    """An MLflow store would write files to a place that the user, who named the store, does not expect."""


def prepare_environment() -> None:
    """Set the environment variables of MLflow that the user has not set, and silence its logs below warnings."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic"):
        if logging.getLogger(name).level < logging.WARNING:
            logging.getLogger(name).setLevel(logging.WARNING)


def own_tracking_uri(storage: Folder) -> str:
    """Return the URI of the MLflow database in a storage. Raise `UserError` if the storage is an object store."""
    if not storage.is_local:
        raise UserError(
            f"a sweep in an object store needs an MLflow server; {storage} is one, and none was named: give its URL "
            "with --tracking-uri"
        )
    return sqlite_uri(storage.file(MLFLOW_FILE))


def sqlite_uri(file: str) -> str:
    """Return the URI of a SQLite file.

    Raises:
        UserError: The path has a question mark or a hash sign. What follows either is no longer part of the path for
            the libraries that read the URI, so they would open another file than the one that was checked.
    """
    if "?" in file or "#" in file:
        raise UserError(
            f"the path of a local storage must have no '?' and no '#'; given {quoted(os.path.dirname(file), LONGEST)}: "
            "rename the folder, or name another with --storage"
        )
    return f"sqlite:///{file.replace('%', '%25')}"  # SQLAlchemy takes `%20` in a path for a space


def is_http(uri: str) -> bool:
    """Return whether a tracking URI names a server."""
    return uri.startswith(("http://", "https://"))


def shown(uri: str) -> str:
    """Return a tracking or database URI without passwords, shortened for messages."""
    return shortened(without_secrets(uri, uri))


def local_path(location: str) -> str | None:
    """Return the path of a location on this machine; None for another scheme or another host."""
    parts = urlsplit(location)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return unquote(parts.path)
    return None if parts.scheme else location


def in_short(error: Exception, uri: str = "") -> str:
    """Return an error's message in one line of at most `LONGEST` characters, without the passwords of `uri`."""
    return shortened(" ".join(without_secrets(str(error), uri).split()) or type(error).__name__, LONGEST)


def answers(uri: str) -> bool:
    """Return whether a server answers within `ANSWER_S`; True for a database file, which needs no server."""
    if not is_http(uri):
        return _listens(uri)
    import requests

    try:
        # Read only the headers, as a server can send an answer of any length.
        requests.get(f"{uri.rstrip('/')}/health", timeout=ANSWER_S, stream=True, allow_redirects=False).close()
    except requests.exceptions.SSLError:
        return True  # The server is there. MLflow's settings decide whether to accept its certificate.
    except requests.exceptions.RequestException:
        return False
    return True


def _listens(uri: str) -> bool:
    """Return whether a database server listens at its port; True for other URIs. MLflow retries for a minute."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        at = make_url(uri)
        port = at.port or _PORTS.get(at.get_backend_name())
        if at.host and port and not set(at.host) & set(",/"):  # several hosts, or a socket
            socket.create_connection((at.host, port), timeout=ANSWER_S).close()
    except OSError:
        return False
    except (ArgumentError, ValueError):  # MLflow says what is wrong with it
        return True
    return True


def database(uri: str) -> Path | None:
    """Return the absolute path of a SQLite URI's file; None for any other URI, and for a database in memory."""
    scheme, _, rest = uri.partition(":///")
    name, _, query = rest.partition("?")
    if "uri=true" in query:  # SQLite then reads the name as a URI.
        name = unquote(name.removeprefix("file:"))
    if not scheme.startswith("sqlite") or not name or name.startswith(":memory:"):
        return None
    return Path(unquote(name)).absolute()  # as SQLAlchemy reads it


def make_room(uri: str) -> None:
    """Create the folder of a SQLite database, and check that the database can be written. Ignore other URIs.

    MLflow would retry for minutes before it reported the error.

    Raises:
        OSError: The database cannot be written.
    """
    file = database(uri)
    if file is None:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=file.parent):  # SQLite needs to write a journal beside the database.
            pass
        if file.exists():
            file.open("r+b").close()
    except OSError as error:
        raise OSError(f"{shortened(str(file))} cannot be written ({error.strerror})") from error
