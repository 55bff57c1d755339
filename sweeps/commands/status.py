"""`sweeps status`: show the progress of a sweep, its trials and its driver."""

from __future__ import annotations

import argparse
import json
import time

from sweeps.engine.results.aligned import table
from sweeps.engine.results.results import open_results
from sweeps.engine.results.status import Status, TrialStatus, ago, read_status
from sweeps.engine.study.rows import score_text

TITLES = ("trial", "state", "does", "updates", "done", "last score", "best", "last sign")
AGAIN = "the same command again continues the sweep"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="name of the sweep")
    parser.add_argument("--json", action="store_true", help="print JSON instead; times in seconds since 1970")


def run(given: argparse.Namespace) -> None:
    results = open_results(given.storage, given.name, given.study_storage)
    status = read_status(results)
    if given.json:
        print(json.dumps(status.as_json(), indent=1))
        return
    print(_summary(status))
    print(_driver(status))
    if status.trials:
        print("\n" + "\n".join(table([TITLES, *(_cells(trial, status) for trial in status.trials)])))
    for trial in status.trials:
        if trial.state == "FAIL":
            print(f"trial {trial.label} failed: {trial.reason}")


def _summary(status: Status) -> str:
    parts = [f"{status.name}: {status.ended} of {status.asked} trials ended"]
    parts += [f"{status.count(does)} {does}" for does in ("training", "waiting") if status.count(does)]
    if status.asked > len(status.trials):
        parts.append(f"{status.asked - len(status.trials)} not begun")
    return ", ".join(parts)


def _driver(status: Status) -> str:
    driver = status.driver
    if driver is None:
        return "no driver: it has ended" if status.ended == status.asked else f"no driver: {AGAIN}"
    who, renewed = f"process {driver.pid} on {driver.host}", ago(status.now - driver.renewed)
    if driver.may_live:
        return f"driver: {who}, which renewed its lease {renewed}"
    if driver.is_ahead:
        return (
            f"driver not known: {who}, whose lease is dated {ago(driver.renewed - status.now).removesuffix(' ago')} "
            "ahead: let one time server set all clocks"
        )
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(driver.renewed))
    return f"driver lost: {who}, which has not renewed its lease since {since}, {renewed}: {AGAIN}"


def _cells(trial: TrialStatus, status: Status) -> tuple[str, ...]:
    return (
        trial.label,
        trial.state,
        trial.does,
        str(trial.critic_updates),
        f"{trial.critic_updates / status.budget:.0%}",
        "-" if trial.score is None else f"{trial.score:.4g}",
        score_text(trial.best, trial.error),
        "-" if trial.last_sign is None else ago(status.now - trial.last_sign),
    )
