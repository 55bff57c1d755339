"""Work at a report step: draw samples, score them, and save a picture and a checkpoint of each trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sweeps.engine.plan.plan import on_test_split
from sweeps.engine.storage.history import GENERATOR_UPDATES, SECONDS
from sweeps.engine.storage.trial_store import TrialStore
from sweeps.engine.study.attributes import SHOWN
from sweeps.engine.worker.job import Job
from wgan_core.backend.process import spread
from wgan_core.config import Structure, Trial
from wgan_core.data.dataset import to_model
from wgan_core.kinds import kind_of
from wgan_core.metrics.evaluator import Evaluator
from wgan_core.metrics.names import error_name
from wgan_core.training.checkpoint import Checkpoint
from wgan_core.training.cohort import Cohort, Report
from wgan_core.training.data import TrainingData
from wgan_core.training.samples import (
    TEST_SEED,
    draw_samples,
    evaluation_labels,
    evaluation_z,
    grid_conditions,
    grid_labels,
    grid_z,
)
from wgan_core.training.state import TrainingState
from wgan_core.training.step import Step

# Columns of a picture that has one row per class, and the most rows.
COLUMNS, ROWS = 8, 32


@dataclass(frozen=True)
class _Drawn:
    """One trial at a report step.

    `samples` (N, ...) are to be scored, and `shown` are to be pictured. `labels` are the classes (N,) or conditions
    (N, C) of the samples. `critic` holds metrics of the trial's critic.
    """

    report: Report
    structure: Structure
    seconds: float
    kept: TrialStore
    state: TrainingState
    samples: Tensor
    labels: Tensor | None
    shown: Tensor
    critic: Mapping[str, float]


class Scorer:
    """Scorer of a job's trials in the process that trains them."""

    def __init__(self, job: Job, data: TrainingData, evaluator: Evaluator, test: Evaluator | None) -> None:
        """Take `test`, which scores on the test split if given."""
        self._structure, self._threads, self._objective = job.plan.structure, job.places.threads, job.plan.objective
        self._kind = kind_of(self._structure.sample_shape, self._structure.coding)
        self._data, self._evaluator, self._test = data, evaluator, test
        self._labels = None if data.labels is None else data.labels.cpu()

    def report(
        self, cohort: Cohort, reports: Sequence[Report], seconds: Mapping[int, float], kept: Mapping[int, TrialStore]
    ) -> dict[int, Mapping[str, float]]:
        """Score the reported trials and save their records, pictures and checkpoints.

        Each CPU thread scores one trial at a time. Only as many trials as threads have samples in memory, because the
        samples may be large.

        Args:
            cohort: The cohort that trains the trials.
            reports: Reports of trials at a report step.
            seconds: Training time so far, by trial number.
            kept: Store of each trial, by trial number.

        Returns:
            Recorded scores by the trial's number, then by metric.
        """
        found: dict[int, Mapping[str, float]] = {}
        for start in range(0, len(reports), self._threads):
            group = reports[start : start + self._threads]
            # Draw on the device one after the other, because threads share its settings and the networks.
            drawn = [self._draw(cohort, each, seconds[each.trial.number], kept[each.trial.number]) for each in group]
            scores = spread(self._score, drawn, self._threads)
            found |= {each.trial.number: scored for each, scored in zip(group, scores, strict=True)}
        return found

    def test_scores(self, kept: TrialStore) -> dict[str, float]:
        """Score a trial's best checkpoint on the test split. Return scores by metric; empty without a test scorer."""
        best = kept.best()
        if self._test is None or best is None:
            return {}
        structure, count, device = best.structure, self._test.sample_size, self._data.device
        told = self._told(self._test, TEST_SEED)
        z = evaluation_z(structure, count, TEST_SEED)
        samples = draw_samples(Step(structure), best.state.to(device), z, told, device)
        return {on_test_split(name): value for name, value in self._test.scores(samples, told).items()}

    def beside(self, scores: Mapping[str, float]) -> dict[str, float]:
        """Return the scores that are shown beside the objective, by their short names."""
        named = {spec.stem.removeprefix("eval/"): scores.get(spec.name) for spec in self._evaluator.specs}
        named["error"] = scores.get(error_name(self._objective))
        return {name: score for name in SHOWN if (score := named.get(name)) is not None}

    def _draw(self, cohort: Cohort, report: Report, seconds: float, kept: TrialStore) -> _Drawn:
        number, structure, count = report.trial.number, cohort.structure, self._evaluator.sample_size
        told = self._told(self._evaluator)
        samples = cohort.samples(number, evaluation_z(structure, count), told)
        shown, critic = self._shown(cohort, report.trial), self._critic_metrics(cohort, number, samples, told)
        return _Drawn(report, structure, seconds, kept, cohort.state_of(number), samples, told, shown, critic)

    def _critic_metrics(self, cohort: Cohort, number: int, fake: Tensor, told: Tensor | None) -> dict[str, float]:
        """Compare a trial's critic on training, held-out and generated samples (Gulrajani et al. 2017, section 5.4)."""

        def mean(samples: Tensor, labels: Tensor | None) -> float:
            return float(cohort.critic_values(number, samples, labels).double().mean())

        with_labels = self._structure.is_conditional
        on_training, on_held_out = (
            mean(
                to_model(torch.from_numpy(split.values), torch.float32),
                torch.from_numpy(split.labels) if with_labels and split.labels is not None else None,
            )
            for split in self._evaluator.for_critic
        )
        size = len(self._evaluator.for_critic[1])
        on_fake = mean(fake[:size], None if told is None else told[:size])
        return {
            "train/validation_estimate": on_held_out - on_fake,
            "train/critic_overfit": on_training - on_held_out,
        }

    def _score(self, drawn: _Drawn) -> Mapping[str, float]:
        report, structure = drawn.report, drawn.structure
        scores = self._evaluator.scores(drawn.samples, drawn.labels)
        metrics = {f"train/{name}": mean for name, mean in report.means.items()} | {**drawn.critic, **scores}
        metrics[GENERATOR_UPDATES] = report.generator_updates
        metrics["train/images_seen"] = report.critic_updates * structure.batch_size
        metrics[SECONDS] = drawn.seconds
        columns = COLUMNS if structure.classes else None
        picture = self._kind.picture(drawn.shown, self._data.samples, columns)
        checkpoint = Checkpoint(report.trial, structure, report.critic_updates, drawn.state, scores, drawn.seconds)
        return drawn.kept.report(checkpoint, metrics, picture)

    def _told(self, evaluator: Evaluator, *seed: int) -> Tensor | None:
        """Return the class labels or the conditions for the samples of a score, or None without both."""
        if evaluator.conditions is not None or self._labels is None:
            return evaluator.conditions
        return evaluation_labels(self._structure, self._labels, evaluator.sample_size, *seed)

    def _shown(self, cohort: Cohort, trial: Trial) -> Tensor:
        """Generate the samples of a picture from the trial's fixed z; with classes, one row for each of the first.

        With conditions, the picture shows samples for those of training samples, in the order of the first condition.
        """
        structure = cohort.structure
        told = grid_labels(structure, COLUMNS)
        told = None if told is None else told[: ROWS * COLUMNS]
        count = self._kind.in_picture if told is None else len(told)
        if structure.conditions is not None and self._labels is not None:
            told = grid_conditions(self._labels, count)
        return cohort.samples(trial.number, grid_z(structure, trial, count), told)
