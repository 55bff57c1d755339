"""The first screen of a sweep of 500 trials. Takes minutes to fill a store, and times: so not part of `make test`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from sweeps.engine.tracking import best_key
from sweeps.engine.tracking.view import view_link
from tests.browser import shown
from tests.sweeps.made import OBJECTIVE, made_records
from tests.sweeps.mlflow_server import Server

TRIALS, WITHIN_S = 500, 10.0

pytestmark = [pytest.mark.needs_browser, pytest.mark.needs_server, pytest.mark.slow]


def test_the_first_screen_of_many_trials(
    page: Page, tmp_path: Path, keep: Callable[[Page, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """List, charts and pictures are there in ten seconds, the first visit and the second."""
    database = f"sqlite:///{tmp_path}/mlflow.db"
    made_records(tmp_path, "many", TRIALS, database)
    trials = shown.runs(database, "many", "trial", best_key(OBJECTIVE))
    assert len(trials) == TRIALS
    server = Server(database, tmp_path)
    server.launch()
    server.wait()
    try:
        for visit in ("first", "second"):
            began = time.monotonic()
            page.goto("about:blank")
            link = view_link(server.uri, trials[0].info.experiment_id, "id-many")
            page.goto(link, wait_until="domcontentloaded")
            names = shown.names(page, 12)
            _, inked = shown.wait_for_charts(page)
            shown.wait_for_pictures(page, 4)
            seconds = time.monotonic() - began
            with capsys.disabled():
                print(f"{TRIALS} trials, {visit} visit: {seconds:.1f} s")
            keep(page, "mlflow-many")
            assert names[:10] == [run.info.run_name for run in trials[:10]]
            assert inked > 1000
            assert seconds < WITHIN_S
    finally:
        server.kill()
