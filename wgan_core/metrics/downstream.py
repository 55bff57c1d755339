"""Scores of classifiers that train on generated rows and are tested on real rows.

Generated rows either top up the real rows (Wan and Jones 2020) or replace them (Esteban et al. 2017, section 4.2).
"""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wgan_core.data.coding import Coding, Value
from wgan_core.data.columns import ColumnReading
from wgan_core.data.fitting import encode, fit
from wgan_core.errors import UserError, quoted, shortened

REAL, TOPPED_UP, REPLACED = "real", "topped up", "replaced"
METRICS = ("accuracy", "balanced_accuracy", "f1", "roc_auc", "average_precision")
DRAWS = 5
TREES = 100
# Most classes. The time of the classifiers and the memory of the trees grow with their number.
MOST_CLASSES = 100
# Most steps of a tree, as `_classifiers` counts them, and most shares of classes that all trees store, 8 bytes each.
TREE_STEPS, SHARES = 2**22, 2**26
# Most passes of the logistic regression, and most products that all its passes take.
PASSES, LEAST_PASSES, PRODUCTS = 1_000, 10, 10**11

# A function from (count, seed) to `count` generated rows.
Draw = Callable[[int, int], pa.Table]
Numbers = NDArray[np.float32]
Classes = NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """Standardised rows (N, D) for a classifier, with their classes (N,)."""

    features: Numbers
    classes: Classes

    def __add__(self, other: Rows) -> Rows:
        return Rows(np.concatenate([self.features, other.features]), np.concatenate([self.classes, other.classes]))


@dataclass(frozen=True)
class Outcome:
    """The scores of one classifier on the real test split, over all draws.

    Attributes:
        classifier: Name of the classifier.
        training: "real" for real rows; "topped up" for real and generated rows; "replaced" for generated rows in place
            of the real rows of their classes.
        rows: Number of rows that the classifier was trained on.
        generated: Number of generated rows among them.
        means: Mean of each of `METRICS` over the draws.
        sds: Standard deviation of each of `METRICS` over the draws. If the training is "real", draws differ only in the
            classifier's seed.
    """

    classifier: str
    training: str
    rows: int
    generated: int
    means: Mapping[str, float]
    sds: Mapping[str, float]


@dataclass(frozen=True)
class Problem:
    """A classification task: to predict a row's class, or whether a row is of the positive class.

    Attributes:
        coding: The columns of the classifier's features.
        label: Name of the column of the class.
        positive: The positive class; None for a task with all classes.
        target: Class index of each label value: 1 for the positive class and 0 for others. Without a positive class,
            indices count the sorted label values.
        train: Real training rows.
        test: Real test rows.
    """

    coding: Coding
    label: str
    positive: Value | None
    target: Mapping[Value, int]
    train: Rows
    test: Rows

    @classmethod
    def of(cls, splits: Mapping[str, pa.Table], coding: Coding, readings: Mapping[str, ColumnReading]) -> Problem:
        """Make the classification task of a trained generator.

        Args:
            splits: The real rows of all classes, under "train" and "test".
            coding: The generator's coding. It names the label.
            readings: The readings of the columns, by name.

        Raises:
            UserError: The generator was trained without a label, a split has only one class, or a row cannot be
                encoded.
        """
        if not coding.label:
            raise UserError(
                "a classifier needs to know which column tells classes apart; the sweep was not told: sweep again with "
                "--label, and --positive-class for rows of one class"
            )
        features = fit({name: rows.drop_columns(coding.label) for name, rows in splits.items()}, readings)
        known = sorted(set(splits["train"][coding.label].to_pylist()))
        one = coding.positive is not None
        if not one and len(known) > MOST_CLASSES:
            raise UserError(
                f"classifiers are trained on at most {MOST_CLASSES} classes; {quoted(coding.label)} has "
                f"{len(known):,}: sweep again with --positive-class for one of them, or group them"
            )
        target = {value: int(value == coding.positive) if one else index for index, value in enumerate(known)}
        empty = Rows(np.zeros((0, features.width), np.float32), np.zeros(0, np.int64))
        problem = cls(features, coding.label, coding.positive, target, empty, empty)
        train, test = (problem.rows(splits[name], name) for name in ("train", "test"))
        for name, split in (("training", train), ("test", test)):
            if len(np.unique(split.classes)) == 1:
                raise UserError(
                    f"the {name} split must have rows of two classes of {quoted(coding.label)}; it has one: give "
                    "more rows"
                )
        return cls(features, coding.label, coding.positive, target, train, test)

    def rows(self, table: pa.Table, where: str) -> Rows:
        """Encode real or generated rows, which errors call `where`. Raises `UserError` for an unknown class."""
        labels = table[self.label].to_pylist()
        unknown = next((value for value in labels if value not in self.target and self.positive is None), None)
        if unknown is not None:
            raise UserError(
                f"each class must be in the training split; {where} has {shortened(repr(unknown))}: drop its rows"
            )
        classes = np.array([self.target.get(value, 0) for value in labels], dtype=np.int64)
        return Rows(encode(table, self.coding, f"the {where} split"), classes)

    @property
    def lacking(self) -> int:
        """Return the number of rows to generate.

        With a positive class, they make it as large as all other classes together. Without one, they double the
        training rows.

        Raises:
            UserError: The positive class is large enough already.
        """
        if self.positive is None:
            return len(self.train.classes)
        others, own = np.bincount(self.train.classes, minlength=2)
        if own >= others:
            raise UserError(
                f"rows are added until the classes are balanced; {quoted(self.label)} "
                f"{shortened(str(self.positive))} has "
                f"{own} rows to train on and all others have {others}: say with --n how many to add"
            )
        return int(others - own)

    def trainings(self, draw: Draw, count: int, seed: int) -> dict[str, tuple[Rows, int]]:
        """Return the training rows of each kind of training, with the number of generated rows among them."""
        real = self.train
        replaced = np.ones_like(real.classes, dtype=bool) if self.positive is None else real.classes == 1
        kept = Rows(real.features[~replaced], real.classes[~replaced])
        instead = int(replaced.sum())
        added, new = (self.rows(draw(size, seed), "generated") for size in (count, instead))
        return {REAL: (real, 0), TOPPED_UP: (real + added, count), REPLACED: (kept + new, instead)}


