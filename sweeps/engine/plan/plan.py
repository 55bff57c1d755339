"""What was asked of a sweep, as kept in its `sweep.json`."""

from __future__ import annotations

import importlib.metadata
import json
import operator
import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from sweeps.engine.plan.space import Space
from wgan_core.config import Structure, report_grid
from wgan_core.data.folder import Folder
from wgan_core.errors import MOST, UserError, one_line, quoted, without_secrets

FILE, CONFIRM_FILE = "sweep.json", "confirm.json"
REPORTS = 9
MOST_REPORTS = 81
LEAST_STEP = 500
ETA = 3
RANDOM_TRIALS = 5
MOST_LANES = 100_000
_METRIC = re.compile(r"[\w\-.:/ ]{1,250}", re.ASCII)
_LEAST = {"trials": 1, "budget": 1, "seed": 0}
_USUAL = {"trials": 12, "budget": 10_000, "seed": 0}  # what an error proposes


@dataclass(frozen=True)
class SweepStart:
    """How a sweep was started.

    Attributes:
        script: path of the Python file; empty for a notebook.
        arguments: options given to the script, without those that say where things are kept. The path that
            `--data` names is absolute.
        tracking_uri: address of its MLflow, without a password. It is shown, and never followed: whoever wrote the
            folder chose it.
        lanes: trials side by side in a process.
    """

    script: str = ""
    arguments: tuple[str, ...] = ()
    tracking_uri: str = ""
    lanes: int = 1

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "arguments": list(self.arguments)}


@dataclass(frozen=True)
class Plan:
    """One sweep. Everything but `id` and `trials` must be the same whenever the sweep is continued.

    id: tells sweeps of the same name apart where they share a server. trials: sweep trials in all.
    budget: critic updates of a trial. objective: the metric that is minimised. protocol: how that metric
    is measured. floors: real-against-real values of the metrics. networks_digest: of networks of a person's own.
    pruning: whether trials are stopped early. confirms: of a confirmation, which trial of the search each of its trials
    trains again, by number; empty for a search.
    """

    id: str
    name: str
    trials: int
    budget: int
    seed: int
    objective: str
    structure: Structure
    space: Space
    data: str
    data_digest: str
    protocol: Mapping[str, Any]
    floors: Mapping[str, float]
    networks_digest: str = ""
    pruning: bool = True
    confirms: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        if not is_name(self.id) or not _METRIC.fullmatch(self.objective):
            raise ValueError(f"no id or objective of a sweep: {quoted(self.id)}, {quoted(self.objective)}")
        for field, least in _LEAST.items():
            if getattr(self, field) < least:
                raise UserError(
                    f"--{field} must be a whole number >= {least}; given {getattr(self, field)}: "
                    f"give --{field} {_USUAL[field]}, for example"
                )

    @property
    def grid(self) -> tuple[int, ...]:
        """The critic updates at which every trial reports: 9, 27 or 81 times, 500 or more apart where there are over 9.

        Powers of `ETA`, so that early stopping can judge at every third part of the budget down to the first report.
        """
        reports = REPORTS
        while reports < MOST_REPORTS and self.budget >= reports * ETA * LEAST_STEP:
            reports *= ETA
        return report_grid(self.budget, reports)

    @property
    def study_name(self) -> str:
        """The name of its Optuna study."""
        return f"{self.name}-{self.id}{'-confirm' if self.confirms else ''}"

    @property
    def floor(self) -> float:
        return self.floors[self.objective]

    @property
    def file(self) -> str:
        """Where in the sweep's folder it is kept."""
        return CONFIRM_FILE if self.confirms else FILE

    def label(self, number: int) -> str:
        """What the trial of this number is called: "7"; of a confirmation "7a", "7b", if they confirm trial 7."""
        if not self.confirms:
            return str(number)
        leader = self.confirms[number]
        return f"{leader}{string.ascii_lowercase[self.confirms[:number].count(leader)]}"

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "trials": self.trials,
            "budget": self.budget,
            "seed": self.seed,
            "objective": self.objective,
            "structure": self.structure.as_json(),
            "space": self.space.as_json(),
            "data": self.data,
            "data_digest": self.data_digest,
            "protocol": dict(self.protocol),
            "floors": dict(self.floors),
            "networks_digest": self.networks_digest,
            "pruning": self.pruning,
            "confirms": list(self.confirms),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Plan:
        structure, space = Structure.from_json(values["structure"]), Space.from_json(values["space"])
        confirms = tuple(int(number) for number in values.get("confirms", ()))
        floors = {str(name): float(floor) for name, floor in values["floors"].items()}
        texts = {name: str(values[name]) for name in ("data", "data_digest")}
        counts = {name: operator.index(values[name]) for name in ("trials", "budget", "seed")}
        if values["objective"] not in floors:
            raise ValueError(f"no floor of {quoted(str(values['objective']))}")
        read = {"structure": structure, "space": space, "confirms": confirms, "floors": floors}
        return cls(**{**values, **read, **texts, **counts})


