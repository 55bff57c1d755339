"""`sweeps status`: what the storage says of a sweep that runs, was killed, and has ended."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sweeps.cli import main
from sweeps.engine.plan.plan import Plan, write_plan
from sweeps.engine.results.results import open_results
from sweeps.engine.storage.layout import trial_folder
from sweeps.engine.storage.lease import FILE, STALE_S
from sweeps.engine.storage.spool import EndRecord, ReportRecord, Spool, StartRecord
from sweeps.engine.study.study import Study
from tests.sweeps.processes import MNIST, Surroundings, copy_tables, wait_for
from wgan_core.data.folder import Folder

OBJECTIVE = "eval/a"


@dataclass
class Sweep:
    """A sweep whose study and records the tests write, as its trials would."""

    storage: Path
    folder: Folder
    plan: Plan

    def study(self, session: str) -> Study:
        return Study(self.plan, f"sqlite:///{self.folder.path}/study.db", session)

    def spool(self, number: int) -> Spool:
        return Spool(trial_folder(self.folder, str(number)))


@pytest.fixture
def sweep(tmp_path: Path, make_plan: Callable[..., Plan]) -> Sweep:
    folder, plan = Folder.at(tmp_path) / "sweep", make_plan(trials=4)
    write_plan(folder, plan)
    return Sweep(tmp_path, folder, plan)


@pytest.fixture
def status(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """What `sweeps status NAME` prints; with `as_json` what it says as JSON."""

    def ran(storage: Path, name: str = "sweep", as_json: bool = True) -> Any:
        capsys.readouterr()
        assert main(["status", name, "--storage", str(storage), *(["--json"] if as_json else [])]) == 0
        said = capsys.readouterr()
        assert said.err == ""
        return json.loads(said.out, parse_constant=pytest.fail) if as_json else said.out

    return ran


def hold(sweep: Sweep, session: str, beat: float) -> None:
    """As a driver on another host does."""
    held = {"session": session, "host": "elsewhere", "place": "elsewhere", "pid": 7, "started": 1.0, "beat": beat}
    sweep.folder.write(FILE, json.dumps(held).encode())


def test_each_trial_of_a_sweep_that_runs(sweep: Sweep, status: Callable[..., Any]) -> None:
    """Trained by this driver, given back, ended and not begun are told apart; the last score is not the best."""
    hold(sweep, "s", time.time())
    study = sweep.study("s")
    study.claim("a", 2)
    study.claim("b", 1)
    now_ms = round(time.time() * 1000)
    for number in range(3):
        sweep.spool(number).write(StartRecord(number, {}, 1, now_ms - 100_000))
    for step, value in ((10, 2.0), (20, 3.0)):
        study.report("a", {0: (step, value)}, {})
        sweep.spool(0).write(ReportRecord(step, now_ms - 50_000 + step, {OBJECTIVE: value}))
    study.report("a", {1: (10, 1.0)}, {})
    sweep.spool(1).write(ReportRecord(10, now_ms - 40_000, {OBJECTIVE: 1.0}))
    sweep.spool(1).write(EndRecord("FAIL", "not finite", now_ms - 30_000, 10))
    study.finish("a", 1, "FAIL", "not finite")
    study.release("b", died=True)
    found = status(sweep.storage)

    assert (found["name"], found["asked"], found["budget"], found["objective"]) == ("sweep", 4, 90, OBJECTIVE)
    assert (found["driver"]["session"], found["driver"]["may_live"]) == ("s", True)
    first, second, third = found["trials"]
    assert [each["does"] for each in found["trials"]] == ["training", "ended", "waiting"]
    assert [each["state"] for each in found["trials"]] == ["RUNNING", "FAIL", "RUNNING"]
    assert (first["critic_updates"], first["score"], first["best"]) == (20, 3.0, 2.0)
    assert first["last_sign"] == pytest.approx((now_ms - 50_000 + 20) / 1000)
    assert second["last_sign"] == pytest.approx((now_ms - 30_000) / 1000)
    assert (second["score"], second["reason"]) == (1.0, "not finite")
    assert (third["critic_updates"], third["score"], third["best"]) == (0, None, None)
    assert third["last_sign"] == pytest.approx((now_ms - 100_000) / 1000)


def test_the_text(sweep: Sweep, status: Callable[..., Any]) -> None:
    """One line for the sweep, one for its driver, one for each trial, and why trials failed."""
    study = sweep.study("s")
    study.claim("a", 2)
    study.report("a", {0: (45, math.nan)}, {})
    sweep.spool(0).write(ReportRecord(45, round(time.time() * 1000) - 7_200_000, {OBJECTIVE: math.nan}))
    study.finish("a", 1, "FAIL", "not finite")
    lines = status(sweep.storage, as_json=False).splitlines()
    assert lines[0] == "sweep: 1 of 4 trials ended, 1 waiting, 2 not begun"
    assert lines[1] == "no driver: the same command again continues the sweep"
    assert lines[3].split() == ["trial", "state", "does", "updates", "done", "last", "score", "best", "last", "sign"]
    assert lines[5].split() == ["0", "RUNNING", "waiting", "45", "50%", "-", "-", "2", "h", "ago"]
    assert lines[6].split() == ["1", "FAIL", "ended", "0", "0%", "-", "-", "-"]
    assert lines[7:] == ["trial 1 failed: not finite"]


def test_a_driver_on_another_host_is_known_by_its_lease(sweep: Sweep, status: Callable[..., Any]) -> None:
    """Alive while it renews it; lost, with the time since when, once it has not for a minute."""
    sweep.study("s").claim("a", 1)
    hold(sweep, "s", time.time() - 4)
    # Handed out, and no process has begun with it: its node is yet to come.
    assert status(sweep.storage)["trials"][0]["does"] == "waiting"
    sweep.spool(0).write(StartRecord(0, {}, 1, round(time.time() * 1000)))
    assert status(sweep.storage)["trials"][0]["does"] == "training"
    assert "driver: process 7 on elsewhere, which renewed its lease" in status(sweep.storage, as_json=False)

    beat = time.time() - STALE_S - 60
    hold(sweep, "s", beat)
    found = status(sweep.storage)
    assert (found["driver"]["may_live"], found["driver"]["renewed"]) == (False, beat)
    assert found["trials"][0]["does"] == "waiting"
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(beat))
    assert f"driver lost: process 7 on elsewhere, which has not renewed its lease since {since}, 2 min ago" in status(
        sweep.storage, as_json=False
    )


def test_a_trial_of_an_earlier_driver_waits(sweep: Sweep, status: Callable[..., Any]) -> None:
    sweep.study("earlier").claim("a", 1)
    hold(sweep, "s", time.time())
    assert status(sweep.storage)["trials"][0]["does"] == "waiting"


def test_records_that_cannot_be_read(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    sweep.study("s").claim("a", 1)
    sweep.spool(0).folder.write("000000010.json", b"{")
    assert main(["status", "sweep", "--storage", str(sweep.storage)]) == 2
    assert "error: the records of a sweep must be files that can be read" in capsys.readouterr().err


@pytest.mark.slow
def test_a_real_sweep_that_runs_was_killed_and_has_ended(
    joined: Surroundings, small_data: Path, tmp_path: Path, status: Callable[..., Any]
) -> None:
    """Nothing but the storage is asked, so it says the same from a copy of it, and without Ray."""
    options = ("--name", "sweep", "--data", small_data, "--smoke", "--budget", 18, "--max-concurrent", 1, "--trials", 2)
    copy_tables(tmp_path)
    running = joined.script(tmp_path, *options)

    def reports() -> int:
        folder = tmp_path / "sweep"
        return len(list(folder.glob("trials/0/spool/0*.json")))

    wait_for(lambda: reports() >= 4 or running.process.poll() is not None, "reports of trial 0")
    found = status(tmp_path)
    assert (found["driver"]["pid"], found["driver"]["may_live"]) == (running.process.pid, True)
    assert time.time() - found["driver"]["renewed"] < STALE_S
    assert found["trials"][0]["does"] == "training"
    assert found["trials"][0]["critic_updates"] >= 4
    assert found["trials"][0]["score"] is not None
    assert time.time() - found["trials"][0]["last_sign"] < STALE_S

    running.kill()
    found = status(tmp_path)
    assert (found["driver"]["pid"], found["driver"]["may_live"]) == (running.process.pid, False)
    assert "training" not in [each["does"] for each in found["trials"]]
    assert "driver lost: " in status(tmp_path, as_json=False)

    joined.run(MNIST, tmp_path, *options).succeeded()
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "sweep", copy / "sweep")
    found = status(copy)
    assert found["driver"] is None
    assert [each["does"] for each in found["trials"]] == ["ended", "ended"]
    rows = open_results(str(copy), "sweep").rows
    assert [each["critic_updates"] for each in found["trials"]] == [row.step for row in rows]
    assert [each["best"] for each in found["trials"]] == [row.value for row in rows]
    without_ray = "import sys; sys.modules['ray'] = None; from sweeps.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", without_ray, "status", "sweep", "--storage", str(copy)]
    ran = subprocess.run(command, env=joined.env, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.splitlines()[:2] == ["sweep: 2 of 2 trials ended", "no driver: it has ended"]


def test_the_sweeps_of_a_storage(
    sweep: Sweep, make_plan: Callable[..., Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each with how far it is; one that cannot be read is named and hides no other; what is no sweep is not listed."""
    study = sweep.study("s")
    study.claim("a", 2)
    study.report("a", {0: (45, 2.5)}, {})
    sweep.spool(0).write(ReportRecord(45, round(time.time() * 1000) - 7_200_000, {OBJECTIVE: 2.5}))
    study.finish("a", 1, "FAIL", "not finite")
    write_plan(Folder.at(sweep.storage) / "broken", make_plan(name="broken"))
    (sweep.storage / "no-sweep").mkdir()
    assert main(["ls", "--storage", str(sweep.storage)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["sweep", "ended", "asked", "best", "floor", "objective", "driver", "last", "sign"]
    assert [line.split()[0] for line in lines[2:]] == ["broken", "sweep", "broken"]
    assert lines[3].split() == ["sweep", "1", "4", "2.5", "0.5", "a", "-", "2", "h", "ago"]
    assert "study.db" in lines[4]

    assert main(["ls", "--storage", str(sweep.storage), "--json"]) == 0
    broken, whole = json.loads(capsys.readouterr().out)
    assert broken["problem"]
    assert (whole["name"], whole["best"], whole["problem"]) == ("sweep", 2.5, "")
    assert main(["ls", "--storage", str(sweep.storage / "no-sweep")]) == 0
    assert capsys.readouterr().out.startswith("no sweep in ")
