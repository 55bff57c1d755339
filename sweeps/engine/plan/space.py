"""Search spaces: ranges by name, the points to try first, and the hyper-parameters of a point."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from wgan_core.config import PARAMETERS, Hyper
from wgan_core.errors import UserError, listed, quoted
from wgan_core.rules.losses import LOSSES, two_sided_penalty

Point = dict[str, float | int]

# Names that a space may use for one or more hyper-parameters, their labels in charts, and how the value is converted.
ALIASES: Mapping[str, tuple[tuple[str, ...], str, Callable[[float], float]]] = {
    "lr": (("lr_critic", "lr_generator"), "learning rate", lambda value: value),
    "one_minus_beta2": (("beta2",), "1 − β2", lambda value: 1 - value),
}
# An alias stands before the first hyper-parameter that it sets.
KNOWN = tuple(
    each
    for name in PARAMETERS
    for each in (*(alias for alias, (names, *_) in ALIASES.items() if names[0] == name), name)
)


def parameters_of(name: str) -> tuple[str, ...]:
    """Return the hyper-parameters that a name of a space sets."""
    return ALIASES[name][0] if name in ALIASES else (name,)


def label_of(name: str) -> str:
    """Return the name of a space's hyper-parameter in charts."""
    return ALIASES[name][1] if name in ALIASES else PARAMETERS[name].label


def is_log(name: str) -> bool:
    """Return whether charts show a space's hyper-parameter on a log scale."""
    return all(PARAMETERS[each].log for each in parameters_of(name))