BOUNDS = ("_low", "_high")
"""Endings of the names of the metrics that hold an interval's bounds."""


def on_test_split(metric: str) -> str:
    """What a metric on the held-out split is called on the test split: `eval/fid` is `test/fid`."""
    return f"test/{metric.removeprefix('eval/')}"


def is_name(text: str) -> bool:
    """Whether this can be the name of a folder, an experiment and an actor."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", text) is not None


def check_name(name: str) -> None:
    """Raises `UserError` unless `is_name`."""
    if not is_name(name):
        allowed = re.sub("[^A-Za-z0-9._-]+", "-", name).strip("-._")[:100]
        raise UserError(
            f"--name must be 1 to 100 letters, digits, '.', '_' and '-', the first a letter or digit; given {name!r}: "
            f"give --name {allowed or 'mnist'}, for example"
        )


def read_plan(folder: Folder, file: str = FILE) -> Plan | None:
    """The plan of the sweep in this folder, or that of its confirmation, or None.

    Raises `UserError` if it cannot be read.
    """
    try:
        return Plan.from_json(folder.json(file)["plan"]) if folder.exists(file) else None
    except UserError:
        raise
    except OSError as error:
        raise UserError(
            f"{folder}/{file} must be a file that can be read; {one_line(error)}: check --storage"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(
            f"{folder}/{file} must say what was asked of the sweep, in the form of this version; "
            f"{one_line(error)}: give another --name"
        ) from error


def settle(folder: Folder, asked: Plan) -> Plan:
    """The plan to go by: the one asked for, if it begins, continues or extends what is in the folder.

    Raises `UserError` that names what differs from the sweep of this name.
    """
    found = read_plan(folder)
    if found is not None:
        # Floors follow from data and protocol, and their last digit from the number of threads.
        asked = replace(asked, id=found.id, trials=max(asked.trials, found.trials), floors=found.floors)
        differing = list(_differences(replace(found, trials=asked.trials).as_json(), asked.as_json(), ""))
        if differing:
            raise UserError(
                f"a sweep named {asked.name!r} is in {folder}, and a sweep continues only as it began; "
                f"different now: {'; '.join(differing[:5])}: give another --name"
            )
    return asked


def write_plan(folder: Folder, plan: Plan, started: SweepStart = SweepStart()) -> None:
    """Keep the plan, with how it was started last and the versions it runs on."""
    described = {"plan": plan.as_json(), **started.as_json(), "versions": _versions()}
    folder.write(plan.file, json.dumps(described, indent=1).encode())


def read_started(folder: Folder) -> SweepStart:
    """Return how the sweep in this folder was started last; empty where that was not noted.

    Raises:
        UserError: the file cannot be read, or notes something else.
    """
    described = read_described(folder)
    try:
        lanes = operator.index(described.get("lanes", 1))
        if not 1 <= lanes <= MOST_LANES:
            raise ValueError(f"lanes is {lanes}")
        arguments = tuple(str(each) for each in described.get("arguments", ()))
        script, uri = (str(described.get(name, "")) for name in ("script", "tracking_uri"))
        if len(uri) > MOST:
            raise ValueError(f"tracking_uri has {len(uri)} characters")
        return SweepStart(script, arguments, without_secrets(uri, uri), lanes)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{folder}/{FILE} must say how the sweep was started; {one_line(error)}: run its script again"
        ) from error


def read_described(folder: Folder) -> dict[str, Any]:
    """Return all that a sweep's file says. Raises `UserError` if it cannot be read."""
    try:
        described = folder.json(FILE)
        if isinstance(described, dict):
            return described
        reason = f"it holds a {type(described).__name__}"
    except UserError:
        raise
    except (OSError, ValueError) as error:
        reason = one_line(error)
    raise UserError(f"{folder}/{FILE} must be a file that can be read; {reason}: check --storage")


def _versions() -> dict[str, str]:
    packages = ("wgan-sweeps", "torch", "ray", "optuna", "mlflow", "numpy", "pyarrow")
    return {package: importlib.metadata.version(package) for package in packages}


def _differences(before: Any, now: Any, path: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _differences(before.get(key), now.get(key), f"{path}.{key}" if path else key)
    elif json.loads(json.dumps(before)) != json.loads(json.dumps(now)):  # a file has lists for tuples
        yield f"{path} was {before} and is {now}"
