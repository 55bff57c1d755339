"""Whether all that the trials recorded has arrived in MLflow."""

from __future__ import annotations

from dataclasses import dataclass

from sweeps.engine.storage.history import History
from sweeps.engine.storage.layout import trial_folder
from sweeps.engine.tracking.note import read_note
from wgan_core.data.folder import Folder
from wgan_core.errors import one_line


@dataclass(frozen=True)
class Tracked:
    """One trial's records. recorded: how many it wrote; waiting: names of those that MLflow does not have yet.

    missing: files that a record names and that were not there; dropped: values that MLflow could not be given, by
    metric; problem: why its note cannot be read.
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


def read_tracked(folder: Folder, history: History) -> Tracked:
    """How far a trial has come in MLflow, by its own note of it."""
    label, names = history.label, list(history.segments)
    try:
        note = read_note(trial_folder(folder, label))
    except OSError as error:
        return Tracked(label, None, len(names), names, [], {}, one_line(error))
    uploaded = set(note.uploaded)
    waiting = [name for name in names if name not in uploaded]
    return Tracked(label, note.run_id, len(names), waiting, list(note.missing), dict(note.dropped))
