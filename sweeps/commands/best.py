"""`sweeps best`: print the leaderboard and the best checkpoint of a sweep."""

from __future__ import annotations

import argparse
import json

from sweeps.engine.results.leaderboard import checkpoint_of, standings
from sweeps.engine.results.results import open_results
from sweeps.engine.study.rows import score_text


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="name of the sweep")
    parser.add_argument("--json", action="store_true", help="print only the best trial, as JSON")


def run(given: argparse.Namespace) -> None:
    results = open_results(given.storage, given.name, given.study_storage)
    if given.json:
        print(json.dumps(results.best_as_json(), indent=1))
        return
    print(standings(results.plan, results.rows, results.confirmation))
    print(f"\nreal against real {score_text(results.plan.floor, results.plan.floor_error)} ({results.plan.objective})")
    print(f"best checkpoint   {checkpoint_of(results.folder, results.best)}")
