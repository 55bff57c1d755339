"""Run of a sweep, from the first check to the leaderboard."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

import torch

from sweeps.engine.cluster.connection import joined, running_cluster
from sweeps.engine.cluster.growth import NONE, growth
from sweeps.engine.cluster.loss import left_if_lost, lost_process
from sweeps.engine.cluster.nodes import inventory, working
from sweeps.engine.cluster.placement import placement, ranks_of
from sweeps.engine.doctor.examine import check_start
from sweeps.engine.driver.dry_run import dry_run
from sweeps.engine.driver.ending import record_end
from sweeps.engine.driver.full_disk import told_of_full_disk
from sweeps.engine.driver.lane_probe import settle_lanes
from sweeps.engine.driver.memory import check_memory
from sweeps.engine.driver.outcome import LostRay, NoScore, leave
from sweeps.engine.driver.refresh import Refresher
from sweeps.engine.driver.time_limit import TimeLimit, limit_text, unfinished_text
from sweeps.engine.driver.training import Stage, Training
from sweeps.engine.plan.options import SMOKE_SAMPLES, Options
from sweeps.engine.plan.plan import (
    CONFIRM_FILE,
    UNSCORED,
    Plan,
    SweepStart,
    check_name,
    check_reserved,
    read_plan,
    read_started,
    settle,
    write_plan,
)
from sweeps.engine.plan.samplers import check_sampler, grid_notice
from sweeps.engine.plan.space import Space, check_budget, check_space, losses_of, penalty_notice
from sweeps.engine.plan.structures import check_structures, structures
from sweeps.engine.plan.uri import NOT_RECORDED, make_room, own_tracking_uri
from sweeps.engine.results.confirmation import Confirmation, plan_confirmation
from sweeps.engine.results.extension import Extended
from sweeps.engine.results.results import Results, open_results, read_confirmation, study_url
from sweeps.engine.results.warm_start import warm_started
from sweeps.engine.storage.layout import sweep_folder
from sweeps.engine.storage.lease import Lease
from sweeps.engine.study.rows import Row, best_row
from sweeps.engine.terminal.choose import reporter_for
from sweeps.engine.terminal.reporter import Ending, Reporter
from sweeps.engine.terminal.text import put
from sweeps.engine.tracking import MlflowRecorder, NoRecorder, Recorder
from sweeps.engine.worker.job import Job, own_pairs
from wgan_core.backend.choices import BFLOAT16, TF32
from wgan_core.config import Structure
from wgan_core.data import Dataset
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError
from wgan_core.metrics.evaluator import Evaluator, SplitName
from wgan_core.metrics.names import unscored_text
from wgan_core.metrics.own import OwnMetric
from wgan_core.networks.network import own_digest
from wgan_core.training.preflight import check_fit
from wgan_core.training.samples import evaluation_labels

SAMPLES = 5000


def run(
    options: Options, dataset: Dataset, structure: Structure, space: Space, metrics: Sequence[OwnMetric] = ()
) -> Results:
    """Run a sweep; see `driver.script.run_sweep` for the arguments, results and errors."""
    is_confirmed = options.confirm is not None
    reporter, limit = reporter_for(options.quiet, options.json), TimeLimit.of(options.hours, is_confirmed)
    extended = _extended(options)
    decay = options.budget if extended is None else extended.results.plan.budget
    structure, space = _settled(options, dataset, structure, space, decay, reporter)
    if options.hours is not None:
        reporter.say(limit_text(options.hours, is_confirmed))
    check_name(options.name)
    check_reserved(options.name)
    folder = sweep_folder(options.storage, options.name)
    warm: dict[str, tuple[str, ...]] = {}
    if options.warm_start:
        earlier = partial(open_results, options.storage, study_storage=options.study_storage)
        space, warm, lines = warm_started(space, options.warm_start, earlier, read_plan(folder))
        for line in lines:
            reporter.say(line)
    asked, evaluator = _ask(options, dataset, structure, space, metrics, reporter)
    asked = replace(asked, warm_start=warm) if extended is None else extended.plan(asked)
    if options.dry_run:
        for line in dry_run(options, asked, dataset.train, evaluator):
            (reporter.say if options.json else put)(line)
        raise SystemExit(0)
    test = None if options.confirm is None else _evaluator(options, dataset, structure, metrics, "test")
    with (
        told_of_full_disk(folder),
        _leased(folder) as session,
        ThreadPoolExecutor(1) as beside,
        ExitStack() as stack,
    ):
        first = read_plan(folder) is None
        plan = settle(folder, asked)
        if extended is not None:
            extended.copy(folder)
        url = study_url(folder, options.study_storage)
        recorder = _recorder(options, folder, plan, first)
        opened = beside.submit(recorder.open, first_start=first)
        try:
            address = running_cluster(reporter.say)
            stack.enter_context(left_if_lost(leave))
            stack.enter_context(joined(address, reporter.say))
            nodes = [node.resources for node in working()]
            # A local Ray cluster cannot grow, even if an earlier cluster left a file with node types.
            may_come = growth() if address else NONE
            places = placement(options.cpus_per_trial, options.gpus_per_trial, options.max_concurrent, nodes, may_come)
            if address:
                check_start(folder)
            reporter.say(places.line(nodes))
            if plan.structure.precision == TF32 and not places.gpus_per_trial:
                reporter.say("precision tf32 is of GPUs: trials are trained without one here, as in float32")
            if plan.structure.precision == BFLOAT16 and not places.gpus_per_trial:
                reporter.say(
                    "precision bfloat16 pays on GPUs: on CPUs, training took 1.75 times as long as in float32; "
                    "--precision float32 is faster here"
                )
            job = Job(plan, folder, places, inventory(), options.execution, options.lanes or 1, own_pairs(plan))
            if options.lanes is None:
                kept = None if first else read_started(folder).lanes
                lanes = settle_lanes(job, kept, dataset.train, evaluator.sample_size, nodes, reporter.say)
                job = replace(job, lanes=lanes)
            confirms = 0 if options.confirm is None else options.confirm.leaders * options.confirm.seeds
            check_memory(job, max(plan.trials, confirms), nodes)
            search = Training(job, url, session, dataset.train, evaluator, reporter).begin(plan, limit.search)
            opened.result()
            write_plan(folder, plan, _started(options, job, recorder))
        except (UserError, KeyboardInterrupt) as error:
            if opened.exception() is None:
                recorder.stop("FAILED" if isinstance(error, UserError) else "KILLED")
            raise
        with _told_of_loss():
            ending = _run(options, search, recorder, test, limit)
    results = ending.results
    if not ending.done and not ending.unfinished:  # Tune does not raise at the first Ctrl-C: it stops and returns
        raise KeyboardInterrupt
    if results.best_so_far is None and ending.done:
        raise NoScore(f"no trial of {plan.name!r} has a score: the reasons are above")
    return results


def _settled(
    options: Options, dataset: Dataset, structure: Structure, space: Space, decay: int, reporter: Reporter
) -> tuple[Structure, Space]:
    """Return the structure and the space with what the options change. `decay` is the budget that `--decay` takes.

    Raises:
        UserError: They do not suit the data or each other.
    """
    if options.changes:
        structure = options.changes.structure(structure, len(dataset.train))
        space, moved = options.changes.space(space, structure)
        for line in moved:
            reporter.say(line)
    if options.decay:
        space = space.decaying(decay)
    if options.precision is not None:
        structure = replace(structure, precision=options.precision)
    _check_conditions(structure, dataset)
    ranks = ranks_of(options.gpus_per_trial)
    check_structures(space, structure, lambda each: check_fit(each, options.lanes or 1, ranks))
    for loss in losses_of(space.ranges, structure.loss):
        check_space(space, loss)
    check_sampler(options.sampler, space.ranges, options.trials)
    if notice := grid_notice(options.sampler, space.ranges, options.trials):
        reporter.say(notice)
    if not options.smoke:  # a smoke run only tries the steps of a sweep, and its scores mean nothing
        check_budget(space, options.budget)
    return structure, space


@contextmanager
def _told_of_loss() -> Iterator[None]:
    """Raise `LostRay`, in place of whatever else ends the block, if a process of the sweep's own Ray has died."""
    try:
        yield
    finally:
        if lost := lost_process():
            raise LostRay(lost)


