"""A trial's records on their way to MLflow: numbered JSON segments that are written once.

A training process writes them next to its checkpoints and never waits for a tracking server; one
uploader reads them whenever it can. A segment that is already there is left as it is, so a step
computed again after a resume keeps the time it was first recorded at (which is part of a point's
identity in MLflow), and reading a spool twice gives the same points.

    <trial folder>/spool/000000000-start.json     StartRecord   once, before anything else
    <trial folder>/spool/<critic updates>.json    ReportRecord    one per report, nine digits
    <trial folder>/spool/end.json                 EndRecord     once the trial is complete, pruned or failed

Names sort in the order in which the segments were written.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from sweeps.engine.storage.layout import MODEL, sample_name
from wgan_core.data.folder import Folder
from wgan_core.errors import MOST, UserError, quoted, shortened
from wgan_core.training.checkpoint import folder_name

START_NAME = "000000000-start.json"
END_NAME = "end.json"

Param: TypeAlias = float | int | str
TrialState: TypeAlias = Literal["COMPLETE", "PRUNED", "FAIL"]

_STATES = ("COMPLETE", "PRUNED", "FAIL")
_METRIC_NAME = re.compile(r"[\w\-.:/ ]{1,250}", re.ASCII)
_MAX_UPDATES = 999_999_999
_MOST_VALUES = 1_000  # MLflow takes no more at a time


@dataclass(frozen=True)
class StartRecord:
    """What a trial is, and the processor or GPU that it began on. Times are milliseconds since 1970, UTC."""

    trial: int
    params: dict[str, Param]
    seed: int
    started_ms: int
    machine: str = ""


@dataclass(frozen=True)
class ReportRecord:
    """One report: metrics after so many critic updates; `image` names a PNG under `samples/`."""

    critic_updates: int
    timestamp_ms: int
    metrics: dict[str, float]
    image: str | None


@dataclass(frozen=True)
class BestCheckpoint:
    """The trial's lowest value of the objective and the folder under `checkpoints/` it was reached in."""

    critic_updates: int
    value: float
    checkpoint: str


@dataclass(frozen=True)
class EndRecord:
    """How a trial ended; `model_dir` names the folder in the trial's own that holds the exported generator.

    test: what the best checkpoint scores on the test split, of a trial that confirms another.
    """

    state: TrialState
    reason: str
    ended_ms: int
    critic_updates: int
    best: BestCheckpoint | None
    model_dir: str | None
    test: dict[str, float] = field(default_factory=dict)


Segment: TypeAlias = StartRecord | ReportRecord | EndRecord


def step_name(critic_updates: int) -> str:
    """The name of a step's segment."""
    return f"{critic_updates:09d}.json"


