"""The plan of a sweep, and its file `sweep.json` in the sweep's folder."""

from __future__ import annotations

import importlib.metadata
import json
import math
import operator
import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sweeps.engine.plan.metric_values import METRIC_NAME
from sweeps.engine.plan.samplers import TPE, check_sampler
from sweeps.engine.plan.space import Point, Space
from sweeps.engine.plan.uri import MLFLOW_FILE
from wgan_core.config import Structure, report_grid, trial_seed
from wgan_core.data.folder import Folder
from wgan_core.errors import MOST, UserError, one_line, quoted, shortened, without_secrets
from wgan_core.metrics.names import error_name

FILE, CONFIRM_FILE = "sweep.json", "confirm.json"
# Names that MLflow has in a storage: its database, its folders of files, and its first experiment.
RESERVED = (MLFLOW_FILE, "mlartifacts", "mlruns", "Default")
UNSCORED = "classes_not_scored"
"""Entry of a plan's protocol: the classes that are too small for the objective. There is none if all are scored."""
FORMAT = 4
"""Format of a sweep's file. This version reads all formats up to this one."""
REPORTS = 9
MOST_REPORTS = 81
LEAST_STEP = 500
ETA = 3
RANDOM_TRIALS = 5
MOST_LANES = 100_000
MOST_TRIALS = 100_000
MOST_CONFIRMS = 10_000
"""Most trials of a confirmation. Their labels take time in the square of their number."""
# Least and greatest values. Somebody else may have written the file of a sweep, and charts compute with these numbers.
_BOUNDS = {"trials": (1, MOST_TRIALS), "budget": (1, 10**9 - 1), "seed": (0, 2**63 - 1)}
_USUAL = {"trials": 12, "budget": 10_000, "seed": 0}  # Values that error messages propose.


@dataclass(frozen=True)
class SweepStart:
    """The way in which a sweep was last started, as its file keeps it.

    Attributes:
        script: Path of the Python file; empty for a notebook.
        arguments: Options given to the script, without those that say where to keep files. A path after `--data` is
            absolute.
        tracking_uri: Address of the sweep's MLflow store, without a password. It is only shown, never opened: whoever
            can write to the folder can choose it.
        lanes: Trials that one process trains side by side.
    """

    script: str = ""
    arguments: tuple[str, ...] = ()
    tracking_uri: str = ""
    lanes: int = 1


@dataclass(frozen=True)
class Extension:
    """The trial of another sweep that a sweep trains on.

    Attributes:
        sweep, trial: Name of the other sweep, and label of its trial.
        seed: Seed of the trial.
        updates: Critic updates of the checkpoint at which the extension begins.
    """

    sweep: str
    trial: str
    seed: int
    updates: int

    def __post_init__(self) -> None:
        if not is_name(self.sweep) or not is_name(self.trial):
            raise ValueError(f"no trial of a sweep: {quoted(self.sweep)}, {quoted(self.trial)}")
        for number, most in ((self.seed, 2**63 - 1), (self.updates, _BOUNDS["budget"][1])):
            if not 0 <= operator.index(number) <= most:
                raise ValueError(f"no seed or number of updates: {shortened(str(number), 80)}")


