"""What the live view draws, to fit the terminal it is drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sweeps.engine.cluster.use import Use
from sweeps.engine.results.leaderboard import COLUMNS, cells, header
from sweeps.engine.study.rows import Row
from sweeps.engine.terminal.lines import clock, left
from sweeps.engine.terminal.view import View

GAP = 2
LEAST_BAR, MOST_BAR = 10, 40
DONE, BAR = "updates", "progress"
BEST = "bold green"
# What goes where there is no room, in this order, before the settings from the right.
DISPENSABLE = ("x floor", DONE)
# Lines for the trials, however much there is to say above them: an empty one, titles, two trials, how many more.
TRIALS = 5


@dataclass(frozen=True)
class Screen:
    """A view, `since_s` seconds after it was had. problem: why there is no newer one, if it cannot be found out."""

    view: View
    since_s: float = 0.0
    use: Use | None = None
    problem: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # The last line stays empty, so that what a terminal echoes of Ctrl-C breaks no other; and there is one more
        # below, as what has scrolled away could not be erased.
        width, height = options.max_width, options.max_height - 2
        running = self.view.running
        head = self._head(width)[: max(2, height - TRIALS) if running else height]
        yield from head
        room = height - len(head) - 2  # an empty line, and the titles
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
        parts = [Text(f"best {best.value:.4g} (trial {best.label})", style=BEST)]
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
    """The parts, in as few lines as they fit into, none of which is torn apart."""
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
    """Those trials, with a bar each and as many of the leaderboard's columns as there is room for."""
    found = [_row(view, row) for row in rows]
    titles = ["trial", BAR, DONE, "score", "x floor", *(title for title in COLUMNS if title in header(view.plan))]
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
