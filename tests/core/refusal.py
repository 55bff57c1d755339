"""Refusals: errors for people, in one line that says why."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wgan_core.errors import UserError


def refused(make: Callable[[], object], *parts: str, most: int = 1500) -> str:
    """Check that this is refused in one line, without control characters, that has these parts; return the line."""
    with pytest.raises(UserError) as caught:
        make()
    said = str(caught.value)
    assert said.isprintable()
    assert len(said) < most
    for part in parts:
        assert part in said
    return said
