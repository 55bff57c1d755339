"""Sweeps that have ended, made in seconds without Ray and without training, by the classes that write real ones.

`finished`  no study and no checkpoints: rows as a study would have them, records and pictures.
`studied`   the same with an Optuna study.
`finish`    three trials of known scores, with checkpoints and in MLflow.
`made_sweep` twelve trials, scored and stopped early as a real search would be, with checkpoints, in MLflow.
`made_records` hundreds of trials, of which there are records and pictures alone, in MLflow.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from mlflow import MlflowClient
from PIL import Image

from sweeps.engine.driver.ending import record_end
from sweeps.engine.plan.confirmation_size import ConfirmationSize
from sweeps.engine.plan.plan import Plan, on_test_split, write_plan
from sweeps.engine.plan.presets import WGAN_GP
from sweeps.engine.plan.space import Range
from sweeps.engine.report.write import FILES, write_report
from sweeps.engine.results.confirmation import plan_confirmation
from sweeps.engine.results.results import Results, open_results
from sweeps.engine.storage.layout import SAMPLES, sample_name, sweep_folder, trial_folder
from sweeps.engine.storage.spool import BestCheckpoint, EndRecord, ReportRecord, Spool, StartRecord, TrialState
from sweeps.engine.storage.trial_store import TrialStore
from sweeps.engine.study.claims import Claim
from sweeps.engine.study.rows import ENDED, Row, read_rows
from sweeps.engine.study.study import Study
from sweeps.engine.tracking import MlflowRecorder
from sweeps.engine.tracking.cursor import UploadCursor, write_cursor
from tests.sweeps.processes import copy_tables
from wgan_core.config import Structure, Trial
from wgan_core.data.folder import Folder
from wgan_core.kinds import kind_of
from wgan_core.training.checkpoint import Checkpoint
from wgan_core.training.state import TrainingState

HOLDER = "made"
BEGAN_MS = 1_790_000_000_000
OBJECTIVE, OTHER = "eval/fid_digits_1a2b3c4d", "eval/sliced_wasserstein"
BUDGET, FLOOR = 900, 0.5
SMALL = {"critic": {"widths": [8]}, "generator": {"widths": [8]}}
IMAGES = Structure("mlp", (1, 12, 12), latent_dim=4, network_options=SMALL)
# Of twelve: one is not finite before its first report, one after two of them.
FAILS = {3: 0, 5: 2}


@dataclass(frozen=True)
class Made:
    """A trial to make.

    scores: by critic updates. seconds: that 10 critic updates take. waiting: how many records MLflow does not have yet.
    note: what else its note says. test: the score of its best checkpoint on the test split.
    """

    scores: Mapping[int, float]
    state: str = "COMPLETE"
    reason: str = ""
    params: Mapping[str, float] | None = None
    n_critic: int = 5
    seconds: float = 1.0
    waiting: int = 0
    note: Mapping[str, Any] = field(default_factory=dict)
    test: float | None = None


# Trial 1 is the best, after 20 critic updates.
SCORES = (Made({10: 2.0, 20: 3.0}), Made({10: 4.0, 20: 1.0}), Made({10: 6.0, 20: 5.0}, "PRUNED"))


@dataclass(frozen=True)
class Finished:
    """A sweep below `storage`, recorded at `uri`."""

    storage: Path
    plan: Plan
    uri: str

    @property
    def folder(self) -> Folder:
        return Folder.at(self.storage / self.plan.name)

    @property
    def study_url(self) -> str:
        return f"sqlite:///{self.storage}/{self.plan.name}/study.db"

    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)


def finish(storage: Path, plan: Plan, uri: str = "", trials: Sequence[Made] = SCORES) -> Finished:
    """A sweep of these trials, in the storage's mlflow.db unless there is another URI."""
    if not uri:
        copy_tables(storage)
    sweep = Finished(storage, plan, uri or f"sqlite:///{storage}/mlflow.db")
    _store(sweep, plan, trials)
    return sweep


def confirm(sweep: Finished) -> None:
    """The best trial again with two fresh seeds, 1a and 1b: scores of 1.5 and 1.25, on the test split of 1.75 and 2."""
    (leader,) = [row for row in read_rows(sweep.plan, sweep.study_url) if row.number == 1]
    plan = plan_confirmation(sweep.plan, [leader], ConfirmationSize(1, 2), None, {}, {})
    _store(sweep, plan, (Made({10: 3.0, 20: 1.5}, test=1.75), Made({10: 3.0, 20: 1.25}, test=2.0)))


def _store(sweep: Finished, plan: Plan, trials: Sequence[Made]) -> None:
    """All trials of a plan with their checkpoints, and their upload."""
    write_plan(sweep.folder, plan)
    study = Study(plan, sweep.study_url, "s")
    for claim, made in zip(study.claim(HOLDER, len(trials)), trials, strict=True):
        _train(plan, sweep.folder, study, claim, made)
    tracker = MlflowRecorder(sweep.folder, sweep.plan, sweep.uri)
    tracker.open(first_start=not plan.confirms)
    assert tracker.stop("FINISHED") == "complete", tracker.last_error


