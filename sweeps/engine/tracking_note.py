"""How far a trial has come in MLflow, and how its run is named and described there."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from sweeps.engine.layout import parts
from sweeps.engine.spool import End, Param, Start
from wgan_core.folder import Folder

NOTE_NAME = "mlflow.json"
INTERRUPTED = "interrupted"
"""The end of a trial that has none: the sweep stopped before it."""

_ON_LOG_AXIS = ("lr", "lr_critic", "lr_generator", "lambda_gp")
_LONGEST_RUN_NAME = 15  # MLflow's tables show no more


@dataclass
class Note:
    """How far a trial has come in MLflow.

    `end` says which end was uploaded; `counts` and `latest` are what MLflow should have of each
    metric: the number of points, and the last value.
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

    def copy(self) -> Note:
        """A note to change: what fails half-way is not to be noted."""
        return Note(**asdict(self))

    def dropped_tag(self) -> dict[str, str]:
        """The tag that says which values MLflow could not be given."""
        said = ", ".join(f"{key}: {count} not finite" for key, count in sorted(self.dropped.items()))
        return {"metrics.dropped": said} if said else {}


def read_note(folder: Folder) -> Note:
    """A trial's note; an empty one, after which everything is written again, if there is none that can be read."""
    try:
        return Note(**json.loads(folder.read(NOTE_NAME)))
    except (FileNotFoundError, TypeError, ValueError):
        return Note()


def write_note(folder: Folder, note: Note) -> None:
    """Keep a trial's note in its folder."""
    folder.write(NOTE_NAME, json.dumps(asdict(note)).encode())


def best_key(objective: str) -> str:
    """The metric that holds the lowest objective so far."""
    return f"best/{objective.removeprefix('eval/')}"


def trial_name(label: str) -> str:
    """A trial's label with its number in three digits, so that names sort: `t004`, `t004b`."""
    number, letter = parts(label)
    return f"t{number:03d}{letter}"


def run_name(label: str, params: Mapping[str, Param]) -> str:
    """A run's name in at most 15 characters, such as `t004 λ10 n5`; what does not fit is left out."""
    name = trial_name(label)
    for sign, key in (("λ", "lambda_gp"), ("n", "n_critic")):
        value = params.get(key)
        if value is None:
            continue
        longer = f"{name} {sign}{value:.2g}" if isinstance(value, float) else f"{name} {sign}{value}"
        name = longer if len(longer) <= _LONGEST_RUN_NAME else name
    return name


def run_params(start: Start) -> dict[str, str]:
    """A run's params: six significant digits, and the logarithms that MLflow's linear axes cannot show."""
    params = {key: f"{value:.6g}" if isinstance(value, float) else str(value) for key, value in start.params.items()}
    for key in _ON_LOG_AXIS:
        value = start.params.get(key)
        if isinstance(value, float | int) and value > 0:
            params[f"{key}_log10"] = f"{math.log10(value):.6g}"
    return {**params, "seed": str(start.seed)}


def mark_of(end: End) -> str:
    """Tells one end of a trial from another."""
    return f"{end.state} {end.ended_ms}"


def equal(stored: float | None, spooled: float) -> bool:
    """Whether MLflow has a value, with what a database may do to its last digits."""
    if stored is None:
        return False
    return math.isclose(stored, spooled, rel_tol=1e-9) or (math.isnan(stored) and math.isnan(spooled))
