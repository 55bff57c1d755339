"""What is searched: named ranges, the presets tried first, and how a point becomes a trial's hyper-parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from wgan_core.config import Hyper
from wgan_core.errors import UserError

Point = dict[str, float | int]

KNOWN = ("lambda_gp", "lr", "lr_critic", "lr_generator", "n_critic", "beta1", "beta2", "one_minus_beta2")


@dataclass(frozen=True)
class Range:
    """An inclusive range; `log`: searched on a log scale; `whole`: whole numbers only."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Space:
    """Ranges by hyper-parameter; `fixed` values for those not searched; `presets` tried first, in order.

    `lr` stands for both learning rates and `one_minus_beta2` for 1 - beta2, so that it can be
    searched on a log scale. Raises `UserError` if a name is unknown, a hyper-parameter has no value,
    or a preset lies outside the ranges.
    """

    ranges: Mapping[str, Range]
    fixed: Mapping[str, float]
    presets: tuple[Mapping[str, float], ...] = ()

    def __post_init__(self) -> None:
        for name in (*self.ranges, *self.fixed):
            if name not in KNOWN:
                raise UserError(f"a space names hyper-parameters out of {', '.join(KNOWN)}; given {name!r}")
        for name, bounds in self.ranges.items():
            if not (math.isfinite(bounds.low) and bounds.low <= bounds.high < math.inf) or (
                bounds.log and bounds.low <= 0
            ):
                raise UserError(
                    f"the range of {name} must have finite low <= high, and low > 0 on a log scale; given {bounds}"
                )
        for end in ("low", "high"):
            self.hyper({name: _end(bounds, end) for name, bounds in self.ranges.items()})
        for number, preset in enumerate(self.presets):
            if set(preset) != set(self.ranges):
                raise UserError(f"preset {number} must give {', '.join(self.ranges)}; it gives {', '.join(preset)}")
            for name, value in preset.items():
                if not self.ranges[name].holds(value):
                    bounds = self.ranges[name]
                    raise UserError(
                        f"preset {number} must lie in the ranges; its {name} is {value}, outside {bounds.low} to "
                        f"{bounds.high}: widen the range"
                    )

    def hyper(self, point: Mapping[str, float]) -> Hyper:
        """The hyper-parameters of a point of the space."""
        values = {**self.fixed, **point}
        try:
            return Hyper(
                lambda_gp=values["lambda_gp"],
                lr_critic=values["lr_critic"] if "lr_critic" in values else values["lr"],
                lr_generator=values["lr_generator"] if "lr_generator" in values else values["lr"],
                n_critic=int(values["n_critic"]),
                beta1=values["beta1"],
                beta2=values["beta2"] if "beta2" in values else 1 - values["one_minus_beta2"],
            )
        except KeyError as error:
            raise UserError(
                f"a space must give {error.args[0]}, as a range or fixed; it has {', '.join(values)}"
            ) from error

    def as_json(self) -> dict[str, Any]:
        return {
            "ranges": {name: bounds.as_json() for name, bounds in self.ranges.items()},
            "fixed": dict(self.fixed),
            "presets": [dict(preset) for preset in self.presets],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Space:
        ranges = {name: Range(**bounds) for name, bounds in values["ranges"].items()}
        return cls(ranges, values["fixed"], tuple(values["presets"]))


def _end(bounds: Range, end: str) -> float:
    value: float = getattr(bounds, end)
    return value


WGAN_GP = Space(
    ranges={
        "lambda_gp": Range(0.1, 100.0, log=True),
        "lr": Range(1e-5, 1e-2, log=True),
        "n_critic": Range(1, 5, whole=True),
        "beta1": Range(0.0, 0.9),
        "one_minus_beta2": Range(0.001, 0.2, log=True),
    },
    fixed={},
    presets=(
        # Gulrajani et al. 2017, Algorithm 1.
        {"lambda_gp": 10.0, "lr": 1e-4, "n_critic": 5, "beta1": 0.0, "one_minus_beta2": 0.1},
        # Miyato et al. 2018 (SN-GAN), settings D and C.
        {"lambda_gp": 10.0, "lr": 1e-3, "n_critic": 5, "beta1": 0.5, "one_minus_beta2": 0.1},
        {"lambda_gp": 10.0, "lr": 2e-4, "n_critic": 1, "beta1": 0.5, "one_minus_beta2": 0.001},
    ),
)
