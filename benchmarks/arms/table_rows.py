"""Rows of CTGAN or TVAE (Xu et al. 2019) at the defaults of the package `ctgan`, for `benchmarks/tables.py`.

It runs in an environment of its own: `pip install ctgan`. The argument is a folder with train.csv and asked.json. It
writes rows.csv and seconds.json.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pandas as pd
import torch
from ctgan import CTGAN, TVAE

EPOCHS = 300
ARMS = {"ctgan": CTGAN, "tvae": TVAE}


def main(folder: Path) -> None:
    asked = json.loads((folder / "asked.json").read_text())
    kinds = dict.fromkeys(asked["categories"], str)
    rows = pd.read_csv(folder / "train.csv", keep_default_na=False, dtype=kinds)
    torch.manual_seed(asked["seed"])
    torch.set_num_threads(asked["threads"])
    model = ARMS[asked["arm"]](epochs=EPOCHS, verbose=False)
    model.set_random_state(asked["seed"])
    wall, cpu = time.perf_counter(), time.process_time()
    model.fit(rows, asked["categories"])
    seconds = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    model.sample(asked["count"]).to_csv(folder / "rows.csv", index=False)
    (folder / "seconds.json").write_text(json.dumps(seconds))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
