"""What the precision of the products does to scores and to time: the same trials of MNIST in each precision.

    python benchmarks/precision.py [--updates 1500] [--seeds 3] [--preset mlp-blog] [--json OUT]

Trains the first point of a preset, alone, from the same seeds in each precision that means something on this device
(on a CPU tf32 is float32) and prints the FID of each at the end: mean and standard deviation over the seeds, and the
difference from float32 of the same seed, with Student's 95 % interval of its mean. The same seed gives the same initial
weights and draws; what a rounding changes grows over training, so a pair of runs differs as other seeds do, and an
effect smaller than that needs more seeds to be seen. One more arm says how much that is without any precision: float32
from another seed (`float32 again`).

Seconds an update are of training alone, the median over reports. Precisions take turns, seed by seed.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from machine import cores
from scipy import stats

from sweeps.engine.plan.presets import MNIST
from wgan_core.backend import process
from wgan_core.backend.choices import BFLOAT16, FLOAT32, TF32
from wgan_core.config import Structure, Trial, report_grid, trial_seed
from wgan_core.data.dataset import Dataset
from wgan_core.data.mnist import load_mnist
from wgan_core.metrics.evaluator import Evaluator
from wgan_core.training.cohort import Cohort
from wgan_core.training.data import TrainingData
from wgan_core.training.samples import evaluation_z

REPORTS = 5
AGAIN = "float32 again"


@dataclass(frozen=True)
class Run:
    """One trial in one arm: its score at each report, by critic updates, and seconds an update."""

    arm: str
    seed: int
    curve: Mapping[int, float]
    seconds_an_update: float

    @property
    def score(self) -> float:
        """At the end."""
        return list(self.curve.values())[-1]


@dataclass(frozen=True)
class Summary:
    """An arm's scores over the seeds, and how they differ from those of float32, seed by seed (None of float32).

    half: half the width of Student's 95 % interval of the mean difference.
    """

    arm: str
    mean: float
    sd: float
    difference: float | None
    half: float | None
    seconds_an_update: float


def train(arm: str, seed: int, given: argparse.Namespace, evaluator: Evaluator, dataset: Dataset) -> Run:
    """Train one trial and score it at each report. It is scored in float32, whatever it is trained in."""
    precision = FLOAT32 if arm == AGAIN else arm
    device = torch.device(given.device)
    process.configure(given.threads, precision=precision)
    preset = MNIST[given.preset]
    structure: Structure = replace(preset.structure_for(dataset.sample_shape, None), precision=precision)
    data, grid = torch.from_numpy(dataset.train.values).to(device), report_grid(given.updates, REPORTS)
    cohort = Cohort(structure, TrainingData(data), grid)
    number = seed + given.seeds if arm == AGAIN else seed
    cohort.add(Trial(number, trial_seed(0, number), preset.space.hyper(preset.space.presets[0])))
    z, curve, taken, before = evaluation_z(structure, evaluator.sample_size), {}, [], 0
    for _ in grid:
        started = time.perf_counter()
        (report,) = cohort.advance()
        if report.problem:
            raise SystemExit(f"{arm}, seed {seed}: {report.problem}")
        taken.append((time.perf_counter() - started) / (report.critic_updates - before))
        before = report.critic_updates
        curve[before] = evaluator.scores(cohort.samples(number, z))[evaluator.objective_default]
    run = Run(arm, seed, curve, statistics.median(taken))
    print(f"  {arm}, seed {seed}: {run.score:.2f}; {1e3 * run.seconds_an_update:.2f} ms an update", flush=True)
    return run


def summary(arm: str, runs: Sequence[Run]) -> Summary:
    mine, theirs = ([run.score for run in runs if run.arm == each] for each in (arm, FLOAT32))
    pace = statistics.median(run.seconds_an_update for run in runs if run.arm == arm)
    mean, sd = statistics.fmean(mine), statistics.stdev(mine)
    if arm == FLOAT32:
        return Summary(arm, mean, sd, None, None, pace)
    differences = [a - b for a, b in zip(mine, theirs, strict=True)]
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    half = error * float(stats.t.ppf(0.975, len(differences) - 1))
    return Summary(arm, mean, sd, statistics.fmean(differences), half, pace)


def table(found: Sequence[Summary]) -> str:
    lines = [f"{'':<15}{'FID, mean':>10}{'sd':>8}{'from float32, paired':>26}{'ms an update':>15}{'ratio':>8}"]
    for each in found:
        apart = "" if each.difference is None else f"{each.difference:+.2f} ± {each.half:.2f}"
        ratio = each.seconds_an_update / found[0].seconds_an_update
        score, pace = f"{each.mean:>10.2f}{each.sd:>8.2f}", f"{1e3 * each.seconds_an_update:>15.2f}{ratio:>8.2f}"
        lines.append(f"{each.arm:<15}{score}{apart:>26}{pace}")
    return "\n".join(lines)


def circumstances(given: argparse.Namespace, evaluator: Evaluator) -> dict[str, str | int | float]:
    """What a figure has to stand with."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "device": process.describe(torch.device(given.device)),
        "cores": cores(),
        "threads": given.threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "data": "MNIST",
        "preset": given.preset,
        "updates": given.updates,
        "seeds": given.seeds,
        "samples": evaluator.sample_size,
        "metric": evaluator.objective_default,
        "floor": round(evaluator.floors[evaluator.objective_default], 4),
    }


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    device = "cuda" if torch.cuda.is_available() else "cpu"
    add("--updates", type=int, default=1500, help="critic updates of each trial (default: %(default)s)")
    add(
        "--seeds",
        type=int,
        choices=range(2, 21),
        metavar="SEEDS",
        default=3,
        help="of each precision (default: %(default)s)",
    )
    add("--preset", choices=list(MNIST), default="mlp-blog", help="whose first point is trained (default: %(default)s)")
    add("--samples", type=int, default=5000, help="that a score is of (default: %(default)s)")
    add("--device", choices=("cpu", "cuda"), default=device, help="to train on (default: %(default)s)")
    add("--threads", type=int, default=1, help="of torch on the CPU (default: %(default)s)")
    add("--json", type=Path, metavar="OUT", help="write the figures to this file as JSON")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    given = options_of(arguments)
    process.configure(given.threads)
    dataset = load_mnist()
    evaluator = Evaluator.build(dataset, metrics=["fid"], sample_size=given.samples)
    noted = circumstances(given, evaluator)
    print("  ".join(f"{key}: {value}" for key, value in noted.items()), flush=True)
    arms = [FLOAT32, *([TF32] if given.device == "cuda" else []), BFLOAT16, AGAIN]
    runs = [train(arm, seed, given, evaluator, dataset) for seed in range(given.seeds) for arm in arms]
    found = [summary(arm, runs) for arm in arms]
    print(f"\n{table(found)}")
    if given.json:
        content = {**noted, "summary": [asdict(each) for each in found], "runs": [asdict(run) for run in runs]}
        given.json.write_text(json.dumps(content, indent=1) + "\n")
        print(f"wrote {given.json}")


if __name__ == "__main__":
    main()
