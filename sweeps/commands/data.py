"""`sweeps data`: show how the columns and rows of a table are read, before anything is trained."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from sweeps.engine.plan.table_options import add_table_options, table_options
from sweeps.engine.results.aligned import table
from wgan_core.data.coding import Column
from wgan_core.data.columns import ColumnReading
from wgan_core.data.splits import sound
from wgan_core.data.tables import BUNDLED, Asked, Coded, Table, coded, interpreted, read, read_columns
from wgan_core.errors import shortened

TITLES = ("column", "read as", "missing", "values", "coded by")
LONGEST = 40


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", help=f"Parquet or CSV file or folder, or {', '.join(BUNDLED)}")
    parser.add_argument("--label", help="column that tells classes apart, as for sweeps/tabular.py")
    add_table_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(given: argparse.Namespace) -> None:
    asked = Asked(label=given.label, **table_options(vars(given)))
    with sound(given.data):
        found = read(given.data)
        readings = read_columns(found, asked)
        refused = any(each.role == "refused" for each in readings)
        known = None if refused else coded(interpreted(found, asked, readings), asked)
    if given.json:
        print(json.dumps(_as_json(found, readings, known), indent=1))
    else:
        print("\n".join(_lines(found, readings, known)))
    if refused:
        interpreted(found, asked, readings)  # raises the error that names all columns at fault


def _columns(known: Coded | None) -> Mapping[str, Column]:
    return {} if known is None else {column.name: column for column in known.coding.columns}


def _lines(found: Table, readings: list[ColumnReading], known: Coded | None) -> list[str]:
    rows, columns = sum(map(len, found.parts.values())), _columns(known)
    lines = [
        f"{found.origin}: {rows:,} rows, {len(readings)} columns" + (f"; {found.written}" if found.written else "")
    ]
    cells = [
        (
            shortened(each.name, LONGEST) or "(no name)",
            each.said if each.role in ("number", "categories", "constant") else f"{each.role}: {each.said}",
            f"{each.missing / max(rows, 1):.1%}" if each.missing else "",
            f"{each.distinct:,}" if each.distinct else "",
            coded_by(columns[each.name]) if each.name in columns else "",
        )
        for each in readings
    ]
    lines += ["", *table([TITLES, *cells], str.ljust)]
    if known is not None:
        split = ", ".join(f"{len(part):,} {name}" for name, part in known.splits.items())
        how = "as the files say" if "train" in found.parts else "drawn with a constant seed"
        lines += ["", f"splits: {split} rows, {how}", f"a row is {known.coding.width:,} inputs of the networks"]
        lines += [known.copies] if known.copies else []
    return lines


def coded_by(column: Column) -> str:
    """Return words for the coding of a column."""
    if column.values:
        return f"one of {len(column.values):,}" if column.width else "no input"
    masses = f", {len(column.masses)} point mass{'es' * (len(column.masses) > 1)}" if column.masses else ""
    if not column.knots:
        return f"mean {column.mean:.4g}, sd {column.sd:.4g}{masses}"
    return f"ranks{' of repeated values' if column.repeats else ''}{masses}"


def _as_json(found: Table, readings: list[ColumnReading], known: Coded | None) -> dict[str, Any]:
    columns = _columns(known)
    return {
        "data": found.origin,
        "rows": sum(map(len, found.parts.values())),
        "splits": None if known is None else {name: len(part) for name, part in known.splits.items()},
        "inputs": None if known is None else known.coding.width,
        "columns": [
            {
                "name": each.name,
                "role": each.role,
                "read_as": each.said,
                "missing": each.missing,
                "distinct": each.distinct,
                "coded_by": coded_by(columns[each.name]) if each.name in columns else None,
                "remedy": each.remedy or None,
            }
            for each in readings
        ],
    }
