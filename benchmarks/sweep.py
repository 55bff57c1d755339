"""Time a whole sweep against the same trials by hand and against the stock tools.

    python benchmarks/sweep.py [--trials 8] [--budget 900] [--repeats 3] [--samples 5000] [--json OUT]
    python benchmarks/sweep.py --draw JSON

The same trials (`arms.task.POINTS`) on MNIST, each for the whole budget, with nine reports each: a score of as many
samples by the same `Evaluator`, and a checkpoint of nets and optimisers. Nothing is stopped early.

    (a) sweep   our sweep: a core a trial, Optuna and MLflow on SQLite
    (b) loop    the textbook loop, one trial after another in one process, as many threads as torch takes; no tracking
    (c) stock   that loop as a Tune function trainable with OptunaSearch, ASHAScheduler, MLflowLoggerCallback on SQLite
                and Tune checkpoints, at their defaults; a core a trial

Each runs in a process of its own, one after another, in an order that moves on by one from repeat to repeat. What (a)
does besides (the generator's average, sample grids, means of four quantities, a best model) is in its time.

    start-up       from the start of the process to the start of the first trial
    span           from the start of the first trial to the end of the last
    total          from the start of the process to its end
    training       seconds in updates, mean over trials
    evaluation     seconds in `Evaluator.scores`, mean over trials
    overhead       slots * span / trials - training - evaluation: what a trial's slot spends on all else, which is
                   checkpoints, drawing the samples, records, waiting for others, and standing empty
    empty          what of the overhead is no trial's time: a slot between two trials, and at the end of the last

A slot is a core in (a) and (c), and the whole machine in (b). Ratios are taken within a repeat, of spans and of totals;
above 1, (a) is faster. Their medians and quartiles over the repeats are printed. The JSON has also the best score so
far against seconds, which `--draw` draws beside it, from the start of the first trial on.

The machine must be free of all other work: (b), whose threads wait for each other, loses far more to a neighbour than
(a) and (c) do. Before and after each arm the script listens for such work, and says so if there is any.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import curves
from arms.task import MLFLOW_DB, POINTS, REPORTS, Evaluation, Record, Task, evaluations, kept
from machine import ALONE_WITHIN_S, MOST_BUSY, cores, disturbance
from measuring import rotated, spread

from wgan_core.backend.process import processor
from wgan_core.data.mnist import load_mnist
from wgan_core.metrics.evaluator import Evaluator

ARMS = {"a": "ours", "b": "loop", "c": "stock"}
LABELS = {"a": "(a) sweep", "b": "(b) loop", "c": "(c) stock"}
COLOURS = {"a": "#d62728", "b": "#7f7f7f", "c": "#1f77b4"}
MEASURES = ("startup", "span", "total", "training", "evaluation", "overhead", "empty")
PACKAGES = ("torch", "numpy", "ray", "optuna", "mlflow")
# What a person's shell may set that would bend an arm away from how it runs by itself.
STRIPPED = ("RAY_", "TUNE_", "MLFLOW_", "MALLOC_", "OMP_", "MKL_", "WGAN_STORAGE", "WGAN_STUDY_STORAGE")
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "MLFLOW_DISABLE_TELEMETRY": "true"}
# From here on a sweep reports more often than the other arms do: `sweeps.engine.plan.plan.Plan.grid`.
BUDGET_LIMIT = 13_500


@dataclass(frozen=True)
class Run:
    """One arm in one repeat, in seconds; services and busy_cores: the larger `disturbance` before and after it.

    best: seconds since the start of the process, and the score that was the best from then on.
    """

    arm: str
    repeat: int
    startup: float
    span: float
    total: float
    training: float
    evaluation: float
    overhead: float
    empty: float
    best: list[tuple[float, float]]
    services: int
    busy_cores: float

    @property
    def disturbed(self) -> bool:
        return self.services > 0 or self.busy_cores > MOST_BUSY


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(arguments)
    if options.arm:
        importlib.import_module(f"arms.{ARMS[options.arm]}").main(Task(**json.loads(options.task)))
        return
    if options.draw:
        out = options.draw.with_suffix(".png")
        draw(json.loads(options.draw.read_text()), out)
        print(f"wrote {out}")
        return
    noted = circumstances(options)
    if options.json:
        noted |= scale(options.samples)
    print("\n".join(f"{key}: {value}" for key, value in noted.items()), flush=True)
    runs: list[Run] = []
    for repeat in range(options.repeats):
        for arm in rotated(list(ARMS), repeat):
            runs.append(measure(arm, repeat, options))
            print(line(runs[-1]), flush=True)
    print(f"\n{table(runs)}\n\n{ratio_lines(runs)}")
    disturbed = sum(run.disturbed for run in runs)
    if disturbed:
        print(f"\n{disturbed} of {len(runs)} runs had other work beside them: DO NOT QUOTE these times")
    if options.json:
        figures = {
            "disturbed_runs": disturbed,
            "summary": summary(runs),
            "ratios": ratios(runs),
            "runs": [asdict(run) for run in runs],
        }
        options.json.write_text(json.dumps({**noted, **figures}, indent=1) + "\n")
        print(f"wrote {options.json}")


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=len(POINTS), help=f"of each arm, 1 to {len(POINTS)}")
    parser.add_argument("--budget", type=int, default=900, help=f"critic updates a trial, {REPORTS} or more")
    parser.add_argument("--samples", type=int, default=5000, help="samples of one score")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each arm")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures to this file as JSON")
    parser.add_argument(
        "--draw", type=Path, metavar="JSON", help="only draw the curves of this file, beside it, with matplotlib"
    )
    parser.add_argument(
        "--alone-within", type=float, default=ALONE_WITHIN_S, help="seconds that other work gets to end beside an arm"
    )
    # How this script starts itself as one of the arms.
    parser.add_argument("--arm", choices=sorted(ARMS), help=argparse.SUPPRESS)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if not 1 <= options.trials <= len(POINTS):
        parser.error(f"--trials must be 1 to {len(POINTS)}; given {options.trials}")
    if not REPORTS <= options.budget < BUDGET_LIMIT:
        parser.error(f"--budget must be {REPORTS} to {BUDGET_LIMIT - 1}; given {options.budget}")
    if options.repeats < 1:
        parser.error(f"--repeats must be 1 or more; given {options.repeats}")
    return options


# Measuring


def measure(arm: str, repeat: int, options: argparse.Namespace) -> Run:
    """Run an arm in a folder that is deleted afterwards."""
    before = disturbance(options.alone_within)
    with tempfile.TemporaryDirectory(prefix=f"benchmark-{ARMS[arm]}-", ignore_cleanup_errors=True) as folder:
        task = Task(options.trials, options.budget, options.samples, cores(), folder)
        began = time.time()
        launch(arm, task)
        ended = time.time()
        records, scored = kept(task), evaluations(task)
        check(arm, task, records, scored)
    after = disturbance(options.alone_within)
    beside = max(before[0], after[0]), max(before[1], after[1])
    start = min(record.start for record in records)
    span = max(record.end for record in records) - start
    training = statistics.mean(record.training for record in records)
    evaluation = sum(each.seconds for each in scored) / task.trials
    best = curves.best_so_far((each.at - began, each.score) for each in scored)
    slots = 1 if arm == "b" else min(task.slots, task.trials)
    share = slots * span / task.trials
    overhead = share - training - evaluation
    empty = share - statistics.mean(record.end - record.start for record in records)
    return Run(arm, repeat, start - began, span, ended - began, training, evaluation, overhead, empty, best, *beside)


def launch(arm: str, task: Task) -> None:
    """Start this script as an arm and wait. Raises `RuntimeError` with the end of its output if it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(STRIPPED)}
    output = task.path("output.log")
    with output.open("w") as stream:
        command = [sys.executable, __file__, "--arm", arm, "--task", json.dumps(asdict(task))]
        status = subprocess.run(
            command, env=environment | QUIET, cwd=task.folder, stdout=stream, stderr=subprocess.STDOUT, check=False
        )
    if status.returncode:
        raise RuntimeError(f"{LABELS[arm]} ended with {status.returncode}:\n{output.read_text()[-4000:]}")


