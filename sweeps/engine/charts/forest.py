"""A random forest that predicts the score from the hyper-parameters, to show the joint effect of two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor

from sweeps.engine.charts.equal import LEAST_TRIALS, Point, on_scale
from sweeps.engine.plan.space import Range

TREES = 100
# From this number of trials on, a leaf holds at least three trials, because single trials are noise.
MANY = 50
# Least number of trials that a prediction is averaged over, if there are as many. More change little and cost time.
AVERAGED_OVER = 60


@dataclass(frozen=True)
class Forest:
    """A random forest that predicts the scaled score at the equal step from the scaled hyper-parameters.

    Attributes:
        names: Names of the hyper-parameters.
        points: Scaled hyper-parameters of the trials that it was fitted to, shape (trials, names).
        model: The fitted forest.
        trust: Out-of-bag R². At most 0 if the forest predicts no better than the mean.
    """

    names: list[str]
    points: NDArray[np.float64]
    model: RandomForestRegressor
    trust: float

    def surface(self, two: tuple[str, str], over: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return the partial dependence of the score on two hyper-parameters (Friedman 2001, section 8.2).

        Each prediction is averaged over the other hyper-parameters of the trials.

        Args:
            two: Names of the first and the second hyper-parameter.
            over: The scaled values of each of the two, by name.

        Returns:
            Scaled scores, shape (values of the second, values of the first).
        """
        step = max(1, len(self.points) // AVERAGED_OVER)
        background = self.points[::step]
        first, second = np.meshgrid(over[two[0]], over[two[1]])
        rows = np.repeat(background[None], first.size, axis=0)
        rows[:, :, self.names.index(two[0])] = first.reshape(-1, 1)
        rows[:, :, self.names.index(two[1])] = second.reshape(-1, 1)
        predicted = self.model.predict(rows.reshape(-1, len(self.names)))
        return predicted.reshape(first.size, len(background)).mean(axis=1).reshape(first.shape)


def fitted(ranges: Mapping[str, Range], points: Sequence[Point]) -> Forest | None:
    """Fit a forest to the points. Return None for too few points or fewer than two hyper-parameters."""
    names = list(ranges)
    known = [(point.params, point.score) for point in points if point.score is not None]
    if len(known) < LEAST_TRIALS or len(names) < 2:
        return None
    values = np.array([[on_scale(ranges[name], params[name]) for name in names] for params, _ in known])
    scores = np.array([score for _, score in known])
    model = RandomForestRegressor(TREES, min_samples_leaf=1 if len(known) < MANY else 3, oob_score=True, random_state=0)
    model.fit(values, scores)
    return Forest(names, values, model, float(model.oob_score_))
