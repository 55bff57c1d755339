"""A comparison of the trials' records with their uploads to MLflow."""

from __future__ import annotations

from dataclasses import dataclass

from sweeps.engine.storage.history import History
from sweeps.engine.storage.layout import trial_folder
from sweeps.engine.tracking import read_cursor
from wgan_core.data.folder import Folder
from wgan_core.errors import one_line


@dataclass(frozen=True)
class UploadStatus:
    """The upload of one trial's records.

    Attributes:
        label: The trial's label.
        run_id: Its MLflow run, if it has one.
        recorded: Number of its records.
        waiting: Names of the records that MLflow does not have yet.
        missing: Files that could not be read or uploaded.
        dropped: Number of values that were not uploaded because they are not finite, by metric.
        problem: Why the trial's upload cursor cannot be read, or empty.
    """

    label: str
    run_id: str | None
    recorded: int
    waiting: list[str]
    missing: list[str]
    dropped: dict[str, int]
    problem: str = ""

    @property
    def is_whole(self) -> bool:
        return not (self.waiting or self.missing or self.dropped or self.problem)


def read_upload_status(folder: Folder, history: History) -> UploadStatus:
    """Return how far a trial's upload has come, according to its upload cursor.

    Args:
        folder: The sweep's folder.
        history: The trial's records.
    """
    label, names = history.label, list(history.segments)
    try:
        cursor = read_cursor(trial_folder(folder, label))
    except OSError as error:
        return UploadStatus(label, None, len(names), names, [], {}, one_line(error))
    uploaded = set(cursor.uploaded)
    waiting = [name for name in names if name not in uploaded]
    return UploadStatus(label, cursor.run_id, len(names), waiting, list(cursor.missing), dict(cursor.dropped))
