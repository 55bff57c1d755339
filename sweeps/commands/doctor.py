"""`sweeps doctor`: check whether a sweep could run here, and say how to solve each problem."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict

from sweeps.engine.doctor.check import Check
from sweeps.engine.plan.options import add_storage, storage_of, study_storage_of

FAILED = 1


def add_options(parser: argparse.ArgumentParser) -> None:
    add_storage(parser)
    parser.add_argument(
        "--tracking-uri",
        help="MLflow server or store (default: $MLFLOW_TRACKING_URI, else mlflow.db in the storage folder)",
    )
    parser.add_argument("--json", action="store_true", help="all of it, as JSON")


def run(given: argparse.Namespace) -> int:
    """Print the result of each check. Return 1 if a check failed, else 0."""
    # This import loads Ray and torch, so it waits until the command runs.
    from sweeps.engine.doctor.examine import examine

    tracking = os.environ.get("MLFLOW_TRACKING_URI") if given.tracking_uri is None else given.tracking_uri
    found = []
    for check in examine(storage_of(given.storage), tracking, study_storage_of(given.study_storage)):
        found.append(check)
        if not given.json:
            print(_line(check), flush=True)
    if given.json:
        print(json.dumps([asdict(check) for check in found], indent=1))
    return FAILED if any(check.state == "failed" for check in found) else 0


def _line(check: Check) -> str:
    return f"{check.state:<7}  {check.what:<9}  {check.found}" + (f": {check.remedy}" if check.remedy else "")
