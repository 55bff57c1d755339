"""A sweep from the first check to the leaderboard: what a script's one call does."""

from __future__ import annotations

import math
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import ray
from ray import tune

from sweeps.engine.cluster import Room, check_storage, connected, on_this_node, running_cluster
from sweeps.engine.growth import NONE, growth
from sweeps.engine.kept import Kept
from sweeps.engine.layout import sweep_folder, trial_folder
from sweeps.engine.leaderboard import best_row, checkpoint_of, leaderboard
from sweeps.engine.lease import Lease
from sweeps.engine.nodes import inventory
from sweeps.engine.options import SMOKE_SAMPLES, Options
from sweeps.engine.placement import Placement, placement
from sweeps.engine.plan import Plan, read_plan, settle, write_plan
from sweeps.engine.progress import Progress
from sweeps.engine.results import study_url
from sweeps.engine.search import CohortSearch
from sweeps.engine.space import Space, check_space
from sweeps.engine.spool import Spool, State
from sweeps.engine.study import Row, Study
from sweeps.engine.tracking import Tracker
from sweeps.engine.tracking_uri import make_room
from sweeps.engine.trainable import Work, train_cohort
from wgan_core.config import Structure
from wgan_core.data import Dataset
from wgan_core.errors import UserError, one_line
from wgan_core.folder import Folder
from wgan_core.metrics import Evaluator, OwnMetric
from wgan_core.networks import own_digest, own_pair
from wgan_core.preflight import check_fit

SAMPLES = 5000
# In which the study answers, unless it waits for its database.
STUDY_S = 20.0
ENDED = ("COMPLETE", "PRUNED", "FAIL")


