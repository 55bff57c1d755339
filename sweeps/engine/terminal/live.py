"""A live view of a sweep in a terminal."""

from __future__ import annotations

import io
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sweeps.engine.cluster.use import Use
from sweeps.engine.plan.plan import Plan
from sweeps.engine.results.leaderboard import BESIDE, COLUMNS, ERROR, cells, header
from sweeps.engine.study.rows import Row, score_text
from sweeps.engine.terminal.reporters import Plain
from sweeps.engine.terminal.text import KEPT, escaped_errors
from sweeps.engine.terminal.view import View, clock, left
from wgan_core.errors import printable

GAP = 2
LEAST_BAR, MOST_BAR = 10, 40
DONE, BAR = "updates", "progress"
BEST = "bold green"
# Columns to drop if the terminal is narrow, in this order. After them go the hyper-parameters, from the right.
DISPENSABLE = (*reversed(BESIDE), "x floor", DONE, ERROR)
# Lines reserved for the trials: an empty line, the titles, two trials, and the number of further trials.
TRIALS = 5


@dataclass(frozen=True)
class Screen:
    """A view of the trials as it is drawn on the terminal.

    Attributes:
        view: The latest view.
        since_s: Age of the view in seconds.
        use: Usage of the cluster, if known.
        problem: Why there is no newer view, or empty.
    """

    view: View
    since_s: float = 0.0
    use: Use | None = None
    problem: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # The last line stays empty, so that the terminal's echo of Ctrl-C breaks no other line. One more line below it
        # stays free, because rich cannot erase lines that have scrolled away.
        width, height = options.max_width, options.max_height - 2
        running = self.view.running
        head = self._head(width)[: max(2, height - TRIALS) if running else height]
        yield from head
        room = height - len(head) - 2  # Subtract an empty line and the titles.
        if running and room >= 1:
            shown = running if len(running) <= room else running[: room - 1]
            yield Text()
            yield _table(self.view, shown, width)
            if len(shown) < len(running):
                yield _cut(Text(f"and {len(running) - len(shown)} more are running", style="dim"), width)
        yield Text()

    def _head(self, width: int) -> list[Text]:
        view, plan = self.view, self.view.plan
        times = [Text(clock(view.elapsed_s + self.since_s)), Text(left(view))]
        counts = [
            Text(f"{len(view.ended)} of {plan.trials} trials ended", style="bold"),
            Text(f"{view.count('PRUNED')} stopped early"),
            Text(f"{view.count('FAIL')} failed", style="red" if view.count("FAIL") else ""),
            Text(f"{len(view.running)} running"),
            Text(f"{view.waiting} waiting"),
        ]
        lines = [*_flow([Text(plan.name, style="bold"), *times], width), *_flow(counts, width)]
        lines += [*_flow(self._best(), width), *_flow(self._machines(), width)]
        if self.problem:
            lines.append(_cut(Text(f"not known now: {self.problem}", style="yellow"), width))
        return lines

    def _best(self) -> list[Text]:
        best, plan = self.view.best, self.view.plan
        if best is None:
            return [Text(f"no score yet ({plan.objective})")]
        parts = [Text(f"best {score_text(best.value, best.error)} (trial {best.label})", style=BEST)]
        if plan.floor > 0:
            parts.append(Text(f"{best.value / plan.floor:.1f} x floor {plan.floor:.4g}"))
        return [*parts, Text(plan.objective)]

    def _machines(self) -> list[Text]:
        rate, use = self.view.pace.updates_per_s, self.use
        parts = [] if rate is None else [f"{_number(rate)} critic updates/s"]
        if use is not None:
            parts.append(f"{use.nodes} node{'s' if use.nodes != 1 else ''}")
            parts.append(f"{use.cpus_used:g} of {use.cpus:g} CPUs")
            if use.gpus:
                parts.append(f"{use.gpus_used:.3g} of {use.gpus:g} GPUs")
            if use.here:
                busy = sum(gpu.busy for gpu in use.here) / len(use.here)
                used, there = sum(gpu.used_gib for gpu in use.here), sum(gpu.gib for gpu in use.here)
                parts.append(f"this node's {busy:.0%} busy, {used:.3g} of {there:.3g} GiB")
        return [Text(part) for part in parts]


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def _flow(parts: Sequence[Text], width: int) -> list[Text]:
    """Arrange the parts in as few lines as possible, without breaking a part across lines."""
    lines: list[Text] = []
    for part in parts:
        if lines and lines[-1].cell_len + GAP + part.cell_len <= width:
            lines[-1].append(" " * GAP).append_text(part)
        else:
            lines.append(Text().append_text(part))
    return [_cut(line, width) for line in lines]


