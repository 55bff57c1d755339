"""What the same nets learn of a mixture of Gaussians in three games: modes captured, and how well.

    python benchmarks/modes.py [--data 8gaussians] [--updates 900] [--seeds 5] [--out picture.png] [--json OUT]

The arms, on the nets, batch and Adam of the preset `blog` of `sweeps/gaussians.py`:

    as published  what blogs call a GAN: a sigmoid on the critic and a difference of means, no penalty. It is
                  neither game: no log loss, and no bound on the critic's slope but the sigmoid's, which is flat where
                  the critic is sure. Here it is kept as the bug that it is; it cannot be had from a preset.
    gan           the log loss on logits, non-saturating (preset `gan`)
    wgan-gp       the preset `blog`, or another with --preset

The seeds of an arm are the lanes of one cohort; --lanes 1 trains one after another, instead. At each
of nine reports 10,000 samples are counted by `metrics.modes`, from the generator as it was last updated and from its
average, which is what a sweep scores and exports. The table has the mean over seeds at the end, with a 95 % interval of
Student's t, and from which report on each seed had all modes.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import cores
from PIL import Image, ImageDraw
from torch import Tensor, nn

from sweeps.engine.plan.presets import GAUSSIANS
from wgan_core.backend import process
from wgan_core.backend.process import processor
from wgan_core.config import Hyper, Structure, Trial, report_grid, trial_seed
from wgan_core.data.dataset import Dataset
from wgan_core.data.toy import MIXTURES, load_toy
from wgan_core.kinds.points import scatter
from wgan_core.metrics.evaluator import Evaluator
from wgan_core.metrics.modes import HIGH_QUALITY_NAME, KL_NAME, MODE_NAMES, MODES_NAME
from wgan_core.metrics.wasserstein import W1_NAME
from wgan_core.networks.pairs import PAIRS, Pair
from wgan_core.rules.losses import LOSSES, WASSERSTEIN, Loss
from wgan_core.training.cohort import Cohort
from wgan_core.training.data import TrainingData
from wgan_core.training.samples import evaluation_z
from wgan_core.training.step import Step

REPORTS, COUNTED, SHOWN = 9, 10_000, 2_000
# Student's t at .975, by degrees of freedom.
T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
VIEWS = LAST, AVERAGED = "last", "averaged"
PANEL, MARGIN, CAPTION = 200, 6, 110

Scores = dict[str, float]


def sigmoid_critic(structure: Structure, widths: Sequence[int] = (), activation: str = "relu") -> nn.Module:
    """The MLP critic with a sigmoid left on its score."""
    return nn.Sequential(PAIRS["mlp"].critic(structure, widths=widths, activation=activation), nn.Sigmoid())


PAIRS["sigmoid-mlp"] = Pair(sigmoid_critic, PAIRS["mlp"].generator)
LOSSES["difference-of-means"] = Loss(*WASSERSTEIN)


@dataclass
class Arm:
    """One game on the nets, and what came of it.

    curve: by critic updates, the scores of each seed, by view (`LAST`, `AVERAGED`). final: the same at the end, with W1
    to the test split. shown: samples (N, 2) of each seed, by view. seconds: of training.
    """

    name: str
    structure: Structure
    hyper: Hyper
    curve: dict[int, list[dict[str, Scores]]] = field(default_factory=dict)
    final: list[dict[str, Scores]] = field(default_factory=list)
    shown: list[dict[str, Tensor]] = field(default_factory=list)
    seconds: float = 0.0


def arms_of(preset: str) -> list[Arm]:
    """The three arms, none trained yet."""
    gan, penalised = (GAUSSIANS[name] for name in ("gan", preset))
    hyper = gan.space.hyper(gan.space.presets[0])
    structure = gan.structure_for((2,), None)
    bug = replace(structure, networks="sigmoid-mlp", loss="difference-of-means")
    published = penalised.space.hyper(penalised.space.presets[0])
    return [
        Arm("as published", bug, hyper),
        Arm("gan", structure, hyper),
        Arm("wgan-gp", penalised.structure_for((2,), None), published),
    ]


def train(arm: Arm, dataset: Dataset, updates: int, seeds: Sequence[int]) -> None:
    """Train these seeds of an arm side by side and add what they have to say."""
    watched = Evaluator.build(dataset, metrics=MODE_NAMES, sample_size=COUNTED)
    tested = Evaluator.build(dataset, split="test", metrics=[W1_NAME, *MODE_NAMES], sample_size=COUNTED)
    data, grid = torch.from_numpy(dataset.train.values), report_grid(updates, REPORTS)
    cohort = Cohort(arm.structure, TrainingData(data), grid, width=len(seeds))
    for number in seeds:
        cohort.add(Trial(number, trial_seed(0, number), arm.hyper))
    z = evaluation_z(arm.structure, COUNTED)
    for _ in grid:
        started = time.perf_counter()
        step = cohort.advance()[0].critic_updates
        arm.seconds += time.perf_counter() - started
        drawn = [views(cohort, number, z) for number in seeds]
        scores = [{view: watched.scores(samples) for view, samples in each.items()} for each in drawn]
        arm.curve.setdefault(step, []).extend(scores)
        found = "  ".join(f"{view} {', '.join(f'{each[view][MODES_NAME]:g}' for each in scores)}" for view in VIEWS)
        print(
            f"  {arm.name}, seeds {seeds[0]} to {seeds[-1]}, at {step}: modes {found}; {arm.seconds:.0f} s", flush=True
        )
    arm.final += [{view: tested.scores(samples) for view, samples in each.items()} for each in drawn]
    arm.shown += [{view: samples[:SHOWN] for view, samples in each.items()} for each in drawn]


def views(cohort: Cohort, number: int, z: Tensor) -> dict[str, Tensor]:
    """Samples (N, 2) of a trial's generator as it was last updated, and of its average."""
    state = cohort.state_of(number)
    last = replace(state, average={**state.generator.parameters, **state.generator.buffers})
    return {LAST: Step(cohort.structure).samples(last, z[None])[0], AVERAGED: cohort.samples(number, z)}


