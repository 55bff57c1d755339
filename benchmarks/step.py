"""Time one training update of a single trial against the loop that people write by hand.

    python benchmarks/step.py [--pairs 15] [--seconds 4] [--n-critic 1 5] [--adam plain] [--json OUT]

One CPU thread, the `mlp` pair on 28x28 images, batch 64, 100 latent dimensions. Both sides train in one process, under
one set of process settings, in alternating blocks whose order is swapped from pair to pair, so that what else the
machine does falls on both. The ratio is taken within each pair; its median and quartiles are printed.

An iteration is n_critic critic updates and one generator update. Our side goes through `Cohort` at K = 1 with all that
training does: counter-based draws, the generator's average, running means and a report a block. The textbook side does
none of that: it samples with torch.randint, torch.randn and torch.rand, and logs nothing.

The floor of a side is the arithmetic of its matrix products alone (counted while it runs) at the best rate that one
product reaches on this machine, by torch or by oneDNN: no way of writing the same products is faster.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from measuring import Run, flops_of, matmul_rate, seconds_of
from torch import Tensor
from wgan_gp import BATCH, BETAS, LAMBDA, LATENT, PAIRS, RATE, SHAPE, Textbook, real_data

from wgan_core.backend import process
from wgan_core.backend.process import processor
from wgan_core.config import Hyper, Structure, Trial
from wgan_core.training.cohort import Cohort
from wgan_core.training.data import TrainingData

# The widest layer of the nets: the generator's last.
WIDEST = (BATCH, 1024, 784)


# Our side


class Ours:
    """A cohort of one trial, which reports at the end of every block."""

    def __init__(self, data: Tensor, n_critic: int, iterations: int) -> None:
        """iterations: those of a block."""
        structure = Structure("mlp", SHAPE, latent_dim=LATENT, batch_size=BATCH)
        self.iterations = iterations
        block = n_critic * iterations
        self.cohort = Cohort(structure, TrainingData(data), range(block, 100_000 * block, block))
        self.cohort.add(Trial(0, 0, Hyper(LAMBDA, RATE, RATE, n_critic, *BETAS)))

    def run(self, iterations: int) -> None:
        if iterations % self.iterations:
            raise ValueError(f"ours runs in blocks of {self.iterations} iterations; given {iterations}")
        for _ in range(iterations // self.iterations):
            (report,) = self.cohort.advance()
            if report.problem:
                raise RuntimeError(report.problem)


# Measuring


@dataclass(frozen=True)
class Figure:
    """What was measured for one n_critic. Times are medians over blocks, of one iteration; floors as above.

    ratio: ours over textbook; below 1, ours is faster. ratio_q1, ratio_q3: its quartiles over the pairs.
    """

    n_critic: int
    pairs: int
    iterations_a_block: int
    textbook_ms: float
    ours_ms: float
    ratio: float
    ratio_q1: float
    ratio_q3: float
    textbook_mflop: float
    ours_mflop: float
    textbook_floor_ms: float
    ours_floor_ms: float
    textbook_updates_per_second: float
    ours_updates_per_second: float


def in_pairs(theirs: Run, ours: Run, iterations: int, pairs: int) -> tuple[list[float], list[float]]:
    """Seconds of each side's blocks. Which side goes first changes from pair to pair."""
    taken: dict[Run, list[float]] = {theirs: [], ours: []}
    for pair in range(pairs):
        for run in (theirs, ours) if pair % 2 == 0 else (ours, theirs):
            taken[run].append(seconds_of(run, iterations))
    return taken[theirs], taken[ours]


def iterations_in(run: Run, seconds: float) -> int:
    """About how many iterations fill this time, after a few to warm up."""
    run(3)
    return max(1, round(5 * seconds / seconds_of(run, 5)))


