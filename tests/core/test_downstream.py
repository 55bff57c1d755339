"""What generated rows are worth to classifiers, where it is known what they must be worth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn import metrics
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.core.refusal import refused
from wgan_core.data.coding import Coding, Value
from wgan_core.data.tables import Asked, interpreted, load_table, read, split_rows
from wgan_core.metrics import downstream as downstream_module
from wgan_core.metrics.downstream import (
    METRICS,
    REAL,
    REPLACED,
    SHARES,
    TOPPED_UP,
    TREES,
    Outcome,
    Problem,
    Rows,
    downstream,
)

Splits = dict[str, pa.Table]


def problem_of(data: str | Path, label: str, positive: str | None) -> tuple[Splits, Coding, Problem]:
    coding = load_table(data, label, positive).coding
    assert coding is not None
    found = interpreted(read(data), Asked(label))
    splits = split_rows(found, label)
    return splits, coding, Problem.of(splits, coding, found.by_name)


@pytest.fixture(scope="module")
def cancer() -> tuple[Splits, Coding, Problem]:
    return problem_of("breast-cancer", "diagnosis", "malignant")


def resampled(rows: pa.Table, count: int, seed: int) -> pa.Table:
    """What a perfect generator gives: real rows, drawn with replacement."""
    return rows.take(pa.array(np.random.default_rng(seed).integers(len(rows), size=count)))


def having(rows: pa.Table, value: Value) -> pa.Table:
    return rows.filter(pa.array([each == value for each in rows["diagnosis"].to_pylist()]))


def by_name(outcomes: list[Outcome]) -> dict[tuple[str, str], Outcome]:
    return {(each.classifier, each.training): each for each in outcomes}


def test_the_real_baseline_is_scikit_learn_s(cancer: tuple[Splits, Coding, Problem]) -> None:
    """A pipeline of its own on the same split; nothing of the test rows is in it."""
    splits, _, problem = cancer
    train, test = ({name: splits[name].to_pandas() for name in ("train", "test")}[part] for part in ("train", "test"))
    features = [name for name in train.columns if name != "diagnosis"]
    truth = (test["diagnosis"] == "malignant").to_numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
    model.fit(train[features], train["diagnosis"] == "malignant")
    said, sure = model.predict(test[features]), model.predict_proba(test[features])[:, 1]
    wanted = {
        "accuracy": metrics.accuracy_score(truth, said),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, said),
        "f1": metrics.f1_score(truth, said),
        "roc_auc": metrics.roc_auc_score(truth, sure),
        "average_precision": metrics.average_precision_score(truth, sure),
    }
    positives = having(splits["train"], "malignant")
    (found,) = (
        each
        for each in downstream(problem, lambda count, seed: resampled(positives, count, seed), 5, draws=1)
        if (each.classifier, each.training) == ("logistic regression", REAL)
    )
    assert found.means == pytest.approx(wanted, abs=1e-6)
    assert (found.rows, found.generated) == (457, 0)


def test_a_perfect_generator_costs_nothing(cancer: tuple[Splits, Coding, Problem]) -> None:
    """And rows of the other class in place of malignant ones teach the opposite."""
    splits, _, problem = cancer
    assert problem.lacking == 287 - 170
    perfect, wrong = having(splits["train"], "malignant"), having(splits["train"], "benign")
    mislabelled = wrong.set_column(wrong.column_names.index("diagnosis"), "diagnosis", [["malignant"] * len(wrong)])
    good = by_name(downstream(problem, lambda n, seed: resampled(perfect, n, seed), problem.lacking, draws=2))
    bad = by_name(downstream(problem, lambda n, seed: resampled(mislabelled, n, seed), problem.lacking, draws=2))
    assert {(each.training, each.rows, each.generated) for each in good.values()} == {
        (REAL, 457, 0),
        (TOPPED_UP, 457 + 117, 117),
        (REPLACED, 457, 170),
    }
    for classifier in ("logistic regression", "random forest"):
        real = good[classifier, REAL]
        assert real.means["accuracy"] > 0.93
        for training in (TOPPED_UP, REPLACED):
            assert abs(good[classifier, training].means["accuracy"] - real.means["accuracy"]) < 0.04
        assert bad[classifier, REAL].means == real.means
        assert bad[classifier, REPLACED].means["accuracy"] < 0.75
        assert bad[classifier, REPLACED].means["roc_auc"] < real.means["roc_auc"] - 0.1
        assert set(real.means) == set(real.sds) == set(METRICS)
    assert good["logistic regression", REAL].sds["accuracy"] == 0
    assert good["logistic regression", REPLACED].sds["roc_auc"] > 0


def test_the_same_seed_gives_the_same_figures(cancer: tuple[Splits, Coding, Problem]) -> None:
    splits, _, problem = cancer
    rows = having(splits["train"], "malignant")
    one, two, other = (
        downstream(problem, lambda n, each: resampled(rows, n, each), 20, draws=1, seed=seed) for seed in (3, 3, 4)
    )
    assert one == two != other


def test_rows_of_all_classes(tmp_path: Path) -> None:
    """A joint table: macro averages over the classes; generated rows alone teach as well as real ones do."""
    splits, _, problem = problem_of("iris", "species", None)
    assert problem.lacking == 120
    found = by_name(downstream(problem, lambda n, seed: resampled(splits["train"], n, seed), 120, draws=2))
    assert found["random forest", REPLACED].generated == found["random forest", REPLACED].rows == 120
    for each in found.values():
        assert each.means["accuracy"] > 0.8
        assert each.means["roc_auc"] > 0.95
        assert each.means["accuracy"] == pytest.approx(
            each.means["balanced_accuracy"]
        )  # five of each in the test split


def test_a_generator_that_lost_classes_is_scored(tmp_path: Path) -> None:
    """Of two classes of three, and of one alone, for which no logistic regression can be fitted."""
    splits, _, problem = problem_of("iris", "species", None)
    for kept, accuracy in ((("setosa", "virginica"), 2 / 3), (("setosa",), 1 / 3)):
        known = pa.array([each in kept for each in splits["train"]["species"].to_pylist()])
        rows = splits["train"].filter(known)
        found = by_name(downstream(problem, lambda n, seed, rows=rows: resampled(rows, n, seed), 10, draws=1))
        for classifier in ("logistic regression", "random forest"):
            assert found[classifier, REPLACED].means["accuracy"] == pytest.approx(accuracy, abs=0.01)
    assert found["random forest", REPLACED].means["roc_auc"] == 0.5


def test_what_cannot_be_asked_of_a_classifier(tmp_path: Path) -> None:
    splits, coding, problem = problem_of("breast-cancer", "diagnosis", "benign")
    refused(lambda: problem.lacking, "benign has 287 rows", "others have 170", "say with --n")
    unlabelled, cancer = Coding(coding.columns), interpreted(read("breast-cancer"), Asked("diagnosis")).by_name
    refused(lambda: Problem.of(splits, unlabelled, cancer), "which column tells classes apart", "--label")
    one = {**splits, "test": having(splits["test"], "benign")}
    refused(lambda: Problem.of(one, coding, cancer), "the test split must have rows of two classes", "'diagnosis'")
    rows = pa.table({"n": np.arange(40.0), "y": [0, 1] * 20})
    for name, table in (("train", rows), ("validation", rows), ("test", rows.set_column(1, "y", [[0, 2] * 20]))):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    found = interpreted(read(tmp_path), Asked("y"))
    joint = load_table("iris", "species").coding
    assert joint is not None
    refused(
        lambda: Problem.of(split_rows(found, "y"), Coding(joint.columns, "y"), found.by_name),
        "each class must be",
        "test has 2",
    )


def test_very_many_classes_are_refused(tmp_path: Path) -> None:
    """200 classes of 4,000 rows took more than two minutes and 1.6 GB."""
    path = tmp_path / "classes.parquet"
    rng = np.random.default_rng(0)
    pq.write_table(pa.table({"x": rng.normal(size=2_020), "of": [f"c{at % 101}" for at in range(2_020)]}), path)
    refused(lambda: problem_of(path, "of", None), "at most 100 classes; 'of' has 101", "--positive-class")


@pytest.mark.parametrize(("count", "inputs", "classes"), [(60_000, 3_000, 50), (60_000, 1, 100), (4_000, 20, 100)])
def test_the_work_of_classifiers_is_bounded(count: int, inputs: int, classes: int) -> None:
    empty = np.broadcast_to(np.float32(0), (count, inputs))
    made = downstream_module._classifiers(0, Rows(empty, np.zeros(count, np.int64)), classes)
    forest, regression = made["random forest"], made["logistic regression"]
    drawn = forest.max_samples or count
    leaves = min(forest.max_leaf_nodes or drawn, drawn)
    assert 2 * TREES * leaves * classes <= SHARES
    assert drawn * inputs**0.5 * classes < 2**22
    assert regression.max_iter == 10 or regression.max_iter * count * inputs * classes <= 10**11


def test_usual_tables_meet_no_bound() -> None:
    rows = Rows(np.zeros((10_000, 50), np.float32), np.zeros(10_000, np.int64))
    made = downstream_module._classifiers(0, rows, 10)
    assert made["logistic regression"].max_iter == 1_000
    assert made["random forest"].max_samples is made["random forest"].max_leaf_nodes is None
