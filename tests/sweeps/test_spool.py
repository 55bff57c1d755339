"""The spool: what is written is read back, once written it stays."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.engine.storage.spool import BestCheckpoint, EndRecord, ReportRecord, Spool, StartRecord
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(Folder.at(tmp_path / "trials" / "4"))


def test_what_is_written_is_read_back_in_order(spool: Spool) -> None:
    assert spool.segments() == []
    best = BestCheckpoint(200, 0.25, "000000200")
    assert spool.write(StartRecord(4, {"lr": 1e-4, "n_critic": 5, "critic": "mlp λ"}, seed=7, started_ms=1_000))
    assert spool.write(ReportRecord(0, 2_000, {"eval/w1": 3.0}, image="000000000.png"))
    assert spool.write(ReportRecord(200, 3_000, {"eval/w1": 0.25}))
    assert spool.write(ReportRecord(1_000_000, 4_000, {}))
    assert spool.write(EndRecord("PRUNED", "below the median", 5_000, 1_000_000, best, "model"))

    names = ["000000000-start.json", "000000000.json", "000000200.json", "001000000.json", "end.json"]
    assert spool.segments() == names
    assert [spool.read(name) for name in names] == [
        StartRecord(4, {"lr": 1e-4, "n_critic": 5, "critic": "mlp λ"}, 7, 1_000),
        ReportRecord(0, 2_000, {"eval/w1": 3.0}, "000000000.png"),
        ReportRecord(200, 3_000, {"eval/w1": 0.25}, None),
        ReportRecord(1_000_000, 4_000, {}, None),
        EndRecord("PRUNED", "below the median", 5_000, 1_000_000, best, "model"),
    ]


def test_the_first_record_of_a_step_stays(spool: Spool) -> None:
    assert spool.write(StartRecord(0, {"lr": 1.0}, 0, 1))
    assert not spool.write(StartRecord(0, {"lr": 2.0}, 0, 9))
    assert spool.write(ReportRecord(100, 10, {"a": 1.0}))
    assert not spool.write(ReportRecord(100, 20, {"a": 2.0}, image="x.png"))
    assert spool.write(EndRecord("FAIL", "no memory", 30, 100))
    assert not spool.write(EndRecord("COMPLETE", "", 40, 200))
    assert spool.read("000000000-start.json") == StartRecord(0, {"lr": 1.0}, 0, 1)
    assert spool.read("000000100.json") == ReportRecord(100, 10, {"a": 1.0}, None)
    assert spool.read("end.json") == EndRecord("FAIL", "no memory", 30, 100, None, None)


def test_a_reopened_trial_ends_anew_and_keeps_its_steps(spool: Spool) -> None:
    spool.reopen()  # nothing to take back
    spool.write(ReportRecord(100, 10, {"a": 1.0}))
    spool.write(EndRecord("FAIL", "no memory", 30, 100))
    spool.reopen()
    assert spool.segments() == ["000000100.json"]
    assert spool.write(EndRecord("COMPLETE", "", 40, 200))
    end = spool.read("end.json")
    assert isinstance(end, EndRecord)
    assert end.state == "COMPLETE"


def test_files_are_json_even_where_numbers_are_not_finite(spool: Spool) -> None:
    spool.write(ReportRecord(1, 10, {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 0.1}))
    spool.write(EndRecord("FAIL", "diverged", 30, 1, BestCheckpoint(1, math.inf, "000000001")))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    for name in spool.segments():
        json.loads(spool.folder.read(name), parse_constant=refuse)
    step, end = spool.read("000000001.json"), spool.read("end.json")
    assert isinstance(step, ReportRecord)
    assert math.isnan(step.metrics["a"])
    assert (step.metrics["b"], step.metrics["c"], step.metrics["d"]) == (math.inf, -math.inf, 0.1)
    assert isinstance(end, EndRecord)
    assert end.best is not None
    assert end.best.value == math.inf


@pytest.mark.parametrize("name", ["", "loss%", "a=b", "λ", "x" * 251])
def test_a_name_that_mlflow_would_refuse_is_refused_at_once(spool: Spool, name: str) -> None:
    with pytest.raises(UserError, match="a metric's name has"):
        spool.write(ReportRecord(1, 10, {name: 1.0}))
    assert spool.segments() == []


@pytest.mark.parametrize("step", [-1, 10**9, 1.5])
def test_a_step_that_cannot_be_named_is_refused(spool: Spool, step: int) -> None:
    with pytest.raises(UserError, match="a step is an integer"):
        spool.write(ReportRecord(step, 10, {}))


def test_only_ends_that_optuna_knows_are_taken(spool: Spool) -> None:
    with pytest.raises(UserError, match="given 'DONE'"):
        spool.write(EndRecord("DONE", "", 1, 1))  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b'{"critic_updates": 1, "surplus": 2, "metrics": {}}'])
def test_a_file_that_is_no_segment_says_so(spool: Spool, content: bytes) -> None:
    spool.folder.write("000000001.json", content)
    with pytest.raises(ValueError, match=r"spool segment|Expecting"):
        spool.read("000000001.json")


def test_importing_it_and_the_tracker_imports_neither_mlflow_nor_ray() -> None:
    code = (
        "import sys, sweeps.engine.storage.spool, sweeps.engine.tracking.mlflow_recorder; "
        "assert not {'mlflow', 'ray'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
