"""(a): the sweep as `sweeps/mnist.py` starts it, with the same starting points and no early stopping.

The evaluator is replaced in the driver, and Ray carries it to the workers that use it: one that scores so many samples
and keeps the time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import optuna
from arms import task as tasks
from arms.task import Record, Task
from optuna.trial import FrozenTrial, TrialState

from sweeps.engine.driver.run import run
from sweeps.engine.plan.options import Options, parse
from sweeps.engine.plan.presets import WGAN_GP
from sweeps.engine.storage.layout import sweep_folder, trial_folder
from sweeps.engine.storage.spool import END_NAME, START_NAME, EndRecord, Spool, StartRecord
from sweeps.engine.study.attributes import SECONDS
from wgan_core.config import Structure
from wgan_core.data import Dataset
from wgan_core.data.mnist import load_mnist
from wgan_core.metrics.evaluator import Evaluator, SplitName

NAME = "ours"


def main(task: Task) -> None:
    options = options_of(task)
    dataset = load_mnist()
    space = replace(WGAN_GP, presets=task.points)
    build = Evaluator.build

    def timed_build(dataset: Dataset, split: SplitName, **others: Any) -> Evaluator:
        return tasks.timed(build(dataset, split, **{**others, "sample_size": task.samples}), task)

    with patch.object(Evaluator, "build", timed_build):
        structure = Structure(options.networks or "mlp", dataset.sample_shape)
        run(options, dataset, structure, space)
    study = optuna.load_study(study_name=None, storage=study_url(task))
    for trial in study.get_trials():
        tasks.keep(task, record_of(task, trial))


def study_url(task: Task) -> str:
    return f"sqlite:///{task.path('study.db')}"


def options_of(task: Task) -> Options:
    """Everything is given that would otherwise come from this person's environment."""
    given = {
        "--trials": task.trials,
        "--budget": task.budget,
        "--max-concurrent": task.slots,
        "--storage": task.folder,
        "--study-storage": study_url(task),
        "--name": NAME,
        "--tracking-uri": f"sqlite:///{task.path(tasks.MLFLOW_DB)}",
    }
    arguments = ["--no-pruning", *(text for option, value in given.items() for text in (option, str(value)))]
    return parse(NAME, "", trials=task.trials, budget=task.budget, arguments=arguments)


def record_of(task: Task, trial: FrozenTrial) -> Record:
    """What the study and the spool hold of a trial. Raises `RuntimeError` if it was stopped early or failed."""
    if trial.state is not TrialState.COMPLETE:
        raise RuntimeError(f"trial {trial.number} must be COMPLETE; it is {trial.state.name}")
    spool = Spool(trial_folder(sweep_folder(task.folder, NAME), str(trial.number)))
    start, end = spool.read(START_NAME), spool.read(END_NAME)
    assert isinstance(start, StartRecord)
    assert isinstance(end, EndRecord)
    steps = tuple(sorted(trial.intermediate_values))
    return Record(trial.params, start.started_ms / 1e3, end.ended_ms / 1e3, trial.user_attrs[SECONDS], steps)
