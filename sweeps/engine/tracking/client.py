"""An MLflow client that writes files only where the person who named the store may expect them.

A store says by itself where the files of its experiments, runs and models lie. Whoever wrote a database, or may write
to a server, can name any place: a folder of the user's, or a server that would be sent the user's credentials.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from mlflow import MlflowClient

from sweeps.engine.plan.uri import MisplacedFiles, database, is_http, local_path, shown
from wgan_core.data.folder import Folder

# Object stores whose client sends no password or token to whoever owns the bucket.
_BUCKETS = ("s3", "gs")
# Where this package, and MLflow itself, put the files of a database; and what they call the folder of a run or model.
_FOLDERS = ("mlartifacts", "mlruns")
_OWNER = re.compile(r"(m-)?[0-9a-f]{32}")


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
        """Copy a folder's files to a run, below `artifact_path`. Raises `MisplacedFiles` if the place is not allowed."""
        if run_id not in self._locations:
            self._locations[run_id] = self.get_run(run_id).info.artifact_uri or ""
        place = self._place(self._locations[run_id], run_id)
        if place is None:
            super().log_artifacts(run_id, local_dir, artifact_path)
        else:
            _copy(Path(local_dir), _below(place, artifact_path or ""))

    def log_model_artifacts(self, model_id: str, local_dir: str, artifact_path: str | None = None) -> None:
        """Copy a folder's files to a model, below `artifact_path`. Raises `MisplacedFiles` as `log_artifacts` does.

        What lay in the model's folder before is deleted: whoever loads a model imports from it.
        """
        place = self._place(self.get_logged_model(model_id).artifact_location, model_id)
        if place is None:
            super().log_model_artifacts(model_id, local_dir, artifact_path)
            return
        if not model_id.startswith("m-"):  # MLflow's ids of models do, and those of runs do not
            raise MisplacedFiles(
                f"a model's id must begin with m-; given {shown(model_id)}: give another --tracking-uri"
            )
        above, _, name = place.path.rpartition("/")
        Folder(place.filesystem, above, place.root).delete(name)
        _copy(Path(local_dir), _below(place, artifact_path or ""))

    def _place(self, location: str, owner: str) -> Folder | None:
        """Return the local folder at a location; None for one that MLflow writes to itself.

        A database file has its files beside it in `mlartifacts`, another database in `mlruns` of the current folder,
        which is MLflow's own choice, or in a bucket. A server takes them itself, or has them in a bucket. The folder
        has the name of the run or model that owns it, so that no other one's files are replaced.
        """
        parts, file = urlsplit(location), database(self._store_uri)
        root = None if file is None else file.parent
        if file is not None or not is_http(self._store_uri):
            found = (_within(location, Path(root or "", name).absolute()) for name in _FOLDERS)
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
                "--tracking-uri sqlite:///FILE of a new database, into which the same command brings all records"
            )
        raise MisplacedFiles(
            f"an MLflow store must take files itself, or keep them in an s3:// or gs:// bucket; "
            f"{shown(self._store_uri)} has those of this sweep at {shown(location)}: start a server with "
            "--artifacts-destination, and give the sweep another --name"
        )


def _within(location: str, folder: Path) -> Folder | None:
    """Return the folder at a location that is below another one, links resolved; None for any other location."""
    path = local_path(location)
    if path is None or not os.path.isabs(path):
        return None
    path, root = os.path.realpath(path), os.path.realpath(folder)
    return _below(Folder.at(root), path[len(root) :]) if path.startswith(f"{root.rstrip('/')}/") else None


def _below(folder: Folder, path: str) -> Folder:
    for name in path.split("/"):
        folder = folder / name if name else folder
    return folder


def _copy(source: Path, target: Folder) -> None:
    for path in sorted(source.rglob("*")):
        if path.is_file():
            parent = path.parent.relative_to(source).as_posix()
            _below(target, "" if parent == "." else parent).write(path.name, path.read_bytes())
