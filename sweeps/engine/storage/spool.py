"""Spool of a trial: its records as JSON files (segments), which are uploaded to MLflow later.

A training process writes segments next to its checkpoints and never waits for a tracking server. One uploader reads
them when the server answers. An existing segment is never overwritten. So a step that is computed again after a resume
keeps its first timestamp, which is part of a point's identity in MLflow. Reading a spool twice gives the same points.

Segments lie in `<trial folder>/spool/`, and their names sort in the order of writing:

- `000000000-start.json`: a `StartRecord`, written before anything else.
- `<critic updates>.json`, with nine digits: a `ReportRecord`, one per report.
- `end.json`: an `EndRecord`, written once the trial is complete, pruned or failed.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from sweeps.engine.plan.metric_values import METRIC_NAME, check_count, checked_metrics, checked_name, checked_number
from sweeps.engine.storage.layout import MODEL, sample_name
from wgan_core.data.folder import Folder
from wgan_core.errors import MOST, UserError, quoted, shortened
from wgan_core.training.checkpoint import folder_name

START_NAME = "000000000-start.json"
END_NAME = "end.json"

Param: TypeAlias = float | int | str
TrialState: TypeAlias = Literal["COMPLETE", "PRUNED", "FAIL"]

_STATES = ("COMPLETE", "PRUNED", "FAIL")
_MAX_UPDATES = 999_999_999
_LAST_MS = 253_402_300_799_999  # end of the year 9999, the last that Python knows


@dataclass(frozen=True)
class StartRecord:
    """Number, parameters and seed of a trial, and the CPU or GPU that it began on.

    Times in all records are milliseconds since 1970, UTC.
    """

    trial: int
    params: dict[str, Param]
    seed: int
    started_ms: int
    machine: str = ""


@dataclass(frozen=True)
class ReportRecord:
    """Metrics of one report step. `image` is the name of a PNG under `samples/`."""

    critic_updates: int
    timestamp_ms: int
    metrics: dict[str, float]
    image: str | None = None


@dataclass(frozen=True)
class BestCheckpoint:
    """Lowest value of the objective, and the name of its checkpoint's folder under `checkpoints/`."""

    critic_updates: int
    value: float
    checkpoint: str


@dataclass(frozen=True)
class EndRecord:
    """End of a trial.

    Attributes:
        state: COMPLETE, PRUNED or FAIL.
        reason: Reason of the end, for the user.
        ended_ms: Time of the end.
        critic_updates: Critic updates at the end.
        best: Best checkpoint, or None.
        model_dir: Subfolder of the trial's folder with the exported generator, or None.
        test: Scores of a confirming trial's best checkpoint on the test split, by metric.
    """

    state: TrialState
    reason: str
    ended_ms: int
    critic_updates: int
    best: BestCheckpoint | None = None
    model_dir: str | None = None
    test: dict[str, float] = field(default_factory=dict)

    @property
    def mark(self) -> str:
        """The id that tells this end of a trial from its other ends."""
        return f"{self.state} {self.ended_ms}"


Segment: TypeAlias = StartRecord | ReportRecord | EndRecord


def step_name(critic_updates: int) -> str:
    """Return the file name of a report step's segment."""
    return f"{critic_updates:09d}.json"


