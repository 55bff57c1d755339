"""Check of the MLflow store: it must answer, and accept this user's credentials."""

from __future__ import annotations

import importlib.metadata
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from sweeps.engine.doctor.check import Check, failed, ok, refused, warning
from sweeps.engine.plan.sqlite_file import check_database
from sweeps.engine.plan.uri import ANSWER_S, NOT_RECORDED, database, is_http, make_room, own_tracking_uri, shown
from sweeps.engine.tracking import ServerUnreachable, connect, credentials_sent
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError, one_line, without_secrets

OTHER = "check --tracking-uri (or MLFLOW_TRACKING_URI)"


_VERSION_BYTES = 100  # Longer than any version. A server can send an answer of any length, so only this much is read.


def check_tracking(uri: str | None, storage: Folder) -> list[Check]:
    """Check the MLflow store at a URI. None stands for the database file in the storage."""
    if uri == NOT_RECORDED:
        return ok("tracking", f"{NOT_RECORDED}: sweeps are not recorded in MLflow")
    try:
        uri = uri or own_tracking_uri(storage)
        file = database(uri)
        return _server(uri) if file is None else _file(file, uri)
    except UserError as error:
        return refused("tracking", error)


def _file(file: Path, uri: str) -> list[Check]:
    check_database(file)
    try:
        if file.parent.is_dir():  # Otherwise `make_room` would create it.
            make_room(uri)
    except OSError as error:
        return failed("tracking", str(error), f"let this user write there, or {OTHER}")
    if not file.exists():
        return ok("tracking", f"{file}, which the first sweep makes")
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True, timeout=ANSWER_S)) as store:
            (count,) = store.execute("SELECT COUNT(*) FROM experiments").fetchone()
    except sqlite3.Error as error:
        return failed("tracking", f"{file}: {one_line(error)}", f"it must be MLflow's database: {OTHER}")
    return ok("tracking", f"{file}, {count} experiments")


def _server(uri: str) -> list[Check]:
    """Open the store as a sweep does. Explain a refusal further: by which name or with whose password."""
    try:
        connect(uri)
    except ServerUnreachable as error:
        if error.__cause__ is None:  # It does not answer.
            raise
        if "Invalid Host header" in str(error.__cause__):
            return failed("tracking", f"{shown(uri)} knows itself by another name", "give the server --allowed-hosts")
        return failed("tracking", f"{shown(uri)} refuses {credentials_sent()}", REMEDY)
    except UserError:
        raise
    except Exception as error:  # MLflow, database libraries and requests have errors of their own.
        return failed("tracking", f"{shown(uri)}: {without_secrets(one_line(error), uri)}", OTHER)
    return _version(uri) if is_http(uri) else ok("tracking", shown(uri))


REMEDY = (
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, or write "
    "~/.mlflow/credentials ([mlflow], mlflow_tracking_username = ..., mlflow_tracking_password = ...)"
)


def _version(uri: str) -> list[Check]:
    import requests
    import urllib3

    try:
        # `requests` would send a password of ~/.netrc to the host that a redirect names.
        address = f"{uri.rstrip('/')}/version"
        with requests.get(address, timeout=ANSWER_S, stream=True, allow_redirects=False) as answer:
            there = answer.raw.read(_VERSION_BYTES).decode("ascii", "replace").strip()
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError):
        there = ""
    here = importlib.metadata.version("mlflow")
    if not there[:1].isdecimal():  # A proxy that asks for a password answered instead.
        return ok("tracking", f"{shown(uri)} lets us in; its version is not told")
    if there.split(".")[:2] == here.split(".")[:2]:
        return ok("tracking", f"{shown(uri)} lets us in, MLflow {there}")
    return warning("tracking", f"{shown(uri)} has MLflow {there}, this node {here}", "give both the same x.y")
