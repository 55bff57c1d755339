"""Search spaces: ranges by name, the points to try first, and the hyper-parameters of a point."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from wgan_core.config import PARAMETERS, Hyper
from wgan_core.errors import UserError, listed, quoted, shortened
from wgan_core.rules.losses import LOSSES, two_sided_penalty

Point = dict[str, float | int]
MOST_VALUES = 1_000
"""Most values of a list. The study's storage repeats the list in each trial."""

# Names that a space may use for one or more hyper-parameters, their labels in charts, and how the value is converted.
# Each conversion is its own inverse.
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


def meaning_of(name: str) -> str:
    """Return what a name of a space means, for a script's help."""
    means = " and ".join(PARAMETERS[each].meaning for each in parameters_of(name))
    return {"lr": "learning rate of both networks", "one_minus_beta2": f"1 less the {means}"}.get(name, means)


def is_log(name: str) -> bool:
    """Return whether charts show a space's hyper-parameter on a log scale."""
    return all(PARAMETERS[each].log for each in parameters_of(name))


@dataclass(frozen=True)
class Range:
    """An inclusive range, or a list of values.

    Attributes:
        low, high: The ends; of a list, its least and its greatest value.
        log: Whether to search on a log scale. A list uses it only in charts.
        whole: Whether to take whole numbers only.
        among: The values of a list, in order; empty for a range.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False
    among: tuple[float, ...] = ()

    @classmethod
    def of(cls, values: Sequence[float], log: bool = False, whole: bool = False) -> Range:
        """Return the list of these values."""
        return cls(min(values), max(values), log, whole, tuple(sorted(set(values))))

    @property
    def ends(self) -> tuple[float, ...]:
        """Return the values that decide whether all values are allowed: both ends, or the values of a list."""
        return self.among or (self.low, self.high)

    def holds(self, value: float) -> bool:
        return value in self.among if self.among else self.low <= value <= self.high

    def nearest(self, value: float) -> float:
        """Return the nearest value that the range or the list holds, on its scale."""
        value = round(value) if self.whole else value
        inside = min(max(value, self.low), self.high)
        if not self.among:
            return inside
        scale: Callable[[float], float] = math.log if self.log else float
        return min(self.among, key=lambda each: abs(scale(each) - scale(inside)))

    def as_json(self) -> dict[str, Any]:
        values = asdict(self)
        among = list(values.pop("among"))
        return {**values, "among": among} if among else values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Range:
        return cls(**{**values, "among": tuple(values.get("among", ()))})


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
            check_range(name, bounds)
        ends = {name: bounds.ends for name, bounds in self.ranges.items()}
        for place in range(max(map(len, ends.values()), default=1)):
            self.hyper({name: values[min(place, len(values) - 1)] for name, values in ends.items()})
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
                among = f"none of {listed(map(str, bounds.among))}"
                where = among if bounds.among else f"outside {bounds.low} to {bounds.high}"
                raise UserError(
                    f"preset {number} must lie in the ranges; its {name} is {value}, {where}: widen the range"
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
        ranges = {name: Range.from_json(bounds) for name, bounds in values["ranges"].items()}
        return cls(ranges, values["fixed"], tuple(values["presets"]))


def check_space(space: Space, loss: str) -> None:
    """Raise `UserError` if the loss has a penalty but the space no lambda_gp, or it clips but the space has no clip."""
    terms = LOSSES[loss]
    needed = {"lambda_gp": terms.penalty is not None, "clip": terms.clips}
    for name, is_needed in needed.items():
        if is_needed and name not in {**space.ranges, **space.fixed}:
            raise UserError(
                f"a space for the loss {loss!r} must give {name}; it has "
                f"{', '.join({**space.ranges, **space.fixed})}: add a range or a fixed value, as by --search or --set"
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


def check_range(name: str, bounds: Range) -> None:
    """Raise `UserError` if a range is empty, is not finite, or does not suit its scale or hyper-parameter."""
    if not (math.isfinite(bounds.low) and bounds.low <= bounds.high < math.inf) or (bounds.log and bounds.low <= 0):
        raise UserError(
            f"the range of {name} must have finite low <= high, and low > 0 on a log scale; given {bounds}: "
            "set them so, as in Range(0.001, 0.2, log=True)"
        )
    rises = bounds.among == tuple(sorted(set(bounds.among))) and {bounds.low, bounds.high} <= {*bounds.ends}
    if not rises or len(bounds.among) > MOST_VALUES:
        raise UserError(
            f"the list of {name} must rise from its low to its high, in at most {MOST_VALUES:,} values; given "
            f"{shortened(str(bounds))}: make it by Range.of"
        )
    if any(PARAMETERS[each].whole for each in parameters_of(name)) and not bounds.whole:
        raise UserError(f"the range of {name} must be of whole numbers; given {bounds}: set whole=True")
    if bounds.whole and any(each != int(each) for each in bounds.ends):
        raise UserError(
            f"the range of {name} must begin and end with a whole number where it is of whole numbers; given {bounds}: "
            "set low and high so, as in Range(1, 5, whole=True)"
        )


def _whole(value: float) -> int:
    """Convert 5.0 to 5. Return other values unchanged, so that `Hyper` rejects them."""
    return int(value) if isinstance(value, float) and value.is_integer() else value  # type: ignore[return-value]
