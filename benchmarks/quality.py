"""What a finished MNIST sweep's best is worth: against its first preset, and digit by digit.

    python benchmarks/quality.py NAME [--storage FOLDER]

Trains the sweep's first preset alone for the whole budget (unless the sweep did) and prints its score beside
the best trial's, by the sweep's own metric; then counts the digits in 10,000 samples of the best checkpoint by
the shipped classifier. Of a generator that is told classes it counts how often the digit is the one asked for.
Exit status 1 if the best does not beat the preset, if a digit has not 5 to 15 %, or if less than 95 % are as asked.
"""

from __future__ import annotations

import argparse
import datetime
import sys

import torch
from torch import Tensor

from sweeps.engine.plan.arguments import add_storage
from sweeps.engine.plan.plan import Plan
from sweeps.engine.results.results import Results, open_results
from sweeps.engine.storage.layout import MODEL, trial_folder
from wgan_core.backend import process
from wgan_core.config import Trial, trial_seed
from wgan_core.data.mnist import load_mnist
from wgan_core.metrics.digits import classify
from wgan_core.metrics.evaluator import Evaluator
from wgan_core.sampling.generator import read_generator
from wgan_core.training.cohort import Cohort
from wgan_core.training.data import TrainingData
from wgan_core.training.samples import evaluation_labels, evaluation_z

COUNTED = 10_000


def main() -> int:
    """Print both comparisons; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the sweep")
    add_storage(parser)
    given = parser.parse_args()
    results = open_results(given.storage, given.name, given.study_storage)
    best, plan = results.best, results.plan
    print(f"{datetime.date.today()}  torch {torch.__version__}  {plan.name}: {plan.objective}, floor {plan.floor:.4g}")
    asked, made = digits(results)
    shares = (torch.bincount(made, minlength=10) / COUNTED).tolist()
    print("digits in %:  " + "  ".join(f"{digit}: {100 * share:.1f}" for digit, share in enumerate(shares)), flush=True)
    obeyed = 1.0
    if asked is not None:
        hits = [float((made[asked == digit] == digit).double().mean()) for digit in range(10)]
        obeyed = sum(hits) / len(hits)
        print("as asked in %:  " + "  ".join(f"{digit}: {100 * hit:.1f}" for digit, hit in enumerate(hits)), flush=True)
        print(f"as asked over all digits: {100 * obeyed:.1f} %", flush=True)
    preset = preset_score(results)
    print(f"first preset, {plan.budget} critic updates: {preset:.4g}; the sweep's best: {best.value:.4g}")
    return 0 if best.value < preset and all(0.05 <= share <= 0.15 for share in shares) and obeyed >= 0.95 else 1


def preset_score(results: Results) -> float:
    """The lowest score of the first preset over the report grid, trained for the whole budget."""
    first = results.rows[0]
    return first.value if first.state == "COMPLETE" else train_preset(results.plan)


def train_preset(plan: Plan) -> float:
    """Train the first preset as trial 0 of the sweep would have been, had it not been stopped."""
    process.configure(1)
    dataset = load_mnist()
    size, classes = plan.protocol["sample_size"], plan.structure.classes
    evaluator = Evaluator.build(dataset, metrics=[plan.objective], sample_size=size, classes=classes)
    trial = Trial(0, trial_seed(plan.seed, 0), plan.space.hyper(plan.space.presets[0]))
    labels = None if dataset.train.labels is None else torch.from_numpy(dataset.train.labels)
    data = torch.from_numpy(dataset.train.values)
    cohort = Cohort(plan.structure, TrainingData(data, labels), plan.grid)
    cohort.add(trial)
    z = evaluation_z(plan.structure, evaluator.sample_size)
    told = None if labels is None else evaluation_labels(plan.structure, labels, evaluator.sample_size)
    values = []
    for _ in plan.grid:
        (report,) = cohort.advance()
        values.append(evaluator.scores(cohort.samples(0, z, told), told)[plan.objective])
        print(f"  first preset at {report.critic_updates}: {values[-1]:.4g}", flush=True)
    return min(values)


def digits(results: Results) -> tuple[Tensor | None, Tensor]:
    """The labels that the best generator is told, if any, and the digits of its samples by the shipped classifier."""
    structure = results.plan.structure
    generator = read_generator(trial_folder(results.folder, results.best.label) / MODEL)
    z = torch.randn(COUNTED, structure.latent_dim, generator=torch.Generator().manual_seed(1))
    asked = torch.arange(COUNTED) % structure.classes if structure.classes else None
    parts = torch.arange(COUNTED).split(500)
    made = [classify(generator(z[at]) if asked is None else generator(z[at], asked[at])) for at in parts]
    return asked, torch.cat(made)


if __name__ == "__main__":
    sys.exit(main())
