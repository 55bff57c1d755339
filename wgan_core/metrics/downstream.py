"""What generated rows are worth to a classifier that is tested on real ones (Esteban et al. 2017, section 4.2).

As rows beside the real ones of their class: Wan and Jones 2020. As rows in place of real ones: Esteban et al. 2017.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wgan_core.data.coding import Coding, Value
from wgan_core.data.tables import encode, fit
from wgan_core.errors import UserError

REAL, TOPPED_UP, REPLACED = "real", "topped up", "replaced"
METRICS = ("accuracy", "balanced_accuracy", "f1", "roc_auc", "average_precision")
DRAWS = 5
TREES = 100

# (count, seed) -> so many generated rows.
Draw = Callable[[int, int], pa.Table]
Numbers = NDArray[np.float32]
Classes = NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """Rows (N, D) that a classifier sees, standardised, and their classes (N,)."""

    features: Numbers
    classes: Classes

    def __add__(self, other: Rows) -> Rows:
        return Rows(np.concatenate([self.features, other.features]), np.concatenate([self.classes, other.classes]))


@dataclass(frozen=True)
class Outcome:
    """How one classifier fared, over all draws.

    training: "real"; "topped up": real rows and generated ones beside; "replaced": generated ones in place of the real
    ones of their classes. rows, generated: how many it was trained on, and how many of these were generated.
    means, sds: of each of `METRICS` on the real test split, over the draws; a real training differs in the seed alone.
    """

    classifier: str
    training: str
    rows: int
    generated: int
    means: Mapping[str, float]
    sds: Mapping[str, float]


@dataclass(frozen=True)
class Problem:
    """A classification that rows are generated for: which class a row is of, or whether it is of the positive one.

    target: the classes by number; that of `positive` is 1, any other 0.
    """

    coding: Coding
    label: str
    positive: Value | None
    target: Mapping[Value, int]
    train: Rows
    test: Rows

    @classmethod
    def of(cls, splits: Mapping[str, pa.Table], coding: Coding) -> Problem:
        """coding: the generator's, which says what the label is and which columns are categories.

        splits: the real rows of all classes. Raises `UserError` for rows that were generated without a label, for a
        test split without the positive class or without any other, and for what the classifiers cannot be shown.
        """
        if not coding.label:
            raise UserError(
                "a classifier needs to know which column tells classes apart; the sweep was not told: sweep again with "
                "--label, and --positive-class for rows of one class"
            )
        named = {column.name for column in coding.columns if column.values}
        features = fit(splits["train"].drop_columns(coding.label), named)
        known = sorted(set(splits["train"][coding.label].to_pylist()))
        one = coding.positive is not None
        target = {value: int(value == coding.positive) if one else index for index, value in enumerate(known)}
        empty = Rows(np.zeros((0, features.width), np.float32), np.zeros(0, np.int64))
        problem = cls(features, coding.label, coding.positive, target, empty, empty)
        train, test = (problem.rows(splits[name], name) for name in ("train", "test"))
        for name, split in (("training", train), ("test", test)):
            if len(np.unique(split.classes)) == 1:
                raise UserError(
                    f"the {name} split must have rows of two classes of {coding.label!r}; it has one: give more rows"
                )
        return cls(features, coding.label, coding.positive, target, train, test)

    def rows(self, table: pa.Table, where: str) -> Rows:
        """Rows, real or generated, as a classifier sees them; where: what an error calls them."""
        labels = table[self.label].to_pylist()
        unknown = next((value for value in labels if value not in self.target and self.positive is None), None)
        if unknown is not None:
            raise UserError(f"each class must be in the training split; {where} has {unknown!r}: drop its rows")
        classes = np.array([self.target.get(value, 0) for value in labels], dtype=np.int64)
        return Rows(encode(table, self.coding, f"the {where} split"), classes)

    @property
    def lacking(self) -> int:
        """Rows of the positive class that would make it as large as the others together; of all classes, twice as many.

        Raises `UserError` if there are enough.
        """
        if self.positive is None:
            return len(self.train.classes)
        others, own = np.bincount(self.train.classes, minlength=2)
        if own >= others:
            raise UserError(
                f"rows are added until the classes are balanced; {self.label} {self.positive} has {own} rows to train "
                f"on and all others have {others}: say with --n how many to add"
            )
        return int(others - own)

    def trainings(self, draw: Draw, count: int, seed: int) -> dict[str, tuple[Rows, int]]:
        """What a classifier is trained on, by name, and how many rows of it are generated."""
        real = self.train
        replaced = np.ones_like(real.classes, dtype=bool) if self.positive is None else real.classes == 1
        kept = Rows(real.features[~replaced], real.classes[~replaced])
        instead = int(replaced.sum())
        added, new = (self.rows(draw(size, seed), "generated") for size in (count, instead))
        return {REAL: (real, 0), TOPPED_UP: (real + added, count), REPLACED: (kept + new, instead)}


def downstream(problem: Problem, draw: Draw, count: int, draws: int = DRAWS, seed: int = 0) -> list[Outcome]:
    """Classifiers trained on real and generated rows and tested on the real test split, `draws` times each.

    count: how many generated rows are added to the real ones. seed: of the first draw and its classifiers; the next
    have the next. The test split is never trained on, and columns are standardised by the real training split.
    """
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for each in range(seed, seed + draws):
        for name, (rows, generated) in problem.trainings(draw, count, each).items():
            sizes[name] = len(rows.classes), generated
            for classifier, model in _classifiers(each).items():
                scores = _scores(_probabilities(model, rows, problem), problem)
                found.setdefault((classifier, name), []).append(scores)
    return [
        Outcome(
            classifier,
            name,
            *sizes[name],
            means={metric: statistics.fmean(each[metric] for each in scores) for metric in METRICS},
            sds={metric: statistics.pstdev(each[metric] for each in scores) for metric in METRICS},
        )
        for (classifier, name), scores in sorted(found.items(), key=lambda item: item[0][0])
    ]


def _classifiers(seed: int) -> dict[str, Any]:
    from sklearn.ensemble import RandomForestClassifier  # takes a second
    from sklearn.linear_model import LogisticRegression

    return {
        "logistic regression": LogisticRegression(max_iter=1_000),
        "random forest": RandomForestClassifier(TREES, random_state=seed),
    }


def _probabilities(model: Any, rows: Rows, problem: Problem) -> NDArray[np.float64]:
    """(test rows, classes): of each class, in order; 0 for one that was not trained on."""
    found = np.zeros((len(problem.test.classes), max(problem.target.values()) + 1))
    seen = np.unique(rows.classes)
    if len(seen) == 1:  # as of a generator that has lost all classes but one
        found[:, seen[0]] = 1.0
        return found
    model.fit(rows.features, rows.classes)
    found[:, model.classes_] = model.predict_proba(problem.test.features)
    return found


def _scores(probabilities: NDArray[np.float64], problem: Problem) -> dict[str, float]:
    """Of the positive class, or the mean over classes where there is none; each of those in the test split, alone."""
    from sklearn import metrics

    truth, said = problem.test.classes, probabilities.argmax(axis=1)
    of = [1] if problem.positive is not None else list(np.unique(truth))
    return {
        "accuracy": float(metrics.accuracy_score(truth, said)),
        "balanced_accuracy": float(metrics.recall_score(truth, said, labels=np.unique(truth), average="macro")),
        "f1": float(metrics.f1_score(truth, said, labels=of, average="macro", zero_division=0.0)),
        "roc_auc": statistics.fmean(metrics.roc_auc_score(truth == each, probabilities[:, each]) for each in of),
        "average_precision": statistics.fmean(
            metrics.average_precision_score(truth == each, probabilities[:, each]) for each in of
        ),
    }
