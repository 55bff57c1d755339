"""Wasserstein distances of the raw values: exact in the plane, and sliced for any data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from wgan_core.metrics.distances import Estimate, Projections, sliced_wasserstein, wasserstein
from wgan_core.metrics.metric import EXACT_SAMPLES, Distance, HeldOut, MetricSpec, SampleDraw, Side

W1_NAME, SLICED_NAME = "eval/w1", "eval/sliced_wasserstein"
PLANE = (2,)
PROJECTIONS = 128
PROJECTION_SEED = 2_015
# On fewer real rows than this, sliced Wasserstein is smallest for a generator that varies too little, and may even be
# below the floor. The nearest-neighbour test tells such a generator's rows from real rows.
FEW = 500
TABLE_AXES = 2


@dataclass(frozen=True)
class Compact:
    """A view of samples on at most 128 axes: their values (N, D), or projections of them on fixed directions.

    Distances between projections are near those between the values, but for a factor (Johnson and Lindenstrauss 1984).
    """

    projections: Projections | None

    @classmethod
    def of_size(cls, samples: Tensor) -> Compact:
        """Return the view for samples of this shape (N, ...)."""
        axes = samples[0].numel()
        return cls(Projections.draw(axes, PROJECTIONS, PROJECTION_SEED) if axes > PROJECTIONS else None)

    def of(self, samples: Tensor) -> Tensor:
        """Return the samples (N, ...) as (N, D)."""
        return samples.flatten(1) if self.projections is None else self.projections.of(samples)

    def protocol(self) -> dict[str, Any]:
        """Return all that the view depends on besides the samples, as values that JSON has."""
        return {} if self.projections is None else {"projections": PROJECTIONS, "projection_seed": PROJECTION_SEED}


class ExactWasserstein(Distance):
    """Exact 1-Wasserstein distance between the first 2,048 samples of each side, or all if there are fewer."""

    spec = MetricSpec(
        W1_NAME,
        "exact 1-Wasserstein distance of the raw values; data units",
        "minimize",
        frozenset({"held-out split", "sample size"}),
        "Arjovsky et al. 2017, equation 1; the solver: Bonneel et al. 2011",
    )

    def suits(self, data: HeldOut) -> bool:
        # In many dimensions, W1 between two sets from one distribution is nearly as large as between any two sets.
        return data.dataset.sample_shape == PLANE

    def distance(self, real: Tensor, fake: Tensor) -> Estimate:
        return wasserstein(real[:EXACT_SAMPLES], fake[:EXACT_SAMPLES])

    def entry(self, real: Side) -> dict[str, Any]:
        return {"order": 1, "cost": "euclidean", "samples": min(EXACT_SAMPLES, len(real.real))}


class SlicedWasserstein(Distance):
    """Sliced 2-Wasserstein distance over fixed directions, with both sets cut to the size of the smaller set."""

    spec = MetricSpec(
        SLICED_NAME,
        "sliced 2-Wasserstein distance of the raw values over fixed directions; data units ([-1, 1] pixels)",
        "minimize",
        frozenset({"held-out split", "sample size", "directions"}),
        "Bonneel et al. 2015, section 3",
    )

    def trusted(self, data: HeldOut) -> bool:
        # On tables of any size, the nearest-neighbour test orders damaged rows better (docs/log.md, 2026-11-30).
        table = data.dataset.coding is not None and data.real.values.ndim == TABLE_AXES
        return len(data.real.values) >= FEW and not table

    def view(self, data: HeldOut) -> Projections:
        return Projections.draw(data.real.values[0].numel(), PROJECTIONS, PROJECTION_SEED)

    def represent(self, view: Projections, drawn: SampleDraw) -> Tensor:
        return view.of(drawn.values)

    def distance(self, real: Tensor, fake: Tensor) -> Estimate:
        count = min(len(real), len(fake))
        return sliced_wasserstein(real[:count], fake[:count])

    def entry(self, real: Side) -> dict[str, Any]:
        return {"order": 2, "projections": PROJECTIONS, "projection_seed": PROJECTION_SEED}
