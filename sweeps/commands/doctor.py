"""`sweeps doctor`: check whether a sweep could run here, and say how to solve each problem."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from sweeps.engine.doctor.check import Check
from sweeps.engine.plan.arguments import add_storage, add_tracking_uri, storage_of, study_storage_of, tracking_uri_given

FAILED = 1


def add_options(parser: argparse.ArgumentParser) -> None:
    add_storage(parser)
    add_tracking_uri(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")


def run(given: argparse.Namespace) -> int:
    """Print the result of each check. Return 1 if a check failed, else 0."""
    # This import loads Ray and torch, so it waits until the command runs.
    from sweeps.engine.doctor.examine import examine

    found = []
    places = tracking_uri_given(given.tracking_uri), study_storage_of(given.study_storage)
    for check in examine(storage_of(given.storage), *places):
        found.append(check)
        if not given.json:
            print(_line(check), flush=True)
    if given.json:
        print(json.dumps([asdict(check) for check in found], indent=1))
    return FAILED if any(check.state == "failed" for check in found) else 0


def _line(check: Check) -> str:
    return f"{check.state:<7}  {check.what:<9}  {check.found}" + (f": {check.remedy}" if check.remedy else "")