@dataclass(frozen=True)
class Plan:
    """The settings of a sweep. To continue a sweep, all of them but `id`, `trials` and `floors` must be the same.

    Attributes:
        id: Distinguishes sweeps of the same name on a shared server.
        trials: Trials in all.
        budget: Critic updates of a trial that is not stopped early.
        objective: Name of the metric to minimise.
        structure: The structure of the trials, but for the settings that the space searches; see `structure_of`.
        data, data_digest: Name and hash of the data.
        protocol: How the objective is measured.
        floors: Value of each metric for real samples against real samples.
        networks_digest: Hash of the networks that the user registered; empty for this package's networks.
        pruning: Whether trials may be stopped early.
        sampler: Name of the sampler that chooses all but the starting points.
        allow_copies: Whether a trial may copy training samples. If not, such a trial fails.
        confirms: For a confirmation, the number of the search trial that each of its trials trains again; empty for a
            search.
        warm_start: Labels of the trials whose settings are the first starting points of the space, by the name of the
            sweep that they come from.
        extends: The trial that the sweep trains on, or None. Such a sweep has one trial.
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
    allow_copies: bool = False
    confirms: tuple[int, ...] = ()
    sampler: str = TPE
    warm_start: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    extends: Extension | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        if not is_name(self.id) or not METRIC_NAME.fullmatch(self.objective):
            raise ValueError(f"no id or objective of a sweep: {quoted(self.id)}, {quoted(self.objective)}")
        for name, (least, most) in _BOUNDS.items():
            if not least <= getattr(self, name) <= most:
                raise UserError(
                    f"--{name} must be a whole number from {least} to {most:,}; given "
                    f"{shortened(str(getattr(self, name)), 80)}: give --{name} {_USUAL[name]}, for example"
                )
        if len(self.confirms) > MOST_CONFIRMS:
            raise UserError(
                f"--confirm must ask for at most {MOST_CONFIRMS:,} trials; given {len(self.confirms):,}: name fewer "
                "leaders or seeds, such as --confirm 3x3"
            )
        if not self.confirms:
            check_sampler(self.sampler, self.space.ranges, self.trials)
        if self.confirms and len(self.confirms) != self.trials:
            raise ValueError(f"{self.trials} trials confirm {len(self.confirms)} leaders")
        if self.extends is not None and self.trials != 1:
            raise ValueError(f"an extension has {self.trials} trials")
        if self.extends is not None and self.budget <= self.extends.updates:
            raise UserError(
                f"--budget must be more than the {self.extends.updates:,} critic updates that trial "
                f"{self.extends.trial} of {self.extends.sweep!r} has; given {self.budget:,}: give --budget "
                f"{10 * self.extends.updates}, for example"
            )

    @property
    def grid(self) -> tuple[int, ...]:
        """The critic updates at which every trial reports: 9, 27 or 81 steps, evenly spaced up to the budget.

        More than 9 steps are at least `LEAST_STEP` critic updates apart. The count is a power of `ETA`, so early
        stopping has a report at each rung: budget / 3, budget / 9, and so on. An extension reports from its start on.
        """
        reports = REPORTS
        while reports < MOST_REPORTS and self.budget >= reports * ETA * LEAST_STEP:
            reports *= ETA
        grid = report_grid(self.budget, reports)
        if self.extends is None:
            return grid
        return self.extends.updates, *(step for step in grid if step > self.extends.updates)

    def trial_seed(self, number: int) -> int:
        """Return the seed of a trial."""
        return trial_seed(self.seed, number) if self.extends is None else self.extends.seed

    @property
    def study_name(self) -> str:
        """The name of the sweep's Optuna study."""
        return f"{self.name}-{self.id}{'-confirm' if self.confirms else ''}"

    @property
    def floor(self) -> float:
        return self.floors[self.objective]

    @property
    def floor_error(self) -> float:
        """The standard error of the floor; NaN if it is not known, as in sweeps of earlier versions."""
        return self.floors.get(error_name(self.objective), math.nan)

    def structure_of(self, point: Point) -> Structure:
        """Return the structure of a trial. Raises `UserError` if the settings of its point do not go together."""
        return self.space.structure(self.structure, point)

    def measures(self, short: str) -> bool:
        """Return whether the sweep measures a metric of this short name, such as "precision"."""
        return any(name == f"eval/{short}" or name.startswith(f"eval/{short}_") for name in self.floors)

    @property
    def file(self) -> str:
        """The name of the plan's file in the sweep's folder."""
        return CONFIRM_FILE if self.confirms else FILE

    def label(self, number: int) -> str:
        """Return the label of a trial, such as "7". The trials that confirm trial 7 are "7a", "7b" and so on."""
        if not self.confirms:
            return str(number)
        leader = self.confirms[number]
        return f"{leader}{string.ascii_lowercase[self.confirms[:number].count(leader)]}"

    def as_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "structure": self.structure.as_json(),
            "space": self.space.as_json(),
            "protocol": dict(self.protocol),
            "floors": dict(self.floors),
            "confirms": list(self.confirms),
            "warm_start": {name: list(labels) for name, labels in self.warm_start.items()},
            "extends": None if self.extends is None else asdict(self.extends),
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
        warm = {str(name): tuple(map(str, labels)) for name, labels in values.get("warm_start", {}).items()}
        extends = None if values.get("extends") is None else Extension(**values["extends"])
        read |= {"warm_start": warm, "extends": extends}
        return cls(**{**values, **read, **texts, **counts})


BOUNDS = ("_low", "_high")
"""Suffixes of the metrics that hold the lower and the upper bound of an interval."""


