"""What a trial is: its structure (equal in all lanes of a cohort) and its hyper-parameters (a value a lane)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import torch

from wgan_core.errors import UserError

DTYPES = {"float32": torch.float32, "float64": torch.float64}
# What an error proposes.
_USUAL = {
    "sample_shape": (1, 28, 28),
    "latent_dim": 100,
    "batch_size": 64,
    "ema_decay": 0.999,
    "dtype": "float32",
    "lambda_gp": 10,
    "lr_critic": 1e-4,
    "lr_generator": 1e-4,
    "n_critic": 5,
    "beta1": 0,
    "beta2": 0.9,
    "number": 0,
    "seed": 0,
}


def _require(holds: bool, field: str, invariant: str, given: object) -> None:
    if not holds:
        raise UserError(f"{field} must be {invariant}; given {given!r}: set {field} to {_USUAL[field]!r}, for example")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True)
class Structure:
    """What fixes shapes: equal for all trials of a cohort.

    networks: name of a pair in `wgan_core.networks.PAIRS`.
    sample_shape: shape of one sample, e.g. (1, 28, 28).
    latent_dim: length of the generator's input z ~ N(0, 1).
    batch_size: samples in one update.
    ema_decay: decay, per generator update, of the generator average that is evaluated and exported.
    dtype: "float32" or "float64".

    Raises `UserError` if a value is out of its range.
    """

    networks: str
    sample_shape: tuple[int, ...]
    latent_dim: int = 100
    batch_size: int = 64
    ema_decay: float = 0.999
    dtype: str = "float32"

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
        _require(self.dtype in DTYPES, "dtype", f"one of {', '.join(DTYPES)}", self.dtype)

    @property
    def torch_dtype(self) -> torch.dtype:
        return DTYPES[self.dtype]

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "sample_shape": list(self.sample_shape)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        return cls(**{**values, "sample_shape": tuple(values["sample_shape"])})


@dataclass(frozen=True)
class Hyper:
    """One trial's hyper-parameters, named as in Gulrajani et al. 2017, Algorithm 1.

    lambda_gp: weight of the gradient penalty. lr_critic, lr_generator: Adam's step sizes.
    n_critic: critic updates per generator update. beta1, beta2: Adam's decay rates, both nets.

    Raises `UserError` if a value is out of its range.
    """

    lambda_gp: float
    lr_critic: float
    lr_generator: float
    n_critic: int
    beta1: float
    beta2: float

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            _require(_is_number(value), field.name, "a finite number", value)
        _require(self.lambda_gp >= 0, "lambda_gp", ">= 0", self.lambda_gp)
        _require(self.lr_critic > 0, "lr_critic", "> 0", self.lr_critic)
        _require(self.lr_generator > 0, "lr_generator", "> 0", self.lr_generator)
        _require(_is_whole(self.n_critic) and self.n_critic >= 1, "n_critic", "a whole number >= 1", self.n_critic)
        _require(0 <= self.beta1 < 1, "beta1", "in [0, 1)", self.beta1)
        _require(0 <= self.beta2 < 1, "beta2", "in [0, 1)", self.beta2)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Trial:
    """One trial: its number in the sweep, the seed of all its draws, and its hyper-parameters."""

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
