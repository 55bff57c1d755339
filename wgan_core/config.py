"""A trial's structure (equal in all lanes of a cohort) and its hyper-parameters (one value per lane)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self, TypeGuard

import numpy as np

from wgan_core.backend.choices import FLOAT32, PRECISIONS
from wgan_core.data.coding import Coding
from wgan_core.errors import UserError, shortened
from wgan_core.rules.losses import LOSSES
from wgan_core.rules.optim import OPTIMISERS

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "float64")
# Names that fields of a structure have in files of earlier versions.
_FORMER = {"objective": "loss"}
# A structure may come from somebody else's file. It is built before its weights are checked, so its sizes are limited.
_MOST_AXES, _MOST_ENTRIES, _MOST_LAYERS, _MOST_WIDTH = 8, 2**26, 64, 2**20
_MOST_LATENT, _MOST_CLASSES = 2**20, 2**16


def require(holds: bool, name: str, must: str, given: object, usual: object) -> None:
    """Raise `UserError` unless a setting's value holds. The message proposes the value `usual`."""
    if not holds:
        raise UserError(f"{name} must be {must}; given {given!r}: set {name} to {usual!r}, for example")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True)
class Values:
    """The values that a setting may take.

    Attributes:
        must: What a value must be, in words.
        holds: Returns whether a value is allowed. It is called with any object.
        usual: Example value that error messages propose.
    """

    must: str
    holds: Callable[[Any], bool]
    usual: Any

    def check(self, name: str, value: object) -> None:
        """Raise `UserError` if the value is not allowed."""
        require(self.holds(value), name, self.must, value, self.usual)


def _whole(least: int, usual: int, most: int | None = None) -> Values:
    must = f"a whole number >= {least}" if most is None else f"a whole number from {least} to {most:,}"
    return Values(must, lambda value: is_whole(value) and least <= value <= (most or value), usual)


def _one_of(names: Iterable[str], usual: str) -> Values:
    return Values(f"one of {', '.join(names)}", lambda value: value in names, usual)


def _not_negative(usual: float) -> Values:
    return Values("a finite number >= 0", lambda value: _is_number(value) and value >= 0, usual)


def _positive(usual: float) -> Values:
    return Values("a finite number > 0", lambda value: _is_number(value) and value > 0, usual)


def _share(usual: float) -> Values:
    return Values("a number in [0, 1)", lambda value: _is_number(value) and 0 <= value < 1, usual)


_YES_OR_NO = Values("true or false", lambda value: isinstance(value, bool), False)


@dataclass(frozen=True)
class Parameter:
    """Description of one setting, which all parts of the package share.

    Each field of `Hyper` has one: they have a value per lane. So have the fields of `Structure`, which all lanes of a
    cohort share. `PARAMETERS` and `STRUCTURAL` are the two tables.

    Attributes:
        values: The values that it may take.
        label: Name in charts.
        symbol: Title of its column in tables; parameters with the same symbol share a column. Empty for no column.
        whole: Whether it takes whole numbers only.
        log: Whether charts show it on a log scale.
        form: Format of its value in tables.
        neutral: Value for spaces that do not name it; None if a space must name it.
        meaning: What it is, with its unit, in the help of a script.
        of_data: Whether the data gives the value, so that no user sets it.
        of_sweep: Whether all trials of a sweep share the value, so that it cannot be searched.
    """

    values: Values
    label: str = ""
    symbol: str = ""
    whole: bool = False
    log: bool = False
    form: str = ".3g"
    neutral: float | None = None
    meaning: str = ""
    of_data: bool = False
    of_sweep: bool = False


def _parameter(values: Values, label: str = "", symbol: str = "", default: Any = MISSING, **more: Any) -> Any:
    return field(default=default, metadata={"parameter": Parameter(values, label, symbol, **more)})