def on_test_split(metric: str) -> str:
    """Return the name that a metric of the validation split has on the test split: `test/fid` for `eval/fid`."""
    return f"test/{metric.removeprefix('eval/')}"


def is_name(text: str) -> bool:
    """Return whether a text can name a folder, an MLflow experiment and a Ray actor."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", text) is not None


def check_name(name: str) -> None:
    """Raise `UserError` if `is_name` rejects the name."""
    if not is_name(name):
        allowed = re.sub("[^A-Za-z0-9._-]+", "-", name).strip("-._")[:100]
        raise UserError(
            f"--name must be 1 to 100 letters, digits, '.', '_' and '-', the first a letter or digit; given {name!r}: "
            f"give --name {allowed or 'mnist'}, for example"
        )


def check_reserved(name: str) -> None:
    """Raise `UserError` if MLflow has this name in a storage. A sweep of this name would share its folder."""
    if name in RESERVED or name.startswith(f"{MLFLOW_FILE}-"):
        raise UserError(
            f"--name must not be that of MLflow's own files and experiments, {', '.join(RESERVED)}; given {name!r}: "
            f"give --name {name.replace('.', '-').lower()}-sweep, for example"
        )


def read_plan(folder: Folder, file: str = FILE) -> Plan | None:
    """Return the plan in a sweep's folder: `FILE` is the search's, `CONFIRM_FILE` the confirmation's; None if absent.

    Raises:
        UserError: The file cannot be read, or holds no plan of this version.
    """
    try:
        if not folder.exists(file):
            return None
        described = folder.json(file)
        if (given := operator.index(described.get("format", 1))) > FORMAT:
            raise UserError(
                f"a sweep's file must have format {FORMAT} or less; given {given} in {folder}/{file}: use the version "
                "of this package that wrote it"
            )
        plan = Plan.from_json(described["plan"])
        if plan.file != file:
            raise ValueError(f"it holds what {plan.file} should")
        return plan
    except UserError:
        raise
    except OSError as error:
        raise UserError(
            f"{folder}/{file} must be a file that can be read; {one_line(error)}: check --storage"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(
            f"{folder}/{file} must say what was asked of the sweep, in the form of this version; "
            f"{one_line(error)}: give another --name"
        ) from error


def settle(folder: Folder, asked: Plan) -> Plan:
    """Return the plan to run. A sweep that is already in the folder keeps its id and floors, and loses no trials.

    Raises:
        UserError: `asked` differs from the sweep in the folder in anything else. The message names the differences.
    """
    found = read_plan(folder)
    if found is not None:
        # Data and protocol determine the floors, except that the last digit depends on the number of threads.
        asked = replace(asked, id=found.id, trials=max(asked.trials, found.trials), floors=found.floors)
        asked = noted_as(asked, found)
        differing = differences(replace(found, trials=asked.trials), asked)
        if differing:
            raise UserError(
                f"a sweep named {asked.name!r} is in {folder}, and a sweep continues only as it began; "
                f"different now: {'; '.join(differing[:5])}: give another --name"
            )
    return asked


def noted_as(asked: Plan, found: Plan) -> Plan:
    """Return a plan without the classes that are not scored if an earlier version did not note them in `found`."""
    if UNSCORED in found.protocol:
        return asked
    return replace(asked, protocol={key: each for key, each in asked.protocol.items() if key != UNSCORED})


def write_plan(folder: Folder, plan: Plan, started: SweepStart = SweepStart()) -> None:
    """Write the plan, how the sweep was last started, and the versions of the installed packages."""
    described = {"format": FORMAT, "plan": plan.as_json(), **asdict(started), "versions": _versions()}
    folder.write(plan.file, json.dumps(described, indent=1).encode())


def read_started(folder: Folder) -> SweepStart:
    """Return how the sweep in this folder was last started. Missing entries keep their defaults.

    Raises:
        UserError: The file cannot be read, or an entry has a bad value.
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
    """Return the content of a sweep's file. Raise `UserError` if it cannot be read."""
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


def differences(before: Plan, now: Plan) -> list[str]:
    """Return a text for each entry in which two plans differ."""
    return list(_differences(before.as_json(), now.as_json(), ""))


def _differences(before: Any, now: Any, path: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _differences(before.get(key), now.get(key), f"{path}.{key}" if path else key)
    elif json.loads(json.dumps(before)) != json.loads(json.dumps(now)):  # JSON turns tuples into lists.
        yield f"{path} was {before} and is {now}"
