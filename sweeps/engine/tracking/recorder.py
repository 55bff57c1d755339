"""Interface of a recorder, which copies a sweep's records to a tracking store, and `NoRecorder`.

Trials write their records to the sweep's folder, and never to a recorder. The driver's recorder reads them there.
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
    """A part of the driver that copies one sweep's records to a tracking store.

    Only `open` raises. All other errors are warnings: none may stop a sweep.

    Attributes:
        last_error: Why the store lacks something; None if it lacks nothing.
    """

    last_error: str | None

    @property
    def shown_uri(self) -> str:
        """The address of the store, without a password; "none" for `NoRecorder`."""

    def open(self, first_start: bool) -> None:
        """Create the sweep in the store, or find it there.

        Args:
            first_start: Whether the sweep is new. A continued sweep only warns if the store cannot be opened, because
                its records wait in its folder.

        Raises:
            UserError: The sweep is deleted in the store. On the first start also: the store cannot be opened.
        """

    def start(self) -> None:
        """Copy the trials' records from now on, in a thread."""

    def publish(self, folder: Folder, names: Sequence[str]) -> None:
        """Copy the sweep's report page and the files beside it, which lie in a folder, to the store."""

    def stop(
        self,
        state: SweepState,
        summary: Summary = NO_RESULTS,
        timeout_s: float = 60.0,
        last: Callable[[], object] = lambda: None,
    ) -> Sync:
        """Copy the remaining records, and end the sweep's run.

        Args:
            state: State in which the sweep ended.
            summary: Results of the sweep.
            timeout_s: Longest wait in seconds.
            last: Called after all records are copied and before the sweep's run ends.

        Returns:
            "partial" if the store lacks something, which the next start then copies.
        """

    def ui_command(self) -> str:
        """Return the command or the URL that shows the sweep, or an empty text."""

    def link(self) -> str:
        """Return the URL of the trials, best first, or an empty text if no server has them."""


class NoRecorder:
    """The recorder of a sweep without a tracking store. It copies nothing."""

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
