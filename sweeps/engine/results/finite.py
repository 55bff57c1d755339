"""Values for JSON, which has neither NaN nor infinities."""

from __future__ import annotations

import math
from typing import Any


def finite(value: Any) -> Any:
    """Replace NaN and infinities by None, also inside dicts, lists and tuples."""
    match value:
        case dict():
            return {key: finite(each) for key, each in value.items()}
        case list() | tuple():
            return [finite(each) for each in value]
        case float() if not math.isfinite(value):
            return None
    return value
