"""Thread that rewrites the report of a sweep while the sweep runs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from sweeps.engine.results.results import Results
from sweeps.engine.tracking import Recorder
from wgan_core.errors import one_line

_log = logging.getLogger(__name__)

FIRST_S, LEAST_S = 20.0, 60.0
# Wait at least 30 times as long as the last report took, because trials need the CPU more.
SHARE = 30.0


class Refresher:
    """Context manager that writes the report from a thread until its block ends.

    If a report cannot be written, the thread logs a warning. The sweep goes on.
    """

    def __init__(self, read: Callable[[], Results], recorder: Recorder) -> None:
        """Take `read`, which returns the current results, and the recorder that gets each new report."""
        self._read, self._recorder = read, recorder
        # Label, state and step of every trial in the last report.
        self._written: list[tuple[str, str, int]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="report", daemon=True)

    def __enter__(self) -> Refresher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(LEAST_S)  # a thread that hangs on a server must not delay the end

    def _run(self) -> None:
        wait = FIRST_S
        while not self._stopping.wait(wait):
            wait = max(LEAST_S, SHARE * self.write())

    def write(self) -> float:
        """Write the report if a trial has changed or the sweep is over. Return the seconds that it took."""
        began = time.monotonic()
        try:
            from sweeps.engine.report.write import FILES, write_report  # late: it imports slow chart libraries

            results = self._read()
            standing = [(row.label, row.state, row.step) for row in results.all_rows]
            if standing != self._written or self._stopping.is_set():
                folder = write_report(results)
                self._recorder.publish(folder, [name for name in FILES if folder.exists(name)])
                self._written = standing
        except Exception as error:
            _log.warning("the sweep's report is not up to date: %s", one_line(error))
        return time.monotonic() - began
