"""Changes of a search space and of a structure by name: `--set`, `--search`, `--space FILE.toml`, and a notebook's."""

from __future__ import annotations

import difflib
import hashlib
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeps.engine.plan.settings import (
    NETWORKS,
    OF_SWEEP,
    PARTS,
    SHARED,
    Value,
    check_networks,
    is_setting,
    is_whole,
    read_setting,
    setting_of,
    with_settings,
)
from sweeps.engine.plan.space import (
    ALIASES,
    KNOWN,
    Point,
    Range,
    Space,
    check_range,
    is_log,
    is_searchable,
    losses_of,
    parameters_of,
    short_text,
    text_of,
)
from wgan_core.config import PARAMETERS, Structure
from wgan_core.errors import UserError, one_line, quoted, shortened
from wgan_core.rules.losses import LOSSES

SET, SEARCH = "--set", "--search"
EXAMPLES = {SET: "--set lambda_gp=10", SEARCH: "--search lr=1e-5..1e-2:log n_critic=1,2,5"}
MOST_FILE = 1 << 14  # tomllib takes time in the square of the parts of a name: a second for so many bytes
SCALES = {"log": True, "linear": False}
# The presets search this name on a log scale, though charts show beta2.
_LOG = frozenset({"one_minus_beta2"})


@dataclass(frozen=True)
class Changes:
    """Values that a user fixes, and ranges that a user searches, by name. Each is checked by itself.

    Attributes:
        fixed: Values of hyper-parameters and of settings of the structure.
        searched: Ranges and lists of hyper-parameters and of settings.
    """

    fixed: Mapping[str, Value] = field(default_factory=dict)
    searched: Mapping[str, Range] = field(default_factory=dict)

    @classmethod
    def read(cls, fixed: Sequence[str], searched: Sequence[str], file: str | None = None) -> Changes:
        """Parse the words of `--set` and of `--search`, and a TOML file. A word replaces the file's entry of its name.

        Raises:
            UserError: A word, a name or a value cannot be taken.
        """
        words = {option: _words(option, given) for option, given in ((SET, fixed), (SEARCH, searched))}
        if file is not None:
            named = {name for given in words.values() for name in given}
            for option, read in _file(file).items():
                words[option] = {**{name: text for name, text in read.items() if name not in named}, **words[option]}
        if both := [name for name in words[SET] if name in words[SEARCH]]:
            raise UserError(f"{SET} and {SEARCH} must name different things; both name {both[0]}: leave one out")
        return cls(
            {name: _fixed(name, text) for name, text in words[SET].items()},
            {name: _searched(name, text) for name, text in words[SEARCH].items()},
        )

    @classmethod
    def given(cls, fixed: Mapping[str, Any], searched: Mapping[str, Any], file: str | None) -> Changes:
        """Read what a notebook gives: values, ranges, lists, or texts as on the command line."""
        for option, given in ((SET, fixed), (SEARCH, searched)):
            if not isinstance(given, Mapping):
                raise UserError(f"{option[2:]} must be a dictionary of names; given {quoted(str(given))}: write one")
        words = [f"{name}={text_of(value)}" for name, value in fixed.items()]
        return cls.read(words, [f"{name}={_listed(value)}" for name, value in searched.items()], file)

    def __bool__(self) -> bool:
        return bool(self.fixed or self.searched)

    def arguments(self) -> tuple[str, ...]:
        """Return the options that `read` takes for these changes."""
        given = ((SET, self.fixed), (SEARCH, self.searched))
        return tuple(
            word
            for option, values in given
            if values
            for word in (option, *(f"{name}={text_of(value)}" for name, value in values.items()))
        )

    def digest(self) -> str:
        """Return six letters and digits that tell these changes from others, whatever their order."""
        return hashlib.sha256("\n".join(sorted(self.arguments())).encode()).hexdigest()[:6]

    def structure(self, structure: Structure, rows: int) -> Structure:
        """Return the structure with the values that the user set.

        Args:
            structure: The structure of the script.
            rows: Number of training samples.

        Raises:
            UserError: The networks have no such option, or the values do not go together.
        """
        values: dict[str, Any] = {name: value for name, value in self.fixed.items() if is_setting(name)}
        options = [name for name in values if "." in name]
        if NETWORKS in self.searched and options:
            raise UserError(
                f"the networks differ, so their options must be searched beside them; given {SET} {options[0]}: write "
                f"{SEARCH} {options[0]}={text_of(values[options[0]])}"
            )
        if "full_batch" in values and "batch_size" not in values:
            usual = min(Structure.batch_size, rows) if structure.full_batch else structure.batch_size
            values["batch_size"] = rows if values["full_batch"] else usual
        found = with_settings(structure, values)
        if self and found.full_batch and found.batch_size != rows:
            raise UserError(
                f"batch_size must be the number of training samples where full_batch is true, {rows:,}; given "
                f"{found.batch_size:,}: leave batch_size out, or add {SET} full_batch=false"
            )
        return found

    def space(self, space: Space, structure: Structure) -> tuple[Space, list[str]]:
        """Return the space with the user's values and ranges, and a line about each starting point that moved.

        Args:
            space: The space of the script.
            structure: The structure, with the values that the user set. A hyper-parameter that no loss of the trials
                uses is no longer searched.

        Raises:
            UserError: The names contradict each other, or no loss uses one of them.
        """
        fixed: dict[str, Any] = {name: value for name, value in self.fixed.items() if name in KNOWN}
        given: dict[str, Any] = {**self.fixed, **self.searched}
        searched = {name: bounds for name, bounds in space.ranges.items() if name not in self.fixed}
        losses = losses_of({**searched, **self.searched}, structure.loss)
        loss = " or ".join(losses)
        _check_together(given, losses)
        unused = set(_unused(losses)) if "loss" in given else set()
        said = [f"the loss {loss} does not use {name}: it is not searched" for name in sorted(unused & {*space.ranges})]
        kept = {
            name: bounds for name, bounds in space.ranges.items() if name not in unused and not _is_covered(name, given)
        }
        values = {
            name: value for name, value in space.fixed.items() if name not in unused and not _is_covered(name, given)
        }
        order = [*space.ranges, *(name for name in (*KNOWN, *self.searched) if name not in space.ranges)]
        ranges = dict(sorted({**kept, **self.searched}.items(), key=lambda each: order.index(each[0])))
        starts: dict[int, Point] = {}
        for number, point in enumerate(space.presets):
            start = _moved(f"preset {number}", (space, structure), point, ranges, said)
            equal = [other for other, each in starts.items() if each == start]
            if equal:
                said.append(f"preset {number} is then preset {equal[0]}: it is left out")
            else:
                starts[number] = start
        return Space(ranges, {**values, **fixed}, tuple(starts.values())), said


