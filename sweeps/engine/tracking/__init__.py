"""The record of a sweep in MLflow.

No other package of `sweeps` imports MLflow, or imports a module of this package directly.

The names below are imported at their first use, because MLflow and torch take seconds to import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wgan_core.public import at_first_use

if TYPE_CHECKING:
    from sweeps.engine.tracking.cursor import read_cursor as read_cursor
    from sweeps.engine.tracking.mlflow_recorder import MlflowRecorder as MlflowRecorder
    from sweeps.engine.tracking.recorder import NoRecorder as NoRecorder
    from sweeps.engine.tracking.recorder import Recorder as Recorder
    from sweeps.engine.tracking.recorder import Summary as Summary
    from sweeps.engine.tracking.recorder import Sync as Sync
    from sweeps.engine.tracking.registry import Candidate as Candidate
    from sweeps.engine.tracking.registry import Promotion as Promotion
    from sweeps.engine.tracking.registry import check_names as check_names
    from sweeps.engine.tracking.registry import promote as promote
    from sweeps.engine.tracking.registry import usage as usage
    from sweeps.engine.tracking.server import PORT as PORT
    from sweeps.engine.tracking.server import choose_port as choose_port
    from sweeps.engine.tracking.server import program_beside as program_beside
    from sweeps.engine.tracking.server import serve as serve
    from sweeps.engine.tracking.server import with_key as with_key
    from sweeps.engine.tracking.store import ServerUnreachable as ServerUnreachable
    from sweeps.engine.tracking.store import StoredSweep as StoredSweep
    from sweeps.engine.tracking.store import connect as connect
    from sweeps.engine.tracking.store import credentials_sent as credentials_sent
    from sweeps.engine.tracking.store import open_stored as open_stored
    from sweeps.engine.tracking.texts import best_key as best_key

_NAMES_OF = {
    "cursor": ("read_cursor",),
    "mlflow_recorder": ("MlflowRecorder",),
    "recorder": ("NoRecorder", "Recorder", "Summary", "Sync"),
    "registry": ("Candidate", "Promotion", "check_names", "promote", "usage"),
    "server": ("PORT", "choose_port", "program_beside", "serve", "with_key"),
    "store": ("ServerUnreachable", "StoredSweep", "connect", "credentials_sent", "open_stored"),
    "texts": ("best_key",),
}
_MODULES = {name: f"{__name__}.{module}" for module, names in _NAMES_OF.items() for name in names}
__getattr__ = at_first_use(__name__, _MODULES)
