"""Texts of a user's own code, by which a sweep notices that it would go on with other code of the same name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from types import CodeType
from typing import Any

# Values whose text says all of them, and is equal in each process.
PLAIN = (int, float, complex, str, bytes, bool, type(None))


def source_of(made: object) -> str:
    """Return the source text of a function or a class.

    Code that was typed at a prompt has no source text. Its text is made of the compiled code, the defaults and the
    captured plain values. Another version of Python may compile other code.
    """
    try:
        return inspect.getsource(made)  # type: ignore[arg-type]
    except (OSError, TypeError):
        return "\n".join(_lines(made))


def _lines(made: object) -> Iterator[str]:
    if isinstance(made, functools.partial):
        yield from (source_of(made.func), _text(made.args), _text(sorted(made.keywords.items())))
    elif isinstance(made, staticmethod | classmethod):
        yield from _lines(made.__func__)
    elif isinstance(made, property):
        for part in filter(None, (made.fget, made.fset, made.fdel)):
            yield from _lines(part)
    elif inspect.ismethod(made):
        yield from _lines(made.__func__)
        yield from _of_object(made.__self__)
    elif inspect.isfunction(made):
        yield from _of_code(made.__code__)
        yield _text(made.__defaults__)
        yield _text(sorted((made.__kwdefaults__ or {}).items()))
        for cell in made.__closure__ or ():
            try:
                held = cell.cell_contents
            except ValueError:  # not assigned yet
                continue
            yield "\n".join(_of_code(held.__code__)) if inspect.isfunction(held) else _text(held)
    elif inspect.isclass(made):
        yield from _of_class(made)
    elif callable(made) and type(made).__module__ != "builtins":
        yield from _of_object(made)
    else:
        yield getattr(made, "__qualname__", "")


def _of_object(made: object) -> Iterator[str]:
    """Yield the source of an object's class, and the plain values that the object holds."""
    if inspect.isclass(made):
        yield source_of(made)
        return
    yield source_of(type(made))
    yield _text(sorted((name, _text(held)) for name, held in vars(made).items()) if hasattr(made, "__dict__") else ())


def _of_class(made: type) -> Iterator[str]:
    yield f"{made.__qualname__}({', '.join(base.__qualname__ for base in made.__bases__)})"
    for name, held in vars(made).items():
        if inspect.isfunction(held) or isinstance(held, staticmethod | classmethod | property):
            yield name
            yield from _lines(held)
        elif isinstance(held, PLAIN) and not name.startswith("__"):
            yield f"{name} = {_text(held)}"


def _of_code(code: CodeType) -> Iterator[str]:
    yield code.co_code.hex()
    yield " ".join((*code.co_names, "|", *code.co_varnames, "|", *code.co_freevars))
    for held in code.co_consts:
        if isinstance(held, CodeType):
            yield from _of_code(held)
        else:
            yield _text(held)


def _text(value: Any) -> str:
    """Return the text of a plain value. Of others, such as arrays, only the type counts."""
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_text, value))})"
    if isinstance(value, frozenset):  # in an order of its own in each process
        return f"{{{', '.join(sorted(map(_text, value)))}}}"
    return repr(value) if isinstance(value, PLAIN) else type(value).__qualname__