def _train(plan: Plan, folder: Folder, study: Study, claim: Claim, made: Made, as_real: bool = False) -> None:
    """All reports of a trial with their checkpoints, and its end.

    as_real: the study may stop it early; its pictures are of samples, and its records have what a training logs.
    """
    number = claim.trial.number
    kept = TrialStore(trial_folder(folder, plan.label(number)), plan.objective)
    kept.start(claim, "")
    state, reason, step = made.state, made.reason, 0
    for step, value in made.scores.items():
        tensors = TrainingState.initial(plan.structure, claim.trial.seed + step, torch.device("cpu"))
        scores = {plan.objective: value} | ({OTHER: value / 50} if as_real else {})
        logged = scores | (trained(plan, claim, step, value) if as_real else {})
        drawn = picture(plan, number, value) if as_real else png(number, 8)
        kept.report(Checkpoint(claim.trial, plan.structure, step, tensors, scores), logged, drawn)
        if study.report(HOLDER, {number: (step, value)}, {number: 1.0})[number] and as_real:
            state, reason = "PRUNED", f"stopped early: not in the best third at critic update {step}"
            break
    test = {} if made.test is None else {on_test_split(plan.objective): made.test}
    kept.end(cast("TrialState", state), reason, step, test)
    study.finish(HOLDER, number, cast("TrialState", state), reason, test)
    kept.tidy()


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
        if made.state in ENDED:
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
        metrics = {
            plan.objective: value,
            "train/generator_updates": step // made.n_critic,
            "train/wasserstein_estimate": 1.5,
            "train/gradient_norm": 1.0,
            "train/seconds": step * made.seconds / 10,
        }
        (own / SAMPLES).write(sample_name(step), png(number))
        spool.write(ReportRecord(step, began + 10 * step + number, metrics, sample_name(step)))
    if made.state in ENDED:
        known = [(value, step) for step, value in made.scores.items() if math.isfinite(value)]
        best = None if not known else BestCheckpoint(min(known)[1], min(known)[0], f"{min(known)[1]:09d}")
        last = max(made.scores, default=0)
        spool.write(EndRecord(made.state, made.reason, began + 10 * last + 500, last, best))  # type: ignore[arg-type]
    names = spool.segments()
    write_cursor(own, UploadCursor(run_id=f"run{number}", uploaded=names[: len(names) - made.waiting], **made.note))


def made_plan(name: str, trials: int, structure: Structure = IMAGES, **change: Any) -> Plan:
    """A plan with the WGAN-GP's space, 900 critic updates and nine reports; any field may be given."""
    fields: dict[str, Any] = {
        "id": f"id-{name}",
        "name": name,
        "trials": trials,
        "budget": BUDGET,
        "seed": 0,
        "objective": OBJECTIVE,
        "structure": structure,
        "space": WGAN_GP,
        "data": "blobs",
        "data_digest": "d" * 64,
        "protocol": {"sample_size": 1000},
        "floors": {OBJECTIVE: FLOOR, OTHER: 0.01},
    }
    return Plan(**{**fields, **change})


def made_sweep(storage: Path, name: str, trials: int = 12) -> Results:
    """A finished sweep: plan, study, spools, pictures, checkpoints and generators, and its record in MLflow.

    Its scores are a smooth function of the hyper-parameters and fall with the updates; who is stopped early, the
    study's own rule says.
    """
    copy_tables(storage)
    plan = made_plan(name, trials)
    _search(plan, sweep_folder(str(storage), name))
    return _recorded(storage, name)


def confirm_made(results: Results, asked: ConfirmationSize) -> Results:
    """Its leaders trained again, and recorded in the storage's database, as `--confirm` does."""
    plan = plan_confirmation(results.plan, results.rows, asked, None, {}, {OBJECTIVE: FLOOR})
    _search(plan, results.folder)
    return _recorded(Path(results.folder.path).parent, results.plan.name)


def _search(plan: Plan, folder: Folder) -> None:
    write_plan(folder, plan)
    study = Study(plan, f"sqlite:///{folder.path}/study.db", "s")
    while claims := study.claim(HOLDER, 1):
        (claim,) = claims
        scores = {step: score(plan, claim, step) for step in plan.grid}
        made = Made(scores, reason="trained for the whole budget")
        if plan.confirms:
            made = Made(scores, reason=made.reason, test=1.1 * scores[plan.budget])
        elif (reports := FAILS.get(claim.trial.number)) is not None:
            made = Made(dict([*scores.items()][:reports]), "FAIL", "the critic's weights are not finite")
        _train(plan, folder, study, claim, made, as_real=True)


def _recorded(storage: Path, name: str) -> Results:
    """Bring a sweep's record, and its report, to MLflow, as its driver does at its end."""
    results = open_results(str(storage), name)
    tracker = MlflowRecorder(results.folder, results.plan, f"sqlite:///{storage}/mlflow.db")
    tracker.open(first_start=True)
    said = record_end(tracker, results, True, lambda: tracker.publish(write_report(results), FILES))
    assert said == "complete", tracker.last_error
    return results


