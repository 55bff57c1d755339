"""Pairs of a critic and a generator, by name.

Each shipped pair has its own module in this package. That module is imported when the pair is first made. So this
module imports no torch, and the help of a command can list the pairs quickly.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from wgan_core.errors import UserError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Pair:
    """The functions that make a critic and a generator.

    Attributes:
        critic: Takes a `Structure`, and its own options as keyword arguments.
        generator: Takes a `Structure`, and its own options as keyword arguments.
        flat: Whether the critic sees a sample as one vector. A label's code is then appended to the vector.
        labelled: Whether both networks take labels (N,), or conditions (N, K), as a second input where there are some.
            Otherwise a label's code is appended to their input.
    """

    critic: Callable[..., nn.Module]
    generator: Callable[..., nn.Module]
    flat: bool = False
    labelled: bool = False


@dataclass(frozen=True)
class _Shipped:
    """A function of a module of this package. The module is imported at the first call."""

    module: str
    part: str

    def __call__(self, *given: Any, **options: Any) -> nn.Module:
        return self._function()(*given, **options)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._function())

    def _function(self) -> Callable[..., nn.Module]:
        made = getattr(import_module(f"{__name__}.{self.module}"), f"{self.module}_{self.part}")
        return cast("Callable[..., nn.Module]", made)


def _shipped(name: str, flat: bool = False, labelled: bool = False) -> Pair:
    return Pair(_Shipped(name, "critic"), _Shipped(name, "generator"), flat, labelled)


PAIRS = {
    "mlp": _shipped("mlp", flat=True),
    "ffpred": _shipped("ffpred", flat=True),
    **{name: _shipped(name) for name in ("conv", "dcgan", "residual", "sequence")},
    "projection": _shipped("projection", labelled=True),
}
SHIPPED = frozenset(PAIRS)


def register(name: str, pair: Pair) -> None:
    """Add your own pair under a name. Raises `UserError` if another pair has that name."""
    if PAIRS.get(name, pair) != pair:
        raise UserError(f"networks must have a name of their own; given {name!r}, which is taken: choose another")
    PAIRS[name] = pair


def own_pair(name: str) -> Pair | None:
    """Return the registered pair of this name; None for a shipped pair or an unknown name."""
    return None if name in SHIPPED else PAIRS.get(name)