@dataclass(frozen=True)
class Range:
    """An inclusive range. `log` searches it on a log scale, and `whole` takes whole numbers only."""

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
    """A search space.

    `lr` sets both learning rates, but not one that the space also names by itself.
    `one_minus_beta2` is 1 - beta2, which can be searched on a log scale.

    Attributes:
        ranges: The range of each hyper-parameter to search.
        fixed: Values of further hyper-parameters. Unnamed ones take their neutral value if they have one, such as 0 for
            `weight_decay`.
        presets: The starting points, which the search tries first, in this order. They are points of this space; a
            `Preset` is a published setting with a space of its own.

    Raises:
        UserError: A name is unknown, a hyper-parameter has no value, or a starting point lies outside the ranges.
    """

    ranges: Mapping[str, Range]
    fixed: Mapping[str, float]
    presets: tuple[Mapping[str, float], ...] = ()

    def __post_init__(self) -> None:
        for name in (*self.ranges, *self.fixed):
            if name not in KNOWN:
                raise UserError(
                    f"a space names hyper-parameters out of {', '.join(KNOWN)}; given {quoted(name)}: rename it or "
                    "drop it"
                )
        for name, bounds in self.ranges.items():
            _check_range(name, bounds)
        for end in ("low", "high"):
            self.hyper({name: _end(bounds, end) for name, bounds in self.ranges.items()})
        for number, point in enumerate(self.presets):
            self._check_start(number, point)

    def _check_start(self, number: int, point: Mapping[str, float]) -> None:
        if set(point) != set(self.ranges):
            raise UserError(
                f"preset {number} must give {', '.join(self.ranges)}; it gives {listed(point)}: "
                "give it a value for each range and for nothing else"
            )
        for name, value in point.items():
            bounds = self.ranges[name]
            if not bounds.holds(value):
                raise UserError(
                    f"preset {number} must lie in the ranges; its {name} is {value}, outside {bounds.low} to "
                    f"{bounds.high}: widen the range"
                )
            if bounds.whole and value != int(value):
                raise UserError(
                    f"preset {number} must lie in the ranges; its {name} is {value}, and that range is of whole "
                    f"numbers: set it to {round(value)}"
                )

    def hyper(self, point: Mapping[str, float]) -> Hyper:
        """Return the hyper-parameters of a point.

        Raises:
            UserError: A hyper-parameter has no value, or one that `Hyper` rejects.
        """
        given = {**self.fixed, **point}
        values = {name: about.neutral for name, about in PARAMETERS.items() if about.neutral is not None}
        for name, (names, _, convert) in ALIASES.items():
            if name in given:
                values |= dict.fromkeys(names, convert(given[name]))
        values |= {name: value for name, value in given.items() if name in PARAMETERS}
        missing = next((name for name in PARAMETERS if name not in values), None)
        if missing is not None:
            wanted = next((alias for alias, (names, *_) in ALIASES.items() if missing in names), missing)
            raise UserError(f"a space must give {wanted}; it has {', '.join(given)}: add a range or a fixed value")
        whole: dict[str, Any] = {name: _whole(value) for name, value in values.items() if PARAMETERS[name].whole}
        return Hyper(**(values | whole))

    def decaying(self, updates: int) -> Space:
        """Return this space with learning rates that fall linearly to zero over `updates` critic updates.

        Raises:
            UserError: The space already sets decay_updates.
        """
        if "decay_updates" in {**self.ranges, **self.fixed}:
            raise UserError("--decay sets decay_updates, which the space of this script gives itself: leave it out")
        return replace(self, fixed={**self.fixed, "decay_updates": updates})

    def as_json(self) -> dict[str, Any]:
        return {
            "ranges": {name: bounds.as_json() for name, bounds in self.ranges.items()},
            "fixed": dict(self.fixed),
            "presets": [dict(point) for point in self.presets],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Space:
        ranges = {name: Range(**bounds) for name, bounds in values["ranges"].items()}
        return cls(ranges, values["fixed"], tuple(values["presets"]))


def check_space(space: Space, loss: str) -> None:
    """Raise `UserError` if the loss has a penalty but the space no lambda_gp, or it clips but the space has no clip."""
    terms = LOSSES[loss]
    needed = {"lambda_gp": terms.penalty is not None, "clip": terms.clips}
    for name, is_needed in needed.items():
        if is_needed and name not in {**space.ranges, **space.fixed}:
            raise UserError(
                f"a space for the loss {loss!r} must give {name}; it has "
                f"{', '.join({**space.ranges, **space.fixed})}: add a range or a fixed value"
            )


def check_budget(space: Space, budget: int) -> None:
    """Raise `UserError` if a trial of the space could end without an update of its generator."""
    fixed = space.fixed.get("n_critic", 1)
    most = space.ranges["n_critic"].high if "n_critic" in space.ranges else fixed
    # A budget below 1 has an error of its own.
    if 0 < budget < most:
        raise UserError(
            f"n_critic must be at most the budget, or a trial never updates its generator; given n_critic up to "
            f"{most:g} and a budget of {budget}: give --budget {most:g} or more, or a smaller n_critic in the space"
        )


def penalty_notice(loss: str, sample_shape: tuple[int, ...]) -> str:
    """Return a notice if the loss has a two-sided penalty and a sample is one number; "" otherwise."""
    penalty = LOSSES[loss].penalty
    if penalty is None or penalty.of is not two_sided_penalty or math.prod(sample_shape) > 1:
        return ""
    return (
        f"a sample is one number, and the loss {loss} has a two-sided penalty: a critic can settle at a slope of the "
        "wrong sign; prefer the one-sided penalty of the loss wgan-lp, such as --preset wgan-lp of tabular.py"
    )


def _check_range(name: str, bounds: Range) -> None:
    """Raise `UserError` if a range is empty, is not finite, or does not suit its scale or hyper-parameter."""
    if not (math.isfinite(bounds.low) and bounds.low <= bounds.high < math.inf) or (bounds.log and bounds.low <= 0):
        raise UserError(
            f"the range of {name} must have finite low <= high, and low > 0 on a log scale; given {bounds}: "
            "set them so, as in Range(0.001, 0.2, log=True)"
        )
    if any(PARAMETERS[each].whole for each in parameters_of(name)) and not bounds.whole:
        raise UserError(f"the range of {name} must be of whole numbers; given {bounds}: set whole=True")
    if bounds.whole and not (bounds.low == int(bounds.low) and bounds.high == int(bounds.high)):
        raise UserError(
            f"the range of {name} must begin and end with a whole number where it is of whole numbers; given {bounds}: "
            "set low and high so, as in Range(1, 5, whole=True)"
        )


def _whole(value: float) -> int:
    """Convert 5.0 to 5. Return other values unchanged, so that `Hyper` rejects them."""
    return int(value) if isinstance(value, float) and value.is_integer() else value  # type: ignore[return-value]


def _end(bounds: Range, end: str) -> float:
    value: float = getattr(bounds, end)
    return value
