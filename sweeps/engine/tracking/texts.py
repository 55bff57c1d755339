"""Names, params and descriptions of a sweep's runs in MLflow."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping

from sweeps.engine.plan.space import KNOWN, is_log
from sweeps.engine.storage.layout import parts
from sweeps.engine.storage.spool import EndRecord, Param, StartRecord

LOG10 = "_log10"
"""Suffix of metrics and params that hold a decimal logarithm, for MLflow's linear axes."""
_LONGEST_RUN_NAME = 15  # Characters that MLflow's tables show.


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


def anchor(address: str, shown: str) -> str:
    """Return a link as HTML."""
    return f'<a href="{address}">{shown}</a>'


def model_use(model_uri: str) -> str:
    """Return code in Markdown that downloads a trial's model and opens its generator."""
    return f"""```python
import mlflow
from wgan_core.data.folder import Folder
from wgan_core.sampling.generator import read_generator

generator = read_generator(Folder.at(mlflow.artifacts.download_artifacts("{model_uri}")))
```"""


def _digits(value: Param, count: int) -> str:
    return f"{value:.{count}g}" if isinstance(value, float) else str(value)


def _short(number: str) -> str:
    """Shorten a number: 0.21 becomes .21, 2e-03 becomes 2e-3."""
    return re.sub(r"e([+-])0+(?=\d)", r"e\1", re.sub(r"^(-?)0\.", r"\1.", number))
