"""Sweeps from a notebook, or from a script of one's own: run one, or look at one that was run.

from sweeps.engine.plan.presets import MNIST
from sweeps.notebook import Sweep
from wgan_core.data.mnist import load_mnist

sweep = Sweep(load_mnist(), MNIST["wgan-gp"], name="mnist", trials=12, budget=10_000).run()
sweep.results()                      # a row a trial
sweep.plots.best_so_far()            # a figure
generator = sweep.best().load()      # z (N, Z) -> samples (N, ...)

Sweep.open("mnist").best().load()    # another day
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from torch import Tensor, nn

from sweeps.engine.charts import hyper, pairs, progress
from sweeps.engine.charts.facts import Facts, read_facts
from sweeps.engine.driver.script import run_sweep
from sweeps.engine.plan.options import chosen
from sweeps.engine.plan.presets import Preset
from sweeps.engine.report.trials_table import trials_table
from sweeps.engine.results.confirmation import Interval
from sweeps.engine.results.leaderboard import checkpoint_of
from sweeps.engine.results.results import Results, open_results
from wgan_core.config import Hyper, Structure
from wgan_core.data import Dataset
from wgan_core.data.folder import Folder
from wgan_core.metrics.own import OwnMetric
from wgan_core.sampling.generator import averaged_generator, sampler
from wgan_core.training import checkpoint as checkpoints

if TYPE_CHECKING:
    import pandas as pd


class Sweep:
    """A search over hyper-parameters: to be run, continued or extended, and looked at.

    A name that is in the storage already is that sweep: `run` goes on with it if nothing else differs.
    """

    def __init__(
        self,
        dataset: Dataset,
        preset: Preset,
        *,
        name: str,
        trials: int = 12,
        budget: int = 10_000,
        structure: Structure | None = None,
        metrics: Sequence[OwnMetric] = (),
        **options: Any,
    ) -> None:
        """preset: what is searched, and from where. budget: critic updates of a trial that is not stopped early.

        structure: what all trials share; by default the preset's for this data. metrics: of one's own, the first of
        which is minimised. options: as a script has them, such as storage="/data/sweeps", confirm="3x3", lanes=8,
        gpus_per_trial=.25, pruning=False, features="inception"; execution="eager" stands for
        --no-capture.

        Raises `UserError` for a value that cannot be, `TypeError` for an option that is none.
        """
        self._options = chosen(name, trials, budget, options)
        self._dataset, self._space, self._metrics = dataset, preset.space, tuple(metrics)
        self._structure = structure or preset.structure_for(dataset.sample_shape, None, coding=dataset.coding)

    @staticmethod
    def open(name: str, storage: str | None = None, study_storage: str | None = None) -> Finished:
        """A sweep that was run, or runs elsewhere. Raises `UserError` if there is none of this name."""
        return Finished(open_results(storage, name, study_storage))

    def run(self) -> Finished:
        """Run to the end, printing how it goes; what came of it.

        Raises `UserError`, `NoScore` and `KeyboardInterrupt` as `sweeps.run_sweep` does.
        """
        run_sweep(self._options, self._dataset, self._structure, self._space, self._metrics)
        return self.open(self._options.name, self._options.storage, self._options.study_storage)


@dataclass(frozen=True)
class Best:
    """The best of a sweep: a checkpoint, and the run that it is of.

    trial: what the run is called. score: its lowest value of the objective on the validation split, which is `floor`
    between real samples. test: of a confirmed setting, the mean of its runs on the test split with its 95 % interval.
    """

    trial: str
    hyper: Hyper
    objective: str
    score: float
    floor: float
    checkpoint: Folder
    test: Interval | None

    def load(self) -> nn.Module:
        """The averaged generator, on the CPU in evaluation mode: z (N, Z), and labels (N,) if told any -> (N, ...)."""
        return averaged_generator(checkpoints.read(self.checkpoint))

    def sample(self, count: int, seed: int = 0, labels: Tensor | None = None) -> Tensor:
        """Samples (count, ...), scaled as the data was; the same for the same seed."""
        return sampler(checkpoints.read(self.checkpoint))(count, seed, labels)


@dataclass(frozen=True)
class Finished:
    """A sweep as it stood when it was opened."""

    found: Results

    def results(self) -> pd.DataFrame:
        """A row a trial: its label, state, hyper-parameters, scores, seconds, reason and checkpoint.

        The trials that confirm leaders come last.
        """
        return trials_table(self.found, read_facts(self.found)).to_pandas()

    def best(self) -> Best:
        """The best checkpoint: of the confirmed settings if any are. Raises `UserError` if no trial has a score yet."""
        row, plan, confirmation = self.found.best, self.found.plan, self.found.confirmation
        winner = None if confirmation is None else confirmation.winner
        return Best(
            trial=row.label,
            hyper=plan.space.hyper(row.params),
            objective=plan.objective,
            score=row.value,
            floor=plan.floor,
            checkpoint=checkpoint_of(self.found.folder, row),
            test=None if winner is None else winner.test,
        )

    @property
    def plots(self) -> Plots:
        """The charts of the report, each a figure."""
        return Plots(read_facts(self.found))


@dataclass(frozen=True)
class Plots:
    """Each method returns a plotly figure; the report says how each is read."""

    facts: Facts

    def best_so_far(self) -> go.Figure:
        """The lowest score against the critic updates spent in all."""
        return progress.best_so_far(self.facts)

    def curves(self) -> go.Figure:
        """Each trial's score over its critic updates."""
        return progress.curves(self.facts)

    def metrics(self) -> go.Figure:
        """The leaders' Wasserstein estimates, gradient norms and other metrics."""
        return progress.metrics(self.facts)

    def timeline(self) -> go.Figure:
        """When each trial was trained, by its state."""
        return progress.timeline(self.facts)

    def parallel_coordinates(self) -> go.Figure:
        """A line a trial through all hyper-parameters."""
        return hyper.parallel_coordinates(self.facts)

    def importance(self) -> go.Figure:
        """Each hyper-parameter's share in the variance of the score."""
        return hyper.importance(self.facts)

    def slices(self) -> go.Figure:
        """The score against each hyper-parameter."""
        return hyper.slices(self.facts)

    def interactions(self) -> go.Figure:
        """The score over pairs of hyper-parameters."""
        return pairs.interactions(self.facts)

    def map_of_two(self) -> go.Figure:
        """The score over λ and the learning rate, or the two hyper-parameters that matter most."""
        return pairs.map_of_two(self.facts)
