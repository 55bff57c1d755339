"""Ray Tune `Searcher` over the study. Each Tune trial is a cohort of sweep trials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import ray
from ray.actor import ActorHandle
from ray.tune.search import Searcher

from sweeps.engine.cluster.nodes import alive
from sweeps.engine.plan.plan import Plan
from sweeps.engine.storage.layout import trial_folder
from sweeps.engine.storage.trial_store import TrialStore
from sweeps.engine.study.claims import Claim
from sweeps.engine.study.releases import Released
from sweeps.engine.worker.job import Job


class CohortSearch(Searcher):
    """Searcher that hands each Tune trial a cohort, and returns the trials of a dead cohort to the study."""

    def __init__(self, study: ActorHandle[Any], job: Job, room: Callable[[], int], say: Callable[[str], None]) -> None:
        """Store the arguments.

        Args:
            study: The `Study` actor.
            job: The job of the cohorts.
            room: Function that returns how many cohorts to run at once. The number changes as nodes come and go.
            say: Callback that prints a line for the user.
        """
        # Pass no metric: Tune would require one of every trial, and a trial that fails at its first report has none.
        super().__init__()
        self._study, self._job, self._room, self._say = study, job, room, say
        # Ids of the nodes that were alive when each cohort was handed out, by Tune trial id.
        self._live: dict[str, set[str]] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles the searcher, though nothing reads that copy. `say` may hold a terminal, which cannot be pickled.
        return {}

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        # Ignore Tune's space, which only names the table columns. The study holds the search space.
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        # Always keep one cohort pending, even if none fits now: Tune ignores Ctrl-C while it waits for nothing.
        free = self._room() - len(self._live)
        if self._live and free < 1:
            return None
        claims = cast("list[Claim]", ray.get(self._study.claim.remote(trial_id, self._job.lanes, max(1, free))))
        if claims:
            self._live[trial_id] = _alive()
            return config_of(claims, self._job.plan)
        # A running trial may have to be retried, so the search goes on until all trials have ended, or the time is up.
        over = ray.get(self._study.is_over.remote())
        return cast("dict[str, Any]", Searcher.FINISHED) if over else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        before = self._live.pop(trial_id, set())
        lost = before - _alive() if error else set()
        plan, again = self._job.plan, dict[str, list[str]]()
        for trial in cast("list[Released]", ray.get(self._study.release.remote(trial_id, error, lost))):
            label = plan.label(trial.number)
            if trial.has_failed:
                kept = TrialStore(trial_folder(self._job.folder, label), plan.objective)
                kept.end("FAIL", trial.reason, trial.step)
            elif error:
                again.setdefault(trial.reason, []).append(label)
        for reason, labels in again.items():
            self._say(f"{trained_again(labels)}: {reason}")

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the study's storage holds the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the study's storage holds the state."""


def _alive() -> set[str]:
    return {node.id for node in alive()}


def trained_again(labels: list[str]) -> str:
    """Format the message that these trials are retried."""
    if len(labels) == 1:
        return f"trial {labels[0]} is trained again from its last checkpoint"
    return f"trials {', '.join(labels)} are trained again from their last checkpoints"


def config_of(claims: list[Claim], plan: Plan) -> dict[str, Any]:
    """Return the config that Tune shows for a cohort: the values of a single trial, or the labels of several."""
    if len(claims) == 1:
        return {"trial": plan.label(claims[0].trial.number), **claims[0].params}
    return {"trials": ",".join(plan.label(claim.trial.number) for claim in claims)}
