"""Search spaces: ranges by name, the points to try first, and the hyper-parameters and the structure of a point."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sweeps.engine.plan.settings import (
    OF_SWEEP,
    is_number,
    is_setting,
    is_whole,
    read_setting,
    with_settings,
)
from wgan_core.config import PARAMETERS, Hyper, Structure
from wgan_core.errors import UserError, listed, quoted, shortened
from wgan_core.rules.losses import LOSSES, two_sided_penalty

Point = Mapping[str, float | str]
"""The values of a trial by name. Widths of layers, names of losses and the like are texts, as `--set` takes them."""
MOST_VALUES = 1_000
"""Most values of a list. The study's storage repeats the list in each trial."""

MOST_TEXT = 200
"""Most characters of a value that is a text. Charts and MLflow show it."""

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
    """Return the hyper-parameters that a name of a space sets; none for a setting of the structure."""
    if is_setting(name):
        return ()
    return ALIASES[name][0] if name in ALIASES else (name,)


def label_of(name: str) -> str:
    """Return the name of a space's hyper-parameter in charts."""
    if is_setting(name):
        return name
    return ALIASES[name][1] if name in ALIASES else PARAMETERS[name].label


def meaning_of(name: str) -> str:
    """Return what a name of a space means, for a script's help."""
    means = " and ".join(PARAMETERS[each].meaning for each in parameters_of(name))
    return {"lr": "learning rate of both networks", "one_minus_beta2": f"1 less the {means}"}.get(name, means)


def is_log(name: str) -> bool:
    """Return whether charts show a space's hyper-parameter on a log scale."""
    return not is_setting(name) and all(PARAMETERS[each].log for each in parameters_of(name))


def is_searchable(name: str) -> bool:
    """Return whether a space may search a name."""
    return name in KNOWN or (is_setting(name) and name not in OF_SWEEP)


def text_of(value: Any) -> str:
    """Return a value, a range or the widths of layers as `Changes.read` takes them. Numbers of numpy are numbers."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, Range):
        if value.is_of_texts:
            return ",".join(map(str, value.among))
        values = ",".join(map(text_of, value.among)) or "..".join(map(text_of, (value.low, value.high)))
        return f"{values}:{'log' if value.log else 'linear'}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "-".join(map(text_of, value))
    return _number_text(value) if isinstance(value, int | float) else str(value)


def short_text(value: float | str) -> str:
    """Format a value of a point; a number with four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _number_text(value: float) -> str:
    value = value if isinstance(value, int) else float(value)
    return str(int(value)) if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15) else repr(value)


