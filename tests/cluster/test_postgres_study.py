"""The study on a real PostgreSQL that cuts connections, loses answers and goes away."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import optuna
import pytest

from sweeps.engine.plan.plan import Plan
from sweeps.engine.study import retries
from sweeps.engine.study.deaths import MAX_FAULTS
from sweeps.engine.study.study import Study
from tests.cluster.postgres import Postgres, missing, postgres
from tests.sweeps.test_one_maker import create_store, create_study

psycopg = pytest.importorskip("psycopg", reason="needs_server: the package psycopg")

pytestmark = pytest.mark.needs_server

TRIALS, GRID = 7, (30, 60, 90)


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    if wanting := missing():
        pytest.skip(f"needs_server: PostgreSQL; not here: {', '.join(wanting)}")
    with postgres() as server:
        yield server


@pytest.fixture
def opened(database: Postgres, make_plan: Callable[..., Plan]) -> Callable[[str], Study]:
    """A study of a name, in a database that they share."""

    def made(name: str) -> Study:
        plan = make_plan(name=name, trials=TRIALS, budget=GRID[-1])
        url = f"postgresql+psycopg://postgres@/postgres?host={database.folder}&port={database.port}"
        return Study(plan, url, "session")

    return made


def test_studies_and_stores_that_are_opened_at_once_on_a_new_database(database: Postgres) -> None:
    """The tables are made by one process at a time, for Optuna and for MLflow."""
    at = f"host={database.folder}&port={database.port}"
    with psycopg.connect(f"host={database.folder} port={database.port} user=postgres", autocommit=True) as connection:
        for name in ("one_study", "one_store"):
            connection.execute(f"CREATE DATABASE {name}")
    process = multiprocessing.get_context("fork").Process
    started = [
        process(target=act, args=(f"postgresql+psycopg://postgres@/{name}?{at}",))
        for act, name in ((create_study, "one_study"), (create_store, "one_store"))
        for _ in range(2)
    ]
    for each in started:
        each.start()
    for each in started:
        each.join(120)
    assert [each.exitcode for each in started] == [0] * 4


class Cuts:
    """Cuts a study's connections at some of its commits: before the server hears of it, or before its answer."""

    def __init__(self, study: Study, database: Postgres, share: float) -> None:
        self._database, self._share, self._random = database, share, random.Random(0)
        self.before = self.after = 0
        dialect = study._trials.study._storage._backend.engine.dialect  # type: ignore[attr-defined]
        self._commit = dialect.do_commit
        dialect.do_commit = self.commit

    def commit(self, connection: Any) -> None:
        drawn = self._random.random()
        if drawn < self._share / 2:
            self.before += 1
            self._cut(connection)
        self._commit(connection)
        if drawn > 1 - self._share / 2:
            self.after += 1
            self._cut(connection)
            connection.driver_connection.execute("SELECT")  # which says what psycopg says then

    def _cut(self, connection: Any) -> None:
        with psycopg.connect(host=str(self._database.folder), port=self._database.port, user="postgres") as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.driver_connection.info.backend_pid])


def search(study: Study) -> list[Any]:
    """Two holders train all trials, one of them with two at a time; one process dies again and again."""
    claims = study.claim("left", 2)
    for _ in range(MAX_FAULTS):
        study.claim("right", 1)
        study.note("right", "a bad day")
        study.release("right", died=True)
    while claims:
        for step in GRID:
            values = {claim.trial.number: (step, 1 / step + claim.params["lr"]) for claim in claims}
            stop = study.report("left", values, dict.fromkeys(values, 1.5))
            for number in [number for number in values if stop[number] or step == GRID[-1]]:
                study.finish("left", number, "PRUNED" if stop[number] else "COMPLETE", "said")
            claims = [claim for claim in claims if not stop[claim.trial.number]]
        claims = study.claim("left", 2)
    assert study.is_done()
    return study.rows()


def test_whatever_is_cut_the_search_is_the_same(
    opened: Callable[[str], Study], database: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials, parameters, values, verdicts, seconds and faults: nothing twice, nothing lost."""
    undisturbed = search(opened("undisturbed"))
    assert {row.state for row in undisturbed} == {"COMPLETE", "PRUNED", "FAIL"}
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # also Optuna's own, which is of up to two seconds
    study = opened("cut")
    cuts = Cuts(study, database, share=0.1)
    assert search(study) == undisturbed
    assert cuts.before >= 5
    assert cuts.after >= 5


def test_a_database_that_stays_away_is_named_in_the_end(
    opened: Callable[[str], Study], database: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line without the password; once it is back, so is the study."""
    study = opened("away")
    study.claim("a", 1)
    monkeypatch.setattr(retries, "LONGEST_S", 1.0)
    database.stop()
    with pytest.raises(ConnectionError, match="has been away for 1 s: ") as raised:
        study.rows()
    assert len(str(raised.value).splitlines()) == 1
    began = time.monotonic()
    with pytest.raises(ConnectionError, match="has been away"):
        study.release("a", died=True)
    assert time.monotonic() - began < retries.LONGEST_S, "it waited anew"
    database.start()
    assert [claim.trial.number for claim in study.held("a")] == [0]


def test_an_ordinary_error_is_not_waited_for(
    opened: Callable[[str], Study], database: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = opened("ordinary")
    database.query("ALTER TABLE trials RENAME TO elsewhere")
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waited"))
    with pytest.raises(optuna.exceptions.StorageInternalError):
        study.rows()
    database.query("ALTER TABLE elsewhere RENAME TO trials")
