"""Sweeps that have ended, made in seconds without training: study, records, pictures and notes as trials leave them."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from sweeps.engine.plan.plan import Plan, write_plan
from sweeps.engine.results.results import Results
from sweeps.engine.storage.layout import SAMPLES, sample_name, trial_folder
from sweeps.engine.storage.spool import BestCheckpoint, EndRecord, ReportRecord, Spool, StartRecord
from sweeps.engine.study.rows import Row
from sweeps.engine.study.study import Study
from sweeps.engine.tracking.cursor import UploadCursor, write_cursor
from wgan_core.data.folder import Folder

BEGAN_MS = 1_790_000_000_000
TRAINED = {"train/wasserstein_estimate": 1.5, "train/gradient_norm": 1.0}


@dataclass(frozen=True)
class Made:
    """A trial to make.

    scores: by critic updates. seconds: that 10 critic updates take. waiting: how many records MLflow does not have yet.
    note: what else its note says.
    """

    scores: Mapping[int, float]
    state: str = "COMPLETE"
    reason: str = ""
    params: Mapping[str, float] | None = None
    n_critic: int = 5
    seconds: float = 1.0
    waiting: int = 0
    note: Mapping[str, Any] = field(default_factory=dict)


def finished(storage: Folder, plan: Plan, trials: Sequence[Made]) -> Results:
    """The sweep with these trials, whose rows are as the study would have them; without a study."""
    folder = storage / plan.name
    write_plan(folder, plan)
    rows = []
    for number, made in enumerate(trials):
        params = dict(made.params if made.params is not None else plan.space.presets[0])
        write_trial(folder, plan, number, made, params)
        known = [(value, step) for step, value in made.scores.items() if not math.isnan(value)]
        value, best_step = min(known, default=(math.nan, 0))
        step = max(made.scores, default=0)
        spent = step * made.seconds / 10
        rows.append(Row(number, str(number), made.state, params, value, best_step, step, spent, made.reason))
    return Results(folder, plan, rows)


def studied(storage: Folder, plan: Plan, trials: Sequence[Made]) -> Folder:
    """The same with an Optuna study, which gives the trials their parameters; the sweep's folder."""
    folder = storage / plan.name
    write_plan(folder, plan)
    folder.filesystem.create_dir(folder.path, recursive=True)
    study = Study(plan, f"sqlite:///{folder.path}/study.db", "session")
    claims = study.claim("holder", len(trials))
    for claim, made in zip(claims, trials, strict=True):
        number = claim.trial.number
        for step, value in made.scores.items():
            study.report("holder", {number: (step, value)}, {number: made.seconds})
        write_trial(folder, plan, number, made, claim.params)
        if made.state in ("COMPLETE", "PRUNED", "FAIL"):
            study.finish("holder", number, made.state, made.reason)
    return folder


def write_trial(folder: Folder, plan: Plan, number: int, made: Made, params: Mapping[str, float]) -> None:
    """What a trial leaves in its folder, but for its checkpoints."""
    own = trial_folder(folder, str(number))
    spool = Spool(own)
    # Two at a time, as on two cores.
    began = BEGAN_MS + 1_000 * (number // 2)
    spool.write(StartRecord(number, dict(params), number, began, "2 cores of an <EPYC>"))
    for step, value in made.scores.items():
        metrics = {plan.objective: value, "train/generator_updates": step // made.n_critic, **TRAINED}
        metrics["train/seconds"] = step * made.seconds / 10
        (own / SAMPLES).write(sample_name(step), png(number))
        spool.write(ReportRecord(step, began + 10 * step + number, metrics, sample_name(step)))
    if made.state in ("COMPLETE", "PRUNED", "FAIL"):
        known = [(value, step) for step, value in made.scores.items() if math.isfinite(value)]
        best = None if not known else BestCheckpoint(min(known)[1], min(known)[0], f"{min(known)[1]:09d}")
        last = max(made.scores, default=0)
        spool.write(EndRecord(made.state, made.reason, began + 10 * last + 500, last, best))  # type: ignore[arg-type]
    names = spool.segments()
    write_cursor(own, UploadCursor(run_id=f"run{number}", uploaded=names[: len(names) - made.waiting], **made.note))


def png(seed: int) -> bytes:
    """A grey picture of 64 pixels square."""
    pixels = np.random.default_rng(seed).integers(0, 255, (64, 64), dtype=np.uint8)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()