def moved_start(what: str, of: tuple[Space, Structure], point: Point, space: Space, said: list[str]) -> Point:
    """Return a point of another sweep as a starting point of a space.

    Args:
        what: Name of the point in messages.
        of: Space of the other sweep, and structure of the trial. A hyper-parameter that its loss does not use gets its
            value from the first starting point of `space`.
        point: Point of the other sweep's space.
        space: The space to start in.
        said: Gets a line for each value that lies outside the ranges and so moves to the nearest one inside.
    """
    start = space.presets[0] if space.presets else {}
    kept = {name: start[name] for name in _unused([of[1].loss]) if name in start}
    ranges = {name: bounds for name, bounds in space.ranges.items() if name not in kept}
    found = {**_moved(what, of, point, ranges, said), **kept}
    return {name: found[name] for name in space.ranges}


def _listed(value: Any) -> str:
    """Return a list of values, or anything else, as `--search` takes it."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return ",".join(map(text_of, value)) if isinstance(value, list | tuple) else text_of(value)


def _words(option: str, given: Iterable[str]) -> dict[str, str]:
    """Split the words NAME=VALUE of an option."""
    found: dict[str, str] = {}
    for word in given:
        name, equals, text = word.partition("=")
        if not equals or not text or not name:
            raise UserError(f"{option} takes words NAME=VALUE; given {quoted(word)}: write {EXAMPLES[option]}")
        if name in found:
            raise UserError(f"{option} must give each name one value; given {name} twice: leave one out")
        found[name] = text
    return found


def _file(path: str) -> dict[str, dict[str, str]]:
    """Read the tables [set] and [search] of a TOML file, as words of the two options."""
    must = "--space must name a TOML file of at most 16 KiB with the tables [set] and [search]"
    try:
        file = Path(path).expanduser()
        if not file.is_file() or file.stat().st_size > MOST_FILE:  # others may have written the options of a sweep
            raise FileNotFoundError("no file of this size")
        read = tomllib.loads(file.read_text(encoding="utf-8"))
        str(read)  # a number of too many digits, or tables too deep, cannot be written
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{must}; {quoted(path)} is none, {one_line(error)}: mend it") from error
    if unknown := [name for name in read if name not in ("set", "search") or not isinstance(read[name], dict)]:
        raise UserError(f"{must}; {quoted(path)} has {quoted(unknown[0])}: put each name into one of the two tables")
    return {
        SET: {name: text_of(value) for name, value in _flat(read.get("set", {}))},
        SEARCH: {name: _listed(value) for name, value in _flat(read.get("search", {}))},
    }


def _flat(table: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Yield the entries of a table. TOML reads `critic.widths` as a table within it."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", each) for inner, each in value.items())
        else:
            yield name, value


def _check_name(option: str, name: str) -> None:
    """Raise `UserError` with the nearest known names unless the option takes the name."""
    if name in KNOWN or (is_setting(name) if option == SET else is_searchable(name)):
        return
    if name in OF_SWEEP:
        raise UserError(f"all trials of a sweep must share {name}; given by {SEARCH}: write {SET} {name}=...")
    shared = (*SHARED, *(f"{part}.widths" for part in PARTS))
    near = difflib.get_close_matches(name, (*KNOWN, *shared), n=3, cutoff=0)
    raise UserError(
        f"{option} must name what --help lists; given {quoted(name)}: the nearest names are {', '.join(near)}"
    )


def _fixed(name: str, text: str) -> Value:
    """Parse and check the value of a name of `--set`."""
    _check_name(SET, name)
    if name in KNOWN:
        return _number(SET, name, text)
    if name == NETWORKS:
        check_networks(text)
    return read_setting(name, text)


def _number(option: str, name: str, text: str) -> float:
    """Parse and check a value of a hyper-parameter."""
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"{option} {name} takes numbers; given {quoted(text)}: write {EXAMPLES[option]}") from None
    is_whole = all(PARAMETERS[each].whole for each in parameters_of(name))
    value = int(value) if is_whole and math.isfinite(value) and value.is_integer() else value
    for each in parameters_of(name):
        PARAMETERS[each].values.check(each, ALIASES[name][2](value) if name in ALIASES else value)
    return value


def _searched(name: str, text: str) -> Range:
    """Parse and check a range `LOW..HIGH` or a list `A,B,C`, each with `:log` or `:linear` if wanted."""
    _check_name(SEARCH, name)
    body, colon, scale = text.partition(":")
    if colon and scale not in SCALES:
        raise UserError(f"the scale of {name} must be log or linear; given {quoted(scale)}: write {name}={body}:log")
    low, dots, high = body.partition("..")
    words = [low, high] if dots else body.split(",")
    values: list[Any] = [_fixed(name, each) if is_setting(name) else _number(SEARCH, name, each) for each in words]
    if not all(isinstance(each, int | float) and not isinstance(each, bool) for each in values):
        return _texts(name, text, words)
    whole = all(isinstance(each, int) for each in values)
    if name in KNOWN or name in SHARED:
        whole = is_whole(name) or (name in KNOWN and all(PARAMETERS[each].whole for each in parameters_of(name)))
    log = SCALES[scale] if colon else (is_log(name) or name in _LOG) and (bool(dots) or min(values) > 0)
    found = Range(values[0], values[1], log, whole) if dots else Range.of(values, log, whole)
    if dots and values[0] >= values[1]:
        raise UserError(
            f"the range of {name} must have low < high; given {quoted(text)}: to fix it, write {SET} {name}={low}"
        )
    if log and found.low <= 0:
        raise UserError(
            f"a range on a log scale must begin above 0; given {name}={shortened(text, 80)}: begin above 0, or write "
            f"{name}={shortened(body, 80)}:linear"
        )
    check_range(name, found)
    return found


def _texts(name: str, text: str, words: Sequence[str]) -> Range:
    """Return the list of some values of a setting that are no numbers, such as losses or widths."""
    if text != ",".join(words):
        raise UserError(
            f"{name} takes a list of values, without a range or a scale; given {quoted(text)}: write "
            f"{SEARCH} {name}=A,B"
        )
    found = Range.of(words)
    check_range(name, found)
    return found


def _unused(losses: Sequence[str]) -> tuple[str, ...]:
    """Return the hyper-parameters that none of the losses uses."""
    terms = [LOSSES[loss] for loss in losses]
    used = {"lambda_gp": any(each.penalty is not None for each in terms), "clip": any(each.clips for each in terms)}
    return tuple(name for name, is_used in used.items() if not is_used)


def _check_together(given: Mapping[str, Any], losses: Sequence[str]) -> None:
    """Raise `UserError` if a name has no effect beside the others, or under these losses."""
    for name in given:
        others = {each for each in given if each != name and (each in PARAMETERS or name not in PARAMETERS)}
        hidden = name in ALIASES and {*parameters_of(name)} <= others
        if hidden:
            rest = " and ".join(parameters_of(name))
            raise UserError(f"{name} must have an effect; given beside {rest}, which replace it: leave one of them out")
        if name in _unused(losses):
            raise UserError(
                f"the loss {' or '.join(map(repr, losses))} must use what is set or searched; it does not use {name}: "
                f"leave {name} out, or set another loss"
            )


def _is_covered(name: str, given: Iterable[str]) -> bool:
    """Return whether given names replace all that this name of a space sets."""
    if is_setting(name):
        return name in given
    mine, own = {*parameters_of(name)}, {each for each in given if each in PARAMETERS}
    return mine <= own or any(mine <= {*parameters_of(each)} for each in given)


def _at(space: Space, structure: Structure, point: Point, ranges: Mapping[str, Range]) -> dict[str, Any]:
    """Return the values that the names of some ranges have at a point of a space; of settings, else the structure's."""
    hyper = space.hyper(point).as_json()
    found: dict[str, Any] = {}
    for name, bounds in ranges.items():
        if is_setting(name):
            value = setting_of(structure, name)
            if isinstance(value, list | tuple) and len(value) == 1 and not bounds.is_of_texts:
                value = value[0]
            is_plain = value is None or (isinstance(value, int | float) and not bounds.is_of_texts)
            found[name] = point.get(name, value if is_plain else text_of(value))
        else:
            value = hyper[parameters_of(name)[0]]
            found[name] = point.get(name, ALIASES[name][2](value) if name in ALIASES else value)
    return found


