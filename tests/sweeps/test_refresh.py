"""The report made anew while a sweep runs: when there is something new, and never at the sweep's cost."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from sweeps.engine.driver.refresh import Refresher
from sweeps.engine.plan.plan import Plan
from sweeps.engine.results.results import Results, open_results
from sweeps.engine.tracking import MlflowRecorder
from tests.sweeps.made import Made, studied
from tests.sweeps.processes import copy_tables
from wgan_core.data.folder import Folder


@pytest.fixture
def results(tmp_path: Path, make_plan: Callable[..., Plan]) -> Results:
    """A sweep of two trials, of which one trains."""
    plan = make_plan(trials=2)
    studied(Folder.at(tmp_path), plan, [Made({10: 2.0}), Made({10: 3.0}, "RUNNING")])
    return open_results(str(tmp_path), plan.name)


@pytest.fixture
def tracker(results: Results, tmp_path: Path) -> MlflowRecorder:
    plan = results.plan
    copy_tables(tmp_path)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    return MlflowRecorder(results.folder, plan, uri)


def test_it_is_written_when_there_is_something_new_and_lies_in_mlflow(
    results: Results, tracker: MlflowRecorder, tmp_path: Path
) -> None:
    standing = [results]
    refresher = Refresher(lambda: standing[0], tracker)
    refresher.write()
    assert (results.folder / "report").exists("sweep.html")
    (results.folder / "report").delete("sweep.html")
    refresher.write()
    assert not (results.folder / "report").exists("sweep.html")
    standing[0] = replace(results, rows=[results.rows[0], replace(results.rows[1], step=20)])
    refresher.write()
    assert (results.folder / "report").exists("sweep.html")

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name(results.plan.name)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "tags.`sweep.role` = 'sweep'")
    names = {info.path for info in client.list_artifacts(run.info.run_id, "report")}
    assert names == {"report/sweep.html", "report/trials.parquet", "report/best_config.json"}


def test_once_the_block_is_left_it_is_written_whatever_stands(results: Results, tracker: MlflowRecorder) -> None:
    """The last one has what was brought over since."""
    refresher = Refresher(lambda: results, tracker)
    with refresher:
        refresher.write()
    (results.folder / "report").delete("sweep.html")
    refresher.write()
    assert (results.folder / "report").exists("sweep.html")


def test_what_goes_wrong_is_a_warning(
    results: Results, tracker: MlflowRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    """A search that does not answer, and records that are damaged."""

    def fail() -> Results:
        raise TimeoutError("the search waits for its database")

    with caplog.at_level(logging.WARNING):
        Refresher(fail, tracker).write()
        assert "the sweep's report is not up to date: " in caplog.text
        assert "the search waits for its database" in caplog.text
        caplog.clear()
        (results.folder / "trials" / "0" / "spool").write("000000010.json", b"{")
        Refresher(lambda: results, tracker).write()
        assert "the records of a sweep must be files that can be read" in caplog.text
