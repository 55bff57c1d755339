"""What a finished MNIST sweep's best is worth: against its first preset, and digit by digit.

    python benchmarks/quality.py NAME [--storage FOLDER]

Trains the sweep's first preset alone for the whole budget (unless the sweep did) and prints its score beside
the best trial's, by the sweep's own metric; then counts the digits in 10,000 samples of the best checkpoint by
the shipped classifier. Exit status 1 if the best does not beat the preset, or a digit has not 5 to 15 %.
"""

from __future__ import annotations

import argparse
import datetime
import sys

import torch

from sweeps.engine.layout import MODEL, trial_folder
from sweeps.engine.options import add_storage
from sweeps.engine.plan import Plan
from sweeps.engine.results import Results, open_results
from wgan_core import process
from wgan_core.config import Trial
from wgan_core.data.mnist import load_mnist
from wgan_core.draws import trial_seed
from wgan_core.generator import read_generator
from wgan_core.loop import Cohort, evaluation_z
from wgan_core.metrics import Evaluator, classify

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
    shares = digit_shares(results)
    print("digits in %:  " + "  ".join(f"{digit}: {100 * share:.1f}" for digit, share in enumerate(shares)), flush=True)
    preset = preset_score(results)
    print(f"first preset, {plan.budget} critic updates: {preset:.4g}; the sweep's best: {best.value:.4g}")
    return 0 if best.value < preset and all(0.05 <= share <= 0.15 for share in shares) else 1


def preset_score(results: Results) -> float:
    """The lowest score of the first preset over the report grid, trained for the whole budget."""
    first = results.rows[0]
    return first.value if first.state == "COMPLETE" else train_preset(results.plan)


def train_preset(plan: Plan) -> float:
    """Train the first preset as trial 0 of the sweep would have been, had it not been stopped."""
    process.configure(1)
    dataset = load_mnist()
    evaluator = Evaluator.build(dataset, names=[plan.objective], sample_size=plan.protocol["sample_size"])
    trial = Trial(0, trial_seed(plan.seed, 0), plan.space.hyper(plan.space.presets[0]))
    cohort = Cohort(plan.structure, torch.from_numpy(dataset.train.values), plan.grid, torch.device("cpu"))
    cohort.add(trial)
    z = evaluation_z(plan.structure, evaluator.sample_size)
    values = []
    for _ in plan.grid:
        (report,) = cohort.advance()
        values.append(evaluator.scores(cohort.samples(0, z))[plan.objective])
        print(f"  first preset at {report.critic_updates}: {values[-1]:.4g}", flush=True)
    return min(values)


def digit_shares(results: Results) -> list[float]:
    """The share of each digit in samples of the best generator, by the shipped classifier."""
    generator = read_generator(trial_folder(results.folder, results.best.number) / MODEL)
    z = torch.randn(COUNTED, results.plan.structure.latent_dim, generator=torch.Generator().manual_seed(1))
    labels = torch.cat([classify(generator(part)) for part in z.split(500)])
    return (torch.bincount(labels, minlength=10) / COUNTED).tolist()


if __name__ == "__main__":
    sys.exit(main())
