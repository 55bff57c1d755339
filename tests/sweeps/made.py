"""Finished sweeps without Ray and without training: what a real one leaves, written by the classes that leave it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sweeps.engine.driver.ending import record_end
from sweeps.engine.plan.confirmation_size import ConfirmationSize
from sweeps.engine.plan.plan import Plan, on_test_split, write_plan
from sweeps.engine.plan.presets import WGAN_GP
from sweeps.engine.plan.space import Range
from sweeps.engine.report.write import FILES, write_report
from sweeps.engine.results.confirmation import plan_confirmation
from sweeps.engine.results.results import Results, open_results
from sweeps.engine.storage.layout import sample_name, sweep_folder, trial_folder
from sweeps.engine.storage.spool import BestCheckpoint, EndRecord, ReportRecord, Spool, StartRecord, TrialState
from sweeps.engine.storage.trial_store import TrialStore
from sweeps.engine.study.claims import Claim
from sweeps.engine.study.study import Study
from sweeps.engine.tracking import MlflowRecorder
from wgan_core.config import Structure, Trial
from wgan_core.data.folder import Folder
from wgan_core.kinds import kind_of
from wgan_core.training.checkpoint import Checkpoint
from wgan_core.training.state import TrainingState as Tensors

HOLDER = "made"
OBJECTIVE, OTHER = "eval/fid_digits_1a2b3c4d", "eval/sliced_wasserstein"
BUDGET, FLOOR = 900, 0.5
SMALL = {"critic": {"widths": [8]}, "generator": {"widths": [8]}}
IMAGES = Structure("mlp", (1, 12, 12), latent_dim=4, network_options=SMALL)
# Of twelve: one is not finite before its first report, one after two of them.
FAILS = {3: 0, 5: 2}


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


def made_sweep(
    storage: Path,
    name: str,
    trials: int = 12,
    structure: Structure = IMAGES,
    tracking_uri: str = "",
    fails: Mapping[int, int] = FAILS,
    **change: Any,
) -> Results:
    """A finished sweep: plan, study, spools, pictures, checkpoints and generators, and its record in MLflow.

    Its scores are a smooth function of the hyper-parameters and fall with the updates; who is stopped early, the
    study's own rule says. tracking_uri: "" stands for a database in the storage. fails: after how many reports a trial
    is no longer finite, by number. change: fields of the plan.
    """
    plan = made_plan(name, trials, structure, **change)
    folder = sweep_folder(str(storage), name)
    write_plan(folder, plan)
    study = Study(plan, f"sqlite:///{folder.path}/study.db", "s")
    while claims := study.claim(HOLDER, 1):
        _train(plan, folder, study, claims[0], fails.get(claims[0].trial.number, math.inf))
    results = open_results(str(storage), name)
    record(results, tracking_uri or f"sqlite:///{storage}/mlflow.db")
    return results


def confirm(results: Results, asked: ConfirmationSize) -> Results:
    """Its leaders trained again, and recorded in the storage's database, as `--confirm` does."""
    plan = plan_confirmation(results.plan, results.rows, asked, None, {}, {OBJECTIVE: FLOOR})
    storage, url = Path(results.folder.path).parent, f"sqlite:///{results.folder.path}/study.db"
    study = Study(plan, url, "s")
    write_plan(results.folder, plan)
    while claims := study.claim(HOLDER, 1):
        _train(plan, results.folder, study, claims[0], math.inf)
    confirmed = open_results(str(storage), results.plan.name)
    record(confirmed, f"sqlite:///{storage}/mlflow.db")
    return confirmed


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
    tracker = MlflowRecorder(folder, name, plan.id, tracking_uri, plan.objective, plan.floor, plan.as_json())
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


def record(results: Results, tracking_uri: str) -> MlflowRecorder:
    """Bring a sweep's record, and its report, to MLflow, as its driver does at its end."""
    plan = results.plan
    tracker = MlflowRecorder(results.folder, plan, tracking_uri)
    tracker.open(first_start=True)
    said = record_end(tracker, results, True, lambda: tracker.publish(write_report(results), FILES))
    assert said == "complete", tracker.last_error
    return tracker


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


def _train(plan: Plan, folder: Folder, study: Study, claim: Claim, fails_after: float) -> None:
    """All reports of a trial, and its end."""
    number = claim.trial.number
    kept = TrialStore(trial_folder(folder, plan.label(number)), plan.objective)
    kept.start(claim, "")
    state = Tensors.initial(plan.structure, claim.trial.seed, torch.device("cpu"))
    ended: tuple[TrialState, str] = "COMPLETE", "trained for the whole budget"
    for reports, step in enumerate(plan.grid):
        if reports >= fails_after:
            ended = "FAIL", "the critic's weights are not finite"
            break
        value = score(plan, claim, step)
        scores = {plan.objective: value, OTHER: value / 50}
        checkpoint = Checkpoint(claim.trial, plan.structure, step, state, scores, float(reports))
        kept.report(checkpoint, scores | trained(plan, claim, step, value), picture(plan, number, value))
        if study.report(HOLDER, {number: (step, value)}, {number: 1.0})[number]:
            ended = "PRUNED", f"stopped early: not in the best third at critic update {step}"
            break
    test = {on_test_split(OBJECTIVE): 1.1 * score(plan, claim, step)} if plan.confirms else {}
    kept.end(*ended, step, test)
    study.finish(HOLDER, number, *ended, test)
    kept.tidy()


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
