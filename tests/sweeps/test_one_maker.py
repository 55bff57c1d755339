"""Sweeps that start at once on a new storage: each database's tables are made once, whole, by one process."""

from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Callable
from pathlib import Path

import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  # imported here once, and not in each child
import pytest
from optuna.pruners import NopPruner

from sweeps.engine.plan import one_maker as made
from sweeps.engine.plan.one_maker import is_unmade, new_file, one_maker
from sweeps.engine.study.storage import open_study
from sweeps.engine.tracking.store import connect
from wgan_core.errors import UserError


def create_study(url: str) -> None:
    open_study("sweep", url, NopPruner())


def create_store(uri: str) -> None:
    assert [each.name for each in connect(uri).search_experiments()] == ["Default"]


@pytest.mark.parametrize(
    ("create", "empty"),
    [(create_store, False), (create_study, False), (create_study, True)],
    ids=["MLflow's, no file", "Optuna's, no file", "Optuna's, an empty file"],
)
def test_processes_that_start_at_once_make_one_database(
    create: Callable[[str], None], empty: bool, tmp_path: Path
) -> None:
    file, process = tmp_path / "new.db", multiprocessing.get_context("fork").Process
    if empty:
        file.touch()
    started = [process(target=create, args=(f"sqlite:///{file}",)) for _ in range(3)]
    for each in started:
        each.start()
    for each in started:
        each.join(120)
    assert [each.exitcode for each in started] == [0, 0, 0]
    create(f"sqlite:///{file}")
    assert [path.name for path in tmp_path.iterdir()] == ["new.db"]


def test_a_process_that_dies_leaves_no_half_made_database(tmp_path: Path) -> None:
    file = tmp_path / "new.db"

    def die() -> None:
        with new_file(file) as aside, sqlite3.connect(aside) as database:
            database.execute("CREATE TABLE half (made)")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        die()
    assert is_unmade(file)
    assert not list(tmp_path.iterdir())


def test_a_process_that_never_ends_is_not_waited_for_forever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "WAIT_S", 0.2)
    uri = f"sqlite:///{tmp_path}/new.db"
    with one_maker(uri), pytest.raises(UserError, match="another has not finished within"), one_maker(uri):
        pytest.fail("two processes make the tables")


def test_a_folder_that_can_only_be_read_needs_no_lock(tmp_path: Path) -> None:
    with one_maker(f"sqlite:///{tmp_path}/gone/new.db"):
        assert not list(tmp_path.iterdir())