def _merged(what: str, space: Space, point: Point, names: Iterable[str]) -> list[str]:
    """Return a line for each name that replaces different values of a starting point by one."""
    hyper = space.hyper(point).as_json()
    pairs = [(name, parameters_of(name)[0], other) for name in names for other in parameters_of(name)[1:]]
    return [
        f"{what}: {other} {hyper[other]:.4g} becomes that of {first}, as {name} is both"
        for name, first, other in pairs
        if hyper[other] != hyper[first]
    ]


def _moved(what: str, of: tuple[Space, Structure], point: Point, ranges: Mapping[str, Range], said: list[str]) -> Point:
    """Return a point of a space, moved into other ranges.

    Args:
        what: Name of the point in messages.
        of: The space that the point is of, and the structure of its trials.
        point: The point.
        ranges: The ranges to move it into.
        said: Gets a line for each value that moves.
    """
    said += _merged(what, of[0], point, ranges)
    at, found = _at(*of, point, ranges), dict[str, Any]()
    for name, bounds in ranges.items():
        value = at[name]
        found[name] = value if bounds.holds(value) else bounds.nearest(value)
        if found[name] != value and value is not None:
            where, tried = shortened(text_of(bounds), 80), short_text(found[name])
            said.append(f"{what}: {name} {short_text(value)} is not in {where}; {tried} is tried")
    return found
