"""Count how often each metric orders damaged real samples rightly, and time it.

    python benchmarks/metrics.py [--kinds images points ...] [--table FILE --categorical A,B] [--draws 3]

For each kind of data, half of the training split (at most 20,000 samples) is set aside as fresh samples. The evaluator
never sees them. Copies of them are damaged in known ways, at rising levels, and scored at the default sample size. A
metric orders a pair of draws rightly if it scores the draw of the lower level as the better one. The tables show the
share of such pairs: 1 is perfect, .5 is chance, and ties count half.

Metrics with (d) are for diagnosis. `seconds` is the median processor time of one score, with features computed anew
for each metric. A sweep shares them. After the table of images stands the share of scoring in the time of a default
sweep on MNIST.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import sklearn
import torch
from damages import IMAGES, POINTS, SEQUENCES, TABLES, Damage, Fresh, Ladder, noise
from sklearn.cluster import KMeans
from torch import Tensor

from sweeps.engine.plan.plan import REPORTS
from sweeps.engine.plan.presets import MNIST
from wgan_core.backend import process
from wgan_core.backend.process import processor
from wgan_core.config import Trial, report_grid
from wgan_core.data.dataset import Dataset, Split, to_model
from wgan_core.data.mnist import load_mnist
from wgan_core.data.sines import load_sines
from wgan_core.data.tables import load_table
from wgan_core.data.toy import load_toy
from wgan_core.kinds import kind_of
from wgan_core.metrics.evaluator import Evaluator
from wgan_core.metrics.independent_critic import CRITIC_NAME
from wgan_core.metrics.metric import MetricSpec, SampleDraw
from wgan_core.metrics.two_sample import ACCURACY_NAMES
from wgan_core.training.cohort import Cohort
from wgan_core.training.data import TrainingData
from wgan_core.training.samples import evaluation_z, grid_z

MOST_FRESH, REPLAYED = 20_000, 500
CLUSTERS, CLUSTER_SEED, ORDER_SEED = 10, 0, 0
TIMED = 3
# The default budget of sweeps/mnist.py, and the critic updates that are timed at once.
BUDGET, TIMED_UPDATES = 10_000, 150


KINDS: Mapping[str, tuple[Callable[[], Dataset], Ladder]] = {
    "images": (load_mnist, IMAGES),
    "points": (lambda: load_toy("8gaussians"), POINTS),
    "sequences": (load_sines, SEQUENCES),
    "breast-cancer": (lambda: load_table("breast-cancer", "diagnosis"), TABLES),
    "diabetes": (lambda: load_table("diabetes"), TABLES),
}


def set_aside(dataset: Dataset) -> tuple[Dataset, Split]:
    """Return the data with a shorter training split, and the samples that were cut from it."""
    split = dataset.train
    kept = len(split) - min(MOST_FRESH, len(split) // 2)
    parts = [
        Split(split.values[at], None if split.labels is None else split.labels[at])
        for at in (slice(kept), slice(kept, None))
    ]
    return replace(dataset, train=parts[0]), parts[1]


def prepare(dataset: Dataset) -> tuple[Evaluator, Fresh]:
    """Return an evaluator and fresh samples that it has not seen."""
    dataset, split = set_aside(dataset)
    evaluator = Evaluator.build(dataset, objective=CRITIC_NAME)
    values, train = (to_model(torch.from_numpy(each.values), torch.float32) for each in (split, dataset.train))
    if split.labels is None:
        found = KMeans(CLUSTERS, n_init=1, random_state=CLUSTER_SEED).fit_predict(values.flatten(1).numpy())
        modes = torch.from_numpy(found).long()
        centres = values.mean(0, keepdim=True).expand(CLUSTERS, *values.shape[1:])
    else:
        modes = torch.from_numpy(split.labels)
        centres = torch.stack([values[modes == mode].mean(0) for mode in range(int(modes.max()) + 1)])
    columns = [slice(at, at + 1) for at in range(values[0].numel())]
    if dataset.coding is not None and values.ndim == 2:
        columns = [where for _, where in dataset.coding.placed()]
    order = np.random.default_rng(ORDER_SEED).permutation(len(columns))
    return evaluator, Fresh(
        values=values,
        modes=modes,
        centres=centres,
        replayed=train[: min(REPLAYED, len(train) // 10)],
        columns=[columns[at] for at in order],
        size=evaluator.sample_size // evaluator.draws,
        draws=evaluator.draws,
    )


def badness(spec: MetricSpec, score: float) -> float:
    """Return a number that is smaller for better scores."""
    if spec.direction == "none":
        return abs(score - (0.5 if spec.name in ACCURACY_NAMES else 1))
    return score if spec.direction == "minimize" else -score


def ordered_share(levels: Sequence[Sequence[float]]) -> float:
    """Return the share of pairs of draws from different levels that are in order: smaller at the lower level.

    Args:
        levels: The badness of each draw, from the lowest level to the highest.
    """
    found = [
        0.5 * (1 + (low < high) - (low > high))
        for at, higher in enumerate(levels)
        for lower in levels[:at]
        for low in lower
        for high in higher
    ]
    return statistics.fmean(found)


def climb(evaluator: Evaluator, fresh: Fresh, ladder: Ladder, draws: int) -> dict[str, dict[str, float]]:
    """Return the share of rightly ordered pairs, by metric and damage. All damages share the undamaged draws."""
    seeds = np.random.SeedSequence(1)

    def score(damage: Damage, level: float) -> list[dict[str, float]]:
        return [evaluator.scores(damage(fresh, level, np.random.default_rng(seed))) for seed in seeds.spawn(draws)]

    whole = score(noise, 0)
    shares: dict[str, dict[str, float]] = {spec.name: {} for spec in evaluator.specs}
    for damage, (_, *levels) in ladder.items():
        scores = [whole, *(score(damage, level) for level in levels)]
        for spec in evaluator.specs:
            by_level = [[badness(spec, each[spec.name]) for each in level] for level in scores]
            shares[spec.name][damage.__name__] = ordered_share(by_level)
    return shares


def costs(evaluator: Evaluator, values: Tensor) -> dict[str, float]:
    """Return the median seconds of one score, by metric. Metrics that one computation gives have the same cost."""
    found: dict[str, float] = {}
    for metric, real in evaluator.fitted:
        taken = []
        for _ in range(TIMED):
            draws = [SampleDraw(part) for part in values.chunk(evaluator.draws)]
            started = time.process_time()
            metric.scores(real, draws)
            taken.append(time.process_time() - started)
        found |= {spec.name: statistics.median(taken) for spec in metric.specs}
    return found


def table(evaluator: Evaluator, shares: Mapping[str, Mapping[str, float]], seconds: Mapping[str, float]) -> str:
    """Return the Markdown table of one kind of data, objectives first."""
    damages = [*next(iter(shares.values()))]
    lines = [
        f"| metric | {' | '.join(name.replace('_', ' ') for name in damages)} | mean | seconds |",
        f"|---|{'---|' * (len(damages) + 2)}",
    ]
    for spec in evaluator.specs:
        name = spec.stem.removeprefix("eval/")
        name += ", default" if spec.name == evaluator.objective_default else "" if spec.can_be_objective else " (d)"
        found = [shares[spec.name][damage] for damage in damages]
        cells = [f"{share:.2f}" for share in (*found, statistics.fmean(found))]
        lines.append(f"| {name} | {' | '.join(cells)} | {seconds[spec.name]:.2f} |")
    return "\n".join(lines)


def scoring_share(dataset: Dataset, evaluator: Evaluator) -> str:
    """Train the first MNIST preset and score it in turns. Return a sentence with the share of scoring in training."""
    preset = MNIST["wgan-gp"]
    structure = preset.structure_for(dataset.sample_shape, None)
    trial = Trial(0, 0, preset.space.hyper(preset.space.presets[0]))
    data = torch.from_numpy(dataset.train.values)
    cohort = Cohort(structure, TrainingData(data), range(TIMED_UPDATES, 100 * TIMED_UPDATES, TIMED_UPDATES))
    cohort.add(trial)
    cohort.advance()
    kind, found = kind_of(structure.sample_shape, structure.coding), []
    for _ in range(TIMED):
        started = time.process_time()
        cohort.advance()
        trained = time.process_time()
        evaluator.scores(cohort.samples(0, evaluation_z(structure, evaluator.sample_size)))
        kind.picture(cohort.samples(0, grid_z(structure, trial, kind.in_picture)), data)
        found.append((trained - started, time.process_time() - trained))
    between = report_grid(BUDGET, REPORTS)[0]
    updates, scoring = (statistics.median(seconds) for seconds in zip(*found, strict=True))
    training = updates * between / TIMED_UPDATES
    return (
        f"MNIST, first preset, {between:,} critic updates between reports: {training:.2f} s of training, {scoring:.2f} "
        f"s for samples, all metrics and a picture: {scoring / training:.1%} of the training time"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="*", choices=[*KINDS], default=[*KINDS], help="kinds of data (default: all)")
    parser.add_argument("--table", metavar="FILE", help="a table of your own, as sweeps/tabular.py takes it")
    parser.add_argument("--categorical", default="", metavar="A,B", help="its columns of categories")
    parser.add_argument("--draws", type=int, default=3, help="draws at each level (default: 3)")
    options = parser.parse_args(arguments)
    process.configure(threads=1)
    kinds = {name: KINDS[name] for name in options.kinds}
    if options.table:
        named = [name for name in options.categorical.split(",") if name]
        kinds["table of your own"] = lambda: load_table(options.table, categorical=named), TABLES
    print(f"{datetime.now(UTC).date()}, {processor()}, one thread, Python {platform.python_version()}, torch", end=" ")
    print(f"{torch.__version__}, scikit-learn {sklearn.__version__}; {options.draws} draws at each level")
    for name, (load, ladder) in kinds.items():
        dataset, started = load(), time.process_time()
        evaluator, fresh = prepare(dataset)
        shares = climb(evaluator, fresh, ladder, options.draws)
        timed = Evaluator.build(dataset, objective=CRITIC_NAME)
        seconds = costs(timed, fresh.values[fresh.rows(np.random.default_rng(0))])
        levels = "; ".join(f"{damage.__name__.replace('_', ' ')} {levels}" for damage, levels in ladder.items())
        print(f"\n## {name}: {dataset.name}\n\n{evaluator.sample_size} samples in a score. Levels: {levels}")
        print(f"\n{table(evaluator, shares, seconds)}\n")
        if name == "images":
            print(scoring_share(dataset, Evaluator.build(dataset)))
        print(f"({time.process_time() - started:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
