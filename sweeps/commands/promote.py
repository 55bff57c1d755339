"""`sweeps promote`: register a sweep's generator as a version of a model in MLflow."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sweeps.commands.trained import best_checkpoint
from sweeps.engine.plan.arguments import add_tracking_uri
from sweeps.engine.plan.plan import read_described
from sweeps.engine.plan.uri import shown
from sweeps.engine.results.results import open_results, tracking_uri_of
from sweeps.engine.study.rows import score_text

if TYPE_CHECKING:
    from sweeps.engine.tracking import Promotion


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="name of the sweep")
    parser.add_argument("--trial", help="take this trial, such as 7 or 7a (default: the best of the sweep)")
    parser.add_argument("--as", dest="alias", required=True, help="alias to give the version, such as champion")
    parser.add_argument("--model", help="name of the registered model (default: the sweep's)")
    add_tracking_uri(parser)


def run(given: argparse.Namespace) -> None:
    from sweeps.engine.tracking import Candidate, check_names, open_stored, promote, usage  # late: they import torch

    name = given.name if given.model is None else given.model
    check_names(name, given.alias)
    results = open_results(given.storage, given.name, given.study_storage)
    row = results.best if given.trial is None else results.row(given.trial)
    checkpoint = best_checkpoint(results, row)
    versions = read_described(results.folder).get("versions", {})
    stored = open_stored(tracking_uri_of(results.folder, given.tracking_uri), results.plan)
    done = promote(stored, Candidate(checkpoint, results.as_json(row), versions), name, given.alias)
    print(_moved(done, name, given.alias))
    floor = score_text(results.plan.floor, results.plan.floor_error)
    score = f"{results.plan.objective} {score_text(row.value, row.error)}, real against real {floor}"
    print(f"trial {row.label} after {checkpoint.critic_updates} critic updates: {score}\n")
    print(f"with MLFLOW_TRACKING_URI={shown(stored.uri)}, torch and mlflow alone:\n")
    print(usage(checkpoint, f"models:/{name}@{given.alias}"))


def _moved(done: Promotion, name: str, alias: str) -> str:
    made = "a new version" if done.is_new else "which was there before"
    if done.before == done.version:
        return f"{alias} of {name} is version {done.version} already"
    if done.before is None:
        return f"{alias} of {name} is version {done.version}, {made}"
    return f"{alias} of {name} moved from version {done.before} to version {done.version}, {made}"
