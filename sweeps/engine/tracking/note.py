"""How far a trial has come in MLflow, and how its run is named and described there."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from sweeps.engine.storage.layout import IMAGE, parts
from sweeps.engine.storage.spool import EndRecord, Param, StartRecord
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError

NOTE_NAME = "mlflow.json"
INTERRUPTED = "interrupted"
"""The end of a trial that has none: the sweep stopped before it."""

ON_LOG_AXIS = ("lr", "lr_critic", "lr_generator", "lambda_gp", "clip")
LOG10 = "_log10"
"""What ends the names of the logarithms, which MLflow's linear axes need."""
# An id of MLflow's, or the address of a model, which is shown within a program to copy.
_ID = re.compile(r"[\w:/-]{1,200}", re.ASCII)
_LONGEST_RUN_NAME = 15  # MLflow's tables show no more


@dataclass
class UploadCursor:
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

    def copy(self) -> UploadCursor:
        """A note to change: what fails half-way is not to be noted."""
        return UploadCursor(**asdict(self))

    def dropped_tag(self) -> dict[str, str]:
        """The tag that says which values MLflow could not be given."""
        said = ", ".join(f"{key}: {count} not finite" for key, count in sorted(self.dropped.items()))
        return {"metrics.dropped": said} if said else {}


def read_note(folder: Folder) -> UploadCursor:
    """A trial's note; an empty one, after which everything is written again, if there is none that can be read."""
    try:
        noted = UploadCursor(**folder.json(NOTE_NAME))
        return noted if _is_note(noted) else UploadCursor()
    except UserError:
        raise
    except (FileNotFoundError, TypeError, ValueError):
        return UploadCursor()


def _is_note(noted: UploadCursor) -> bool:
    texts = {_ID: (noted.run_id, noted.model_id, noted.model_uri), IMAGE: (noted.last_image,)}
    return (
        all(each is None or form.fullmatch(each) for form, given in texts.items() for each in given)
        and all(isinstance(each, list) for each in (noted.uploaded, noted.missing))
        and all(isinstance(name, str) for name in (*noted.uploaded, *noted.missing))
        and all(isinstance(each, dict) for each in (noted.counts, noted.latest, noted.dropped))
        and isinstance(noted.end, str)
        and (noted.best is None or isinstance(noted.best, int | float))
    )


def write_note(folder: Folder, note: UploadCursor) -> None:
    """Keep a trial's note in its folder."""
    folder.write(NOTE_NAME, json.dumps(asdict(note)).encode())


def best_key(objective: str) -> str:
    """The metric that holds the lowest objective so far."""
    return f"best/{objective.removeprefix('eval/')}"


def log_key(objective: str) -> str:
    """The metric that holds the decimal logarithm of `best_key`'s, which below the floor is that of the floor."""
    return f"{best_key(objective)}{LOG10}"


def role_of(label: str) -> str:
    """Tells a trial of the search from one that confirms another, which is not compared with the others."""
    return "confirmation" if parts(label)[1] else "trial"


def trial_name(label: str) -> str:
    """A trial's label with its number in three digits, so that names sort: `t004`, `t004b`."""
    number, letter = parts(label)
    return f"t{number:03d}{letter}"


def run_name(label: str, params: Mapping[str, Param], score: float | None = None) -> str:
    """A run's name in at most 15 characters, such as `t004 .1364 λ10`; what does not fit is left out."""
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
    """A run's params: four significant digits, and the logarithms that MLflow's linear axes cannot show."""
    params = {key: _digits(value, 4) for key, value in start.params.items()}
    for key in ON_LOG_AXIS:
        value = start.params.get(key)
        if isinstance(value, float | int) and value > 0:
            params[f"{key}{LOG10}"] = f"{math.log10(value):.6g}"
    return {**params, "seed": str(start.seed)}


def end_text(end: EndRecord, objective: str, floor: float) -> str:
    """How a trial ended, in Markdown, for the description of its run."""
    said = f"**{end.state}** after {end.critic_updates} critic updates: {as_text(end.reason) or 'no reason given'}"
    if end.best is None:
        return f"{said}\n\nNo score."
    score = score_text(objective, end.best.value, floor)
    return f"{said}\n\n{score}, at {end.best.critic_updates}: `checkpoints/{end.best.checkpoint}`"


def as_text(text: str) -> str:
    """Return a text that MLflow's pages show as it is: neither HTML nor Markdown's links and pictures."""
    return re.sub(r"([\\`*_\[\]!])", r"\\\1", html.escape(text, quote=False))


def score_text(objective: str, value: float, floor: float) -> str:
    """A score in HTML, which Markdown may have in it, beside what real data scores against real data."""
    said = f"<code>{objective}</code> <b>{value:.4g}</b>"
    if not math.isfinite(floor):
        return said
    ratio = f"{value / floor:.1f} times " if floor > 0 else ""
    return f"{said}, {ratio}the {floor:.4g} of real data against real data"


def params_text(params: Mapping[str, Param], names: Iterable[str]) -> str:
    """Return some hyper-parameters of a trial, as MLflow shows them."""
    return html.escape(", ".join(f"{name} {_digits(params[name], 4)}" for name in names if name in params))


def _digits(value: Param, count: int) -> str:
    return f"{value:.{count}g}" if isinstance(value, float) else str(value)


def _short(number: str) -> str:
    """0.21 as .21 and 2e-03 as 2e-3."""
    return re.sub(r"e([+-])0+(?=\d)", r"e\1", re.sub(r"^(-?)0\.", r"\1.", number))


def mark_of(end: EndRecord) -> str:
    """Tells one end of a trial from another."""
    return f"{end.state} {end.ended_ms}"


def equal(stored: float | None, spooled: float) -> bool:
    """Whether MLflow has a value, with what a database may do to its last digits."""
    if stored is None:
        return False
    return math.isclose(stored, spooled, rel_tol=1e-9) or (math.isnan(stored) and math.isnan(spooled))