def _cut(line: Text, width: int) -> Text:
    line.truncate(width)
    line.no_wrap = True
    return line


def _table(view: View, rows: Sequence[Row], width: int) -> Table:
    """Return a table of the trials, each with a bar and as many of the leaderboard's columns as fit."""
    found = [_row(view, row) for row in rows]
    titles = ["trial", BAR, DONE, "score"]
    titles += [title for title in (ERROR, "x floor", *BESIDE, *COLUMNS) if title in (*header(view.plan), "x floor")]
    widths = {
        title: max(len(title), *(len(row[title]) for row in found)) if title != BAR else LEAST_BAR for title in titles
    }
    for title in (*DISPENSABLE, *reversed(tuple(COLUMNS)), "score"):
        if _total(titles, widths) > width and title in titles:
            titles.remove(title)
    widths[BAR] = max(1, min(MOST_BAR, LEAST_BAR + width - _total(titles, widths)))
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="dim")
    for title in titles:
        justify: Literal["left", "right"] = "left" if title == BAR else "right"
        table.add_column(title, justify=justify, width=widths[title], no_wrap=True, overflow="crop")
    for row, its in zip(rows, found, strict=True):
        bar = ProgressBar(total=view.plan.budget, completed=row.step, width=widths[BAR], complete_style="cyan")
        table.add_row(
            *(bar if title == BAR else its[title] for title in titles), style=BEST if row is view.best else ""
        )
    return table


def _total(titles: Sequence[str], widths: dict[str, int]) -> int:
    return sum(widths[title] for title in titles) + GAP * (len(titles) - 1)


def _row(view: View, row: Row) -> dict[str, str]:
    its = dict(zip(header(view.plan), cells(view.plan, row), strict=True))
    return {**its, BAR: "", DONE: f"{row.step}/{view.plan.budget}"}


# rich's SVG names fonts that a browser would download.
FONTS = re.compile(r"@font-face\s*\{.*?\}\s*", re.DOTALL)


def svg(view: View, use: Use | None = None, width: int = 100, height: int = 20) -> str:
    """Return the view as an SVG of a terminal with `width` columns and `height` lines. It downloads no fonts."""
    console = Console(
        file=io.StringIO(), record=True, width=width, height=height, force_terminal=True, color_system="truecolor"
    )
    console.print(Screen(view, use=use), end="")
    return FONTS.sub("", console.export_svg(title=view.plan.name))


DRAWN_EVERY_S = 1.0


class LiveView(Plain):
    """A reporter that draws a live view during a stage, with messages above it. After the stage, one line remains.

    Args:
        use: Returns the current usage of the cluster, or None.
    """

    def __init__(self, use: Callable[[], Use | None]) -> None:
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
            # The terminal wraps long lines, not rich, so that a copied path has no line break.
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
            redirect_stderr=told.isatty(),  # If stderr goes to a file, it must stay there.
            vertical_overflow="crop",
        )
        self._stack.enter_context(_started(drawn, console))
        self._stack.enter_context(escaped_errors(told))
        self._console = console

    def shows(self, view: View) -> None:
        self._screen, self._had_s = Screen(view, use=self._use()), time.monotonic()

    def not_known(self, why: str) -> None:
        if self._screen is not None:
            self._screen = Screen(self._screen.view, use=self._screen.use, problem=why)

    def ended(self, view: View | None) -> None:
        self._console = None
        self._stack.close()
        super().ended(view)

    def _drawn(self) -> RenderableType:
        screen = self._screen
        if screen is None:
            return ""
        return Screen(screen.view, time.monotonic() - self._had_s, screen.use, screen.problem)


class _InTurn(Console):
    """A console that only one thread at a time writes to. With rich alone, two threads may draw the view twice."""

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
    """Redraw the view every second in a thread while the block runs. A closed terminal must not end the sweep.

    To avoid a deadlock, each thread locks the console before the lock inside `Live`.
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