def _is_small(options: Any) -> bool:
    """Return whether network options have no list or dict over 64 entries and no number over 2^20."""
    if isinstance(options, dict):
        return len(options) <= _MOST_LAYERS and all(map(_is_small, options.values()))
    if isinstance(options, list):
        return len(options) <= _MOST_LAYERS and all(map(_is_small, options))
    return not isinstance(options, int | float) or abs(options) <= _MOST_WIDTH


def _checked_options(given: object) -> dict[str, Any]:
    """Return network options with lists in place of tuples, as JSON gives them back, so that they compare equal."""
    try:
        options = json.loads(json.dumps(given))
    except TypeError:
        options = None
    parts = isinstance(options, dict) and options.keys() <= {"critic", "generator"}
    named = parts and all(isinstance(each, dict) for each in options.values())
    usual = {"critic": {"widths": [512, 256]}}
    must = "options by name for critic, generator or both, in values that JSON has"
    require(named, "network_options", must, given, usual)
    must = f"of at most {_MOST_LAYERS} entries in each list or dict, and no number over {_MOST_WIDTH:,}"
    require(_is_small(options), "network_options", must, shortened(str(options), 80), usual)
    return dict(options)


@dataclass(frozen=True)
class Structure:
    """Settings that all trials of a cohort share: networks, shapes, loss, optimiser and precision.

    Attributes:
        networks: Name of a pair in `wgan_core.networks.pairs.PAIRS`.
        sample_shape: Shape of one sample, e.g. (1, 28, 28).
        latent_dim: Length of the noise that the generator's first layer gets; `z_length` counts all of z ~ N(0, 1).
        batch_size: Samples per update.
        ema_decay: Upper limit of the decay of the averaged generator, which is evaluated and exported. At generator
            update n the decay is n / (n + 9), if that is smaller.
        dtype: "float32" or "float64".
        loss: Name in `wgan_core.rules.losses.LOSSES`.
        optimiser: Name in `wgan_core.rules.optim.OPTIMISERS`, for both networks.
        network_options: Keyword arguments of the pair's functions, as {"critic": {...}, "generator": {...}}. Values
            must be JSON values.
        classes: Number of classes, whose labels both networks get; 0 without labels.
        label_embedding: Length of a label's learnt embedding; 0 for a one-hot code.
        full_batch: Whether each update sees every sample once; batch_size must then be the number of samples.
        coding: The columns that a sample's entries code, for tables and sequences.
        precision: How training computes products, a name in `wgan_core.backend.choices.PRECISIONS`. float64 allows
            "float32" only.
        spectral_norm: Whether the critic's weights are divided by their largest singular values (Miyato et al. 2018).
        gumbel: Temperature of the softmax over a category's values, whose inputs then get Gumbel noise (Jang et al.
            2017); 0 for a softmax without noise.
        conditions: The numeric columns on which both networks are conditioned, with their standardisation; None without
            them. Both networks then get their standardised values in place of labels.

    Raises:
        UserError: A value is out of its range.
    """

    networks: str
    sample_shape: tuple[int, ...]
    latent_dim: int = _parameter(
        _whole(1, 100, _MOST_LATENT), default=100, meaning="length of the noise of the first layer"
    )
    batch_size: int = _parameter(_whole(1, 64), default=64, meaning="samples per update")
    ema_decay: float = _parameter(
        _share(0.999), default=0.999, meaning="limit of the decay of the averaged generator, per generator update"
    )
    dtype: str = _parameter(_one_of(DTYPES, "float32"), default="float32", meaning="type of weights", of_sweep=True)
    loss: str = _parameter(_one_of(LOSSES, "wgan-gp"), default="wgan-gp", meaning="loss")
    optimiser: str = _parameter(_one_of(OPTIMISERS, "adam"), default="adam", meaning="optimiser of both networks")
    network_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)
    classes: int = _parameter(_whole(0, 0, _MOST_CLASSES), default=0, of_data=True)
    label_embedding: int = _parameter(
        _whole(0, 0, _MOST_CLASSES), default=0, meaning="numbers of a label's learnt code; 0 for one-hot"
    )
    full_batch: bool = _parameter(
        _YES_OR_NO, default=False, meaning="whether each update sees all samples", of_sweep=True
    )
    coding: Coding | None = None
    precision: str = _parameter(
        _one_of(PRECISIONS, FLOAT32), default=FLOAT32, meaning="precision of products", of_sweep=True
    )
    spectral_norm: bool = _parameter(_YES_OR_NO, default=False, meaning="whether the critic's weights are normalised")
    gumbel: float = _parameter(
        _not_negative(0.2), default=0.0, meaning="temperature of the Gumbel noise at categories; 0: no noise"
    )
    conditions: Coding | None = None

    def __post_init__(self) -> None:
        shape, usual = self.sample_shape, (1, 28, 28)
        sizes = isinstance(shape, tuple) and len(shape) > 0 and all(is_whole(size) and size > 0 for size in shape)
        require(sizes, "sample_shape", "a tuple of whole numbers > 0", shape, usual)
        few = len(shape) <= _MOST_AXES and math.prod(shape) <= _MOST_ENTRIES
        must = f"of at most {_MOST_AXES} axes and {_MOST_ENTRIES:,} entries"
        require(few, "sample_shape", must, shape, usual)
        require(isinstance(self.networks, str), "networks", "the name of a pair", self.networks, "mlp")
        for name, about in STRUCTURAL.items():
            about.values.check(name, getattr(self, name))
        exact = self.dtype == "float32" or self.precision == FLOAT32
        require(exact, "precision", f"{FLOAT32} where dtype is {self.dtype}", self.precision, FLOAT32)
        told = self.classes > 0 or self.label_embedding == 0
        require(told, "label_embedding", "0 where there are no classes", self.label_embedding, 0)
        if self.coding is not None:
            self.coding.check(shape)
        if self.conditions is not None:
            self._check_conditions(self.conditions)
        object.__setattr__(self, "network_options", _checked_options(self.network_options))

    def _check_conditions(self, conditions: Coding) -> None:
        if self.classes or conditions.blocks or conditions.positive is not None:
            raise UserError(
                f"conditions must be numeric columns, of networks without classes; given {self.classes} classes and "
                f"{len(conditions.blocks)} columns of categories: leave those out"
            )
        count = len(conditions.columns)
        require(0 < count <= _MOST_CLASSES, "conditions", f"1 to {_MOST_CLASSES:,} columns", count, None)
        conditions.check((count,))
        if self.coding is not None:
            self.coding.check_names(conditions)

    @property
    def is_conditional(self) -> bool:
        """Return whether both networks get labels, or conditions in place of labels, as a second input."""
        return self.classes > 0 or self.conditions is not None

    @property
    def z_length(self) -> int:
        """Return the length of z: `latent_dim`, and one more number for each Gumbel noise."""
        runs = self.coding.runs if self.coding is not None and self.gumbel else ()
        return self.latent_dim + sum(run.stop - run.start for run, _ in runs)

    @property
    def code_length(self) -> int:
        """Return the length of the code of a label or of conditions, which a network's input gets; 0 without them."""
        return len(self.conditions.columns) if self.conditions else self.label_embedding or self.classes

    @property
    def torch_dtype(self) -> torch.dtype:
        import torch

        return {"float32": torch.float32, "float64": torch.float64}[self.dtype]

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "sample_shape": list(self.sample_shape)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        codings = {name: values.get(name) for name in ("coding", "conditions")}
        read = {name: coding and Coding.from_json(coding) for name, coding in codings.items()}
        read["sample_shape"] = tuple(values["sample_shape"])
        # Checkpoints up to format 3 and sweeps of format 1 have the loss under its name of that time.
        renamed = {_FORMER.get(name, name): value for name, value in values.items()}
        return cls(**{**renamed, **read})


