"""Options on how a table's columns are read, which scripts and commands share."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from sweeps.engine.plan.arguments import names
from wgan_core.data.fitting import CODINGS

TABLE_OPTIONS = ("categorical", "numeric", "drop", "drop_text", "coding")
"""Names of the options as arguments of `wgan_core.load_table`."""


def add_table_options(group: argparse._ArgumentGroup | argparse.ArgumentParser) -> None:
    """Add the options. `sweeps data` shows what they change."""
    group.add_argument(
        "--categorical", type=names, metavar="A,B", help="columns of categories, where numbers are found"
    )
    group.add_argument(
        "--numeric", type=names, metavar="A,B", help="columns of numbers, where categories or identifiers are found"
    )
    group.add_argument("--drop", type=names, metavar="A,B", help="columns to leave out; '\"a, b\",c' names two")
    group.add_argument("--drop-text", action="store_true", help="leave out columns of free text")
    group.add_argument(
        "--coding",
        choices=CODINGS,
        help="coding of numbers: by the normal scores of their ranks, with point masses, or by mean and standard "
        "deviation (default: ranks, or the preset's)",
    )


def table_options(given: Mapping[str, Any], coding: str = CODINGS[0]) -> dict[str, Any]:
    """Return the arguments of `wgan_core.load_table` for given options. `coding` is the default."""
    found = {name: given[name] for name in TABLE_OPTIONS if given.get(name)}
    return {"coding": coding, **found}
