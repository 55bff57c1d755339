"""A thread that reads the state of a stage's trials every two seconds and reports it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from sweeps.engine.plan.plan import Plan
from sweeps.engine.study.rows import ENDED, Row
from sweeps.engine.terminal.reporter import Reporter
from sweeps.engine.terminal.view import Estimate, View
from wgan_core.errors import one_line

REFRESH_S = 2.0


class Watch:
    """A context manager that reports the progress of a stage, in a thread, while its block runs.

    Args:
        reporter: The reporter.
        plan: Plan of the stage.
        rows: Returns the trials.
        session: Id of the driver's session. It tells running trials from trials that an earlier driver has left.
        said: Returns all messages of the session's cohorts so far, in order.
    """

    def __init__(
        self,
        reporter: Reporter,
        plan: Plan,
        rows: Callable[[], Sequence[Row]],
        session: str = "",
        said: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._reporter, self._plan, self._rows, self._session = reporter, plan, rows, session
        self._said, self._passed_on = said, 0
        self._estimate = Estimate(plan)
        # Numbers of the trials whose end is reported or came before this stage; None before the first look.
        self._over: set[int] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._began_s = time.monotonic()

    def __enter__(self) -> Watch:
        self._reporter.began(self._plan)
        self._show(self._look())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        view = None
        try:
            self._stopping.set()
            self._thread.join()
            view = self._look()
        finally:  # Even after a second Ctrl-C, the live view must restore the terminal.
            self._reporter.ended(view)

    def _run(self) -> None:
        while not self._stopping.wait(REFRESH_S):
            self._show(self._look())

    def _show(self, view: View | None) -> None:
        if view is not None:
            self._reporter.shows(view)

    def _look(self) -> View | None:
        """Read the trials and report messages and ended trials. If that fails, report why and return None."""
        try:
            rows, said = list(self._rows()), self._said()
        except Exception as error:  # A failed reading must not end the sweep.
            self._reporter.not_known(one_line(error))
            return None
        for text in said[self._passed_on :]:
            self._reporter.say(text)
        self._passed_on = len(said)
        elapsed_s = time.monotonic() - self._began_s
        over = {row.number for row in rows if row.state in ENDED}
        for row in rows:
            if row.number in over - (over if self._over is None else self._over):
                self._reporter.trial_ended(row)
        self._over = over
        return View(self._plan, rows, elapsed_s, self._estimate.look(rows, elapsed_s), self._session)