def downstream(problem: Problem, draw: Draw, count: int, draws: int = DRAWS, seed: int = 0) -> list[Outcome]:
    """Train classifiers on real and generated rows, and test them on the real test split.

    The test split is never trained on. Columns are standardised by the real training split.

    Args:
        problem: The classification task.
        draw: Generates rows.
        count: Number of generated rows that top up the real rows.
        draws: Number of draws of generated rows. Each classifier is trained once for each draw.
        seed: Seed of the first draw and its classifiers. Each further draw takes the next whole number.
    """
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for each in range(seed, seed + draws):
        for name, (rows, generated) in problem.trainings(draw, count, each).items():
            sizes[name] = len(rows.classes), generated
            for classifier, model in _classifiers(each, rows, len({*problem.target.values()})).items():
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


def _classifiers(seed: int, rows: Rows, classes: int) -> dict[str, Any]:
    """Return the classifiers, with bounds on their work and memory that 10,000 rows of 10 classes do not meet.

    A pass of the logistic regression takes rows x inputs x classes products. A tree takes about rows x the root of the
    inputs x (10 + classes) steps, so each tree draws fewer rows if these are more. Each node stores a share of each
    class, so trees have fewer leaves if classes are many.
    """
    count, inputs = rows.features.shape
    passes = min(PASSES, max(LEAST_PASSES, PRODUCTS // (count * inputs * classes)))
    drawn = min(count, int(TREE_STEPS / (math.sqrt(inputs) * (10 + classes))))
    leaves = SHARES // (2 * TREES * classes)
    from sklearn.ensemble import RandomForestClassifier  # this import takes a second
    from sklearn.linear_model import LogisticRegression

    return {
        "logistic regression": LogisticRegression(max_iter=passes),
        "random forest": RandomForestClassifier(
            TREES,
            random_state=seed,
            max_samples=drawn if drawn < count else None,
            # A bound makes other trees even if they do not meet it.
            max_leaf_nodes=leaves if leaves < drawn else None,
        ),
    }


def _probabilities(model: Any, rows: Rows, problem: Problem) -> NDArray[np.float64]:
    """Fit a model and return its probabilities (test rows, classes); 0 for a class that has no training rows."""
    found = np.zeros((len(problem.test.classes), max(problem.target.values()) + 1))
    from sklearn.exceptions import ConvergenceWarning

    seen = np.unique(rows.classes)
    if len(seen) == 1:  # a generator may have lost all classes but one
        found[:, seen[0]] = 1.0
        return found
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of passes is bounded
        model.fit(rows.features, rows.classes)
    found[:, model.classes_] = model.predict_proba(problem.test.features)
    return found


def _scores(probabilities: NDArray[np.float64], problem: Problem) -> dict[str, float]:
    """Return `METRICS`. F1, ROC AUC and average precision are of the positive class, else means over test classes."""
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
