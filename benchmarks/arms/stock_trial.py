"""What a worker of (c) runs; apart from the driver's part, so that workers import no more than they need."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from arms import task as tasks
from arms import textbook
from arms.task import Task
from numpy.typing import NDArray
from ray import tune

from wgan_core.metrics.evaluator import Evaluator


def metric_name(name: str) -> str:
    """A metric's name as Tune takes it, for which `/` stands between levels of a nested result."""
    return name.replace("/", "_")


def train(config: Mapping[str, float], task: Task, values: NDArray[Any], evaluator: Evaluator) -> None:
    """The function trainable."""

    def report(trial: textbook.Trial, metrics: dict[str, float]) -> None:
        named = {metric_name(name): value for name, value in metrics.items()}
        with tempfile.TemporaryDirectory() as folder:
            trial.save(Path(folder) / "checkpoint.pt")
            checkpoint = tune.Checkpoint.from_directory(folder)
            tune.report({"critic_updates": trial.critic_updates, **named}, checkpoint=checkpoint)

    tasks.keep(task, textbook.run(task, torch.from_numpy(values), config, evaluator, report))
