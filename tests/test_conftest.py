"""The session plugin in conftest.py: it says what did not run, and REQUIRE_ALL=1 turns that into a failure."""

from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")
INI = """
[pytest]
markers =
    needs_gpu: x
    needs_browser: x
"""
PASSES = """
import os, torch

def test_passes():
    assert torch.get_num_threads() == 1
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0" and os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert "MLFLOW_TRACKING_URI" not in os.environ
"""


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project of its own with our conftest.py, on a machine without a GPU or a browser."""
    pytester.makeconftest(CONFTEST.read_text(encoding="utf-8"))
    pytester.makeini(INI)
    monkeypatch.delenv("REQUIRE_ALL", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("PATH", str(pytester.mkdir("no-programs")))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example.com")
    return pytester


def test_says_that_everything_ran(session: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUIRE_ALL", "1")
    session.makepyfile(PASSES)
    result = session.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*= did not run =*", "everything ran"])


@pytest.mark.parametrize(("require_all", "status"), [("0", pytest.ExitCode.OK), ("1", pytest.ExitCode.TESTS_FAILED)])
def test_lists_each_skip_and_fails_on_it_if_required(
    session: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, require_all: str, status: pytest.ExitCode
) -> None:
    monkeypatch.setenv("REQUIRE_ALL", require_all)
    session.makepyfile(
        test_some=PASSES
        + """
import pytest

@pytest.mark.needs_browser
def test_page(): ...

@pytest.mark.needs_gpu
def test_graph(): ...

def test_later():
    pytest.skip("the moon is full")
""",
        test_module="import pytest; pytest.importorskip('no_such_module')",
    )
    result = session.runpytest_subprocess()
    assert result.ret == status
    result.assert_outcomes(passed=1, skipped=4)
    result.stdout.fnmatch_lines_random(
        [
            "test_some.py::test_page: needs_browser: no Chromium here; `make test-deps`*",
            "test_some.py::test_graph: needs_gpu: no CUDA device here",
            "test_some.py::test_later: the moon is full",
            "test_module.py: could not import 'no_such_module'*",
        ]
    )
    result.stdout.no_fnmatch_line("everything ran")
    if require_all == "1":
        result.stdout.fnmatch_lines(["REQUIRE_ALL=1: 3 skipped, which fails the session"])


def test_a_missing_gpu_is_excused(session: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUIRE_ALL", "1")
    session.makepyfile("import pytest\npytestmark = pytest.mark.needs_gpu\ndef test_graph(): ...")
    result = session.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*::test_graph: needs_gpu: no CUDA device here"])
    result.stdout.no_fnmatch_line("everything ran")


def test_a_session_that_stops_early_does_not_claim_that_everything_ran(session: pytest.Pytester) -> None:
    session.makepyfile("def test_a(): assert False\ndef test_b(): ...\ndef test_c(): ...")
    result = session.runpytest_subprocess("-x", "-k", "not test_c")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["1 more: the session stopped before them", "1 more: deselected"])
    result.stdout.no_fnmatch_line("everything ran")