def _extended(options: Options) -> Extended | None:
    """Return the trial that the options name to be trained on, or None. Raise `UserError` if it cannot be."""
    if options.name in (*options.warm_start, (options.extends or "").partition(":")[0]):
        raise UserError(
            f"a sweep must start from the trials of another one; {options.name!r} is the sweep itself: give another "
            "--name"
        )
    if options.extends is None:
        return None
    return Extended.read(options.extends, options.storage, options.study_storage)


def _run(options: Options, search: Stage, recorder: Recorder, test: Evaluator | None, limit: TimeLimit) -> Ending:
    """Train until all trials end, the time is up or the user stops the sweep. Return how the sweep ended."""
    training, began = search.training, time.monotonic()
    confirming: Stage | None = None
    report = Refresher(lambda: open_results(options.storage, search.plan.name, training.study_url), recorder)
    recorder.start()
    try:
        with report:
            search.train()
            rows, done = search.standing()
            if (done or search.is_timed_out(rows)) and test is not None and best_row(rows) is not None:
                confirming = _begin_confirmation(options, search, rows, test, recorder, limit.whole)
                confirming.train(test)
    finally:
        results, done, timed_out = _standing(search, confirming)
        last = "" if recorder.shown_uri == NOT_RECORDED else "the last records to MLflow, at most a minute, and "
        training.reporter.say(f"writing {last}the report")
        if record_end(recorder, results, done, report.write) == "partial":
            why = f"MLflow has not everything yet: {recorder.last_error}"
            training.reporter.say(f"{why}; the same command again brings the rest")
    seconds = time.monotonic() - began
    unfinished = unfinished_text(options.hours, results) if timed_out and options.hours is not None else ""
    ending = Ending(results, seconds, done, recorder.ui_command(), recorder.link(), unfinished)
    training.reporter.finished(ending)
    return ending