def measure(data: Tensor, n_critic: int, pairs: int, seconds: float, fused: bool, rate: float) -> Figure:
    torch.manual_seed(0)
    textbook = Textbook(data, n_critic, PAIRS["mlp"], fused=fused)
    iterations = iterations_in(textbook.run, seconds)
    ours = Ours(data, n_critic, iterations)
    ours.run(iterations)
    theirs_taken, ours_taken = in_pairs(textbook.run, ours.run, iterations, pairs)
    ratios = [mine / other for mine, other in zip(ours_taken, theirs_taken, strict=True)]
    first, middle, third = statistics.quantiles(ratios, n=4, method="inclusive")
    textbook_ms, ours_ms = (1e3 * statistics.median(taken) / iterations for taken in (theirs_taken, ours_taken))
    textbook_flops, ours_flops = flops_of(textbook.run), flops_of(Ours(data, n_critic, 1).run)
    return Figure(
        n_critic=n_critic,
        pairs=pairs,
        iterations_a_block=iterations,
        textbook_ms=textbook_ms,
        ours_ms=ours_ms,
        ratio=middle,
        ratio_q1=first,
        ratio_q3=third,
        textbook_mflop=textbook_flops / 1e6,
        ours_mflop=ours_flops / 1e6,
        textbook_floor_ms=1e3 * textbook_flops / rate,
        ours_floor_ms=1e3 * ours_flops / rate,
        textbook_updates_per_second=1e3 * n_critic / textbook_ms,
        ours_updates_per_second=1e3 * n_critic / ours_ms,
    )


# What is printed and kept


def circumstances(data: str, rate: float, fused: bool) -> dict[str, str | float]:
    """What a figure has to stand with."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "data": data,
        "textbook_adam": "torch.optim.Adam(fused=True)" if fused else "torch.optim.Adam",
        "matmul_gflop_per_second": rate / 1e9,
    }


HEADER = (
    f"{'n_critic':>8}  {'textbook':>10} {'(floor)':>9}  {'ours':>10} {'(floor)':>9}"
    f"  {'ratio':>6} {'[q1, q3]':>14}  {'textbook':>9} {'ours':>9}"
)
UNITS = f"{'':>8}  {'ms':>10} {'ms':>9}  {'ms':>10} {'ms':>9}  {'':>6} {'':>14}  {'critic updates/s':>19}"


def row(figure: Figure) -> str:
    textbook_floor, ours_floor = f"({figure.textbook_floor_ms:.2f})", f"({figure.ours_floor_ms:.2f})"
    quartiles = f"[{figure.ratio_q1:.3f}, {figure.ratio_q3:.3f}]"
    return (
        f"{figure.n_critic:>8}  {figure.textbook_ms:>10.2f} {textbook_floor:>9}"
        f"  {figure.ours_ms:>10.2f} {ours_floor:>9}"
        f"  {figure.ratio:>6.3f} {quartiles:>14}  {figure.textbook_updates_per_second:>9.1f}"
        f" {figure.ours_updates_per_second:>9.1f}"
    )


def whole(text: str) -> int:
    """A count of at least two, of which quartiles can be taken."""
    value = int(text)
    if value < 2:
        raise argparse.ArgumentTypeError(f"at least 2; given {value}")
    return value


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--pairs", type=whole, default=15, help="pairs of blocks for each n_critic, a count >= 2")
    add("--seconds", type=float, default=4.0, help="length of one block, in seconds")
    add("--n-critic", type=int, nargs="+", default=[1, 5], help="critic updates per generator update, counts")
    add("--adam", choices=("plain", "fused"), default="plain", help="the textbook's Adam: as torch chooses, or fused")
    add("--json", type=Path, metavar="OUT", help="write the figures to this file as JSON")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(arguments)
    process.configure(threads=1)
    data, name = real_data()
    rate = matmul_rate(*WIDEST)
    fused = options.adam == "fused"
    noted = circumstances(name, rate, fused)
    for key, value in noted.items():
        print(f"{key}: {value if isinstance(value, str | int) else f'{value:.1f}'}")
    print(f"{HEADER}\n{UNITS}", flush=True)
    figures = []
    for n_critic in options.n_critic:
        figures.append(measure(data, n_critic, options.pairs, options.seconds, fused, rate))
        print(row(figures[-1]), flush=True)
    if options.json:
        content = {**noted, "figures": [asdict(figure) for figure in figures]}
        options.json.write_text(json.dumps(content, indent=1) + "\n")
        print(f"wrote {options.json}")


if __name__ == "__main__":
    main()
