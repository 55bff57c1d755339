"""A trial's upload cursor, and the names and descriptions of its MLflow run."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from sweeps.engine.plan.space import KNOWN, is_log
from sweeps.engine.storage.layout import IMAGE, parts
from sweeps.engine.storage.spool import EndRecord, Param, StartRecord
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError

CURSOR_FILE = "mlflow.json"
INTERRUPTED = "interrupted"
"""Value of `UploadCursor.end` for a trial that had not ended when the sweep stopped."""

LOG10 = "_log10"
"""Suffix of metrics and params that hold a decimal logarithm, for MLflow's linear axes."""
# An MLflow id or model URI. The sweep's description shows a model URI inside Python code, so it must be harmless.
_ID = re.compile(r"[\w:/-]{1,200}", re.ASCII)
_LONGEST_RUN_NAME = 15  # Characters that MLflow's tables show.


@dataclass
class UploadCursor:
    """A record of how far a trial's upload to MLflow has come.

    Attributes:
        run_id: The trial's MLflow run.
        model_id: Id of the trial's MLflow model.
        model_uri: URI of the trial's MLflow model.
        uploaded: Names of the uploaded segments.
        end: The uploaded end (see `mark_of`), `INTERRUPTED`, or empty.
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


def best_key(objective: str) -> str:
    """Return the name of the metric that holds the lowest objective so far."""
    return f"best/{objective.removeprefix('eval/')}"


def log_key(objective: str) -> str:
    """Return the name of the metric that holds log10 of the larger of the `best_key` metric and the floor."""
    return f"{best_key(objective)}{LOG10}"


def role_of(label: str) -> str:
    """Return "trial" for a trial of the search, "confirmation" for one that repeats another with a fresh seed."""
    return "confirmation" if parts(label)[1] else "trial"


def trial_name(label: str) -> str:
    """Return a trial's label with a three-digit number, so that names sort: `t004`, `t004b`."""
    number, letter = parts(label)
    return f"t{number:03d}{letter}"


def run_name(label: str, params: Mapping[str, Param], score: float | None = None) -> str:
    """Return a run name of at most 15 characters, such as `t004 .1364 λ10`. Leave out parts that do not fit."""
    name = trial_name(label)
    said = [] if score is None else [_short(f"{score:.4g}")]
    for sign, key in (("λ", "lambda_gp"), ("lr", "lr"), ("n", "n_critic")):
        value = params.get(key)
        if value is not None:
            said.append(f"{sign}{_short(f'{value:.0e}' if key == 'lr' else _digits(value, 2))}")
    for part in said:
        name = f"{name} {part}" if len(f"{name} {part}") <= _LONGEST_RUN_NAME else name
    return name


def run_params(start: StartRecord) -> dict[str, str]:
    """Return a run's params with four significant digits, and logarithms of some for MLflow's linear axes."""
    params = {key: _digits(value, 4) for key, value in start.params.items()}
    for key in filter(is_log, KNOWN):
        value = start.params.get(key)
        if isinstance(value, float | int) and value > 0:
            params[f"{key}{LOG10}"] = f"{math.log10(value):.6g}"
    return {**params, "seed": str(start.seed)}


def end_text(end: EndRecord, objective: str, floor: float) -> str:
    """Describe in Markdown how a trial ended, for its run's description."""
    said = f"**{end.state}** after {end.critic_updates} critic updates: {as_text(end.reason) or 'no reason given'}"
    if end.best is None:
        return f"{said}\n\nNo score."
    score = score_text(objective, end.best.value, floor)
    return f"{said}\n\n{score}, at {end.best.critic_updates}: `checkpoints/{end.best.checkpoint}`"


def as_text(text: str) -> str:
    """Escape a text so that MLflow's pages show it literally, without HTML, Markdown links or pictures."""
    return re.sub(r"([\\`*_\[\]!])", r"\\\1", html.escape(text, quote=False))


def score_text(objective: str, value: float, floor: float) -> str:
    """Format a score and its ratio to the floor as HTML that may stand in Markdown."""
    said = f"<code>{objective}</code> <b>{value:.4g}</b>"
    if not math.isfinite(floor):
        return said
    ratio = f"{value / floor:.1f} times " if floor > 0 else ""
    return f"{said}, {ratio}the {floor:.4g} of real data against real data"


def params_text(params: Mapping[str, Param], names: Iterable[str]) -> str:
    """Format the named hyper-parameters of a trial as HTML."""
    return html.escape(", ".join(f"{name} {_digits(params[name], 4)}" for name in names if name in params))


def _digits(value: Param, count: int) -> str:
    return f"{value:.{count}g}" if isinstance(value, float) else str(value)


def _short(number: str) -> str:
    """Shorten a number: 0.21 becomes .21, 2e-03 becomes 2e-3."""
    return re.sub(r"e([+-])0+(?=\d)", r"e\1", re.sub(r"^(-?)0\.", r"\1.", number))


def mark_of(end: EndRecord) -> str:
    """Return an id that tells this end of a trial from its other ends."""
    return f"{end.state} {end.ended_ms}"


def equal(stored: float | None, spooled: float) -> bool:
    """Return whether MLflow stores the spooled value. Databases may change its last digits."""
    if stored is None:
        return False
    return math.isclose(stored, spooled, rel_tol=1e-9) or (math.isnan(stored) and math.isnan(spooled))
