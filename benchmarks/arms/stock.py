"""(c): the same loop under Ray Tune, with the search, scheduler and tracking that Ray Tune ships, at their defaults."""

from __future__ import annotations

import ray
from arms import task as tasks
from arms.stock_trial import metric_name, train
from arms.task import Task
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from sweeps.engine.plan.presets import WGAN_GP
from sweeps.engine.plan.space import Range
from wgan_core.data.mnist import load_mnist
from wgan_core.metrics.evaluator import Evaluator

KEPT = 2


def main(task: Task) -> None:
    dataset = load_mnist()
    evaluator = tasks.timed(Evaluator.build(dataset, sample_size=task.samples), task)
    trainable = tune.with_parameters(train, task=task, values=dataset.train.values, evaluator=evaluator)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"CPU": 1}),
        param_space={name: domain(bounds) for name, bounds in WGAN_GP.ranges.items()},
        tune_config=tune_config(task, metric_name(evaluator.objective_default)),
        run_config=run_config(task),
    )
    results = tuner.fit()
    if results.errors:
        raise RuntimeError(f"{results.num_errors} trials failed; the first: {results.errors[0]}")
    ray.shutdown()


def tune_config(task: Task, metric: str) -> tune.TuneConfig:
    # Judged for the first time after the budget: no trial is ever stopped.
    never = task.budget + 1
    return tune.TuneConfig(
        metric=metric,
        mode="min",
        search_alg=OptunaSearch(points_to_evaluate=[dict(point) for point in task.points]),
        scheduler=ASHAScheduler(time_attr="critic_updates", max_t=never, grace_period=never),
        num_samples=task.trials,
        max_concurrent_trials=task.slots,
    )


def run_config(task: Task) -> tune.RunConfig:
    uri = f"sqlite:///{task.path(tasks.MLFLOW_DB)}"
    return tune.RunConfig(
        name="stock",
        storage_path=str(task.path("stock")),
        checkpoint_config=tune.CheckpointConfig(num_to_keep=KEPT),
        callbacks=[MLflowLoggerCallback(tracking_uri=uri, experiment_name="stock")],
    )


def domain(bounds: Range) -> tune.search.sample.Domain:
    if bounds.whole:
        return tune.randint(int(bounds.low), int(bounds.high) + 1)
    return (tune.loguniform if bounds.log else tune.uniform)(bounds.low, bounds.high)
