"""What a sweep of sines has learnt of their law: the best generator's sequences, each fitted by a sine.

    python benchmarks/sines.py NAME [--storage FOLDER]

To each of 2,000 sequences in data units a sine a sin(2 pi f t / L + phase) is fitted by least squares. Printed are the
median share of a sequence's power that the fit leaves, how many sequences it leaves at most 5 % of, and the
1-Wasserstein distances of the amplitudes a and the frequencies f, in cycles, from those fitted to the test split;
beside each, the same of as many real sequences of the validation split.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.stats import wasserstein_distance

from sweeps.engine.plan.arguments import add_storage
from sweeps.engine.results.results import Results, open_results
from sweeps.engine.storage.layout import MODEL, trial_folder
from wgan_core.data.sines import load_sines
from wgan_core.errors import UserError
from wgan_core.sampling.generator import read_generator

FITTED, SEED = 2_000, 1
ENOUGH = 0.05
# Cycles at which a fit starts: beyond those of the law on both sides, and closer than the width of a peak.
STARTS = np.arange(0.5, 4.001, 0.05)

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Fits:
    """Sines fitted to N sequences: amplitudes in data units, cycles, and the share of the power left, (N,) each."""

    amplitude: Numbers
    cycles: Numbers
    left: Numbers

    @classmethod
    def of(cls, sequences: Numbers) -> Fits:
        """The best sines for sequences (N, L)."""
        t = np.arange(sequences.shape[1]) / sequences.shape[1]
        least = np.full(len(sequences), np.inf)
        start = np.zeros((len(sequences), 3))
        for cycles in STARTS:
            basis = np.stack([np.sin(2 * np.pi * cycles * t), np.cos(2 * np.pi * cycles * t)], axis=1)
            weights = np.linalg.lstsq(basis, sequences.T)[0].T
            left = ((sequences - weights @ basis.T) ** 2).sum(axis=1)
            better = left < least
            least[better] = left[better]
            start[better] = np.column_stack([weights, np.full(len(weights), cycles)])[better]
        found = [_refined(sequence, at, t) for sequence, at in zip(sequences, start, strict=True)]
        fits, left = np.array([fit for fit, _ in found]), np.array([rest for _, rest in found])
        return cls(np.hypot(fits[:, 0], fits[:, 1]), np.abs(fits[:, 2]), left)


def _refined(sequence: Numbers, start: Numbers, t: Numbers) -> tuple[Numbers, float]:
    """Weights of sine and cosine and the cycles from a start near them, (3,), and the share of the power left."""

    def rest(fit: Numbers) -> Numbers:
        angle = 2 * np.pi * fit[2] * t
        return fit[0] * np.sin(angle) + fit[1] * np.cos(angle) - sequence

    found = least_squares(rest, start)
    return found.x, float(2 * found.cost / (sequence**2).sum())


def generated(results: Results) -> Numbers:
    """Sequences (N, L) of the best generator, in data units."""
    structure = results.plan.structure
    if results.plan.data != "sines" or structure.coding is None:
        raise UserError(f"the sweep must be of sines; {results.plan.name!r} is of {results.plan.data}: name another")
    generator = read_generator(trial_folder(results.folder, results.best.label) / MODEL)
    z = torch.randn(FITTED, structure.latent_dim, generator=torch.Generator().manual_seed(SEED))
    (decoded,) = structure.coding.decode(generator(z)).values()
    return np.array(decoded)


def main() -> int:
    """Print what was found; 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the sweep")
    add_storage(parser)
    given = parser.parse_args()
    results = open_results(given.storage, given.name, given.study_storage)
    dataset = load_sines()
    held_out = [
        np.array(dataset.coding.decode(torch.from_numpy(split.values[:FITTED]))["x"])
        for split in (dataset.validation, dataset.test)
        if dataset.coding is not None
    ]
    real, reference = (Fits.of(sequences) for sequences in held_out)
    print(
        f"{datetime.date.today()}  {given.name}: trial {results.best.label} at critic update {results.best.best_step}"
    )
    for side, fits in (("generated", Fits.of(generated(results))), ("real", real)):
        print(
            f"{side:>9}  power left: median {np.median(fits.left):.4f}, at most {ENOUGH:.0%} of it in "
            f"{np.mean(fits.left <= ENOUGH):.1%}; W1 of the amplitude "
            f"{wasserstein_distance(fits.amplitude, reference.amplitude):.4f}, of the cycles "
            f"{wasserstein_distance(fits.cycles, reference.cycles):.4f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