def made_records(storage: Path, name: str, trials: int, tracking_uri: str) -> MlflowRecorder:
    """A sweep of many trials, of which there are the records and pictures alone, brought to MLflow.

    Drawn at random; of nine, six end at the first report, two at the third, and one at the last.
    """
    plan = made_plan(name, trials)
    folder, draws = sweep_folder(str(storage), name), np.random.default_rng(0)
    pictures = [picture(plan, number, 10.0 * plan.floor) for number in range(8)]
    for number in range(trials):
        point = {name: _drawn(bounds, draws) for name, bounds in plan.space.ranges.items()}
        claim = Claim(Trial(number, number, plan.space.hyper(point)), point, alone=False)
        below, started_ms = trial_folder(folder, str(number)), 1_700_000_000_000 + 1000 * number
        Spool(below).write(StartRecord(number, {**point, **claim.trial.hyper.as_json()}, number, started_ms))
        steps = plan.grid[: (1, 1, 3, 1, 1, 3, 1, 1, 9)[number % 9]]
        for step in steps:
            value = score(plan, claim, step)
            (below / "samples").write(sample_name(step), pictures[number % 8])
            metrics = {plan.objective: value} | trained(plan, claim, step, value)
            Spool(below).write(ReportRecord(step, started_ms + step, metrics, sample_name(step)))
        best = BestCheckpoint(steps[-1], score(plan, claim, steps[-1]), f"{steps[-1]:09d}")
        state: TrialState = "COMPLETE" if steps == plan.grid else "PRUNED"
        Spool(below).write(EndRecord(state, "", started_ms + 1000, steps[-1], best))
    tracker = MlflowRecorder(folder, plan, tracking_uri)
    assert tracker.stop("FINISHED", timeout_s=600) == "complete", tracker.last_error
    return tracker


def _drawn(bounds: Range, draws: np.random.Generator) -> float:
    """A value of a range."""
    if bounds.log:
        return float(np.exp(draws.uniform(math.log(bounds.low), math.log(bounds.high))))
    return (
        int(draws.integers(int(bounds.low), int(bounds.high) + 1))
        if bounds.whole
        else draws.uniform(bounds.low, bounds.high)
    )


def score(plan: Plan, claim: Claim, step: int) -> float:
    """Best near λ 10 and a rate of 1e-3; falls with the updates."""
    hyper = claim.trial.hyper
    off = abs(math.log10(hyper.lr_critic) + 3) + 0.5 * abs(math.log10(hyper.lambda_gp) - 1) + hyper.beta1
    luck = 0.02 * (claim.trial.number % 5) if plan.confirms else 0.0
    return plan.floor * (2 + luck + 10 * off + 60 * math.exp(-3 * step / plan.budget))


def picture(plan: Plan, number: int, value: float) -> bytes:
    """A PNG of samples of a trial's own fixed z, noisier the worse the score."""
    shape, coding = plan.structure.sample_shape, plan.structure.coding
    kind = kind_of(shape, coding)
    mine, real = _samples(shape, kind.in_picture, number + 1), _samples(shape, 200, 0)
    noise = np.random.default_rng(number).standard_normal(mine.shape)
    share = min(0.9, 0.02 * value / plan.floor)
    drawn = torch.from_numpy(((1 - share) * mine + share * noise).clip(-1, 1).astype(np.float32))
    return kind.picture(drawn, torch.from_numpy(real.astype(np.float32)), 8 if plan.structure.classes else None)


def _samples(shape: tuple[int, ...], count: int, seed: int) -> np.ndarray:
    """Samples (N, ...) in [-1, 1]: of images each a blob around a centre of its own, of others sines."""
    draws = np.random.default_rng(seed)
    if len(shape) != 3:
        phases = draws.uniform(0, 2 * math.pi, (count, 1))
        return np.sin(phases + np.arange(math.prod(shape)) / 2).reshape(count, *shape)
    centres = draws.uniform(2, shape[1] - 3, (count, 2))
    rows, columns = np.mgrid[: shape[1], : shape[2]]
    away = (rows - centres[:, 0, None, None]) ** 2 + (columns - centres[:, 1, None, None]) ** 2
    return np.repeat(2 * np.exp(-away / 4)[:, None] - 1, shape[0], axis=1)


def trained(plan: Plan, claim: Claim, step: int, value: float) -> dict[str, float]:
    """What a report has of the training, by MLflow's names."""
    return {
        "train/wasserstein_estimate": 0.1 * value,
        "train/gradient_penalty": 0.01,
        "train/gradient_norm": 1 + 0.1 * value,
        "train/critic_loss": -0.1 * value,
        "train/generator_loss": 0.3,
        "train/generator_updates": step // claim.trial.hyper.n_critic,
        "train/images_seen": step * plan.structure.batch_size,
        "train/seconds": step / 100,
    }


def png(seed: int, side: int = 64) -> bytes:
    """A grey square picture."""
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side), dtype=np.uint8)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()
