"""Sweeps from a notebook, or from a script of your own: run a sweep, or open an earlier one.

from sweeps.engine.plan.presets import MNIST
from sweeps.notebook import Sweep
from wgan_core.data.mnist import load_mnist

sweep = Sweep(load_mnist(), MNIST["wgan-gp"], name="mnist", trials=12, budget=10_000).run()
sweep.results()                      # one row per trial
sweep.plots.best_so_far()            # a figure
generator = sweep.best().load()      # z (N, Z) -> samples (N, ...)

Sweep.open("mnist").best().load()    # another day
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import plotly.graph_objects as go
from torch import Tensor, nn

from sweeps.engine.charts import hyper, pairs, progress
from sweeps.engine.charts.facts import Facts, read_facts
from sweeps.engine.driver.script import run_sweep
from sweeps.engine.plan.options import chosen
from sweeps.engine.plan.presets import Preset
from sweeps.engine.plan.presets_tabular import TABLE_BUDGET, TABULAR, table_coding, table_structure
from sweeps.engine.report.trials_table import trials_table
from sweeps.engine.results.confirmation import Interval
from sweeps.engine.results.extension import extension_name
from sweeps.engine.results.leaderboard import checkpoint_of
from sweeps.engine.results.results import Results, open_results
from wgan_core.config import Hyper, Structure
from wgan_core.data import Dataset
from wgan_core.data.folder import Folder
from wgan_core.data.rows import rows_of
from wgan_core.data.tables import load_table
from wgan_core.errors import UserError
from wgan_core.kinds import Table, kind_of
from wgan_core.metrics.own import OwnMetric
from wgan_core.sampling.generator import averaged_generator, sampler
from wgan_core.sampling.matching import RowFilter, matching_samples
from wgan_core.training import checkpoint as checkpoints

if TYPE_CHECKING:
    import pandas as pd


class Sweep:
    """A search over hyper-parameters that can be run, continued or extended.

    If the storage has a sweep of this name, `run` continues it. A larger `trials` extends it. Everything else must be
    as it was.
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
        """Describe a sweep. Nothing runs yet.

        Args:
            preset: The space to search, and the points that the search tries first.
            budget: Critic updates of a trial that is not stopped early.
            structure: The settings that all trials share; None for the preset's own, fitted to this data.
            metrics: Metrics of your own. The sweep minimises the first one unless the options name an objective.
            options: Options of a sweep script, such as storage="/data/sweeps", confirm="3x3", lanes=8,
                gpus_per_trial=.25, pruning=False, features="inception". execution="eager" means --no-capture.
                set={"batch_size": 128} and search={"lr": "1e-5..1e-2:log", "n_critic": [1, 2, 5]} change the space.

        Raises:
            UserError: An option has a bad value.
            TypeError: There is no such option.
        """
        self._options = chosen(name, trials, budget, options)
        self._dataset, self._space, self._metrics = dataset, preset.space, tuple(metrics)
        of_data = {"coding": dataset.coding, "conditions": dataset.conditions}
        self._structure = structure or preset.structure_for(dataset.sample_shape, None, **of_data)

    @classmethod
    def of_table(
        cls,
        table: pd.DataFrame | str,
        *,
        name: str,
        preset: Preset = TABULAR["wgan-lp"],
        columns: Mapping[str, Any] | None = None,
        trials: int = 12,
        budget: int | None = None,
        **options: Any,
    ) -> Self:
        """Describe a sweep on a table's rows.

        Args:
            table: A frame of pandas, without its index, or a path or name that `wgan_core.load_table` takes.
            name: The name of the sweep.
            preset: One of `TABULAR`.
            columns: Arguments of `load_table` on how columns are read, such as {"drop": ["id"], "label": "ill"}.
            trials: Number of trials.
            budget: Critic updates of a trial that is not stopped early; None for `TABLE_BUDGET`.
            options: See the constructor.

        Raises:
            UserError: The table cannot be read, or an option has a bad value.
        """
        dataset = load_table(table, **{"coding": table_coding(preset), **(columns or {})})
        updates = TABLE_BUDGET.updates(len(dataset.train)) if budget is None else budget
        structure = table_structure(preset, dataset)
        return cls(dataset, preset, name=name, trials=trials, budget=updates, structure=structure, **options)

    @staticmethod
    def open(name: str, storage: str | None = None, study_storage: str | None = None) -> Finished:
        """Open a sweep that has run, or runs elsewhere. Raise `UserError` if the storage has no sweep of this name."""
        return Finished(open_results(storage, name, study_storage))

    def extend(self, budget: int, trial: str | None = None) -> Finished:
        """Train a trial of this sweep on, beyond the sweep's budget, and return the results.

        The extension is a sweep of its own, with one trial. It ends as if the trial had had the larger budget from the
        start.

        Args:
            budget: Critic updates to reach in all.
            trial: Label of the trial; None for the best.

        Raises:
            UserError: There is no such trial, or it cannot be extended. Also as `run`.
        """
        given = self._options
        results = open_results(given.storage, given.name, given.study_storage)
        row = results.best if trial is None else results.row(trial)
        name = extension_name(results.plan, row.label, budget)
        options = replace(given.extending(f"{given.name}:{row.label}", budget), name=name)
        run_sweep(options, self._dataset, self._structure, self._space, self._metrics)
        return self.open(name, given.storage, given.study_storage)

    def run(self) -> Finished:
        """Run the sweep to its end, print its progress, and return its results.

        Raises:
            UserError, NoScore, KeyboardInterrupt: See `sweeps.run_sweep`.
        """
        run_sweep(self._options, self._dataset, self._structure, self._space, self._metrics)
        return self.open(self._options.name, self._options.storage, self._options.study_storage)


