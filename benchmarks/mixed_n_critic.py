"""Time lanes of unlike n_critic in one masked program against cohorts of one n_critic each.

    python benchmarks/mixed_n_critic.py [--structures mlp toy] [--lanes 8] [--updates 120] [--rounds 5] [--json OUT]

A cohort makes a generator update at each tick at which any lane is due, and applies it to the lanes that are: one lane
of n_critic 1 has the others compute generator updates that are thrown away. What that costs is seen beside a pool, in
which trials train only beside those of their own n_critic:

    mixed    a cohort of K lanes, whose n_critic are 1, 2, 3, 4, 5, 6, 8, 10, over and over
    alike    a cohort of K lanes for each of these n_critic: a pool that has trials enough of each
    split    the K trials of `mixed` in a cohort for each n_critic: a pool that has no others

The figure is critic updates a second per lane, of K lanes that have the device to themselves: critic updates of all
lanes of all cohorts of an arm, over the seconds and over K. Arms take turns, in an order that moves on by one from
round to round; printed are medians with quartiles, and ratios within each round: above 1, `mixed` is faster. 120
updates are whole cycles of all n_critic. `--json` writes a text beside its file; both are kept in `benchmarks/results`.

`mlp` is the pair of that name on 28x28 images, `toy` one of two layers of 64 units on points of the plane, at batch 64.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from machine import MOST_BUSY, busy_cores, cores
from measuring import rotated, seconds_of, spread
from torch import Tensor
from wgan_gp import BATCH, BETAS, LAMBDA, LATENT, RATE, SHAPE, real_data

from wgan_core.backend import process
from wgan_core.backend.memory import give_back
from wgan_core.config import Hyper, Structure, Trial
from wgan_core.training.cohort import Cohort
from wgan_core.training.data import TrainingData

N_CRITICS = (1, 2, 3, 4, 5, 6, 8, 10)
STRUCTURES = {
    "mlp": Structure("mlp", SHAPE, latent_dim=LATENT, batch_size=BATCH),
    "toy": Structure(
        "mlp",
        (2,),
        latent_dim=8,
        batch_size=BATCH,
        network_options={"critic": {"widths": [64, 64]}, "generator": {"widths": [64, 64]}},
    ),
}
POINTS = 10_000
# No trial gets there.
NEVER = 10**9
# Until a GPU has recorded all: of an n_critic of 10, the fourth generator update, last.
WARM_UP = {"cuda": 60, "cpu": 4}


class Arm:
    """Cohorts that take turns on the device."""

    def __init__(self, structure: Structure, data: Tensor, groups: Sequence[Sequence[int]]) -> None:
        """groups: the n_critic of each lane, by cohort."""
        self.lanes = sum(map(len, groups))
        self._cohorts = [_cohort(structure, data, group) for group in groups]

    def run(self, updates: int) -> None:
        """So many critic updates of each lane."""
        for cohort in self._cohorts:
            left = iter(range(updates))
            cohort.advance(lambda left=left: next(left, None) is None)


def _cohort(structure: Structure, data: Tensor, n_critics: Sequence[int]) -> Cohort:
    cohort = Cohort(structure, TrainingData(data), (NEVER,), len(n_critics))
    for number, n_critic in enumerate(n_critics):
        cohort.add(Trial(number, number, Hyper(LAMBDA, RATE, RATE, n_critic, *BETAS)))
    return cohort


def groups_of(lanes: int) -> dict[str, list[list[int]]]:
    """By arm, the n_critic of each lane by cohort."""
    mixed = list(islice(cycle(N_CRITICS), lanes))
    there = sorted(set(mixed))
    return {
        "mixed": [mixed],
        "alike": [[n_critic] * lanes for n_critic in there],
        "split": [[each for each in mixed if each == n_critic] for n_critic in there],
    }


def measured(name: str, device: torch.device, options: argparse.Namespace) -> dict[str, Any]:
    """Critic updates a second per lane of each arm, and ratios."""
    give_back(device)  # what another structure's cohorts have had
    data = real_data(options.data)[0] if name == "mlp" else torch.randn(POINTS, 2)
    arms = {arm: Arm(STRUCTURES[name], data.to(device), groups) for arm, groups in groups_of(options.lanes).items()}
    for arm in arms.values():
        arm.run(options.warm_up)
    rates: dict[str, list[float]] = {arm: [] for arm in arms}
    for number in range(options.rounds):
        for arm in rotated(list(arms), number):
            seconds = seconds_of(arms[arm].run, options.updates, device)
            rates[arm].append(arms[arm].lanes * options.updates / seconds / options.lanes)
    ratios = {
        f"mixed/{arm}": spread([mine / other for mine, other in zip(rates["mixed"], rates[arm], strict=True)])
        for arm in ("alike", "split")
    }
    return {"structure": name, "arms": {arm: spread(values) for arm, values in rates.items()}, "ratios": ratios}


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    add("--structures", nargs="+", choices=sorted(STRUCTURES), default=["mlp", "toy"], help="pairs of networks")
    add("--lanes", type=int, default=len(N_CRITICS), help="K, 1 or more")
    add("--updates", type=int, default=120, help="critic updates of each lane in a block, 1 or more")
    add(
        "--warm-up",
        type=int,
        help=f"critic updates of each lane before; on CUDA {WARM_UP['cuda']}, else {WARM_UP['cpu']}",
    )
    add("--rounds", type=int, default=5, help="blocks of each arm, 1 or more")
    add("--device", choices=("cpu", "cuda"), default=kind, help="CUDA if there is any")
    add("--threads", type=int, default=1, help="of the CPU, 1 or more")
    add("--data", type=Path, metavar="FOLDER", help="that has mnist.parquet; default: where MNIST is kept")
    add("--json", type=Path, metavar="OUT", help="write the figures to this file as JSON, and as text beside it")
    options = parser.parse_args(arguments)
    options.warm_up = WARM_UP[options.device] if options.warm_up is None else options.warm_up
    for name in ("lanes", "updates", "warm_up", "rounds", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be 1 or more; given {getattr(options, name)}")
    return options


def table(figure: dict[str, Any]) -> str:
    lines = [f"{figure['structure']}: critic updates/s per lane, median [q1, q3]"]
    lines += [f"  {name:<12}{_cell(values, 1)}" for name, values in figure["arms"].items()]
    lines += [f"  {name:<12}{_cell(values, 3)}" for name, values in figure["ratios"].items()]
    return "\n".join(lines)


def _cell(values: dict[str, float], digits: int) -> str:
    return f"{values['median']:.{digits}f} [{values['q1']:.{digits}f}, {values['q3']:.{digits}f}]"


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(arguments)
    device = torch.device(options.device)
    process.configure(options.threads)
    busy = busy_cores()
    noted = {
        "date": datetime.now(UTC).date().isoformat(),
        "device": process.describe(device),
        "processor": process.processor(),
        "cores": cores(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "lanes": options.lanes,
        "updates": options.updates,
        "rounds": options.rounds,
        "other_busy_cores": round(busy, 2),
    }
    figures = [measured(name, device, options) for name in options.structures]
    parts = ["\n".join(f"{key}: {value}" for key, value in noted.items()), *map(table, figures)]
    if busy > MOST_BUSY:
        parts.append(f"{busy:.1f} cores were busy with other work before the start: DO NOT QUOTE these figures")
    text = "\n\n".join(parts) + "\n"
    print(text)
    if options.json:
        options.json.write_text(json.dumps({**noted, "figures": figures}, indent=1) + "\n")
        options.json.with_suffix(".txt").write_text(text)
        print(f"wrote {options.json}")


if __name__ == "__main__":
    main()