def check(arm: str, task: Task, records: list[Record], scored: list[Evaluation]) -> None:
    """That the arm did all of the work. Raises `RuntimeError` with what is missing."""

    def by_name(point: Any) -> list[tuple[str, float]]:
        return sorted(point.items())

    if sorted(by_name(record.point) for record in records) != sorted(map(by_name, task.points)):
        raise RuntimeError(f"{LABELS[arm]} must train the {task.trials} points, each once; it trained {records}")
    for record in records:
        if record.steps != task.grid:
            raise RuntimeError(f"{LABELS[arm]} must report at {task.grid}; a trial did at {record.steps}")
    if len(scored) != (times := task.trials * len(task.grid)):
        raise RuntimeError(f"{LABELS[arm]} must score {times} times; it did {len(scored)} times")
    if arm != "b" and (tracked := tracked_runs(task)) < task.trials:
        raise RuntimeError(f"{LABELS[arm]} must track {task.trials} trials in MLflow; it tracked {tracked}")


def tracked_runs(task: Task) -> int:
    """How many MLflow runs have metrics; read from its file, since importing MLflow here would take seconds."""
    with closing(sqlite3.connect(task.path(MLFLOW_DB))) as database:
        (count,) = database.execute("SELECT COUNT(DISTINCT run_uuid) FROM metrics").fetchone()
    return int(count)


