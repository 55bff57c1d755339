"""The surroundings and the small image tables of tests/sweeps, for tests that run sweeps on clusters."""

from tests.sweeps.conftest import small_data, surroundings

__all__ = ["small_data", "surroundings"]
