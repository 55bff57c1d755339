"""The study, as a worker calls it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError

from sweeps.engine.study.claims import Claim
from sweeps.engine.study.reports import Verdict


class Holder:
    """A holder of trials, with the methods of the `Study` actor that concern it. Each call waits for the study."""

    def __init__(self, study: ActorHandle[Any], name: str) -> None:
        self._study, self._name = study, name

    def began(self, node: str) -> list[Claim]:
        return cast("list[Claim]", self._call("began", node))

    def claim(self, count: int) -> list[Claim]:
        return cast("list[Claim]", self._call("claim", count))

    def held(self) -> list[Claim]:
        return cast("list[Claim]", self._call("held"))

    def check(self, numbers: Sequence[int], within_s: float | None = None) -> None:
        """Check, before anything is written, that this process still holds these trials.

        A process that is cut off from the study waits here. Another process may train its trials meanwhile.

        Args:
            numbers: Numbers of the trials.
            within_s: Return without an answer after so many seconds; None waits for the answer.

        Raises:
            PermissionError: Another process holds one of the trials.
        """
        with suppress(GetTimeoutError):
            ray.get(self._study.check.remote(self._name, numbers), timeout=within_s)

    def report(
        self,
        values: Mapping[int, tuple[int, float]],
        seconds: Mapping[int, float],
        beside: Mapping[int, Mapping[str, float]],
    ) -> dict[int, Verdict]:
        return cast("dict[int, Verdict]", self._call("report", values, seconds, beside))

    def finish(self, number: int, state: str, reason: str, test: Mapping[str, float]) -> None:
        self._call("finish", number, state, reason, test)

    def hand_back(self, numbers: Collection[int]) -> None:
        self._call("hand_back", numbers)

    def narrow(self, lanes: int, said: str) -> list[Claim]:
        return cast("list[Claim]", self._call("narrow", lanes, said))

    def lanes(self, most: int) -> int:
        return cast("int", ray.get(self._study.lanes.remote(most)))

    def note(self, reason: str, leaves: bool = False) -> None:
        self._call("note", reason, leaves)

    def _call(self, method: str, *arguments: Any) -> Any:
        return ray.get(getattr(self._study, method).remote(self._name, *arguments))
