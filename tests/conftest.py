"""What holds for every test: repeatable conditions, and no test that silently did not run.

The terminal summary ends with the tests that did not run and why. With `REQUIRE_ALL=1`, as in CI, any of them fails
the session, save those that want a GPU.
"""

import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import hypothesis
import numpy as np
import pytest
import torch

# Handed on to the processes that tests start, too.
os.environ.update(
    {
        "RAY_USAGE_STATS_ENABLED": "0",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MPLBACKEND": "Agg",
        "OMP_NUM_THREADS": "1",
    }
)
# A test must not write to the tracking server, nor join the cluster, that the person running it works with.
for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID", "RAY_ADDRESS"):
    os.environ.pop(name, None)

# A session that runs in the background may have been told to ignore it, and so would all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

NO_GPU = "needs_gpu: no CUDA device here"
NO_BROWSER = "needs_browser: no Chromium here; `make test-deps` installs what tests need"

# Sums on more threads are added up in another order, so results would depend on the machine.
torch.set_num_threads(1)
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("repeatable")


def chromium() -> str | None:
    """The path of a Chromium or Chrome, or None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for path in map(shutil.which, names) if path), None)


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """The same global random numbers in each test, whichever ran before; the default dtype is put back."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  (libraries that draw from it are the reason)
    torch.manual_seed(0)
    dtype = torch.get_default_dtype()
    yield
    torch.set_default_dtype(dtype)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Files with most slow tests first: shared out to processes, none of which is then left with a long one at the end.
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])
    wanting = {
        "needs_gpu": None if torch.cuda.is_available() else NO_GPU,
        "needs_browser": None if chromium() else NO_BROWSER,
    }
    for item in items:
        for marker, reason in wanting.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@dataclass(eq=False)  # pytest keeps plugins in sets, so they must be hashable
class DidNotRun:
    """Keeps count of what the session left out."""

    skipped: list[tuple[str, str]] = field(default_factory=list)  # what, why
    excused: list[tuple[str, str]] = field(default_factory=list)  # the same, for want of a GPU
    broken: list[str] = field(default_factory=list)  # modules that could not be collected
    reached: set[str] = field(default_factory=set)
    deselected: int = 0
    unreached: int = 0  # collected, then the session stopped before them
    required: bool = field(default_factory=lambda: os.environ.get("REQUIRE_ALL") == "1")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.reached.add(report.nodeid)
        if report.skipped and not hasattr(report, "wasxfail"):
            self._note(report, excused="needs_gpu" in report.keywords)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.broken.append(report.nodeid)
        if report.skipped:
            self._note(report, excused=False)

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.deselected += len(items)

    def _note(self, report: pytest.TestReport | pytest.CollectReport, *, excused: bool) -> None:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        (self.excused if excused or reason.startswith("needs_gpu") else self.skipped).append((report.nodeid, reason))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not session.config.option.collectonly:
            self.unreached = max(0, session.testscollected - len(self.reached))
        if self.required and self.skipped and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
        write = terminalreporter.write_line
        terminalreporter.section("did not run")
        for nodeid, reason in self.skipped + self.excused:
            write(f"{nodeid}: {reason}")
        for nodeid in self.broken:
            write(f"{nodeid}: could not be collected")
        if self.unreached:
            write(f"{self.unreached} more: the session stopped before them")
        if self.deselected:
            write(f"{self.deselected} more: deselected")
        complete = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        if not complete:
            write(f"the session broke off: {pytest.ExitCode(exitstatus).name.lower()}")
        elif not (self.skipped or self.excused or self.unreached or self.deselected):
            write("everything ran")
        if self.required and self.skipped:
            write(f"REQUIRE_ALL=1: {len(self.skipped)} skipped, which fails the session", red=True)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(DidNotRun(), "did-not-run")
