"""A sweep told on a terminal: a view at its lower end, drawn again every second."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.live import Live

from sweeps.engine.cluster.use import Use
from sweeps.engine.plan.plan import Plan
from sweeps.engine.terminal.letters import KEPT
from sweeps.engine.terminal.lines import line
from sweeps.engine.terminal.plain import Plain
from sweeps.engine.terminal.screen import Screen
from sweeps.engine.terminal.view import View
from wgan_core.errors import printable

DRAWN_EVERY_S = 1.0


class LiveView(Plain):
    """While a stage lasts, what is said goes above the view; when it is over, one line stays of it."""

    def __init__(self, use: Callable[[], Use | None]) -> None:
        """use: how much of the cluster is in use now."""
        super().__init__()
        self._use = use
        self._screen: Screen | None = None
        self._had_s = 0.0
        self._console: Console | None = None
        self._stack = ExitStack()

    def say(self, text: str) -> None:
        if self._console is None:
            super().say(text)
        else:
            # The terminal breaks long lines, so that a path copied from it is whole.
            with suppress(OSError):
                self._console.print(printable(text, KEPT), soft_wrap=True, markup=False, highlight=False, emoji=False)

    def began(self, plan: Plan) -> None:
        self._screen = None
        console, told = _InTurn(force_jupyter=False), sys.stderr
        drawn = Live(
            console=console,
            get_renderable=self._drawn,
            auto_refresh=False,
            transient=True,
            redirect_stderr=told.isatty(),  # else what was sent to a file would come here
            vertical_overflow="crop",
        )
        self._stack.enter_context(_started(drawn, console))
        self._stack.enter_context(_handlers_to(told, sys.stderr))
        self._console = console

    def shows(self, view: View) -> None:
        self._screen, self._had_s = Screen(view, use=self._use()), time.monotonic()

    def not_known(self, why: str) -> None:
        if self._screen is not None:
            self._screen = Screen(self._screen.view, use=self._screen.use, problem=why)

    def ended(self, view: View | None) -> None:
        self._console = None
        self._stack.close()
        if view is not None:
            self.say(line(view))

    def _drawn(self) -> RenderableType:
        screen = self._screen
        if screen is None:
            return ""
        return Screen(screen.view, time.monotonic() - self._had_s, screen.use, screen.problem)


class _InTurn(Console):
    """What one thread prints or draws is written before another begins; with rich alone two may draw the view twice."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._turn = threading.RLock()

    def __enter__(self) -> _InTurn:
        self._turn.acquire()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            super().__exit__(*error)
        finally:
            self._turn.release()


@contextmanager
def _started(drawn: Live, console: Console) -> Iterator[None]:
    """Draw every second, in a thread, for as long as there is a terminal: one that has gone ends no sweep.

    The console is always taken before the lock that the view itself has.
    """
    stopping = threading.Event()

    def draw() -> None:
        while not stopping.wait(DRAWN_EVERY_S):
            with suppress(OSError), console:
                if not stopping.is_set():
                    drawn.refresh()

    thread = threading.Thread(target=draw, name="live-view", daemon=True)
    with console:
        drawn.start()
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        with suppress(OSError), console:
            drawn.stop()
        thread.join()


@contextmanager
def _handlers_to(before: TextIO, stream: TextIO) -> Iterator[None]:
    """Have the handlers of `logging` that write to a stream write to another instead: they keep what they found."""
    loggers = [logging.getLogger(), *map(logging.getLogger, tuple(logging.root.manager.loggerDict))]
    moved = [
        handler
        for logger in loggers
        for handler in logger.handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is before
    ]
    for handler in moved:
        handler.setStream(stream)
    try:
        yield
    finally:
        for handler in moved:
            handler.setStream(before)