@dataclass(frozen=True)
class Hyper:
    """One trial's hyper-parameters, named as in Gulrajani et al. 2017, Algorithm 1.

    Each field has a `Parameter` in its metadata. Search spaces, tables, charts, MLflow and the lanes of a cohort read
    it, so a new hyper-parameter is a new field here and the code that uses its value.

    Attributes:
        lambda_gp: Weight of the gradient penalty.
        lr_critic, lr_generator: Learning rates.
        n_critic: Critic updates per generator update.
        beta1, beta2: Adam's decay rates, for both networks. `wgan_core.rules.optim` says how other optimisers use them.
        clip: Bound of the critic's parameters, for losses that clip them (Arjovsky et al. 2017, Algorithm 1).
        decay_updates: Critic updates over which both learning rates fall linearly to zero; 0 for constant rates.
        weight_decay: Decoupled weight decay of both networks (Loshchilov and Hutter 2019, Algorithm 2).

    Raises:
        UserError: A value is out of its range.
    """

    lambda_gp: float = _parameter(
        _not_negative(10), "λ", "λ", log=True, neutral=0.0, meaning="weight of the gradient penalty"
    )
    lr_critic: float = _parameter(
        _positive(1e-4), "critic's rate", "lr", log=True, form=".2e", meaning="learning rate of the critic"
    )
    lr_generator: float = _parameter(
        _positive(1e-4), "generator's rate", "lr", log=True, form=".2e", meaning="learning rate of the generator"
    )
    n_critic: int = _parameter(
        _whole(1, 5), "n_critic", "n_critic", whole=True, form="d", meaning="critic updates per generator update"
    )
    beta1: float = _parameter(_share(0), "β1", "β1", form=".3f", meaning="decay of the first moment, per update")
    beta2: float = _parameter(_share(0.9), "β2", "β2", form=".4f", meaning="decay of the second moment, per update")
    clip: float = _parameter(
        _positive(0.01), "clip", "clip", log=True, neutral=0.01, default=0.01, meaning="bound of the critic's weights"
    )
    decay_updates: int = _parameter(
        _whole(0, 0, 10**9),
        "decay updates",
        whole=True,
        neutral=0,
        default=0,
        meaning="critic updates over which the rates fall to 0; 0: never",
    )
    weight_decay: float = _parameter(
        _not_negative(0),
        "weight decay",
        "wd",
        log=True,
        neutral=0.0,
        default=0.0,
        meaning="decoupled weight decay, per unit of learning rate",
    )

    def __post_init__(self) -> None:
        for name, about in PARAMETERS.items():
            about.values.check(name, getattr(self, name))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def _table(owner: type[Structure | Hyper]) -> Mapping[str, Parameter]:
    return {each.name: each.metadata["parameter"] for each in fields(owner) if "parameter" in each.metadata}


STRUCTURAL = _table(Structure)
"""The settings that all lanes of a cohort share, by name. Networks, shape, options and codings are checked apart."""
PARAMETERS = _table(Hyper)
"""The hyper-parameters with one value per lane, by name, in the order of `Hyper`."""


@dataclass(frozen=True)
class Trial:
    """One trial: its number in the sweep, the seed of all its random draws, and its hyper-parameters."""

    number: int
    seed: int
    hyper: Hyper

    def __post_init__(self) -> None:
        _whole(0, 0).check("number", self.number)
        require(is_whole(self.seed) and 0 <= self.seed < 2**63, "seed", "a whole number in [0, 2^63)", self.seed, 0)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        return cls(values["number"], values["seed"], Hyper(**values["hyper"]))


def trial_seed(sweep_seed: int, number: int) -> int:
    """Derive a trial's seed, in [0, 2^63), from the sweep's seed and the trial's number."""
    return int(np.random.SeedSequence([sweep_seed, number]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def report_grid(budget: int, reports: int) -> tuple[int, ...]:
    """Return the critic updates at which every trial of a sweep reports: `reports` even steps up to `budget`."""
    return tuple(sorted({max(1, round(budget * k / reports)) for k in range(1, reports + 1)}))
