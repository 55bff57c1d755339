"""What becomes of a trial at a report: samples, their scores, a picture, and a checkpoint that is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sweeps.engine.plan.plan import Plan, on_test_split
from sweeps.engine.storage.trial_store import TrialStore
from wgan_core.backend.process import spread
from wgan_core.config import Trial
from wgan_core.metrics.evaluator import Evaluator
from wgan_core.pictures import samples_in_picture, samples_png
from wgan_core.training.checkpoint import Checkpoint
from wgan_core.training.cohort import Cohort, Report
from wgan_core.training.samples import TEST_SEED, draw_samples, evaluation_labels, evaluation_z, grid_labels, grid_z
from wgan_core.training.state import TrainingState
from wgan_core.training.step import Step

# Of a picture with a row a class.
COLUMNS = 8


@dataclass(frozen=True)
class _Drawn:
    """What of a trial at a report is kept, scored and shown. labels: those that the samples are asked for, if any."""

    report: Report
    seconds: float
    kept: TrialStore
    state: TrainingState
    samples: Tensor
    labels: Tensor | None
    shown: Tensor


class Scorer:
    """Of the trials of a plan, in the process that trains them."""

    def __init__(
        self,
        plan: Plan,
        evaluator: Evaluator,
        test: Evaluator | None,
        data: Tensor,
        labels: Tensor | None,
        device: torch.device,
        threads: int,
    ) -> None:
        """data, labels: those that are trained on, on `device`. test: scores on the test split, if that is asked."""
        self._plan, self._evaluator, self._test = plan, evaluator, test
        self._data, self._device, self._threads = data, device, threads
        self._labels = None if labels is None else labels.cpu()

    def report(
        self, cohort: Cohort, reports: Sequence[Report], seconds: Mapping[int, float], kept: Mapping[int, TrialStore]
    ) -> dict[int, float]:
        """Score and keep what stands at these reports; the values of the objective by number, as they are kept.

        seconds: of training in all; kept: what is kept of each trial. As many trials are scored at a time as there are
        CPU threads, each on one; no more are drawn ahead, as the samples of a trial may be large.
        """
        found: dict[int, float] = {}
        for start in range(0, len(reports), self._threads):
            group = reports[start : start + self._threads]
            # On the device one after the other: its settings and the networks are the whole process's.
            drawn = [self._draw(cohort, each, seconds[each.trial.number], kept[each.trial.number]) for each in group]
            values = spread(self._score, drawn, self._threads)
            found |= {each.trial.number: value for each, value in zip(group, values, strict=True)}
        return found

    def test_scores(self, kept: TrialStore) -> dict[str, float]:
        """What a trial's best checkpoint scores on the test split, by metric, if that is asked."""
        best = kept.best()
        if self._test is None or best is None:
            return {}
        structure, count = self._plan.structure, self._test.sample_size
        told = self._told(count, TEST_SEED)
        z = evaluation_z(structure, count, TEST_SEED)
        samples = draw_samples(Step(structure), best.state.to(self._device), z, told, self._device)
        return {on_test_split(name): value for name, value in self._test.scores(samples, told).items()}

    def _draw(self, cohort: Cohort, report: Report, seconds: float, kept: TrialStore) -> _Drawn:
        number, structure, count = report.trial.number, self._plan.structure, self._evaluator.sample_size
        told = self._told(count)
        samples = cohort.samples(number, evaluation_z(structure, count), told)
        return _Drawn(report, seconds, kept, cohort.state_of(number), samples, told, self._shown(cohort, report.trial))

    def _score(self, drawn: _Drawn) -> float:
        report, structure = drawn.report, self._plan.structure
        scores = self._evaluator.scores(drawn.samples, drawn.labels)
        metrics = {f"train/{name}": mean for name, mean in report.means.items()} | scores
        metrics["train/generator_updates"] = report.generator_updates
        metrics["train/images_seen"] = report.critic_updates * structure.batch_size
        metrics["train/seconds"] = drawn.seconds
        columns = COLUMNS if structure.classes else None
        picture = samples_png(drawn.shown, self._data, columns, structure.coding)
        checkpoint = Checkpoint(report.trial, structure, report.critic_updates, drawn.state, scores, drawn.seconds)
        return drawn.kept.report(checkpoint, metrics, picture)

    def _told(self, count: int, *seed: int) -> Tensor | None:
        """The classes that so many samples are asked for, if any."""
        return None if self._labels is None else evaluation_labels(self._plan.structure, self._labels, count, *seed)

    def _shown(self, cohort: Cohort, trial: Trial) -> Tensor:
        """Samples in a picture, from a trial's own fixed z; a row a class where the generator is told one."""
        structure = self._plan.structure
        told = grid_labels(structure, COLUMNS)
        count = samples_in_picture(structure.sample_shape, structure.coding) if told is None else len(told)
        return cohort.samples(trial.number, grid_z(structure, trial, count), told)
