"""An MLflow client that writes files only to places that the user of the store can expect.

A store itself records where the files of its experiments, runs and models lie. Its author can therefore name any place,
such as a folder of the user, or a server that would then receive the user's credentials.
"""

from __future__ import annotations

import os
import re
import shlex
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mlflow import MlflowClient

from sweeps.engine.plan.uri import MisplacedFiles, database, is_http, local_path, shown, sqlite_uri
from wgan_core.data.folder import Folder

if TYPE_CHECKING:
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

# Object stores whose client sends no password or token to the owner of the bucket.
_BUCKETS = ("s3", "gs")
# Folders for a database's files: this package's choice, and MLflow's own.
_FOLDERS = ("mlartifacts", "mlruns")
# A run's or model's id, which is also the name of its folder.
_MOST_LISTED = 100
_OWNER = re.compile(r"(m-)?[0-9a-f]{32}")


class Client(MlflowClient):
    """An MLflow client of one store that checks each place before it writes files there.

    Args:
        uri: Tracking URI of the store, as the user gave it.
    """

    def __init__(self, uri: str) -> None:
        super().__init__(tracking_uri=uri, registry_uri=uri)
        self._store_uri = uri
        self._locations: dict[str, str] = {}

    def log_artifacts(self, run_id: str, local_dir: str, artifact_path: str | None = None) -> None:
        """Copy a folder's files to a run, below `artifact_path`.

        Raises:
            MisplacedFiles: The run's artifacts lie in a place that is not allowed.
        """
        if run_id not in self._locations:
            self._locations[run_id] = self.get_run(run_id).info.artifact_uri or ""
        place = self._place(self._locations[run_id], run_id)
        if place is None:
            self._repository(self._locations[run_id]).log_artifacts(local_dir, artifact_path)
        else:
            _copy(Path(local_dir), _below(place, artifact_path or ""))

    def log_model_artifacts(self, model_id: str, local_dir: str, artifact_path: str | None = None) -> None:
        """Copy a folder's files to a model, below `artifact_path`.

        Delete all earlier files of the model's folder first if it is local, because loading a model imports code there.

        Raises:
            MisplacedFiles: The model's artifacts lie in a place that is not allowed.
        """
        location = self.get_logged_model(model_id).artifact_location
        place = self._place(location, model_id)
        if place is None:
            self._repository(location).log_artifacts(local_dir, artifact_path)
            return
        if not model_id.startswith("m-"):  # Model ids begin with m-, run ids do not.
            raise MisplacedFiles(
                f"a model's id must begin with m-; given {shown(model_id)}: give another --tracking-uri"
            )
        above, _, name = place.path.rpartition("/")
        Folder(place.filesystem, above, place.root).delete(name)
        _copy(Path(local_dir), _below(place, artifact_path or ""))

    def other_model_files(self, model_id: str, local_dir: str) -> list[str]:
        """Return at most 100 files that a model on a server has and the folder `local_dir` lacks.

        For a local model the list is empty, because `log_model_artifacts` deletes its files before it writes.
        """
        location = self.get_logged_model(model_id).artifact_location
        if self._place(location, model_id) is not None:
            return []
        repository, ours = self._repository(location), Path(local_dir)
        found: list[str] = []
        folders: list[str | None] = [None]
        for _ in range(_MOST_LISTED):
            if not folders or len(found) >= _MOST_LISTED:
                break
            for each in repository.list_artifacts(folders.pop()):
                if each.is_dir and (ours / each.path).is_dir():
                    folders.append(each.path)
                elif each.is_dir or not (ours / each.path).is_file():
                    found.append(each.path)
        return found[:_MOST_LISTED]

    def _repository(self, location: str) -> ArtifactRepository:
        """Return MLflow's repository of the files at a location that `_place` has allowed.

        MLflow's own methods would ask the server for the location again, and the server could answer another one.
        """
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(location, tracking_uri=self._store_uri)

    def _place(self, location: str, owner: str) -> Folder | None:
        """Return the local folder to write to, or None if MLflow itself may write to the location.

        These places are allowed:

        - database file: `mlartifacts` or `mlruns` beside it;
        - other database: `mlartifacts` or `mlruns` in the current folder, or a bucket;
        - server: the server itself, or a bucket.

        A local folder must bear the name of its run or model, so that files of other runs cannot be replaced.

        Args:
            location: The artifact location that the store records.
            owner: Id of the run or model.

        Raises:
            MisplacedFiles: The location is not allowed.
        """
        parts, file = urlsplit(location), database(self._store_uri)
        root = None if file is None else file.parent
        if file is not None or not is_http(self._store_uri):
            found = (_within(location, root or Path.cwd(), name) for name in _FOLDERS)
            place = next((each for each in found if each is not None), None)
            if place is not None and _OWNER.fullmatch(owner) and place.path.endswith(f"/{owner}/artifacts"):
                return place
        is_own = is_http(self._store_uri) and parts.netloc in ("", urlsplit(self._store_uri).netloc)
        if (parts.scheme == "mlflow-artifacts" and is_own) or (parts.scheme in _BUCKETS and file is None):
            return None
        if file is not None:
            raise MisplacedFiles(
                f"a database's MLflow files must lie in {root}/{_FOLDERS[0]}, each run's and model's in a folder "
                f"of its own; those of {shown(owner)} are at {shown(location)}, as after a move or copy: give "
                f"--tracking-uri {shlex.quote(_new_database(file))}, a new database, into which the same command "
                "brings all records"
            )
        raise MisplacedFiles(
            f"an MLflow store must take files itself, or keep them in an s3:// or gs:// bucket; "
            f"{shown(self._store_uri)} has those of this sweep at {shown(location)}: start a server with "
            "--artifacts-destination, and give the sweep another --name"
        )


def _new_database(beside: Path) -> str:
    """Return the URI of a database that does not exist yet, beside another."""
    free = (beside.with_name(f"{beside.stem}-{number}{beside.suffix}") for number in count(2))
    return sqlite_uri(str(next(file for file in free if not file.exists())))


def _within(location: str, above: Path, name: str) -> Folder | None:
    """Return the folder at a location if it lies below `above / name`, else None.

    Links in the path of `above` are followed. `Folder` refuses links below it, and so `name` cannot be one.
    """
    path = local_path(location)
    if path is None or not os.path.isabs(path) or ".." in Path(path).parts:
        return None
    for folder in Path(path).parents:
        with suppress(OSError):
            below = Path(path).relative_to(folder).parts
            if below[0] == name and len(below) > 1 and os.path.samefile(folder, above):
                return _below(Folder.at(os.path.realpath(above)), "/".join(below))
    return None


def _below(folder: Folder, path: str) -> Folder:
    for name in path.split("/"):
        folder = folder / name if name else folder
    return folder


def _copy(source: Path, target: Folder) -> None:
    """Copy a folder's files, and delete what a killed uploader left half-written in the same folders."""
    for path in sorted(source.rglob("*")):
        if path.is_file():
            parent = path.parent.relative_to(source).as_posix()
            folder = _below(target, "" if parent == "." else parent)
            folder.delete_parts()
            folder.write(path.name, path.read_bytes())
