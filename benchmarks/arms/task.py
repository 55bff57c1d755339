"""What every arm is given and what it leaves behind. Imported by workers too, so it imports little."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from torch import Tensor

from wgan_core.config import report_grid
from wgan_core.metrics.evaluator import Evaluator

REPORTS = 9
RECORDS, EVALUATIONS, MLFLOW_DB = "records.jsonl", "evaluations.jsonl", "mlflow.db"

# From one end of the searched ranges to the other, save for rates at which training diverges.
POINTS: tuple[Mapping[str, float], ...] = (
    {"lambda_gp": 10.0, "lr": 1e-4, "n_critic": 5, "beta1": 0.0, "one_minus_beta2": 0.1},
    {"lambda_gp": 10.0, "lr": 2e-4, "n_critic": 1, "beta1": 0.5, "one_minus_beta2": 0.001},
    {"lambda_gp": 0.1, "lr": 1e-4, "n_critic": 4, "beta1": 0.5, "one_minus_beta2": 0.01},
    {"lambda_gp": 100.0, "lr": 5e-5, "n_critic": 2, "beta1": 0.0, "one_minus_beta2": 0.05},
    {"lambda_gp": 1.0, "lr": 5e-4, "n_critic": 3, "beta1": 0.9, "one_minus_beta2": 0.1},
    {"lambda_gp": 3.0, "lr": 1e-4, "n_critic": 1, "beta1": 0.0, "one_minus_beta2": 0.2},
    {"lambda_gp": 30.0, "lr": 2e-4, "n_critic": 2, "beta1": 0.3, "one_minus_beta2": 0.005},
    {"lambda_gp": 10.0, "lr": 1e-3, "n_critic": 5, "beta1": 0.5, "one_minus_beta2": 0.1},
)


@dataclass(frozen=True)
class Task:
    """One run of an arm. slots: how many trials may train at once, where an arm does so; folder: all it writes."""

    trials: int
    budget: int
    samples: int
    slots: int
    folder: str

    @property
    def points(self) -> tuple[Mapping[str, float], ...]:
        return POINTS[: self.trials]

    @property
    def grid(self) -> tuple[int, ...]:
        """The critic updates at which every trial of every arm reports."""
        return report_grid(self.budget, REPORTS)

    def path(self, name: str) -> Path:
        return Path(self.folder) / name


@dataclass(frozen=True)
class Record:
    """One trial. Times are seconds since 1970; `training` is seconds in updates; `steps` are those it reported at."""

    point: Mapping[str, float]
    start: float
    end: float
    training: float
    steps: tuple[int, ...]


def append(path: Path, entry: object) -> None:
    """Add a line of JSON, whole even if several processes do so at once."""
    with path.open("a") as stream:
        stream.write(json.dumps(entry) + "\n")


def keep(task: Task, record: Record) -> None:
    append(task.path(RECORDS), asdict(record))


def kept(task: Task) -> list[Record]:
    """The records that an arm has left."""
    read = [json.loads(line) for line in task.path(RECORDS).read_text().splitlines()]
    return [Record(**{**fields_, "steps": tuple(fields_["steps"])}) for fields_ in read]


@dataclass(frozen=True)
class Evaluation:
    """One call of an evaluator: when it ended, in seconds since 1970, the seconds it took, and the default score."""

    at: float
    seconds: float
    score: float


def evaluations(task: Task) -> list[Evaluation]:
    """What an arm has scored, in the order of time."""
    found = [Evaluation(**json.loads(line)) for line in task.path(EVALUATIONS).read_text().splitlines()]
    return sorted(found, key=lambda each: each.at)


@dataclass(frozen=True)
class TimedEvaluator(Evaluator):
    """An evaluator that adds an `Evaluation` to a file at each call."""

    log: str = ""

    def scores(self, samples: Tensor, labels: Tensor | None = None) -> dict[str, float]:
        started = time.perf_counter()
        scores = super().scores(samples, labels)
        took = time.perf_counter() - started
        append(Path(self.log), asdict(Evaluation(time.time(), took, scores[self.objective_default])))
        return scores


def timed(evaluator: Evaluator, task: Task) -> TimedEvaluator:
    same = {field.name: getattr(evaluator, field.name) for field in fields(Evaluator)}
    return TimedEvaluator(**same, log=str(task.path(EVALUATIONS)))
