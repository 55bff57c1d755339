"""The feature extractors that `--features` may name. This module imports no torch."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from wgan_core.errors import UserError

if TYPE_CHECKING:
    from torch import nn

INCEPTION = "inception"
SHIPPED = (INCEPTION, "digits")
REGISTER = "register_features(name, factory)"

FACTORIES: dict[str, Callable[[], nn.Module]] = {}


def register_features(name: str, factory: Callable[[], nn.Module]) -> None:
    """Register a feature extractor under a name, for `--features NAME`.

    The network takes float32 images (N, C, H, W) in [-1, 1], in the data's shape and any number N. It returns floats
    (N, D), 1 <= D <= 4,096. The factory is called once, when a sweep starts, with a fixed seed. Workers get copies of
    the network with its weights. A worker may call it from several threads at once, so `forward` must change no shared
    state.

    Args:
        name: 1 to 20 lower-case letters, digits and `_`, the first a letter. The metrics' names contain it.
        factory: Returns the network with its weights.

    Raises:
        UserError: The name has another form, or belongs to a shipped network or to another factory.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,19}", name):
        raise UserError(
            "a feature extractor's name must be 1 to 20 lower-case letters, digits and '_', the first a letter; "
            f"given {name!r}: rename it"
        )
    if name in SHIPPED or FACTORIES.get(name, factory) != factory:
        raise UserError(f"a feature extractor must have a name of its own; given {name!r}, which is taken: rename it")
    FACTORIES[name] = factory


def check_features(name: str) -> None:
    """Raise `UserError` unless `--features` accepts this value."""
    if name == INCEPTION or name in FACTORIES:
        return
    known = ", ".join((*sorted(FACTORIES), INCEPTION))
    if name.endswith(".pt2"):
        raise UserError(
            f"--features must be one of {known}; given the file {name!r}, and exported programs are no longer read: "
            f"register its network in the sweep's script with {REGISTER} of wgan_core"
        )
    raise UserError(
        f"--features must be one of {known}; given {name!r}: name one of these, or register it in the sweep's script "
        f"with {REGISTER} of wgan_core"
    )