def _standing(search: Stage, confirming: Stage | None) -> tuple[Results, bool, bool]:
    """Return the results, whether all trials of every started plan have ended, and whether the time ended the sweep."""
    rows, done = search.standing()
    timed_out = not done and search.is_timed_out(rows)
    if confirming is not None:
        again, confirmed = confirming.standing()
        timed_out = timed_out if confirmed else confirming.is_timed_out(again)
        done = done and confirmed
        confirmation: Confirmation | None = Confirmation(confirming.plan, again, rows)
    else:
        confirmation = read_confirmation(search.job.folder, rows, search.training.study_url)
    return Results(search.job.folder, search.plan, rows, confirmation), done, timed_out


def _begin_confirmation(
    options: Options, search: Stage, rows: list[Row], test: Evaluator, recorder: Recorder, until: float
) -> Stage:
    assert options.confirm is not None
    folder = search.job.folder
    found = read_plan(folder, CONFIRM_FILE)
    plan = plan_confirmation(search.plan, rows, options.confirm, found, test.protocol, test.floors)
    stage = search.training.begin(plan, until)  # create the study first: the plan file promises that it exists
    write_plan(folder, plan, _started(options, search.job, recorder))
    leaders = ", ".join(map(str, dict.fromkeys(plan.confirms)))
    search.training.reporter.say(
        f"confirming trials {leaders} with fresh seeds: {plan.trials} trials, to be scored on the test split"
    )
    return stage


def _started(options: Options, job: Job, recorder: Recorder) -> SweepStart:
    return SweepStart(options.script, options.arguments, recorder.shown_uri, job.lanes)


def _ask(
    options: Options,
    dataset: Dataset,
    structure: Structure,
    space: Space,
    metrics: Sequence[OwnMetric],
    reporter: Reporter,
) -> tuple[Plan, Evaluator]:
    reporter.say(f"{dataset.name}: {len(dataset.train)} to train, {len(dataset.validation)} to validate")
    if dataset.notice:
        reporter.say(f"{dataset.name}: {dataset.notice}")
    for loss in losses_of(space.ranges, structure.loss):
        if notice := penalty_notice(loss, structure.sample_shape):
            reporter.say(notice)
    if options.published:
        share = f"{100 * options.budget / options.published:.2g} %"
        reporter.say(f"budget: {options.budget} critic updates, {share} of the published {options.published}")
    evaluator = _evaluator(options, dataset, structure, metrics, "validation")
    objective = evaluator.resolve(options.objective) if options.objective else evaluator.objective_default
    left_out = _unscored(evaluator, objective, structure, dataset)
    if left_out:
        reporter.say(f"{objective}: {unscored_text(left_out, structure.classes)}")
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
        protocol={**evaluator.protocol, **({UNSCORED: left_out} if left_out else {})},
        floors=evaluator.floors,
        networks_digest=_digest(space, structure),
        pruning=options.pruning,
        allow_copies=options.allow_copies,
        sampler=options.sampler,
    )
    return plan, evaluator


def _digest(space: Space, structure: Structure) -> str:
    """Return the hash of the user's own networks, of each pair that the trials may have."""
    by_name = {each.networks: each for each in structures(space, structure)}
    return "".join(own_digest(each) for each in by_name.values())


def _unscored(evaluator: Evaluator, objective: str, structure: Structure, dataset: Dataset) -> list[int]:
    """Return the classes that are too small for the objective to score."""
    given = dataset.train.labels
    if not structure.classes or given is None:
        return []
    labels = evaluation_labels(structure, torch.from_numpy(given), evaluator.sample_size)
    return [] if labels is None else evaluator.unscored(objective, labels)


def _check_conditions(structure: Structure, dataset: Dataset) -> None:
    """Raise `UserError` unless the networks are told the numbers that the data has as conditions."""
    if structure.conditions != dataset.conditions:
        given = [
            ", ".join(column.name for column in each.columns) if each is not None else "none"
            for each in (structure.conditions, dataset.conditions)
        ]
        raise UserError(
            f"the networks must be told the conditions of the data; they are told {given[0]}, and {dataset.name} has "
            f"{given[1]}: give the structure `conditions=dataset.conditions`"
        )


def _evaluator(
    options: Options, dataset: Dataset, structure: Structure, metrics: Sequence[OwnMetric], split: SplitName
) -> Evaluator:
    size = SMOKE_SAMPLES if options.smoke else SAMPLES
    return Evaluator.build(
        dataset,
        split,
        sample_size=size,
        features=options.features,
        classes=structure.classes,
        metrics=metrics,
        objective=options.objective,
    )


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


def _recorder(options: Options, folder: Folder, plan: Plan, first: bool) -> Recorder:
    uri = options.tracking_uri or own_tracking_uri(Folder.at(options.storage))
    if uri == NOT_RECORDED:
        return NoRecorder()
    try:
        make_room(uri)
    except OSError as error:
        if first:  # a continued sweep may go on: the spools hold the records until MLflow takes them
            raise UserError(f"{error}: check --tracking-uri") from error
    return MlflowRecorder(folder, plan, uri)
