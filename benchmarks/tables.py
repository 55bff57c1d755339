"""Rows of real tables that a GAN generates at default settings, told from real rows by a classifier.

    python benchmarks/tables.py FILE... [--coding ranks standard] [--seeds 1] [--ctgan PYTHON] [--json OUT]

A gradient-boosted classifier is trained to tell generated rows from real rows. Its area under the ROC curve (AUC), by
five-fold cross-validation, is .5 for a perfect generator and 1 for one that is always found out. A row of the output
also has the seconds of training, and the largest difference between the shares of missing values and of zeros in any
column of numbers.

Ours is one training of the first preset of `sweeps/tabular.py` at its default budget, without a search. With --ctgan,
CTGAN (Xu et al. 2019) trains on the same rows for 300 epochs, in an environment of its own whose Python is named; it
needs tables without missing values.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from machine import cores
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from sweeps import TABULAR
from sweeps.engine.plan.presets_tabular import TABLE_BUDGET, table_structure
from wgan_core.backend import process
from wgan_core.backend.process import processor
from wgan_core.config import Trial, report_grid, trial_seed
from wgan_core.data.coding import Coding
from wgan_core.data.dataset import Dataset
from wgan_core.data.fitting import CODINGS, CodingName
from wgan_core.data.rows import rows_of
from wgan_core.data.tables import load_table
from wgan_core.training.cohort import Cohort
from wgan_core.training.data import TrainingData
from wgan_core.training.samples import evaluation_z

PRESET = TABULAR["wgan-gp"]
CTGAN = Path(__file__).parent / "arms" / "ctgan_rows.py"
MOST_ROWS, FOLDS, MOST_CATEGORIES = 4_000, 5, 250


def frame(samples: torch.Tensor, coding: Coding) -> pd.DataFrame:
    """Return samples as rows, with dates and the like as numbers."""
    return rows_of(samples, coding, as_read=True).to_pandas()


def real_rows(dataset: Dataset) -> pd.DataFrame:
    """Return the rows of all splits, the training rows first."""
    assert dataset.coding is not None
    parts = (dataset.train, dataset.validation, dataset.test)
    return pd.concat([frame(torch.from_numpy(each.values), dataset.coding) for each in parts], ignore_index=True)


def ours(dataset: Dataset, seed: int, updates: int) -> tuple[pd.DataFrame, float]:
    """Train the first preset, and return as many rows as the data has, and the seconds of training."""
    assert dataset.coding is not None
    structure = table_structure(PRESET, dataset)
    cohort = Cohort(structure, TrainingData(torch.from_numpy(dataset.train.values)), report_grid(updates, 3))
    trial = Trial(0, trial_seed(seed, 0), PRESET.space.hyper(PRESET.space.presets[0]))
    cohort.add(trial)
    done, seconds = 0, 0.0
    while done < updates:
        (report,) = cohort.advance()
        if report.problem:
            raise SystemExit(f"training must stay finite: {report.problem}")
        done, seconds = report.critic_updates, seconds + report.seconds
    count = len(dataset.train) + len(dataset.validation) + len(dataset.test)
    return frame(cohort.samples(trial.number, evaluation_z(structure, count)), dataset.coding), seconds


def ctgan(
    python: str, real: pd.DataFrame, categories: Sequence[str], rows: int, seed: int
) -> tuple[pd.DataFrame, float]:
    """Let CTGAN train on the first `rows` rows in another environment, and return its rows and seconds."""
    with tempfile.TemporaryDirectory() as folder:
        asked = {"categories": list(categories), "count": len(real), "seed": seed}
        real.head(rows).to_csv(f"{folder}/train.csv", index=False)
        Path(folder, "asked.json").write_text(json.dumps(asked))
        subprocess.run([python, CTGAN, folder], check=True)
        kinds = {name: real[name].dtype for name in real if name not in categories}
        found = pd.read_csv(f"{folder}/rows.csv", keep_default_na=False, dtype=dict.fromkeys(categories, str))
        return found.astype(kinds), float(Path(folder, "seconds.txt").read_text())


def auc(real: pd.DataFrame, made: pd.DataFrame) -> float:
    """Return the cross-validated AUC of a gradient-boosted classifier of real against generated rows."""
    size = min(len(real), len(made), MOST_ROWS)
    both = pd.concat([side.sample(size, random_state=0) for side in (real, made)], ignore_index=True)
    truth = np.repeat([1, 0], size)
    coded = {
        name: values.astype(float) if pd.api.types.is_numeric_dtype(values) else pd.factorize(values.astype(str))[0]
        for name, values in both.items()
    }
    few = [not pd.api.types.is_numeric_dtype(both[name]) and both[name].nunique() < MOST_CATEGORIES for name in both]
    model = HistGradientBoostingClassifier(max_iter=100, categorical_features=few, random_state=0)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    said = cross_val_predict(model, pd.DataFrame(coded).to_numpy(float), truth, cv=folds, method="predict_proba")
    return float(roc_auc_score(truth, said[:, 1]))


def most_apart(real: pd.DataFrame, made: pd.DataFrame) -> dict[str, float]:
    """Return the largest difference between the shares of missing values, and of zeros, in a column of numbers."""
    numbers = [name for name in real if pd.api.types.is_numeric_dtype(real[name])]
    both = [(real[name], made[name]) for name in numbers] or [(pd.Series([1.0]), pd.Series([1.0]))]
    return {
        "missing": max(abs(one.isna().mean() - other.isna().mean()) for one, other in both),
        "zeros": max(abs((one == 0).mean() - (other == 0).mean()) for one, other in both),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="tables that `sweeps data` can read")
    parser.add_argument("--coding", nargs="+", choices=CODINGS, default=CODINGS, help="codings to compare")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each (default: %(default)s)")
    parser.add_argument("--updates", type=int, help="critic updates (default: those of sweeps/tabular.py)")
    parser.add_argument("--ctgan", metavar="PYTHON", help="Python of an environment with the package ctgan")
    parser.add_argument("--threads", type=int, default=cores(), help="of torch (default: all cores, %(default)s)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures to this file as JSON")
    given = parser.parse_args(arguments)
    process.configure(given.threads)
    day = datetime.now(UTC).date()
    print(
        f"{day}, {processor()}, threads: {given.threads}, Python {platform.python_version()}, torch {torch.__version__}"
    )
    print("\n| table | rows | arm | seed | updates | AUC | missing | zeros | seconds |\n|" + "---|" * 9, flush=True)
    figures: list[dict[str, Any]] = []

    def told(table: str, arm: str, seed: int, updates: int, real: pd.DataFrame, made: pd.DataFrame, s: float) -> None:
        found = {"auc": auc(real, made), **most_apart(real, made), "seconds": s}
        figures.append({"table": table, "rows": len(real), "arm": arm, "seed": seed, "updates": updates, **found})
        cells = (
            table,
            len(real),
            arm,
            seed,
            updates or "",
            *(f"{found[name]:.3f}" for name in ("auc", "missing", "zeros")),
        )
        print("| " + " | ".join(map(str, cells)) + f" | {s:.0f} |", flush=True)

    for file in given.files:
        for seed in range(given.seeds):
            for coding in given.coding:
                dataset = load_table(file, coding=cast("CodingName", coding))
                real, updates = real_rows(dataset), given.updates or TABLE_BUDGET.updates(len(dataset.train))
                told(Path(file).stem, coding, seed, updates, real, *ours(dataset, seed, updates))
            if given.ctgan:
                assert dataset.coding is not None
                categories = [column.name for column in dataset.coding.columns if column.values]
                real[categories] = real[categories].astype(str)
                made = ctgan(given.ctgan, real, categories, len(dataset.train), seed)
                told(Path(file).stem, "CTGAN, 300 epochs", seed, 0, real, *made)
    if given.json:
        given.json.write_text(
            json.dumps({"day": str(day), "processor": processor(), "figures": figures}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
