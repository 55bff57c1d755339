"""Quality of generated rows by the package `sdmetrics`, for `benchmarks/tables.py`.

It runs in an environment of its own: `pip install sdmetrics`. The argument is a folder with real.csv, made.csv and
asked.json. It prints the overall score of the quality report, in [0, 1].
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
from sdmetrics.reports.single_table import QualityReport


def main(folder: Path) -> None:
    kinds = dict.fromkeys(json.loads((folder / "asked.json").read_text())["categories"], str)
    real, made = (pd.read_csv(folder / name, keep_default_na=False, dtype=kinds) for name in ("real.csv", "made.csv"))
    columns = {name: {"sdtype": "categorical" if name in kinds else "numerical"} for name in real}
    report = QualityReport()
    report.generate(real, made, {"columns": columns}, verbose=False)
    print(report.get_score())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
