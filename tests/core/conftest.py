"""Data that several tests of the core read, loaded once."""

from __future__ import annotations

import pytest

from wgan_core.data.dataset import Dataset
from wgan_core.data.mnist import load_mnist


@pytest.fixture(scope="session")
def mnist() -> Dataset:
    return load_mnist()