class Spool:
    """The segments of one trial; `folder` is the trial's own, the segments lie in `spool/` below it."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder / "spool"

    def start(self, trial: int, params: Mapping[str, Param], seed: int, started_ms: int, machine: str = "") -> bool:
        """Record what the trial is. False if that was recorded before: then it is left as it is."""
        return self._write_once(START_NAME, StartRecord(trial, dict(params), seed, started_ms, machine))

    def step(
        self, critic_updates: int, timestamp_ms: int, metrics: Mapping[str, float], image: str | None = None
    ) -> bool:
        """Record a report. False if this step was recorded before: then it is left as it is.

        The PNG must be written before: a reader may ask for it at once. Raises `UserError` for a
        metric's name that MLflow would refuse, with all that stand beside it, and for a step that
        is not an integer of at most nine digits.
        """
        if not isinstance(critic_updates, int) or not 0 <= critic_updates <= _MAX_UPDATES:
            raise UserError(
                f"a step is an integer from 0 to {_MAX_UPDATES}; given {critic_updates!r}: count critic updates"
            )
        for name in metrics:
            if not _METRIC_NAME.fullmatch(name):
                raise UserError(
                    f"a metric's name has 1 to 250 letters, digits, spaces and _ - . : /; given {name!r}: rename it"
                )
        values = {name: float(value) for name, value in metrics.items()}
        return self._write_once(step_name(critic_updates), ReportRecord(critic_updates, timestamp_ms, values, image))

    def end(
        self,
        state: TrialState,
        reason: str,
        ended_ms: int,
        critic_updates: int,
        best: BestCheckpoint | None = None,
        model_dir: str | None = None,
        test: Mapping[str, float] | None = None,
    ) -> bool:
        """Record how the trial ended. False if an end was recorded before: see `reopen`.

        test: what the best checkpoint scores on the test split. The model's files must be written before. Raises
        `UserError` for a state Optuna does not end with.
        """
        if state not in _STATES:
            raise UserError(f"a trial ends as one of {', '.join(_STATES)}; given {state!r}: give one of these")
        return self._write_once(
            END_NAME, EndRecord(state, reason, ended_ms, critic_updates, best, model_dir, dict(test or {}))
        )

    def reopen(self) -> None:
        """Take the end back, for a trial that runs again; its steps stay. Nothing happens where it has not ended."""
        self.folder.delete(END_NAME)

    def has_ended(self) -> bool:
        """Whether an end is recorded."""
        return self.folder.exists(END_NAME)

    def segments(self) -> list[str]:
        """The names of the segments that are there, in order; empty where there is no spool yet."""
        return [name for name in self.folder.names() if name.endswith(".json")]

    def read(self, name: str) -> Segment:
        """Return one segment. Whoever wrote it, it names no file but those that a trial writes.

        Raises:
            FileNotFoundError: it is not there.
            ValueError: the file is not a segment.
        """
        try:
            return _parse(name, self.folder.json(name))
        except (TypeError, KeyError, AttributeError, OverflowError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise ValueError(f"{self.folder}/{name} is not a spool segment: {error!r}") from error

    def _write_once(self, name: str, segment: Segment) -> bool:
        if self.folder.exists(name):
            return False
        self.folder.write(name, _json(segment))
        return True


def _json(segment: Segment) -> bytes:
    """Numbers that JSON does not have are written as the strings "nan", "inf" and "-inf"."""
    fields = asdict(segment)
    if isinstance(segment, ReportRecord):
        fields["metrics"] = {key: _plain(value) for key, value in segment.metrics.items()}
    if isinstance(segment, EndRecord):
        fields["test"] = {key: _plain(value) for key, value in segment.test.items()}
        if segment.best is not None:
            fields["best"]["value"] = _plain(segment.best.value)
    return json.dumps(fields, allow_nan=False, ensure_ascii=False).encode()


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _parse(name: str, fields: dict[str, Any]) -> Segment:
    if name == START_NAME:
        _check_count(fields["params"])
        params = {_metric(key): _param(value) for key, value in fields["params"].items()}
        machine = shortened(str(fields.get("machine", "")))
        return StartRecord(
            _whole(fields["trial"]), params, _whole(fields["seed"]), _whole(fields["started_ms"]), machine
        )
    if name == END_NAME:
        return _end(fields)
    critic_updates, image = _whole(fields["critic_updates"]), fields["image"]
    _must_be(image, (None, sample_name(critic_updates)), "image")
    return ReportRecord(critic_updates, _whole(fields["timestamp_ms"]), _numbers(fields["metrics"]), image)


def _end(fields: dict[str, Any]) -> EndRecord:
    state, best, model_dir = fields["state"], fields["best"], fields["model_dir"]
    _must_be(state, _STATES, "state")
    _must_be(model_dir, (None, MODEL), "model_dir")
    if best is not None:
        best = BestCheckpoint(_whole(best["critic_updates"]), float(best["value"]), best["checkpoint"])
        _must_be(best.checkpoint, (folder_name(best.critic_updates),), "checkpoint")
    reason, test = shortened(str(fields["reason"]), MOST), _numbers(fields.get("test", {}))
    return EndRecord(state, reason, _whole(fields["ended_ms"]), _whole(fields["critic_updates"]), best, model_dir, test)


def _must_be(given: object, known: tuple[object, ...], what: str) -> None:
    if given not in known:
        raise ValueError(f"{what} is {quoted(str(given))}")


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63:
        raise ValueError(f"{quoted(str(value))} is no whole number of 64 bits")
    return value


def _check_count(values: Mapping[str, object]) -> None:
    if len(values) > _MOST_VALUES:
        raise ValueError(f"it has {len(values)} values, and {_MOST_VALUES} are the most")


def _metric(name: str) -> str:
    if not _METRIC_NAME.fullmatch(name):
        raise ValueError(f"{quoted(name)} is no name of a metric")
    return name


def _param(value: object) -> Param:
    return shortened(value) if isinstance(value, str) else _whole(value) if isinstance(value, int) else _number(value)


def _number(value: object) -> float:
    if not isinstance(value, int | float | str) or isinstance(value, bool):
        raise TypeError(f"{type(value).__name__} is no number")
    return float(value)


def _numbers(values: Mapping[str, object]) -> dict[str, float]:
    _check_count(values)
    return {_metric(name): _number(value) for name, value in values.items()}
