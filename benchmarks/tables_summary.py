"""The results of `benchmarks/tables.py` as a table, averaged over seeds, and as a picture.

    python benchmarks/tables_summary.py RESULTS.jsonl... [--picture PNG]

The last lines count the tables on which the first arm is better than each other arm.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

# By arm: its label and colour.
LOOKS = {
    "ranks": ("ours", "#d62728"),
    "standard": ("ours, standard", "#ff9896"),
    "ctgan": ("CTGAN", "#1f77b4"),
    "tvae": ("TVAE", "#2ca02c"),
}
# By score: its title, and whether a higher value is better.
SCORES = {
    "auc": ("C2ST AUC (.5 is perfect)", False),
    "quality": ("sdmetrics quality (1 is perfect)", True),
    "tstr": ("TSTR: R² or macro F1", True),
    "cpu_s": ("seconds of one core", False),
}
MEANS = ("auc", "quality", "tstr", "trtr", "nearer", "zeros", "cpu_s")
FLAGS = ("integers", "places", "range")
# Lowest TSTR in the picture. An R² has no bound below.
LEAST = -0.5


def results(files: Sequence[Path]) -> pd.DataFrame:
    """Return one row for each table and arm, in their order in the files: means over seeds, and the number of seeds."""
    lines = pd.concat([pd.read_json(file, lines=True) for file in files])
    grouped = lines.groupby(["table", "arm"], sort=False)
    found = grouped[list(MEANS)].mean()
    found["seeds"] = grouped.size()
    found["rows"] = grouped["rows"].first()
    return found.join(grouped[list(FLAGS)].all())


def better(found: pd.DataFrame) -> Mapping[str, Mapping[str, str]]:
    """Return, by other arm and score, on how many tables the first arm is better, of the tables that both have."""
    arms = list(dict.fromkeys(found.index.get_level_values("arm")))
    told: dict[str, dict[str, str]] = {}
    for arm in arms[1:]:
        ours, theirs = found.xs(arms[0], level="arm"), found.xs(arm, level="arm")
        both = ours.index.intersection(theirs.index)
        for score, (_, is_higher) in SCORES.items():
            gain = (ours.loc[both, score] - theirs.loc[both, score]) * (1 if is_higher else -1)
            told.setdefault(arm, {})[score] = f"{int((gain > 0).sum())} of {len(both)}"
    return told


def draw(found: pd.DataFrame, out: Path) -> None:
    """Write the picture; its suffix says in which format."""
    from matplotlib.figure import Figure

    tables = list(dict.fromkeys(found.index.get_level_values("table")))[::-1]
    figure = Figure(figsize=(3.3 * len(SCORES), 0.42 * len(tables) + 1.4), layout="constrained")
    for axes, (score, (title, _)) in zip(figure.subplots(1, len(SCORES), sharey=True), SCORES.items(), strict=True):
        for arm in dict.fromkeys(found.index.get_level_values("arm")):
            values = found.xs(arm, level="arm")[score].reindex(tables)
            shown = values.clip(lower=LEAST) if score == "tstr" else values
            axes.scatter(shown, range(len(tables)), label=LOOKS[arm][0], color=LOOKS[arm][1], s=38)
        if score == "tstr":
            real = found["trtr"].groupby(level="table").first().reindex(tables)
            axes.scatter(real, range(len(tables)), marker="|", color="black", s=90, label="trained on real rows")
            axes.set_xlabel(f"left edge: {LEAST} or less")
            axes.set_xticks([LEAST, 0, 0.5, 1])
            legend = axes.get_legend_handles_labels()
        axes.set_yticks(range(len(tables)), tables)
        axes.set_title(title, fontsize=10)
        if score == "cpu_s":
            axes.set_xscale("log")
        axes.grid(alpha=0.3)
    figure.legend(*legend, loc="outside lower center", ncols=len(legend[0]), fontsize=9)
    figure.savefig(out, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="files that `benchmarks/tables.py --out` wrote")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="write the picture to this file")
    given = parser.parse_args(arguments)
    found = results(given.files)
    titles = ("table", "rows", "arm", "seeds", *MEANS, "kept")
    print("| " + " | ".join(titles) + " |\n|" + "---|" * len(titles))
    for table in dict.fromkeys(found.index.get_level_values("table")):
        for arm, row in found.xs(table, level="table").iterrows():
            lost = [name for name in FLAGS if not row[name]]
            means = [f"{row[name]:.0f}" if name == "cpu_s" else f"{row[name]:.3f}" for name in MEANS]
            cells = (
                table,
                row["rows"],
                LOOKS[arm][0],
                row["seeds"],
                *means,
                "all" if not lost else "not " + ", ".join(lost),
            )
            print("| " + " | ".join(map(str, cells)) + " |")
    for arm, scores in better(found).items():
        print(f"\nbetter than {LOOKS[arm][0]}: " + ", ".join(f"{score} on {count}" for score, count in scores.items()))
    if given.picture:
        draw(found, given.picture)


if __name__ == "__main__":
    main()