@dataclass(frozen=True)
class Range:
    """An inclusive range, or a list of values.

    Attributes:
        low, high: The ends; of a list, its least and its greatest value; of a list of texts, its first and last place.
        log: Whether to search on a log scale. A list uses it only in charts.
        whole: Whether to take whole numbers only.
        among: The values of a list, in order; empty for a range.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False
    among: tuple[Any, ...] = ()

    @classmethod
    def of(cls, values: Sequence[Any], log: bool = False, whole: bool = False) -> Range:
        """Return the list of these values: of numbers, or of texts, widths of layers, and true or false."""
        if any(isinstance(each, str | bool | list | tuple) for each in values):
            texts = tuple(sorted({text_of(each) for each in values}))
            return cls(0, len(texts) - 1, among=texts)
        return cls(min(values), max(values), log, whole, tuple(sorted(set(values))))

    @property
    def is_of_texts(self) -> bool:
        return any(isinstance(each, str) for each in self.among)

    @property
    def ends(self) -> tuple[Any, ...]:
        """Return the values that decide whether all values are allowed: both ends, or the values of a list."""
        return self.among or (self.low, self.high)

    def holds(self, value: float | str) -> bool:
        """Return whether a value is in the list, or within the ends."""
        if self.among or isinstance(value, str):
            return value in self.among
        return self.low <= value <= self.high

    def number(self, value: float | str) -> float:
        """Return a value as a number: that of a text is its place in the list."""
        return self.among.index(value) if isinstance(value, str) else value

    def nearest(self, value: Any) -> Any:
        """Return the nearest value that the range or the list holds, on its scale; the first one of texts."""
        if self.is_of_texts or not isinstance(value, int | float):
            return self.ends[0]
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

    A space can also search settings of the structure, such as `batch_size`, `loss` or `critic.widths`.
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
    presets: tuple[Point, ...] = ()

    def __post_init__(self) -> None:
        unknown = [name for name in self.ranges if not is_searchable(name)]
        if unknown := [*unknown, *(name for name in self.fixed if name not in KNOWN)]:
            raise UserError(
                f"a space names hyper-parameters out of {', '.join(KNOWN)}, and in its ranges also settings such as "
                f"batch_size; given {quoted(unknown[0])}: rename it or drop it"
            )
        for name, bounds in self.ranges.items():
            check_range(name, bounds)
        ends = {name: bounds.ends for name, bounds in self.ranges.items()}
        for place in range(max(map(len, ends.values()), default=1)):
            self.hyper({name: values[min(place, len(values) - 1)] for name, values in ends.items()})
        for number, point in enumerate(self.presets):
            self._check_start(number, point)

    def _check_start(self, number: int, point: Point) -> None:
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
            if bounds.whole and not isinstance(value, str) and value != int(value):
                raise UserError(
                    f"preset {number} must lie in the ranges; its {name} is {value}, and that range is of whole "
                    f"numbers: set it to {round(value)}"
                )

    def settings(self, point: Point) -> dict[str, float | str]:
        """Return the settings of the structure that a point has. Trials of equal settings may share a cohort."""
        return {name: value for name, value in point.items() if is_setting(name)}

    def structure(self, structure: Structure, point: Point) -> Structure:
        """Return a structure with the settings that a point has.

        Raises:
            UserError: The settings do not go together.
        """
        given = self.settings(point).items()
        return with_settings(structure, {name: read_setting(name, text_of(value)) for name, value in given})

    def hyper(self, point: Point) -> Hyper:
        """Return the hyper-parameters of a point.

        Raises:
            UserError: A hyper-parameter has no value, or one that `Hyper` rejects.
        """
        given: dict[str, Any] = {**self.fixed, **point}
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


def losses_of(ranges: Mapping[str, Range], loss: str) -> tuple[str, ...]:
    """Return the losses that are searched, else the loss of all trials."""
    return ranges["loss"].among if "loss" in ranges else (loss,)


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
    if is_setting(name):
        _check_settings(name, bounds)
    if not (math.isfinite(bounds.low) and bounds.low <= bounds.high < math.inf) or (bounds.log and bounds.low <= 0):
        raise UserError(
            f"the range of {name} must have finite low <= high, and low > 0 on a log scale; given {bounds}: "
            "set them so, as in Range(0.001, 0.2, log=True)"
        )
    ends = (0, len(bounds.among) - 1) if bounds.is_of_texts else (bounds.ends[0], bounds.ends[-1])
    rises = bounds.among == tuple(sorted(set(bounds.among))) and (bounds.low, bounds.high) == ends
    if not rises or len(bounds.among) > MOST_VALUES:
        raise UserError(
            f"the list of {name} must rise from its low to its high, in at most {MOST_VALUES:,} values; given "
            f"{shortened(str(bounds))}: make it by Range.of"
        )
    if (is_whole(name) or any(PARAMETERS[each].whole for each in parameters_of(name))) and not bounds.whole:
        raise UserError(f"the range of {name} must be of whole numbers; given {bounds}: set whole=True")
    if bounds.whole and any(each != int(each) for each in bounds.ends):
        raise UserError(
            f"the range of {name} must begin and end with a whole number where it is of whole numbers; given {bounds}: "
            "set low and high so, as in Range(1, 5, whole=True)"
        )


def _whole(value: float) -> int:
    """Convert 5.0 to 5. Return other values unchanged, so that `Hyper` rejects them."""
    return int(value) if isinstance(value, float) and value.is_integer() else value  # type: ignore[return-value]


def _check_settings(name: str, bounds: Range) -> None:
    """Raise `UserError` unless a setting can have all values of a range or a list."""
    for value in bounds.ends:
        text = text_of(value)
        if len(text) > MOST_TEXT or not text.isprintable() or any(letter in text for letter in "<>&"):
            raise UserError(
                f"a value of {name} must have at most {MOST_TEXT} printable characters, and none of < > &; given "
                f"{quoted(text)}: leave it out"
            )
        read_setting(name, text)
    if bounds.is_of_texts and is_number(name):
        raise UserError(f"the list of {name} must be of numbers; given {shortened(str(bounds))}: make it by Range.of")
    if not bounds.among and not is_number(name):
        raise UserError(f"{name} must be searched over a list; given {bounds}: make it by Range.of")
