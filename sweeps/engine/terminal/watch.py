"""Looks how the trials of a stage stand, again and again, and has it told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from sweeps.engine.plan.plan import Plan
from sweeps.engine.study.rows import ENDED, Row
from sweeps.engine.terminal.view import Estimate, View
from sweeps.engine.terminal.voice import Reporter
from wgan_core.errors import one_line

REFRESH_S = 2.0


class Watch:
    """A stage of a sweep, for as long as the block lasts, watched by a thread.

    session: the driver's, by which a trial that runs is told from one that an earlier driver has left. said: what the
    session's cohorts have told of themselves so far, in order.
    """

    def __init__(
        self,
        voice: Reporter,
        plan: Plan,
        rows: Callable[[], Sequence[Row]],
        session: str = "",
        said: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._voice, self._plan, self._rows, self._session = voice, plan, rows, session
        self._said, self._passed_on = said, 0
        self._estimate = Estimate(plan)
        # Of the trials, by number, those whose end has been told, or came before; None before the first look.
        self._over: set[int] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._began_s = time.monotonic()

    def __enter__(self) -> Watch:
        self._voice.began(self._plan)
        self._show(self._look())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        view = None
        try:
            self._stopping.set()
            self._thread.join()
            view = self._look()
        finally:  # a second interrupt must not leave a terminal as the view has set it
            self._voice.ended(view)

    def _run(self) -> None:
        while not self._stopping.wait(REFRESH_S):
            self._show(self._look())

    def _show(self, view: View | None) -> None:
        if view is not None:
            self._voice.shows(view)

    def _look(self) -> View | None:
        """What stands now, with the ends of trials told; None, and why, if it cannot be found out."""
        try:
            rows, said = list(self._rows()), self._said()
        except Exception as error:  # what cannot be shown now must not end the sweep
            self._voice.not_known(one_line(error))
            return None
        for text in said[self._passed_on :]:
            self._voice.say(text)
        self._passed_on = len(said)
        elapsed_s = time.monotonic() - self._began_s
        over = {row.number for row in rows if row.state in ENDED}
        for row in rows:
            if row.number in over - (over if self._over is None else self._over):
                self._voice.trial_ended(row)
        self._over = over
        return View(self._plan, rows, elapsed_s, self._estimate.look(rows, elapsed_s), self._session)
