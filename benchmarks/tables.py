"""Rows of real tables that GANs generate at default settings, and how far they are from real rows.

    python benchmarks/tables.py FILE... [--arms ranks ctgan tvae] [--seeds 3] [--other PYTHON] [--out FILE]

Ours is one training of the first preset of `sweeps/tabular.py` at its default budget, without a search. CTGAN and TVAE
(Xu et al. 2019) train on the same rows for 300 epochs, in an environment of their own whose Python --other names. They
need tables without missing values. The columns that we read as categories are their discrete columns. No arm sees the
held-out rows. Files of more than 10,000 rows are cut to so many, by a constant seed.

- AUC: area under the ROC curve of gradient-boosted trees that tell generated rows from all real rows, by five-fold
  cross-validation; .5 is perfect.
- quality: overall score of the quality report of `sdmetrics`, against all real rows; 1 is perfect. The other
  environment computes it.
- TSTR: the trees are trained on generated rows and tested on held-out real rows: R² of a number, macro-averaged F1 of a
  category. TRTR: the same for trees trained on the real training rows.
- nearer: share of generated rows that are nearer to training rows than to held-out rows, of as many of each; clearly
  above .5, training rows may be copied.
- missing, zeros: largest difference between the shares of missing values, or of zeros, in any column of numbers.
- integers, places, range: whether whole numbers, the number of decimal places, and the range of the real rows are kept
  in all columns.

Seconds are from the first look at the rows to the end of training. With --out, each result is a line of JSON, and a
later run with the same options adds the missing ones. With --rows, generated rows are kept in a folder, and are not
generated again.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from machine import cores
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import f1_score, r2_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import NearestNeighbors

from sweeps import TABULAR
from sweeps.engine.plan.presets_tabular import TABLE_BUDGET, table_structure
from wgan_core.backend import process
from wgan_core.backend.process import processor
from wgan_core.config import Trial, report_grid, trial_seed
from wgan_core.data.coding import Coding
from wgan_core.data.fitting import CODINGS, CodingName
from wgan_core.data.rows import rows_of
from wgan_core.data.tables import load_table
from wgan_core.training.cohort import Cohort
from wgan_core.training.data import TrainingData
from wgan_core.training.samples import evaluation_z

PRESET = TABULAR["wgan-lp"]
ARMS = Path(__file__).parent / "arms"
OTHERS = ("ctgan", "tvae")
TARGETS = {
    "OFP": "privins",
    "Mroz": "income",
    "diamonds": "price",
    "Computers": "price",
    "Tobacco": "occupation",
    "Kakadu": "answer",
    "Griliches": "lw80",
    "Housing": "price",
}
"""What TSTR predicts in the tables of docs/systems.md. In other tables, it is the last column."""
CAP, MOST_ROWS, FOLDS, MOST_CATEGORIES = 10_000, 4_000, 5, 250


@dataclass(frozen=True)
class Rows:
    """A real table as frames.

    Attributes:
        train, held_out: The rows, with dates and the like as numbers.
        categories: Names of the columns of categories, which are text in the frames.
    """

    name: str
    train: pd.DataFrame
    held_out: pd.DataFrame
    categories: Sequence[str]

    @property
    def all(self) -> pd.DataFrame:
        return pd.concat([self.train, self.held_out], ignore_index=True)

    @property
    def numbers(self) -> list[str]:
        return [name for name in self.train if name not in self.categories]

    def alike(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return rows with the types of the real rows."""
        return frame.astype(dict.fromkeys(self.categories, str))

    def features(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return rows as numbers, with the index of each category among those of all real rows; -1 for a new one."""
        known = self.all
        return pd.DataFrame(
            {
                name: pd.Categorical(values, sorted(known[name].unique())).codes.astype(float)
                if name in self.categories
                else values.to_numpy(float)
                for name, values in frame.items()
            }
        )

    def few(self, names: Sequence[str]) -> list[bool]:
        """Return which of these columns a gradient-boosted model takes as categories."""
        return [name in self.categories and self.train[name].nunique() < MOST_CATEGORIES for name in names]


def frame(samples: torch.Tensor, coding: Coding) -> pd.DataFrame:
    """Return samples as rows, with dates and the like as numbers."""
    return rows_of(samples, coding, as_read=True).to_pandas()


def cut(file: Path, folder: Path) -> Path:
    """Return a file of at most `CAP` rows."""
    with file.open() as lines:
        if sum(1 for _ in lines) <= CAP:
            return file
    rows = pd.read_csv(file, dtype=str, keep_default_na=False).sample(CAP, random_state=0).sort_index()
    rows.to_csv(folder / file.name, index=False)
    return folder / file.name


def real_rows(file: Path) -> Rows:
    """Return the rows of a table, as a coding reads them back that changes no value. Ranks would move held-out rows."""
    dataset = load_table(file, coding="standard")
    assert dataset.coding is not None
    parts = (dataset.train, dataset.validation, dataset.test)
    train, *others = (frame(torch.from_numpy(each.values), dataset.coding) for each in parts)
    found = Rows(file.stem, train, pd.concat(others), [each.name for each in dataset.coding.columns if each.values])
    return Rows(found.name, found.alike(train), found.alike(found.held_out), found.categories)


def ours(file: Path, coding: str, seed: int, updates: int | None) -> tuple[pd.DataFrame, dict[str, float]]:
    """Train the first preset, and return as many rows as the data has, and the seconds and updates of training."""
    wall, cpu = time.perf_counter(), time.process_time()
    dataset = load_table(file, coding=cast("CodingName", coding))
    assert dataset.coding is not None
    structure = table_structure(PRESET, dataset)
    updates = updates or TABLE_BUDGET.updates(len(dataset.train))
    cohort = Cohort(structure, TrainingData(torch.from_numpy(dataset.train.values)), report_grid(updates, 3))
    trial = Trial(0, trial_seed(seed, 0), PRESET.space.hyper(PRESET.space.presets[0]))
    cohort.add(trial)
    done = 0
    while done < updates:
        (report,) = cohort.advance()
        if report.problem:
            raise SystemExit(f"training must stay finite: {report.problem}")
        done = report.critic_updates
    told = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "updates": updates}
    count = len(dataset.train) + len(dataset.validation) + len(dataset.test)
    return frame(cohort.samples(trial.number, evaluation_z(structure, count)), dataset.coding), told


def others(python: str, arm: str, rows: Rows, seed: int, threads: int) -> tuple[pd.DataFrame, dict[str, float]]:
    """Let CTGAN or TVAE train in another environment, and return as many rows as the data has, and the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        asked = {"categories": rows.categories, "count": len(rows.all), "seed": seed, "arm": arm, "threads": threads}
        rows.train.to_csv(f"{folder}/train.csv", index=False)
        Path(folder, "asked.json").write_text(json.dumps(asked))
        subprocess.run([python, ARMS / "table_rows.py", folder], check=True)
        made = pd.read_csv(f"{folder}/rows.csv", keep_default_na=False, dtype=dict.fromkeys(rows.categories, str))
        return made, json.loads(Path(folder, "seconds.json").read_text())


def quality(python: str, rows: Rows, made: pd.DataFrame) -> float:
    """Return the overall score of sdmetrics' quality report, which another environment computes."""
    with tempfile.TemporaryDirectory() as folder:
        rows.all.to_csv(f"{folder}/real.csv", index=False)
        made.to_csv(f"{folder}/made.csv", index=False)
        Path(folder, "asked.json").write_text(json.dumps({"categories": rows.categories}))
        command = [python, "-W", "ignore", ARMS / "table_quality.py", folder]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def auc(rows: Rows, made: pd.DataFrame) -> float:
    """Return the cross-validated AUC of a gradient-boosted classifier of real against generated rows."""
    size = min(len(rows.all), len(made), MOST_ROWS)
    both = pd.concat([rows.features(side).sample(size, random_state=0) for side in (rows.all, made)])
    truth = np.repeat([1, 0], size)
    model = HistGradientBoostingClassifier(max_iter=100, categorical_features=rows.few([*both]), random_state=0)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    said = cross_val_predict(model, both.to_numpy(float), truth, cv=folds, method="predict_proba")
    return float(roc_auc_score(truth, said[:, 1]))


def downstream(rows: Rows, train: pd.DataFrame) -> float:
    """Return the score on held-out rows of gradient-boosted trees that these rows train: R², or macro-averaged F1."""
    target = TARGETS.get(rows.name, rows.train.columns[-1])
    learnt, asked = (rows.features(each) for each in (train.head(len(rows.train)), rows.held_out))
    truth, given = asked.pop(target), learnt.pop(target)
    few = rows.few([*learnt])
    if target not in rows.categories:
        number = HistGradientBoostingRegressor(categorical_features=few, random_state=0)
        return float(r2_score(truth, number.fit(learnt.to_numpy(), given).predict(asked.to_numpy())))
    if given.nunique() < 2:
        return float(f1_score(truth, np.full(len(truth), given.iloc[0]), average="macro"))
    model = HistGradientBoostingClassifier(categorical_features=few, random_state=0)
    return float(f1_score(truth, model.fit(learnt.to_numpy(), given).predict(asked.to_numpy()), average="macro"))


def nearer(rows: Rows, made: pd.DataFrame) -> float:
    """Return the share of generated rows that are nearer to training rows than to as many held-out rows.

    A difference is the sum over columns: 1 for another category, and for numbers their difference as a share of the
    range. Equal distances count half.
    """
    spans = {name: np.ptp(rows.all[name].fillna(0).to_numpy(float)) or 1.0 for name in rows.numbers}

    def points(side: pd.DataFrame) -> NDArray[np.float64]:
        codes = [pd.get_dummies(pd.Categorical(side[name], rows.all[name].unique())) / 2 for name in rows.categories]
        scaled = [(side[name].fillna(0) / spans[name]).to_numpy(float)[:, None] for name in rows.numbers]
        return np.hstack([*(each.to_numpy(float) for each in codes), *scaled])

    size = min(len(rows.held_out), len(rows.train))
    sides = (rows.train.sample(size, random_state=0), rows.held_out.sample(size, random_state=0))
    asked = points(made.head(MOST_ROWS))
    seen, unseen = (
        NearestNeighbors(n_neighbors=1, metric="l1").fit(points(each)).kneighbors(asked)[0] for each in sides
    )
    return float((seen < unseen).mean() + (seen == unseen).mean() / 2)


def places(values: NDArray[np.float64]) -> int:
    """Return the most decimal places of the numbers; 9 if they have more than 8."""
    held = values[np.isfinite(values)]
    return next((count for count in range(9) if np.allclose(held, held.round(count), rtol=0, atol=1e-9)), 9)


def kept(rows: Rows, made: pd.DataFrame) -> dict[str, Any]:
    """Return differences of shares, and whether whole numbers, places and ranges are kept."""
    both = [(rows.all[name].to_numpy(float), made[name].to_numpy(float)) for name in rows.numbers]
    both = both or [(np.ones(1), np.ones(1))]
    pairs = [(places(one), places(other)) for one, other in both]
    ends = [(np.nanmin(one), np.nanmin(other), np.nanmax(other), np.nanmax(one)) for one, other in both]
    return {
        "missing": max(float(abs(np.isnan(one).mean() - np.isnan(other).mean())) for one, other in both),
        "zeros": max(float(abs((one == 0).mean() - (other == 0).mean())) for one, other in both),
        "integers": all(other == 0 for one, other in pairs if one == 0),
        "places": all(other <= one for one, other in pairs),
        "range": all(low <= least and most <= high for low, least, most, high in ends),
    }


def scores(rows: Rows, made: pd.DataFrame, python: str | None) -> dict[str, Any]:
    """Return all scores of generated rows."""
    return {
        "auc": auc(rows, made),
        "quality": quality(python, rows, made) if python else None,
        "tstr": downstream(rows, made),
        "trtr": downstream(rows, rows.train),
        "nearer": nearer(rows, made),
        **kept(rows, made),
    }


def generated(given: argparse.Namespace, file: Path, rows: Rows, arm: str, seed: int) -> tuple[pd.DataFrame, Any]:
    """Return the rows of an arm with seconds, from the folder --rows if they are there."""
    stored = given.rows / f"{rows.name}-{arm}-{seed}.csv" if given.rows else None
    if stored and stored.with_suffix(".json").exists():
        kinds = dict.fromkeys(rows.categories, str)
        found = pd.read_csv(stored, keep_default_na=False, na_values={name: [""] for name in rows.numbers}, dtype=kinds)
        return found, json.loads(stored.with_suffix(".json").read_text())
    if arm in CODINGS:
        made, told = ours(file, arm, seed, given.updates)
    else:
        made, told = others(given.other, arm, rows, seed, given.threads)
    made = rows.alike(made)
    if stored:
        given.rows.mkdir(parents=True, exist_ok=True)
        made.to_csv(stored, index=False)
        stored.with_suffix(".json").write_text(json.dumps(told))
    return made, told


def cell(value: Any) -> str:
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="tables that `sweeps data` can read")
    parser.add_argument(
        "--arms", nargs="+", choices=(*CODINGS, *OTHERS), default=CODINGS[:1], help="codings, or others"
    )
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each (default: %(default)s)")
    parser.add_argument("--updates", type=int, help="critic updates (default: those of sweeps/tabular.py)")
    parser.add_argument("--other", metavar="PYTHON", help="Python of an environment with ctgan and sdmetrics")
    parser.add_argument("--threads", type=int, default=cores(), help="of torch (default: all cores, %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="add results to this file of JSON lines")
    parser.add_argument("--rows", type=Path, metavar="FOLDER", help="keep generated rows here")
    given = parser.parse_args(arguments)
    if not given.other and {*given.arms} & {*OTHERS}:
        parser.error("the arms ctgan and tvae need --other PYTHON")
    process.configure(given.threads)
    about = {"day": str(datetime.now(UTC).date()), "processor": processor(), "threads": given.threads}
    about |= {"python": platform.python_version(), "torch": torch.__version__}
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    done = {} if not (given.out and given.out.exists()) else told_before(given.out)
    check_updates(done.values(), given.updates)
    titles: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        files = {file.stem: cut(file, Path(folder)) for file in given.files}
        tables = {name: real_rows(file) for name, file in files.items()}
        asked = [(name, arm, seed) for seed in range(given.seeds) for name in files for arm in given.arms]
        for name, arm, seed in asked:
            if (name, arm, seed) not in done:
                rows = tables[name]
                made, told = generated(given, files[name], rows, arm, seed)
                size = {"rows": len(rows.all), "train": len(rows.train), "columns": len(rows.train.columns)}
                found = {"table": name, "arm": arm, "seed": seed, **size, **told}
                found |= scores(rows, made, given.other)
                if given.out:
                    with given.out.open("a") as lines:
                        lines.write(json.dumps({**found, **about}) + "\n")
                done[name, arm, seed] = found
            found = done[name, arm, seed]
            shown = {title: value for title, value in found.items() if title not in about}
            if titles != [*shown]:
                titles = [*shown]
                print("\n| " + " | ".join(titles) + " |\n|" + "---|" * len(titles))
            print("| " + " | ".join(map(cell, shown.values())) + " |", flush=True)


def told_before(out: Path) -> dict[tuple[str, str, int], Mapping[str, Any]]:
    """Return the results of earlier runs."""
    found = [json.loads(line) for line in out.read_text().splitlines()]
    return {(each["table"], each["arm"], each["seed"]): each for each in found}


def check_updates(done: Iterable[Mapping[str, Any]], updates: int | None) -> None:
    """Raise `SystemExit` if earlier results are of other numbers of critic updates than the given one."""
    others = {each["updates"] for each in done if "updates" in each} - {updates}
    if updates is not None and others:
        raise SystemExit(f"--out must hold results of --updates {updates}; it has {min(others)}: name another file")


if __name__ == "__main__":
    main()
