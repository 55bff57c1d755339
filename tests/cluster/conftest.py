"""What these tests share with those of the sweeps."""

from tests.sweeps.conftest import make_plan, small_data, surroundings

__all__ = ["make_plan", "small_data", "surroundings"]
