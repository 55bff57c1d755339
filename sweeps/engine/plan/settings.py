"""The settings of a structure that a user gives by name: batch size, loss, networks and their options, and so on."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from wgan_core.config import STRUCTURAL, Structure, Values
from wgan_core.errors import UserError, quoted
from wgan_core.networks.pairs import PAIRS

PARTS = ("critic", "generator")
NETWORKS = "networks"
# The names of settings, besides the options of the networks, such as critic.widths.
SHARED = (NETWORKS, *(name for name, about in STRUCTURAL.items() if not about.of_data))
# The settings with one value for all trials of a sweep.
OF_SWEEP = tuple(name for name in SHARED if name in STRUCTURAL and STRUCTURAL[name].of_sweep)
# Most digits of a whole number.
DIGITS = 18

Value = bool | int | float | str | list[int]


def is_setting(name: str) -> bool:
    """Return whether a name is that of a setting, or of an option of the critic or the generator."""
    part, dot, option = name.partition(".")
    return name in SHARED or (part in PARTS and bool(dot) and option.isidentifier())


def is_number(name: str) -> bool:
    """Return whether the values of a setting are numbers. Those of an option may be anything."""
    usual = STRUCTURAL[name].values.usual if name in STRUCTURAL else None
    return isinstance(usual, int | float) and not isinstance(usual, bool)


def is_whole(name: str) -> bool:
    """Return whether the values of a setting are whole numbers."""
    return is_number(name) and isinstance(STRUCTURAL[name].values.usual, int)


def read_setting(name: str, text: str) -> Value:
    """Parse and check the value of a setting. Raise `UserError` for one that it cannot have.

    `check_networks` checks the names of networks. A command that reads a sweep does not know a user's own ones.
    """
    if name not in STRUCTURAL:
        return text if name == NETWORKS else _option(text)
    values = STRUCTURAL[name].values
    value = _typed(text, values)
    values.check(name, value)
    return value


def check_networks(text: str) -> None:
    """Raise `UserError` unless networks of this name are known to this process."""
    if text not in PAIRS:
        raise UserError(f"networks must be one of {', '.join(sorted(PAIRS))}; given {quoted(text)}: name one of these")


def with_settings(structure: Structure, given: Mapping[str, Value]) -> Structure:
    """Return the structure with other settings. Other networks begin without options.

    Raises:
        UserError: The networks have no such option, or the values do not go together.
    """
    values: dict[str, Any] = {name: value for name, value in given.items() if name in SHARED}
    options = {name: value for name, value in given.items() if "." in name}
    if values.get(NETWORKS, structure.networks) != structure.networks:
        values["network_options"] = {}
    found = replace(structure, **values)
    return replace(found, network_options=_with_options(found, options)) if options else found


def setting_of(structure: Structure, name: str) -> Any:
    """Return the value of a setting in a structure; None for an option that its networks do not have."""
    part, _, option = name.partition(".")
    if name in SHARED:
        return getattr(structure, name)
    return {**_options_of(structure, part), **structure.network_options.get(part, {})}.get(option)


def settings_of(structure: Structure) -> dict[str, Value]:
    """Return the settings of a structure that a user can set, by name, without those that are off."""
    values = {name: getattr(structure, name) for name in SHARED}
    off = {name: value for name, value in vars(Structure).items() if value in (0, False, "float32")}
    found = {name: value for name, value in values.items() if name not in off or value != off[name]}
    options = structure.network_options
    return found | {f"{part}.{name}": value for part, each in options.items() for name, value in each.items()}


def _typed(text: str, values: Values) -> Value:
    """Convert a text to the type of a setting. A text that is no such value stays, so that its check refuses it."""
    if isinstance(values.usual, bool):
        return {"true": True, "false": False}.get(text, text)
    try:
        return type(values.usual)(text) if isinstance(values.usual, int | float) else text
    except ValueError:
        return text


def _option(text: str) -> Value:
    """Parse the value of an option of the networks: true, 256, 0.2, 256-256 or a word."""
    if text in ("true", "false"):
        return text == "true"
    parts = text.split("-")
    if all(part.isdecimal() and len(part) <= DIGITS for part in parts):
        return int(text) if len(parts) == 1 else [int(part) for part in parts]
    try:
        return float(text)
    except ValueError:
        return text


def _options_of(structure: Structure, part: str) -> dict[str, Any]:
    """Return the options that the critic or the generator of the networks has, with their defaults."""
    pair = PAIRS.get(structure.networks)
    parameters = [] if pair is None else [*inspect.signature(getattr(pair, part)).parameters.values()][1:]
    return {each.name: None if each.default is each.empty else each.default for each in parameters}


def _with_options(structure: Structure, given: Mapping[str, Value]) -> dict[str, dict[str, Any]]:
    """Return the options of the networks with the given ones. Raises `UserError` for an option that they lack."""
    options = {part: dict(structure.network_options.get(part, {})) for part in PARTS}
    is_known = structure.networks in PAIRS  # others are not built here, and `build` refuses them
    for name, value in given.items():
        part, _, option = name.partition(".")
        known = _options_of(structure, part) if is_known else {option: None}
        if option not in known:
            near = difflib.get_close_matches(option, known, n=3, cutoff=0)
            names = ", ".join(f"{part}.{each}" for each in near) or "none"
            raise UserError(
                f"{part}.NAME must name an option of the {part} of {structure.networks!r}; given {quoted(name)}: "
                f"the nearest names are {names}"
            )
        is_list = isinstance(known[option], list | tuple) and isinstance(value, int)
        options[part][option] = [value] if is_list else value
    return {part: values for part, values in options.items() if values}
