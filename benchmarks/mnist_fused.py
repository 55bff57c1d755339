"""A whole search on MNIST in one process: its trials on the lanes of one cohort, scored and stopped early.

    python benchmarks/mnist_fused.py [--trials 64] [--lanes 64] [--budget 18740] [--precision tf32] [--threads N]
        [--data FOLDER] [--json OUT]
    python benchmarks/mnist_fused.py --draw JSON [--beside JSON]

The space, its starting points, the report grid and the rule of early stopping are those of `sweeps/mnist.py`; all other
points are drawn at random. It needs neither Ray nor Optuna nor MLflow, so it has neither processes nor records nor
checkpoints: a whole sweep is `sweeps/mnist.py --lanes 64 --trials 64`. 18,740 critic updates are 20 epochs of MNIST's
60,000 images at batch 64. The score is FID on the shipped digit features, on the CPU: of the trials at a report several
at a time, each on one of `--threads`.

Trials that were stopped leave their lanes to others; once none wait, the cohort goes on with the lanes that a sweep
would. Printed are the time from the first update to the last score, the share of it that scoring took, and critic
updates of all trials together. The JSON has the best score so far against seconds, which `--draw` draws beside it; with
`--beside` also the curves in a file of `sweep.py`, the stock tools' among them: of other trials and another budget, and
maybe on another machine.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import curves
import numpy as np
import sweep
import torch
from machine import cores
from torch import Tensor

from sweeps.engine.plan.presets import WGAN_GP
from sweeps.engine.plan.space import Range
from sweeps.engine.study.halving import rungs, survives
from sweeps.engine.study.narrowing import width_for
from wgan_core.backend import process
from wgan_core.backend.choices import FLOAT32, PRECISIONS
from wgan_core.backend.memory import give_back
from wgan_core.config import Structure, Trial, report_grid, trial_seed
from wgan_core.data.mnist import load_mnist
from wgan_core.metrics.evaluator import Evaluator
from wgan_core.training.cohort import Cohort, Report
from wgan_core.training.data import TrainingData
from wgan_core.training.samples import evaluation_z

# What a sweep of so long a budget takes.
REPORTS, ETA = 27, 3
SEED = 0


@dataclass
class Search:
    """The trials' values by step, and the best so far against seconds since `started`."""

    grid: tuple[int, ...]
    started: float = field(default_factory=time.perf_counter)
    evaluating: float = 0.0
    updates: int = 0
    values: dict[int, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    ends: dict[int, str] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)

    def note(self, report: Report, value: float) -> None:
        self.values[report.critic_updates][report.trial.number] = value
        if math.isfinite(value) and (not self.curve or value < self.curve[-1]["best"]):
            point = {"seconds": time.perf_counter() - self.started, "best": value, "trial": report.trial.number}
            self.curve.append(point | {"critic_updates": report.critic_updates})

    def verdict(self, report: Report) -> str:
        """Why a trial ends here; empty if it goes on. All reports that there are have been noted before."""
        step, number = report.critic_updates, report.trial.number
        there = self.values[step]
        if not math.isfinite(there[number]):
            return "failed"
        if step == self.grid[-1]:
            return "complete"
        others = [value for other, value in there.items() if other != number]
        return "" if step not in rungs(self.grid, ETA) or survives(there[number], others, ETA) else "stopped"


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(arguments)
    if options.draw:
        out = options.draw.with_suffix(".png")
        draw(json.loads(options.draw.read_text()), out, options.beside and json.loads(options.beside.read_text()))
        print(f"wrote {out}")
        return
    process.configure(options.threads, precision=options.precision)
    device = torch.device(options.device)
    dataset = load_mnist(options.data)
    structure = Structure(options.networks, dataset.sample_shape, precision=options.precision)
    evaluator = Evaluator.build(dataset, metrics=["fid"], sample_size=options.samples)
    images = torch.from_numpy(dataset.train.values).to(device)
    search = Search(report_grid(options.budget, REPORTS))
    cohort = Cohort(structure, TrainingData(images), search.grid, min(options.lanes, options.trials))
    run(search, cohort, trials_of(options.trials), evaluator, options.threads)
    content = summary(search, evaluator, device, options)
    for name, value in content.items():
        if name not in ("curve", "values"):
            print(f"{name}: {value}")
    if options.json:
        options.json.write_text(json.dumps(content, indent=1) + "\n")
        print(f"wrote {options.json}")


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--trials", type=int, default=64, help="of the search, 1 or more")
    add("--lanes", type=int, default=64, help="trials side by side, 1 or more")
    add("--budget", type=int, default=18_740, help="critic updates of a trial that is not stopped, 1 or more")
    add("--samples", type=int, default=5000, help="of one score, 2 or more")
    add("--networks", default="mlp", help="name of a pair of networks")
    add("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    add("--precision", choices=list(PRECISIONS), default=FLOAT32, help="of products in training")
    add("--threads", type=int, default=cores(), help="of the CPU, which scores; 1 or more; all cores by default")
    add("--data", type=Path, metavar="FOLDER", help="that has mnist.parquet; default: where MNIST is kept")
    add("--json", type=Path, metavar="OUT", help="write the figures to this file as JSON")
    add("--draw", type=Path, metavar="JSON", help="only draw the curve of this file, beside it, with matplotlib")
    add("--beside", type=Path, metavar="JSON", help="of sweep.py, whose curves are drawn too")
    options = parser.parse_args(arguments)
    for name, least in (("trials", 1), ("lanes", 1), ("budget", 1), ("samples", 2), ("threads", 1)):
        if getattr(options, name) < least:
            parser.error(f"--{name} must be {least} or more; given {getattr(options, name)}")
    return options


def trials_of(count: int) -> Iterator[Trial]:
    """The starting points, then points at random."""
    random = np.random.default_rng(SEED)
    for number in range(count):
        drawn = {name: drawn_from(bounds, random) for name, bounds in WGAN_GP.ranges.items()}
        point = WGAN_GP.presets[number] if number < len(WGAN_GP.presets) else drawn
        yield Trial(number, trial_seed(SEED, number), WGAN_GP.hyper(point))


def drawn_from(bounds: Range, random: np.random.Generator) -> float:
    if bounds.whole:
        return int(random.integers(int(bounds.low), int(bounds.high), endpoint=True))
    if bounds.log:
        return math.exp(random.uniform(math.log(bounds.low), math.log(bounds.high)))
    return float(random.uniform(bounds.low, bounds.high))


def run(search: Search, cohort: Cohort, waiting: Iterator[Trial], evaluator: Evaluator, threads: int) -> None:
    """Train until no trial is left, and score on so many threads."""
    z, most = evaluation_z(cohort.structure, evaluator.sample_size), cohort.width

    def value(samples: Tensor | None) -> float:
        return math.nan if samples is None else evaluator.scores(samples)[evaluator.objective_default]

    search.started = time.perf_counter()
    reached: dict[int, int] = {}
    refill(cohort, waiting)
    while cohort.trials:
        reports = cohort.advance()
        began = time.perf_counter()
        # Of one after another: a cohort is not to be asked from several threads.
        samples = [None if report.problem else cohort.samples(report.trial.number, z) for report in reports]
        for report, found in zip(reports, process.spread(value, samples, threads), strict=True):
            number = report.trial.number
            search.updates += report.critic_updates - reached.get(number, 0)
            reached[number] = report.critic_updates
            search.note(report, found)
        search.evaluating += time.perf_counter() - began
        for report in reports:
            if end := search.verdict(report):
                search.ends[report.trial.number] = end
                cohort.drop(report.trial.number)
        refill(cohort, waiting)
        if cohort.trials and (width := width_for(len(cohort.trials), most)) < cohort.width:
            cohort.resize(width)
            give_back(cohort.device)


def refill(cohort: Cohort, waiting: Iterator[Trial]) -> None:
    while len(cohort.trials) < cohort.width and (trial := next(waiting, None)):
        cohort.add(trial)


def summary(search: Search, evaluator: Evaluator, device: torch.device, options: argparse.Namespace) -> dict[str, Any]:
    wall = time.perf_counter() - search.started
    ends = list(search.ends.values())
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "device": process.describe(device),
        "processor": process.processor(),
        "threads": options.threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "networks": options.networks,
        "precision": options.precision,
        "trials": options.trials,
        "lanes": options.lanes,
        "budget": options.budget,
        "objective": evaluator.objective_default,
        "samples": evaluator.sample_size,
        "floor": evaluator.floors[evaluator.objective_default],
        "wall_seconds": wall,
        "evaluation_share": search.evaluating / wall,
        "critic_updates": search.updates,
        "critic_updates_per_second": search.updates / wall,
        "ends": {end: ends.count(end) for end in sorted(set(ends))},
        "best": search.curve[-1]["best"] if search.curve else None,
        "curve": search.curve,
        "values": {str(step): values for step, values in sorted(search.values.items())},
    }


def draw(content: dict[str, Any], out: Path, beside: dict[str, Any] | None = None) -> None:
    """Write the picture of the best score so far against seconds; its suffix says in which format."""
    points = [(point["seconds"], point["best"]) for point in content["curve"]]
    label = f"{content['trials']} trials of {content['budget']}, {content['lanes']} lanes: {content['device']}"
    found = [curves.Curve(label, "#2ca02c", points, content["wall_seconds"])]
    if beside is not None:
        of = f", {beside['trials']} trials of {beside['budget']}: {beside['cores']} cores of {beside['processor']}"
        found += [replace(curve, label=curve.label + of) for curve in sweep.curves_of(beside)]
    title = f"torch {content['torch']}, {content['date']}"
    curves.draw(found, content["floor"], content["objective"], title, out)


if __name__ == "__main__":
    main()
