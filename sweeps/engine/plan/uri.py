"""Tracking URIs, and what MLflow reads from the environment."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from wgan_core.data.folder import Folder
from wgan_core.errors import UserError, shortened, without_secrets

MLFLOW_FILE = "mlflow.db"

ANSWER_S = 5.0
"""How long a server may take to answer when it is first asked, in seconds."""

LONGEST = 300
"""Characters of an error that are shown."""

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    # The uploader tries again by itself, and looks before it creates; MLflow's own retries block for
    # minutes and can create a run twice.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}


class MisplacedFiles(UserError):
    """MLflow would write files to a place that the person who named the store does not expect."""


def prepare_environment() -> None:
    """Set what MLflow reads from the environment, where the person has not, and quieten its logs."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic"):
        if logging.getLogger(name).level < logging.WARNING:
            logging.getLogger(name).setLevel(logging.WARNING)


def own_tracking_uri(storage: Folder) -> str:
    """Return the MLflow store in a storage folder. Raises `UserError` if that is an object store."""
    if not storage.is_local:
        raise UserError(
            f"a sweep in an object store needs an MLflow server; {storage} is one, and none was named: give its URL "
            "with --tracking-uri"
        )
    return f"sqlite:///{storage.file(MLFLOW_FILE)}"


def is_http(uri: str) -> bool:
    """Whether a tracking URI is that of a server."""
    return uri.startswith(("http://", "https://"))


def shown(uri: str) -> str:
    """Return an address, of tracking or of a database, without the passwords that may stand in it."""
    return shortened(without_secrets(uri, uri))


def local_path(location: str) -> str | None:
    """Return the path of a location on this machine; None for any other, and where a host stands before the path."""
    parts = urlsplit(location)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return unquote(parts.path)
    return None if parts.scheme else location


def in_short(error: Exception, uri: str = "") -> str:
    """Return all that an error says, in one line of at most 300 characters, without the passwords of an address."""
    return shortened(" ".join(without_secrets(str(error), uri).split()) or type(error).__name__, LONGEST)


def answers(uri: str) -> bool:
    """Whether a server answers anything at all within `ANSWER_S`; True for a database, which needs none."""
    if not is_http(uri):
        return True
    import requests

    try:
        # Only the headers: whoever runs the server chooses how long its answer is.
        requests.get(f"{uri.rstrip('/')}/health", timeout=ANSWER_S, stream=True, allow_redirects=False).close()
    except requests.exceptions.SSLError:
        return True  # it is there; MLflow's own settings say which certificates it accepts
    except requests.exceptions.RequestException:
        return False
    return True


def database(uri: str) -> Path | None:
    """The file of a SQLite URI, absolute; None for any other."""
    scheme, _, rest = uri.partition(":///")
    name, _, query = rest.partition("?")
    if "uri=true" in query:  # then SQLite takes the name for a URI of its own
        name = name.removeprefix("file:")
    if not scheme.startswith("sqlite") or not name or name.startswith(":memory:"):
        return None
    return Path(name).absolute()


def make_room(uri: str) -> None:
    """Make the folder that a SQLite database is to lie in.

    Raises `OSError` if no database can be written there: MLflow would try again for minutes before it said so.
    """
    file = database(uri)
    if file is None:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=file.parent):  # SQLite writes a journal beside the database
            pass
        if file.exists():
            file.open("r+b").close()
    except OSError as error:
        raise OSError(f"{file} cannot be written ({error.strerror})") from error
