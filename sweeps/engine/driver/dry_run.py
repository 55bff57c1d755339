"""Dry run of a sweep: a short measurement of training and scoring, and the time and storage that the sweep will take.

Nothing is started or written, but for temporary files. As many processes measure at once as would train, because
processes slow each other down on shared cores and memory.
"""

from __future__ import annotations

import heapq
import math
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from sweeps.engine.cluster.cpus import usable_cpus
from sweeps.engine.cluster.placement import placement
from sweeps.engine.driver.lanes import hypers
from sweeps.engine.plan.options import Options
from sweeps.engine.plan.plan import ETA, Plan
from sweeps.engine.plan.space import Space
from sweeps.engine.plan.structures import structures
from sweeps.engine.storage.layout import CHECKPOINTS
from sweeps.engine.storage.trial_store import TrialStore
from sweeps.engine.worker.job import Job, own_pairs
from sweeps.engine.worker.resident import resident
from sweeps.engine.worker.scorer import Scorer
from wgan_core.config import Structure, Trial
from wgan_core.data import Split
from wgan_core.data.folder import Folder
from wgan_core.data.limits import size_text
from wgan_core.errors import UserError, one_line
from wgan_core.metrics.evaluator import Evaluator
from wgan_core.training.cohort import Cohort
from wgan_core.training.footprint import footprint
from wgan_core.training.probe import measure

# Seconds of timed training for each of two n_critic, 1 and FEW.
SECONDS, FEW = 3.0, 5
# Seconds from the command to the first trial, and from the last trial to the end: Ray starts, MLflow gets the last
# records, and the report is written. Estimated; no command measures them.
START_S = 25.0
# Seconds between two trials of a process. Estimated too.
BETWEEN_S = 1.0
# Checkpoints that a trial keeps: the last two, and the best.
KEPT = 3


@dataclass(frozen=True)
class Cost:
    """Time and storage that one process takes.

    Attributes:
        start_s: Seconds from its start to its first update.
        critic_s, generator_s: Seconds of a critic update, and of a generator update, for all lanes together.
        report_s: Seconds of one trial's report: samples, scores, picture and checkpoint.
        checkpoint_bytes, report_bytes: Size of a checkpoint, and of a picture and a record.
    """

    start_s: float
    critic_s: float
    generator_s: float
    report_s: float
    checkpoint_bytes: float
    report_bytes: float

    def trial_s(self, updates: int, reports: int, n_critic: float, lanes: int) -> float:
        """Return the seconds that a trial takes beside those on the other lanes, whose reports it waits for."""
        return updates * (self.critic_s + self.generator_s / n_critic) + reports * self.report_s * lanes


@dataclass(frozen=True)
class Expected:
    """Time and storage that a sweep takes.

    Attributes:
        least_s, most_s: Seconds if early stopping saves as much as it can, and if it saves nothing.
        gpu_s: Seconds of all GPUs together.
        size: Bytes of storage.
    """

    least_s: float
    most_s: float
    gpu_s: float
    size: float


