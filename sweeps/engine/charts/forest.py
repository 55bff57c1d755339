"""A random forest of the score over the hyper-parameters, to see two of them at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor

from sweeps.engine.charts.equal import LEAST_TRIALS, Point, on_scale
from sweeps.engine.plan.space import Range

TREES = 100
# From so many trials on a leaf holds three of them: single ones are noise.
MANY = 50
# Over whose other hyper-parameters a prediction is averaged; more change little and cost time.
AVERAGED_OVER = 60


@dataclass(frozen=True)
class Forest:
    """A random forest of the scaled score at the equal step over the scaled hyper-parameters `names`.

    points (n, names): the trials it was fitted to. trust: R² on the trials that a tree was not fitted to; at most 0
    where it knows no more than the mean.
    """

    names: list[str]
    points: NDArray[np.float64]
    model: RandomForestRegressor
    trust: float

    def surface(self, pair: tuple[str, str], over: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Its prediction on the grid of a pair, averaged over the other hyper-parameters of the trials.

        That is partial dependence (Friedman 2001, section 8.2). (second, first).
        """
        step = max(1, len(self.points) // AVERAGED_OVER)
        background = self.points[::step]
        first, second = np.meshgrid(over[pair[0]], over[pair[1]])
        rows = np.repeat(background[None], first.size, axis=0)
        rows[:, :, self.names.index(pair[0])] = first.reshape(-1, 1)
        rows[:, :, self.names.index(pair[1])] = second.reshape(-1, 1)
        predicted = self.model.predict(rows.reshape(-1, len(self.names)))
        return predicted.reshape(first.size, len(background)).mean(axis=1).reshape(first.shape)


def fitted(ranges: Mapping[str, Range], points: Sequence[Point]) -> Forest | None:
    """The forest of these points; None where there are too few of them, or fewer than two hyper-parameters."""
    names = list(ranges)
    known = [(point.params, point.score) for point in points if point.score is not None]
    if len(known) < LEAST_TRIALS or len(names) < 2:
        return None
    values = np.array([[on_scale(ranges[name], params[name]) for name in names] for params, _ in known])
    scores = np.array([score for _, score in known])
    model = RandomForestRegressor(TREES, min_samples_leaf=1 if len(known) < MANY else 3, oob_score=True, random_state=0)
    model.fit(values, scores)
    return Forest(names, values, model, float(model.oob_score_))
