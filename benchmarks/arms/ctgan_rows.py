"""Rows of CTGAN (Xu et al. 2019) at the defaults of the package `ctgan`, for `benchmarks/tables.py`.

It runs in an environment of its own: `pip install ctgan`. The argument is a folder with train.csv and asked.json.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pandas as pd
import torch
from ctgan import CTGAN

EPOCHS = 300


def main(folder: Path) -> None:
    asked = json.loads((folder / "asked.json").read_text())
    kinds = dict.fromkeys(asked["categories"], str)
    rows = pd.read_csv(folder / "train.csv", keep_default_na=False, dtype=kinds)
    torch.manual_seed(asked["seed"])
    model = CTGAN(epochs=EPOCHS, verbose=False)
    begun = time.perf_counter()
    model.fit(rows, asked["categories"])
    (folder / "seconds.txt").write_text(str(time.perf_counter() - begun))
    model.sample(asked["count"]).to_csv(folder / "rows.csv", index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