def dry_run(options: Options, plan: Plan, train: Split, evaluator: Evaluator) -> Iterator[str]:
    """Measure, and yield lines that say what the sweep will take on this machine.

    If the sweep searches settings of the structure, the cheapest and the dearest structure are measured.

    Args:
        options: The options of the sweep.
        plan: Its plan.
        train: Training split.
        evaluator: Scorer on the validation split.

    Raises:
        UserError: A trial does not fit on this machine.
    """
    node = {"CPU": float(usable_cpus()), "GPU": float(_gpus())}
    places = placement(options.cpus_per_trial, options.gpus_per_trial, options.max_concurrent, [node])
    lanes, confirms = options.lanes or 1, _confirms(options)
    job = Job(plan, Folder.at("."), places, {}, options.execution, lanes, own_pairs(plan))
    processes = max(1, min(places.room([node]), -(-max(plan.trials, confirms) // lanes)))
    yield f"dry run: measuring {processes} processes at a time on this machine; nothing is started"
    found = structures(plan.space, plan.structure)
    ends = dict.fromkeys((min(found, key=footprint), max(found, key=footprint)))
    costs = [_mean(_measured(job, each, (train, evaluator), processes)) for each in ends]
    yield (
        f"a critic update takes {_ends([1000 * each.critic_s for each in costs])} ms, a generator update "
        f"{_ends([1000 * each.generator_s for each in costs])} ms, and a report "
        f"{_ends([each.report_s for each in costs])} s" + (f", with {lanes} lanes" if lanes > 1 else "")
    )
    takes = [expected(plan, cost, confirms, processes * lanes, (lanes, places.gpus_per_trial)) for cost in costs]
    again = f", and {confirms} to confirm the best" if confirms else ""
    yield f"{plan.trials} trials of {plan.budget:,} critic updates and {len(plan.grid)} reports{again}"
    least, most = min(each.least_s for each in takes), max(each.most_s for each in takes)
    if least < most:
        yield f"time: {span_text(least)} to {span_text(most)}, from the most to the least that early stopping saves"
    else:
        yield f"time: {span_text(most)}"
    if places.gpus_per_trial:
        yield f"GPU hours: at most {max(each.gpu_s for each in takes) / 3600:.3g}"
    yield f"storage: at most {size_text(round(max(each.size for each in takes)))}"


def _ends(values: Sequence[float]) -> str:
    """Format one value, or the least and the greatest of several."""
    texts = dict.fromkeys(f"{each:.3g}" for each in (min(values), max(values)))
    return " to ".join(texts)


def expected(plan: Plan, cost: Cost, confirms: int, at_once: int, process: tuple[int, float]) -> Expected:
    """Return what a sweep takes, given what a process takes.

    Without early stopping all trials train for the whole budget. With it, at least a third of the trials goes on at
    each rung, and the others stop there.

    Args:
        plan: The plan.
        cost: What a process takes.
        confirms: Number of trials that confirm the best, for the whole budget.
        at_once: Number of trials that train at once.
        process: Lanes and GPUs of a process.
    """
    lanes, gpus = process
    counts = _n_critics(plan.space, plan.trials)

    begun = 0 if plan.extends is None else plan.extends.updates

    def seconds(n_critic: float, share: float) -> float:
        updates, reports = (plan.budget - begun) * share, len(plan.grid) * share
        return cost.trial_s(round(updates), math.ceil(reports), n_critic, lanes) + BETWEEN_S

    # Share of the budget of each trial if as many stop at each rung as can: two thirds of those that reach it.
    share = _least_share(plan) if plan.pruning else 1.0
    fixed = START_S + cost.start_s
    confirmed = [seconds(statistics.fmean(counts), 1.0)] * confirms
    most = fixed + _together([seconds(n, 1.0) for n in counts], at_once) + _together(confirmed, at_once)
    least = fixed + _together([seconds(n, share) for n in counts], at_once) + _together(confirmed, at_once)
    busy = math.fsum([*(seconds(n, 1.0) for n in counts), *confirmed])
    each = KEPT * cost.checkpoint_bytes + len(plan.grid) * cost.report_bytes
    # MLflow keeps its own copies of the pictures and of the best checkpoint.
    tracked = cost.checkpoint_bytes + len(plan.grid) * cost.report_bytes
    return Expected(least, most, busy / lanes * gpus, (plan.trials + confirms) * (each + tracked))


def _least_share(plan: Plan) -> float:
    """Return the mean share of the budget that trials train if two thirds stop at each rung."""
    rungs, going, before, share = [], 1.0, 0.0, 0.0
    reports = len(plan.grid)
    while reports > 1:
        reports //= ETA
        rungs.append(reports / len(plan.grid))
    for rung in sorted(rungs):
        share += going * (rung - before)
        going, before = going / ETA, rung
    return share + going * (1.0 - before)


def _together(seconds: Sequence[float], at_once: int) -> float:
    """Return the time that trials take if a trial starts whenever one ends, and so many train at once."""
    ends = [0.0] * at_once
    for each in seconds:
        heapq.heappush(ends, heapq.heappop(ends) + each)
    return max(ends)


def _n_critics(space: Space, trials: int) -> list[float]:
    """Return the n_critic of each trial: of the starting points, then spread over the range."""
    starts = [float(space.hyper(point).n_critic) for point in space.presets][:trials]
    return [*starts, *(float(each.n_critic) for each in hypers(space, trials - len(starts)))]


def _confirms(options: Options) -> int:
    return 0 if options.confirm is None else min(options.confirm.leaders, options.trials) * options.confirm.seeds


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _measured(job: Job, structure: Structure, data: tuple[Split, Evaluator], processes: int) -> list[Cost]:
    context = multiprocessing.get_context("spawn")
    began = time.time()
    try:
        with ProcessPoolExecutor(processes, context) as pool:
            asked = [pool.submit(_measure, job, structure, data, began) for _ in range(processes)]
            return [each.result() for each in asked]
    except Exception as error:
        # A function without a name of its own cannot be sent: an error of a class that is not imported here.
        if not isinstance(error, BrokenProcessPool | AttributeError) and type(error).__name__ != "PicklingError":
            raise
        raise UserError(
            f"a dry run must start processes with the data, metrics and networks of the script; {one_line(error)}: "
            'guard the script by `if __name__ == "__main__"`, name functions in place of lambdas, or give a smaller '
            "--max-concurrent"
        ) from error


def _measure(job: Job, structure: Structure, of: tuple[Split, Evaluator], began: float) -> Cost:
    """Measure one process, in a process of its own. `began` is the time at which it was asked for."""
    train, evaluator = of
    data = resident(train, job.plan.data_digest, job.configure())
    start_s = time.time() - began
    (middle,) = hypers(job.plan.space, 1)

    def seconds(n_critic: int) -> float:
        points = [replace(middle, n_critic=n_critic)] * job.lanes
        found = measure(structure, data, points, evaluator.sample_size, SECONDS, job.execution)
        if found.updates_per_s is None:
            raise UserError("a trial must fit in the memory of its process; it does not: give smaller networks")
        return job.lanes / found.updates_per_s

    often, seldom = seconds(1), seconds(FEW)
    generator_s = max(0.0, (often - seldom) / (1 - 1 / FEW))
    cohort = Cohort(structure, data, (FEW, 2 * FEW), 1, job.execution)
    cohort.add(Trial(0, 0, middle))
    report_s, checkpoint, report = _report(cohort, Scorer(job, data, evaluator, None), job.plan.objective)
    return Cost(start_s, max(0.0, often - generator_s), generator_s, report_s, checkpoint, report)


def _report(cohort: Cohort, scorer: Scorer, objective: str) -> tuple[float, float, float]:
    """Return the seconds of a report, and the bytes of its checkpoint and of its other files.

    The first report is not timed, because metrics load their networks at their first use.
    """
    with tempfile.TemporaryDirectory(prefix="wgan-sweeps-") as scratch:
        store, began = TrialStore(Folder.at(scratch), objective), 0.0
        for _ in range(2):
            reports = cohort.advance()
            began = time.perf_counter()
            scorer.report(cohort, reports, {0: 0.0}, {0: store})
        took = time.perf_counter() - began
        sizes = {each: each.stat().st_size for each in Path(scratch).rglob("*") if each.is_file()}
    checkpoints = sum(size for each, size in sizes.items() if CHECKPOINTS in each.parts)
    return took, checkpoints / 2, (sum(sizes.values()) - checkpoints) / 2


def _mean(costs: Sequence[Cost]) -> Cost:
    return Cost(*(statistics.fmean(values) for values in zip(*map(astuple, costs), strict=True)))


def span_text(seconds: float) -> str:
    """Format a time: "40 s", "17 min" or "5 h 20 min"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
