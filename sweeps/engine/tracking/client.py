"""An MLflow client that writes files only where the person who named the store may expect them.

A store says by itself where the files of its experiments, runs and models lie. Whoever wrote a database, or may write
to a server, can name any place: a folder of the user's, or a server that would be sent the user's credentials.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlflow import MlflowClient

from sweeps.engine.tracking.uri import database, is_http, shown
from wgan_core.errors import UserError
from wgan_core.folder import Folder

# To these MLflow's client sends the credentials of the tracking server, or of the URI.
_NEVER = ("http", "https", "ftp", "sftp", "mlflow-artifacts")


class Client(MlflowClient):
    """MLflow's client of one store, with a check of each place that files are written to.

    Args:
        uri: the address of the store, as the user gave it.
    """

    def __init__(self, uri: str) -> None:
        super().__init__(tracking_uri=uri, registry_uri=uri)
        self._store_uri = uri
        self._locations: dict[str, str] = {}

    def log_artifacts(self, run_id: str, local_dir: str, artifact_path: str | None = None) -> None:
        """Copy a folder's files to a run, below `artifact_path`. Raises `UserError` for a place that is not allowed."""
        if run_id not in self._locations:
            self._locations[run_id] = self.get_run(run_id).info.artifact_uri or ""
        place = self._place(self._locations[run_id])
        if place is None:
            super().log_artifacts(run_id, local_dir, artifact_path)
        else:
            _copy(Path(local_dir), _below(place, artifact_path or ""))

    def log_model_artifacts(self, model_id: str, local_dir: str, artifact_path: str | None = None) -> None:
        """Copy a folder's files to a model, below `artifact_path`. Raises `UserError` as `log_artifacts` does."""
        place = self._place(self.get_logged_model(model_id).artifact_location)
        if place is None:
            super().log_model_artifacts(model_id, local_dir, artifact_path)
        else:
            _copy(Path(local_dir), _below(place, artifact_path or ""))

    def _place(self, location: str) -> Folder | None:
        """Return the local folder at a location; None for one that MLflow writes to itself.

        A database file keeps its files beside it. A server takes them itself or has them in an object store.
        """
        parts, file = urlsplit(location), database(self._store_uri)
        if file is not None:
            place = _within(location, file.parent)
            if place is None:
                raise UserError(
                    f"the files of an MLflow database must lie in its folder, {file.parent}; {shown(self._store_uri)} "
                    f"has them at {shown(location)}, as after a move or copy: give --tracking-uri sqlite:///FILE of a "
                    "new database, into which the same command brings all records"
                )
            return place
        own_server = is_http(self._store_uri) and parts.netloc in ("", urlsplit(self._store_uri).netloc)
        if parts.scheme == "mlflow-artifacts" and own_server:
            return None
        if parts.scheme in _NEVER or (is_http(self._store_uri) and _local_path(location) is not None):
            raise UserError(
                f"an MLflow server must take files itself, or keep them in an object store; {shown(self._store_uri)} "
                f"has those of this sweep at {shown(location)}: start it with --artifacts-destination, and give the "
                "sweep another --name"
            )
        return None


def _local_path(location: str) -> str | None:
    """Return the path of a location on this machine; None for any other."""
    parts = urlsplit(location)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return unquote(parts.path)
    return None if parts.scheme else location


def _within(location: str, folder: Path) -> Folder | None:
    """Return the folder at a location that is below another one; None for any other location."""
    path = _local_path(location)
    if path is None or not os.path.isabs(path):
        return None
    path = os.path.normpath(path)
    for root in (os.path.abspath(folder), os.path.realpath(folder)):
        if path.startswith(f"{root.rstrip('/')}/"):
            return _below(Folder.at(root), path[len(root) :])
    return None


def _below(folder: Folder, path: str) -> Folder:
    for name in path.split("/"):
        folder = folder / name if name else folder
    return folder


def _copy(source: Path, target: Folder) -> None:
    for path in sorted(source.rglob("*")):
        if path.is_file():
            parent = path.parent.relative_to(source).as_posix()
            _below(target, "" if parent == "." else parent).write(path.name, path.read_bytes())