# What is printed and kept


def circumstances(options: argparse.Namespace) -> dict[str, Any]:
    """What a figure has to stand with."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": processor(),
        "cores": cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in PACKAGES},
        "trials": options.trials,
        "budget": options.budget,
        "samples": options.samples,
        "repeats": options.repeats,
    }


def scale(samples: int) -> dict[str, Any]:
    """The score of all arms, and that of real samples."""
    evaluator = Evaluator.build(load_mnist(), sample_size=samples)
    return {"score": evaluator.objective_default, "floor": evaluator.floors[evaluator.objective_default]}


def summary(runs: Sequence[Run]) -> dict[str, dict[str, dict[str, float]]]:
    """The spread of each measure, by arm."""
    return {
        arm: {measure: spread([getattr(run, measure) for run in runs if run.arm == arm]) for measure in MEASURES}
        for arm in ARMS
    }


def ratios(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    """The spread of (b) and (c) over (a), within each repeat."""
    found = {}
    for other in ("b", "c"):
        for measure in ("span", "total"):
            values = {run.repeat: getattr(run, measure) for run in runs if run.arm == other}
            ours = {run.repeat: getattr(run, measure) for run in runs if run.arm == "a"}
            found[f"{measure} {other}/a"] = spread([values[repeat] / ours[repeat] for repeat in values])
    return found


def line(run: Run) -> str:
    measured = ", ".join(f"{measure} {getattr(run, measure):.2f}" for measure in MEASURES)
    disturbed = f"  DISTURBED: {run.services} services, {run.busy_cores:.1f} cores busy" if run.disturbed else ""
    return f"repeat {run.repeat + 1}  {LABELS[run.arm]:<9}  {measured}{disturbed}"


def table(runs: Sequence[Run]) -> str:
    """Seconds, median [q1, q3]: a row a measure, a column an arm."""
    found = summary(runs)
    rows = [f"{'seconds':<12}" + "".join(f"{LABELS[arm]:>26}" for arm in ARMS)]
    rows += [f"{measure:<12}" + "".join(f"{cell(found[arm][measure]):>26}" for arm in ARMS) for measure in MEASURES]
    return "\n".join(rows)


def ratio_lines(runs: Sequence[Run]) -> str:
    return "\n".join(f"{name:<12}{cell(values)}" for name, values in ratios(runs).items())


def cell(values: dict[str, float]) -> str:
    return f"{values['median']:.2f} [{values['q1']:.2f}, {values['q3']:.2f}]"


def draw(content: dict[str, Any], out: Path) -> None:
    """Write the picture of the best score so far against seconds, a line a run; its suffix says in which format."""
    machine = f"{content['cores']} cores of {content['processor']}, torch {content['torch']}, {content['date']}"
    title = f"{content['trials']} trials of {content['budget']} critic updates; {machine}"
    beside = "\nWITH OTHER WORK BESIDE IT" if content["disturbed_runs"] else ""
    curves.draw(curves_of(content), content["floor"], content["score"], title + beside, out)


def curves_of(content: dict[str, Any]) -> list[curves.Curve]:
    """A curve a run, from the start of its first trial on."""
    if not all("best" in run for run in content["runs"]):
        raise SystemExit("error: these figures must have scores; they are of before there were any: measure again")
    found = []
    for run in sorted(content["runs"], key=lambda run: run["arm"]):
        points = [(seconds - run["startup"], best) for seconds, best in run["best"]]
        found.append(curves.Curve(LABELS[run["arm"]], COLOURS[run["arm"]], points, run["span"]))
    return found


if __name__ == "__main__":
    main()
