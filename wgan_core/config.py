"""A trial's structure (equal in all lanes of a cohort) and its hyper-parameters (one value per lane)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from wgan_core.backend.choices import FLOAT32, PRECISIONS
from wgan_core.data.coding import Coding
from wgan_core.errors import UserError
from wgan_core.rules.losses import LOSSES
from wgan_core.rules.optim import OPTIMISERS

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "float64")
_FORMER = {"objective": "loss"}
# Fields that take one of several names.
_NAMED: Mapping[str, Iterable[str]] = {
    "dtype": DTYPES,
    "loss": LOSSES,
    "optimiser": OPTIMISERS,
    "precision": PRECISIONS,
}
# Example values that error messages propose.
_USUAL = {
    "sample_shape": (1, 28, 28),
    "latent_dim": 100,
    "batch_size": 64,
    "ema_decay": 0.999,
    "dtype": "float32",
    "loss": "wgan-gp",
    "optimiser": "adam",
    "precision": "float32",
    "classes": 0,
    "label_embedding": 0,
    "full_batch": False,
    "network_options": {"critic": {"widths": [512, 256]}},
    "number": 0,
    "seed": 0,
}


# A structure may come from somebody else's file. It is built before its weights are checked, so its sizes are limited.
_MOST = {"latent_dim": 2**20, "classes": 2**16, "label_embedding": 2**16}
_MOST_AXES, _MOST_ENTRIES, _MOST_LAYERS, _MOST_WIDTH = 8, 2**26, 64, 2**20


def _is_small(options: Any) -> bool:
    """Return whether network options have no list or dict over 64 entries and no number over 2^20."""
    if isinstance(options, dict):
        return len(options) <= _MOST_LAYERS and all(map(_is_small, options.values()))
    if isinstance(options, list):
        return len(options) <= _MOST_LAYERS and all(map(_is_small, options))
    return not isinstance(options, int | float) or abs(options) <= _MOST_WIDTH


def _require(holds: bool, name: str, invariant: str, given: object, usual: object = None) -> None:
    if not holds:
        raise UserError(
            f"{name} must be {invariant}; given {given!r}: set {name} to {_USUAL.get(name, usual)!r}, for example"
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True)
class Structure:
    """Settings that all trials of a cohort share, because they decide the shapes of the tensors.

    Attributes:
        networks: Name of a pair in `wgan_core.networks.pairs.PAIRS`.
        sample_shape: Shape of one sample, e.g. (1, 28, 28).
        latent_dim: Length of the generator's input z ~ N(0, 1).
        batch_size: Samples per update.
        ema_decay: Decay, per generator update, of the averaged generator that is evaluated and exported.
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

    Raises:
        UserError: A value is out of its range.
    """

    networks: str
    sample_shape: tuple[int, ...]
    latent_dim: int = 100
    batch_size: int = 64
    ema_decay: float = 0.999
    dtype: str = "float32"
    loss: str = "wgan-gp"
    optimiser: str = "adam"
    network_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)
    classes: int = 0
    label_embedding: int = 0
    full_batch: bool = False
    coding: Coding | None = None
    precision: str = FLOAT32

    def __post_init__(self) -> None:
        shape = self.sample_shape
        sizes = isinstance(shape, tuple) and len(shape) > 0 and all(_is_whole(size) and size > 0 for size in shape)
        _require(sizes, "sample_shape", "a tuple of whole numbers > 0", shape)
        _require(
            _is_whole(self.latent_dim) and self.latent_dim > 0, "latent_dim", "a whole number > 0", self.latent_dim
        )
        _require(
            _is_whole(self.batch_size) and self.batch_size > 0, "batch_size", "a whole number > 0", self.batch_size
        )
        _require(_is_number(self.ema_decay) and 0 <= self.ema_decay < 1, "ema_decay", "in [0, 1)", self.ema_decay)
        for name in ("classes", "label_embedding"):
            value = getattr(self, name)
            _require(_is_whole(value) and value >= 0, name, "a whole number >= 0", value)
        for name, most in _MOST.items():
            value = getattr(self, name)
            _require(value <= most, name, f"at most {most:,}", value)
        few = len(shape) <= _MOST_AXES and math.prod(shape) <= _MOST_ENTRIES
        _require(few, "sample_shape", f"of at most {_MOST_AXES} axes and {_MOST_ENTRIES:,} entries", shape)
        for name, known in _NAMED.items():
            value = getattr(self, name)
            _require(value in known, name, f"one of {', '.join(known)}", value)
        exact = self.dtype == "float32" or self.precision == FLOAT32
        _require(exact, "precision", f"{FLOAT32} where dtype is {self.dtype}", self.precision)
        told = self.classes > 0 or self.label_embedding == 0
        _require(told, "label_embedding", "0 where there are no classes", self.label_embedding)
        _require(isinstance(self.full_batch, bool), "full_batch", "true or false", self.full_batch)
        if self.coding is not None:
            self.coding.check(shape)
        try:  # options read from a file must compare equal, and JSON turns tuples into lists
            options = json.loads(json.dumps(self.network_options))
        except TypeError:
            options = None
        parts = isinstance(options, dict) and options.keys() <= {"critic", "generator"}
        named = parts and all(isinstance(each, dict) for each in options.values())
        invariant = "options by name for critic, generator or both, in values that JSON has"
        _require(named, "network_options", invariant, self.network_options)
        _require(_is_small(options), "network_options", f"of lists with at most {_MOST_LAYERS} entries", "longer ones")
        object.__setattr__(self, "network_options", options)

    @property
    def torch_dtype(self) -> torch.dtype:
        import torch

        return {"float32": torch.float32, "float64": torch.float64}[self.dtype]

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "sample_shape": list(self.sample_shape)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        coding = values.get("coding")
        read = {"sample_shape": tuple(values["sample_shape"]), "coding": coding and Coding.from_json(coding)}
        # Checkpoints up to format 3 and sweeps of format 1 have the loss under its name of that time.
        renamed = {_FORMER.get(name, name): value for name, value in values.items()}
        return cls(**{**renamed, **read})


@dataclass(frozen=True)
class Parameter:
    """Facts about one hyper-parameter that all parts of the package share. `Hyper` is the table of them.

    Attributes:
        symbol: Title of its column in tables; parameters with the same symbol share a column. Empty for no column.
        label: Name in charts.
        must: What its value must be, in words.
        holds: Whether a value is so.
        usual: Example value that error messages propose.
        whole: Whether it takes whole numbers only.
        log: Whether charts show it on a log scale.
        form: Format of its value in tables.
        neutral: Value for spaces that do not name it; None if a space must name it.
    """

    symbol: str
    label: str
    must: str
    holds: Callable[[Any], bool]
    usual: float
    whole: bool = False
    log: bool = False
    form: str = ".3g"
    neutral: float | None = None


def _parameter(*about: Any, default: Any = MISSING, **more: Any) -> Any:
    return field(default=default, metadata={"parameter": Parameter(*about, **more)})


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

    lambda_gp: float = _parameter("λ", "λ", ">= 0", lambda value: value >= 0, 10, log=True, neutral=0.0)
    lr_critic: float = _parameter("lr", "critic's rate", "> 0", lambda value: value > 0, 1e-4, log=True, form=".2e")
    lr_generator: float = _parameter(
        "lr", "generator's rate", "> 0", lambda value: value > 0, 1e-4, log=True, form=".2e"
    )
    n_critic: int = _parameter(
        "n_critic", "n_critic", "a whole number >= 1", lambda value: value >= 1, 5, whole=True, form="d"
    )
    beta1: float = _parameter("β1", "β1", "in [0, 1)", lambda value: 0 <= value < 1, 0, form=".3f")
    beta2: float = _parameter("β2", "β2", "in [0, 1)", lambda value: 0 <= value < 1, 0.9, form=".4f")
    clip: float = _parameter("clip", "clip", "> 0", lambda value: value > 0, 0.01, log=True, neutral=0.01, default=0.01)
    decay_updates: int = _parameter(
        "",
        "decay updates",
        "a whole number >= 0",
        lambda value: value >= 0,
        0,
        whole=True,
        neutral=0,
        default=0,
    )
    weight_decay: float = _parameter(
        "wd", "weight decay", ">= 0", lambda value: value >= 0, 0, log=True, neutral=0.0, default=0.0
    )

    def __post_init__(self) -> None:
        for name, about in PARAMETERS.items():
            value = getattr(self, name)
            _require(_is_number(value), name, "a finite number", value, about.usual)
            fits = about.holds(value) and (_is_whole(value) or not about.whole)
            _require(fits, name, about.must, value, about.usual)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


PARAMETERS: Mapping[str, Parameter] = {each.name: each.metadata["parameter"] for each in fields(Hyper)}
"""The hyper-parameters by name, in the order of `Hyper`."""


@dataclass(frozen=True)
class Trial:
    """One trial: its number in the sweep, the seed of all its random draws, and its hyper-parameters."""

    number: int
    seed: int
    hyper: Hyper

    def __post_init__(self) -> None:
        _require(_is_whole(self.number) and self.number >= 0, "number", "a whole number >= 0", self.number)
        _require(_is_whole(self.seed) and 0 <= self.seed < 2**63, "seed", "a whole number in [0, 2^63)", self.seed)

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