def run_script(main: Callable[[], None]) -> int:
    """Call a script's main; the exit status: 0, 1 (no score), 2 (one line says what to mend), 130 (interrupted)."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except NoScore as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (ray.exceptions.RayError, tune.TuneError) as error:
        print(f"error: {one_line(error)}: the same command again goes on from the last checkpoints", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the same command again goes on from the last checkpoints", file=sys.stderr)
        return 130
    return 0


class NoScore(Exception):
    """Every trial of a sweep failed."""


def run_sweep(
    options: Options, dataset: Dataset, structure: Structure, space: Space, metrics: Sequence[OwnMetric] = ()
) -> list[Row]:
    """Run, continue or extend a sweep and print its leaderboard; how its trials stand at the end.

    metrics: of the script's own, measured beside those that suit the data; the first is minimised unless the person
    names another.

    Raises `UserError` before any trial starts if something asked for cannot be done, `NoScore` if all trials
    failed, and `KeyboardInterrupt` if the sweep was stopped before its end.
    """
    if options.decay:
        space = space.decaying(options.budget)
    check_fit(structure, options.lanes)
    check_space(space, structure.objective)
    folder = sweep_folder(options.storage, options.name)
    asked, evaluator = _ask(options, dataset, structure, space, metrics)
    with _leased(folder) as session, ThreadPoolExecutor(1) as beside:
        first = read_plan(folder) is None
        plan = settle(folder, asked)
        url = study_url(folder, options.study_storage)
        tracker = _tracker(options, folder, plan, first)
        opened = beside.submit(tracker.open, first_start=first)
        try:
            is_cluster = bool(running_cluster())
            with connected() as nodes:
                # A Ray that was started here does not grow, whatever file an earlier cluster has left.
                may_come = growth() if is_cluster else NONE
                places = placement(
                    options.cpus_per_trial, options.gpus_per_trial, options.max_concurrent, nodes, may_come
                )
                check_storage(folder)
                print(places.line(nodes), flush=True)
                study = _study_actor(plan, url, session)
                opened.result()
                write_plan(folder, plan)
                _record_ends(folder, plan, ray.get(study.rows.remote()))
                rows, done = _run(tracker, plan, folder, options, places, study, dataset, evaluator)
        except UserError:
            if opened.exception() is None:
                tracker.stop("FAILED", {})
            raise
    if not done:  # Tune takes the first interrupt as a request to stop, and returns
        raise KeyboardInterrupt
    if best_row(rows) is None:
        raise NoScore(f"no trial of {plan.name!r} has a score: the reasons are above")
    return rows


def _run(
    tracker: Tracker,
    plan: Plan,
    folder: Folder,
    options: Options,
    places: Placement,
    study: Any,
    dataset: Dataset,
    evaluator: Evaluator,
) -> tuple[list[Row], bool]:
    """Train until all trials have ended or the person stops it; how they stand, and whether all have ended."""
    began = time.monotonic()
    tracker.start()
    try:
        with Progress(plan, lambda: _rows(study)):
            _fit(plan, folder, options, places, study, dataset, evaluator)
    finally:
        rows, done = ray.get([study.rows.remote(), study.is_done.remote()])
        _finish(tracker, plan, folder, rows, done)
    _print_end(tracker, plan, folder, rows, time.monotonic() - began)
    return rows, done


def _rows(study: Any) -> list[Row]:
    """For a person who watches. Raises `TimeoutError` while the study waits."""
    try:
        return cast("list[Row]", ray.get(study.rows.remote(), timeout=STUDY_S))
    except ray.exceptions.GetTimeoutError:
        raise TimeoutError("the search waits for its database, for ten minutes at most") from None


def _ask(
    options: Options, dataset: Dataset, structure: Structure, space: Space, metrics: Sequence[OwnMetric]
) -> tuple[Plan, Evaluator]:
    print(f"{dataset.name}: {len(dataset.train)} to train, {len(dataset.validation)} to validate", flush=True)
    if options.published:
        share = f"{100 * options.budget / options.published:.2g} %"
        print(f"budget: {options.budget} critic updates, {share} of the published {options.published}", flush=True)
    size = SMOKE_SAMPLES if options.smoke else SAMPLES
    features = None if options.features is None else Path(options.features)
    evaluator = Evaluator.build(dataset, sample_size=size, features=features, classes=structure.classes, own=metrics)
    objective = evaluator.resolve(options.objective) if options.objective else evaluator.objective_default
    plan = Plan(
        id=uuid.uuid4().hex[:8],
        name=options.name,
        trials=options.trials,
        budget=options.budget,
        seed=options.seed,
        objective=objective,
        structure=structure,
        space=space,
        data=dataset.name,
        data_digest=dataset.digest,
        protocol=evaluator.protocol,
        floors=evaluator.floors,
        networks_digest=own_digest(structure),
        pruning=options.pruning,
    )
    return plan, evaluator


@contextmanager
def _leased(folder: Folder) -> Iterator[str]:
    lease = Lease(folder)
    try:
        lease.acquire()
    except OSError as error:
        raise UserError(
            f"the storage must be a folder that can be written; {folder}: {error}: check --storage"
        ) from error
    try:
        yield lease.session
    finally:
        lease.release()


def _tracker(options: Options, folder: Folder, plan: Plan, first: bool) -> Tracker:
    uri = options.tracking_uri
    if not uri:
        storage = Folder.at(options.storage)
        if not storage.is_local:
            raise UserError(f"a sweep in an object store, {storage}, needs --tracking-uri: the URL of an MLflow server")
        uri = f"sqlite:///{storage.path}/mlflow.db"
    try:
        make_room(uri)
    except OSError as error:
        if first:  # later on the spools hold what MLflow cannot take
            raise UserError(f"{error}: check --tracking-uri") from error
    return Tracker(folder, plan.name, plan.id, uri, plan.objective, plan.floor, plan.as_json())


def _study_actor(plan: Plan, url: str, session: str) -> Any:
    actor: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Study)
    study = actor.options(scheduling_strategy=on_this_node()).remote(plan.as_json(), url, session)
    try:
        ray.get(study.is_done.remote())
    except ray.exceptions.RayError as error:
        # Of an actor that could not start, Ray gives the traceback, with the cause in its last line.
        raise UserError(one_line(error).rpartition("wgan_core.errors.UserError: ")[2]) from error
    return study


def _record_ends(folder: Folder, plan: Plan, rows: list[Row]) -> None:
    """Record the ends that an earlier driver told the study of, and died before it could record."""
    for row in rows:
        if row.state in ENDED and not Spool(trial_folder(folder, row.number)).has_ended():
            kept = Kept(trial_folder(folder, row.number), plan.objective)
            kept.end(cast("State", row.state), row.reason, row.step)


def _fit(
    plan: Plan, folder: Folder, options: Options, places: Placement, study: Any, dataset: Dataset, evaluator: Evaluator
) -> None:
    threads = max(1, math.floor(options.cpus_per_trial))
    pair = own_pair(plan.structure.networks)
    work = Work(plan.as_json(), folder, options.lanes, threads, places.gpus_per_trial, inventory(), pair)
    trainable = tune.with_parameters(
        train_cohort,
        work=work,
        study=study,
        values=dataset.train.values,
        labels=dataset.train.labels,
        evaluator=evaluator,
    )
    columns = ("trial", *plan.space.ranges) if options.lanes == 1 else ("trials",)
    # Tune's own state is not needed again: the study and the storage folder are what a sweep continues from.
    with tempfile.TemporaryDirectory(prefix="wgan-sweeps-", ignore_cleanup_errors=True) as scratch:
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"CPU": options.cpus_per_trial, "GPU": places.gpus_per_trial}),
            param_space={name: tune.uniform(0, 1) for name in columns},
            tune_config=tune.TuneConfig(
                search_alg=CohortSearch(study, options.lanes, folder, plan.objective, Room(places).now),
                num_samples=-1,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name=plan.name, storage_path=scratch, verbose=0, failure_config=tune.FailureConfig(max_failures=0)
            ),
        )
        tuner.fit()


def _finish(tracker: Tracker, plan: Plan, folder: Folder, rows: list[Row], done: bool) -> None:
    best = best_row(rows)
    summary: dict[str, str | float] = {}
    if best is not None:
        summary = {
            f"best/{plan.objective.removeprefix('eval/')}": best.value,
            "best.trial": str(best.number),
            "best.checkpoint": str(checkpoint_of(folder, best)),
        }
    print("writing the last records to MLflow, at most a minute", flush=True)
    if tracker.stop("FINISHED" if done else "KILLED", summary) == "partial":
        print(f"MLflow has not everything yet: {tracker.last_error}; the same command again brings the rest")


def _print_end(tracker: Tracker, plan: Plan, folder: Folder, rows: list[Row], seconds: float) -> None:
    print(f"\n{plan.name}: {plan.objective} on held-out data, real against real {plan.floor:.4g}; {seconds:.0f} s\n")
    print(leaderboard(plan, rows))
    best = best_row(rows)
    if best is not None:
        print(f"\nbest checkpoint   {checkpoint_of(folder, best)}")
    print(f"look at the runs  {tracker.ui_command()}")
    print(f"then open         {tracker.link()}")