@dataclass(frozen=True)
class Best:
    """The best checkpoint of a sweep, and the trial that saved it.

    Attributes:
        trial: Label of the trial.
        score: The trial's lowest value of the objective on the validation split.
        error: Standard error of the score, due to the choice of generated samples; NaN if not known.
        floor: Value of the objective for real samples against real samples.
        test: Mean test score of the best confirmed setting, with its 95 % interval; None if nothing is confirmed.
    """

    trial: str
    hyper: Hyper
    structure: Structure
    objective: str
    score: float
    error: float
    floor: float
    checkpoint: Folder
    test: Interval | None

    def load(self) -> nn.Module:
        """Return the generator with averaged weights, on the CPU and in evaluation mode.

        The module maps z (N, Z), and labels (N,) or conditions (N, C) if it is conditional, to samples (N, ...).
        """
        return averaged_generator(checkpoints.read(self.checkpoint))

    def sample(
        self, count: int, seed: int = 0, labels: Tensor | None = None, where: Mapping[str, Any] | None = None
    ) -> Tensor | pd.DataFrame:
        """Draw samples. The same seed gives the same samples.

        Args:
            count: Number of samples.
            seed: Seed of the generator's noise.
            labels: Classes (count,), or conditions (count, C) in the data's units, for a conditional generator; else
                None.
            where: Values that rows of a table shall have, such as {"cut": "Ideal", "age": (30, 40)}; see
                `wgan_core.sampling.matching.RowFilter.of`. Rows are drawn, and those that match are kept.

        Returns:
            Rows of a table as a frame with the columns of the data, without conditions. Other samples as a tensor
            (count, ...) in the scale of the training data.

        Raises:
            UserError: `where` is for another generator, or names unknown values, or rows that match are too rare.
        """
        checkpoint = checkpoints.read(self.checkpoint)
        structure, coding = checkpoint.structure, checkpoint.structure.coding
        is_table = isinstance(kind_of(structure.sample_shape, coding), Table)
        if where:
            if labels is not None:
                raise UserError("a sample must have labels or where; given both: leave one out")
            if coding is None or not is_table or structure.is_conditional:
                raise UserError(
                    "where needs a generator of a table without conditions and classes; this one is another: leave it "
                    "out, or give labels"
                )
            samples = matching_samples(checkpoint, RowFilter.of(coding, where), count, seed)
        else:
            samples = sampler(checkpoint)(count, seed, labels)
        return samples if coding is None or not is_table else rows_of(samples, coding).to_pandas()


@dataclass(frozen=True)
class Finished:
    """The results of a sweep at the time when it was opened."""

    found: Results

    def results(self) -> pd.DataFrame:
        """Return one row per trial: label, state, hyper-parameters, scores, seconds, reason and checkpoint.

        The trials that confirm leaders come last.
        """
        return trials_table(self.found, read_facts(self.found)).to_pandas()

    def best(self) -> Best:
        """Return the best checkpoint of the confirmed settings, or of all trials if none is confirmed.

        Raises:
            UserError: No trial has a score yet.
        """
        row, plan, confirmation = self.found.best, self.found.plan, self.found.confirmation
        winner = None if confirmation is None else confirmation.winner
        return Best(
            trial=row.label,
            hyper=plan.space.hyper(row.params),
            structure=self.found.structure_of(row),
            objective=plan.objective,
            score=row.value,
            error=row.error,
            floor=plan.floor,
            checkpoint=checkpoint_of(self.found.folder, row),
            test=None if winner is None else winner.test,
        )

    @property
    def plots(self) -> Plots:
        """The charts of the report, one method per chart."""
        return Plots(read_facts(self.found))


@dataclass(frozen=True)
class Plots:
    """The charts of a sweep as Plotly figures. The report explains how to read each chart."""

    facts: Facts

    def best_so_far(self) -> go.Figure:
        """Plot the lowest score so far over the critic updates of all trials together."""
        return progress.best_so_far(self.facts)

    def curves(self) -> go.Figure:
        """Plot each trial's score over its critic updates."""
        return progress.curves(self.facts)

    def metrics(self) -> go.Figure:
        """Plot the leaders' Wasserstein estimates, gradient norms and other metrics."""
        return progress.metrics(self.facts)

    def timeline(self) -> go.Figure:
        """Plot when each trial was trained, coloured by its state."""
        return progress.timeline(self.facts)

    def parallel_coordinates(self) -> go.Figure:
        """Plot each trial as a line through all hyper-parameters."""
        return hyper.parallel_coordinates(self.facts)

    def importance(self) -> go.Figure:
        """Plot each hyper-parameter's share of the variance of the score."""
        return hyper.importance(self.facts)

    def slices(self) -> go.Figure:
        """Plot the score over each hyper-parameter."""
        return hyper.slices(self.facts)

    def interactions(self) -> go.Figure:
        """Plot the score over pairs of hyper-parameters."""
        return pairs.interactions(self.facts)

    def map_of_two(self) -> go.Figure:
        """Plot the score over λ and the learning rate, or over the two most important hyper-parameters."""
        return pairs.map_of_two(self.facts)