# What is printed, drawn and kept


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean and half the width of its 95 % interval of Student's t."""
    half = T_975[len(values) - 2] * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values), half


def all_from(arm: Arm, seed: int, view: str, modes: int) -> int | None:
    """The report from which on a seed had all modes to the end."""
    since = None
    for step, scores in arm.curve.items():
        has_all = scores[seed][view][MODES_NAME] == modes
        since = (since or step) if has_all else None
    return since


def cell(arm: Arm, view: str, name: str) -> str:
    mean, half = interval([scores[view][name] for scores in arm.final])
    return f"{mean:.3g} ± {half:.2g}"


def table(arms: Sequence[Arm], modes: int) -> str:
    columns = {f"modes of {modes}": MODES_NAME, "within 3 sd": HIGH_QUALITY_NAME, "KL, nats": KL_NAME, "W1": W1_NAME}
    lines = [f"{'arm':<13} {'weights':<9}" + "".join(f"{title:>20}" for title in columns) + "  all modes from"]
    for arm in arms:
        for view in VIEWS:
            cells = "".join(f"{cell(arm, view, name):>20}" for name in columns.values())
            since = [all_from(arm, seed, view, modes) for seed in range(len(arm.final))]
            lines.append(f"{arm.name:<13} {view:<9}{cells}  {', '.join(str(step or '-') for step in since)}")
    return "\n".join(lines)


def picture(arms: Sequence[Arm], real: Tensor) -> Image.Image:
    """A row for each arm and view, a column for each seed: generated points, blue, over real ones."""
    rows = [(arm, view) for arm in arms for view in VIEWS]
    across, down = len(arms[0].shown), len(rows)
    size = (CAPTION + across * (PANEL + MARGIN), down * (PANEL + MARGIN))
    canvas = Image.new("RGB", size, "white")
    drawing = ImageDraw.Draw(canvas)
    for row, (arm, view) in enumerate(rows):
        top = row * (PANEL + MARGIN)
        drawing.text((4, top + PANEL // 2 - 12), f"{arm.name}\n{view} weights", fill="black")
        for seed, shown in enumerate(arm.shown):
            panel = Image.fromarray(scatter(shown[view], real, PANEL))
            canvas.paste(panel, (CAPTION + seed * (PANEL + MARGIN), top))
    return canvas


def circumstances(given: argparse.Namespace) -> dict[str, Any]:
    """What a figure has to stand with."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "data": given.data,
        "updates": given.updates,
        "seeds": given.seeds,
        "lanes": given.lanes or given.seeds,
        "preset": given.preset,
        "samples": COUNTED,
    }


def as_json(arm: Arm, modes: int) -> dict[str, Any]:
    intervals = {
        view: {name: interval([scores[view][name] for scores in arm.final]) for name in arm.final[0][view]}
        for view in VIEWS
    }
    since = {view: [all_from(arm, seed, view, modes) for seed in range(len(arm.final))] for view in VIEWS}
    return {
        "arm": arm.name,
        "structure": arm.structure.as_json(),
        "hyper": arm.hyper.as_json(),
        "seconds": arm.seconds,
        "mean and half width": intervals,
        "all modes from": since,
        "final": arm.final,
        "curve": arm.curve,
    }


def write(path: Path, noted: Mapping[str, Any], arms: Sequence[Arm], floors: Scores, modes: int) -> None:
    content = {**noted, "real against real": floors, "arms": [as_json(arm, modes) for arm in arms]}
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"wrote {path}")


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", choices=list(MIXTURES), default="8gaussians", help="the mixture (default: %(default)s)")
    add("--updates", type=int, default=900, help="critic updates of each seed (default: %(default)s)")
    add("--seeds", type=int, choices=range(2, 11), default=5, help="of each arm (default: %(default)s)")
    add("--lanes", type=int, help="seeds trained side by side (default: all)")
    add("--preset", choices=("blog", "toy"), default="blog", help="of the WGAN-GP arm (default: %(default)s)")
    add("--arms", nargs="+", choices=("as published", "gan", "wgan-gp"), help="some arms only (default: all)")
    add("--threads", type=int, default=cores(), help="of torch (default: all cores, %(default)s)")
    add("--out", type=Path, metavar="PNG", help="write the picture to this file")
    add("--json", type=Path, metavar="OUT", help="write the figures to this file as JSON")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    given = options_of(arguments)
    process.configure(given.threads)
    noted, dataset, modes = circumstances(given), load_toy(given.data), len(MIXTURES[given.data].centres)
    print("  ".join(f"{key}: {value}" for key, value in noted.items()), flush=True)
    arms = [arm for arm in arms_of(given.preset) if given.arms is None or arm.name in given.arms]
    for arm in arms:
        seeds = range(given.seeds)
        for first in seeds[:: given.lanes or given.seeds]:
            train(arm, dataset, given.updates, seeds[first : first + (given.lanes or given.seeds)])
    floors = Evaluator.build(dataset, split="test", metrics=[W1_NAME, *MODE_NAMES], sample_size=COUNTED).floors
    print(f"\n{table(arms, modes)}")
    print("real samples: " + ", ".join(f"{name} {value:.3g}" for name, value in floors.items()))
    if given.out:
        picture(arms, torch.from_numpy(dataset.train.values[:4000])).save(given.out)
        print(f"wrote {given.out}")
    if given.json:
        write(given.json, noted, arms, floors, modes)


if __name__ == "__main__":
    main()
