"""The file of the digit classifier's weights. This module imports no torch."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

WEIGHTS = Path(__file__).with_name("digits.safetensors")
FEATURES = 128
"""Length of the feature vector."""


@functools.cache
def weights_hash() -> str:
    """Return the first 8 hexadecimal digits of the SHA-256 of the shipped weights."""
    return hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()[:8]


def digits_label() -> str:
    """Return the label of this classifier in the names of metrics."""
    return f"digits_{weights_hash()}"
