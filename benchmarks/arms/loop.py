"""(b): the textbook loop, one trial after another in one process with as many threads as torch takes by itself."""

from __future__ import annotations

import torch
from arms import task as tasks
from arms import textbook
from arms.task import Task

from wgan_core.data.mnist import load_mnist
from wgan_core.metrics.evaluator import Evaluator

KEPT = 2


def main(task: Task) -> None:
    dataset = load_mnist()
    evaluator = tasks.timed(Evaluator.build(dataset, sample_size=task.samples), task)
    data = torch.from_numpy(dataset.train.values)
    for number, point in enumerate(task.points):
        torch.manual_seed(number)
        checkpoints = task.path(f"trial-{number}")
        checkpoints.mkdir()

        def report(trial: textbook.Trial, metrics: dict[str, float]) -> None:
            print(trial.critic_updates, metrics, flush=True)
            trial.save(checkpoints / f"{trial.critic_updates:09d}.pt")  # noqa: B023 - called in this turn only
            for old in sorted(checkpoints.iterdir())[:-KEPT]:  # noqa: B023
                old.unlink()

        tasks.keep(task, textbook.run(task, data, point, evaluator, report))