class Spool:
    """Reader and writer of one trial's segments, which lie in `spool/` below the trial's folder."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder / "spool"

    def write(self, segment: Segment) -> bool:
        """Write a record. Return False, and change nothing, if there is one of its name; for an end, see `reopen`.

        Write the files that the record names before, because a reader may open them at once.

        Raises:
            UserError: The trial's state is unknown, or the step is not an integer of at most nine digits. Or MLflow
                would refuse the name of a metric, and with it all metrics of the step.
        """
        name = START_NAME if isinstance(segment, StartRecord) else END_NAME
        if isinstance(segment, ReportRecord):
            _check_report(segment)
            name = step_name(segment.critic_updates)
        elif isinstance(segment, EndRecord) and segment.state not in _STATES:
            raise UserError(f"a trial ends as one of {', '.join(_STATES)}; given {segment.state!r}: give one of these")
        if self.folder.exists(name):
            return False
        self.folder.write(name, json.dumps(_plain(asdict(segment)), allow_nan=False, ensure_ascii=False).encode())
        return True

    def reopen(self) -> None:
        """Delete the end record, if there is one, because the trial runs again. The other records stay."""
        self.folder.delete(END_NAME)

    def has_ended(self) -> bool:
        """Return whether the spool has an end record."""
        return self.folder.exists(END_NAME)

    def segments(self) -> list[str]:
        """Return the sorted names of all segments; empty if there is no spool yet."""
        return [name for name in self.folder.names() if name.endswith(".json")]

    def read(self, name: str) -> Segment:
        """Read and check one segment, so that a forged segment cannot name files outside the trial's own.

        Raises:
            FileNotFoundError: There is no such segment.
            ValueError: The file is not a valid segment.
        """
        try:
            return _parse(name, self.folder.json(name))
        except (TypeError, KeyError, AttributeError, OverflowError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise ValueError(f"{self.folder}/{name} is not a spool segment: {error!r}") from error


def _check_report(report: ReportRecord) -> None:
    step = report.critic_updates
    if not isinstance(step, int) or not 0 <= step <= _MAX_UPDATES:
        raise UserError(f"a step is an integer from 0 to {_MAX_UPDATES}; given {step!r}: count critic updates")
    for name in report.metrics:
        if not METRIC_NAME.fullmatch(name):
            raise UserError(
                f"a metric's name has 1 to 250 letters, digits, spaces and _ - . : /; given {name!r}: rename it"
            )


def _plain(value: Any) -> Any:
    """Write numbers that JSON does not have as "nan", "inf" and "-inf"."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _parse(name: str, fields: dict[str, Any]) -> Segment:
    if name == START_NAME:
        check_count(fields["params"])
        params = {checked_name(key): _param(value) for key, value in fields["params"].items()}
        machine = shortened(str(fields.get("machine", "")))
        return StartRecord(
            _whole(fields["trial"]), params, _whole(fields["seed"]), _time(fields["started_ms"]), machine
        )
    if name == END_NAME:
        return _end(fields)
    critic_updates, image = _whole(fields["critic_updates"]), fields["image"]
    _must_be(image, (None, sample_name(critic_updates)), "image")
    return ReportRecord(critic_updates, _time(fields["timestamp_ms"]), checked_metrics(fields["metrics"]), image)


def _end(fields: dict[str, Any]) -> EndRecord:
    state, best, model_dir = fields["state"], fields["best"], fields["model_dir"]
    _must_be(state, _STATES, "state")
    _must_be(model_dir, (None, MODEL), "model_dir")
    if best is not None:
        best = BestCheckpoint(_whole(best["critic_updates"]), float(best["value"]), best["checkpoint"])
        _must_be(best.checkpoint, (folder_name(best.critic_updates),), "checkpoint")
    reason, test = shortened(str(fields["reason"]), MOST), checked_metrics(fields.get("test", {}))
    return EndRecord(state, reason, _time(fields["ended_ms"]), _whole(fields["critic_updates"]), best, model_dir, test)


def _must_be(given: object, known: tuple[object, ...], what: str) -> None:
    if given not in known:
        raise ValueError(f"{what} is {quoted(str(given))}")


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63:
        raise ValueError(f"{quoted(str(value))} is no whole number of 64 bits")
    return value


def _time(value: object) -> int:
    if not 0 <= _whole(value) <= _LAST_MS:
        raise ValueError(f"{value} ms is no time between 1970 and 9999")
    return _whole(value)


def _param(value: object) -> Param:
    if isinstance(value, str):
        return shortened(value)
    return _whole(value) if isinstance(value, int) else checked_number(value)
