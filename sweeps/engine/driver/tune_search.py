"""The study as a Ray Tune `Searcher`: a Tune trial is a cohort of sweep trials."""

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
from wgan_core.data.folder import Folder


class CohortSearch(Searcher):
    """Hands each Tune trial a cohort, and what died back to the study."""

    def __init__(
        self,
        study: ActorHandle[Any],
        lanes: int,
        folder: Folder,
        plan: Plan,
        room: Callable[[], int],
        say: Callable[[str], None],
    ) -> None:
        """room: how many cohorts the cluster should have now; it changes as nodes come and go. say: tells a person."""
        # Without a metric: Tune would demand it of every trial, and one that fails at its first report has none.
        super().__init__()
        self._study, self._lanes, self._folder, self._plan = study, lanes, folder, plan
        self._room, self._say = room, say
        # With the nodes that were alive when each cohort was handed out.
        self._live: dict[str, set[str]] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Tune keeps a copy that nothing reads, and whoever is told, a terminal, cannot be in it.
        return {name: value for name, value in self.__dict__.items() if name != "_say"}

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        # Tune's space holds the names of the columns only: what is searched is the study's.
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        # One may wait for a node whatever the room: Tune, with nothing at all to wait for, would hear no interrupt.
        free = self._room() - len(self._live)
        if self._live and free < 1:
            return None
        claims = cast("list[Claim]", ray.get(self._study.claim.remote(trial_id, self._lanes, max(1, free))))
        if claims:
            self._live[trial_id] = _alive()
            return config_of(claims, self._plan)
        # A running trial may yet come back to be trained again, so the search is over only when all have ended.
        done = ray.get(self._study.is_done.remote())
        return cast("dict[str, Any]", Searcher.FINISHED) if done else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        before = self._live.pop(trial_id, set())
        lost = before - _alive() if error else set()
        again: dict[str, list[str]] = {}
        for trial in cast("list[Released]", ray.get(self._study.release.remote(trial_id, error, lost))):
            label = self._plan.label(trial.number)
            if trial.has_failed:
                kept = TrialStore(trial_folder(self._folder, label), self._plan.objective)
                kept.end("FAIL", trial.reason, trial.step)
            elif error:
                again.setdefault(trial.reason, []).append(label)
        for reason, labels in again.items():
            self._say(f"{trained_again(labels)}: {reason}")

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study's storage is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study's storage is the state."""


def _alive() -> set[str]:
    return {node.id for node in alive()}


def trained_again(labels: list[str]) -> str:
    """That these trials are."""
    if len(labels) == 1:
        return f"trial {labels[0]} is trained again from its last checkpoint"
    return f"trials {', '.join(labels)} are trained again from their last checkpoints"


def config_of(claims: list[Claim], plan: Plan) -> dict[str, Any]:
    """What Tune shows of a cohort: a single trial's own values, or the numbers of several."""
    if len(claims) == 1:
        return {"trial": plan.label(claims[0].trial.number), **claims[0].params}
    return {"trials": ",".join(plan.label(claim.trial.number) for claim in claims)}
