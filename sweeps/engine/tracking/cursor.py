"""A trial's upload cursor: how far the upload of its records to MLflow has come."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field

from sweeps.engine.storage.layout import IMAGE
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError

CURSOR_FILE = "mlflow.json"
INTERRUPTED = "interrupted"
"""Value of `UploadCursor.end` for a trial that had not ended when the sweep stopped."""

# An MLflow id or model URI. The sweep's description shows a model URI inside Python code, so it must be harmless.
_ID = re.compile(r"[\w:/-]{1,200}", re.ASCII)


@dataclass
class UploadCursor:
    """A record of how far a trial's upload to MLflow has come.

    Attributes:
        run_id: The trial's MLflow run.
        model_id: Id of the trial's MLflow model.
        model_uri: URI of the trial's MLflow model.
        uploaded: Names of the uploaded segments.
        end: The `EndRecord.mark` of the uploaded end, `INTERRUPTED`, or empty.
        best: Lowest objective so far.
        last_image: File name of the last uploaded sample image.
        counts: Number of points that MLflow should have, by metric.
        latest: Last value that MLflow should have, by metric.
        dropped: Number of values that were not uploaded because they are not finite, by metric.
        missing: Files that could not be read or uploaded.
    """

    run_id: str | None = None
    model_id: str | None = None
    model_uri: str | None = None
    uploaded: list[str] = field(default_factory=list)
    end: str = ""
    best: float | None = None
    last_image: str | None = None
    counts: dict[str, int] = field(default_factory=dict)
    latest: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        return self.end not in ("", INTERRUPTED)

    def copy(self) -> UploadCursor:
        """Return a copy to change, so that a failed upload leaves this cursor as it was."""
        return UploadCursor(**asdict(self))

    def dropped_tag(self) -> dict[str, str]:
        """Return the tag that counts the values that were not uploaded, by metric."""
        said = ", ".join(f"{key}: {count} not finite" for key, count in sorted(self.dropped.items()))
        return {"metrics.dropped": said} if said else {}

    def count(self, key: str, value: float) -> None:
        """Note a point of a metric that MLflow should have as its last one."""
        self.counts[key] = self.counts.get(key, 0) + 1
        self.latest[key] = repr(value)

    def miss(self, name: str) -> None:
        """Note a file that could not be read or uploaded."""
        self.missing = sorted({*self.missing, name})


def read_cursor(folder: Folder) -> UploadCursor:
    """Read a trial's upload cursor. If there is no valid one, return an empty one: then all is uploaded again."""
    try:
        cursor = UploadCursor(**folder.json(CURSOR_FILE))
        return cursor if _is_valid(cursor) else UploadCursor()
    except UserError:
        raise
    except (FileNotFoundError, TypeError, ValueError):
        return UploadCursor()


def _is_valid(cursor: UploadCursor) -> bool:
    texts = {_ID: (cursor.run_id, cursor.model_id, cursor.model_uri), IMAGE: (cursor.last_image,)}
    return (
        all(each is None or form.fullmatch(each) for form, given in texts.items() for each in given)
        and all(isinstance(each, list) for each in (cursor.uploaded, cursor.missing))
        and all(isinstance(name, str) for name in (*cursor.uploaded, *cursor.missing))
        and all(isinstance(each, dict) for each in (cursor.counts, cursor.latest, cursor.dropped))
        and isinstance(cursor.end, str)
        and (cursor.best is None or isinstance(cursor.best, int | float))
    )


def write_cursor(folder: Folder, cursor: UploadCursor) -> None:
    """Write a trial's upload cursor to its folder."""
    folder.write(CURSOR_FILE, json.dumps(asdict(cursor)).encode())
