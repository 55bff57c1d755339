"""The record of a sweep: the interface of what keeps it, and the recorder that keeps none.

Trials write their records to the sweep's folder, and never to a recorder. The driver's recorder takes them from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from sweeps.engine.plan.uri import NOT_RECORDED
from wgan_core.data.folder import Folder

SweepState: TypeAlias = Literal["FINISHED", "KILLED", "FAILED"]
Sync: TypeAlias = Literal["complete", "partial"]


@dataclass(frozen=True)
class Summary:
    """Results of a sweep.

    Attributes:
        values: Results by name. MLflow keeps strings as tags of the sweep's run, and numbers as metrics.
        trials: Further metrics of single trials, by trial label.
        confirmed: A line of HTML that says how sure the best trial is, or empty.
    """

    values: Mapping[str, str | float] = field(default_factory=dict)
    trials: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    confirmed: str = ""


NO_RESULTS = Summary()


class Recorder(Protocol):
    """A keeper of one sweep's record. Only `open` raises. All other errors are warnings: none may stop a sweep.

    Attributes:
        last_error: Why the record lacks something; None if it does not.
    """

    last_error: str | None

    @property
    def shown_uri(self) -> str:
        """The place of the record, without a password."""

    def open(self, first_start: bool) -> None:
        """Begin the record, or continue it.

        Args:
            first_start: Raise if the place of the record cannot be opened. A continued sweep only warns: its records
                wait in its folder.

        Raises:
            UserError: The record cannot be opened.
        """

    def start(self) -> None:
        """Take the trials' records from now on, in a thread."""

    def publish(self, folder: Folder, names: Sequence[str]) -> None:
        """Add files of a folder, the sweep's report, to the record."""

    def stop(
        self,
        state: SweepState,
        summary: Summary = NO_RESULTS,
        timeout_s: float = 60.0,
        last: Callable[[], object] = lambda: None,
    ) -> Sync:
        """Take the remaining records, and end the record.

        Args:
            state: State in which the sweep ended.
            summary: Results of the sweep.
            timeout_s: Longest wait in seconds.
            last: Called after all records are taken and before the record ends.

        Returns:
            "partial" if the record lacks something, which the next start then brings.
        """

    def ui_command(self) -> str:
        """Return the command or the URL that shows the record, or an empty text."""

    def link(self) -> str:
        """Return the URL of the trials, best first, or an empty text if no server has them."""


class NoRecorder:
    """The recorder of a sweep that is not recorded."""

    last_error: str | None = None
    shown_uri = NOT_RECORDED

    def open(self, first_start: bool) -> None:
        pass

    def start(self) -> None:
        pass

    def publish(self, folder: Folder, names: Sequence[str]) -> None:
        pass

    def stop(
        self,
        state: SweepState,
        summary: Summary = NO_RESULTS,
        timeout_s: float = 60.0,
        last: Callable[[], object] = lambda: None,
    ) -> Sync:
        last()
        return "complete"

    def ui_command(self) -> str:
        return ""

    def link(self) -> str:
        return ""
