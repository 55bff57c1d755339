"""What a person sees while a sweep runs: one line, made again every few seconds."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence

from sweeps.engine.leaderboard import best_row
from sweeps.engine.plan import Plan
from sweeps.engine.study import Row
from wgan_core.errors import one_line

REFRESH_S = 2.0
LINE_EVERY_S = 15.0
USUAL_LENGTH = 0.3  # of the budget: what a trial lasts on average where two of three are stopped at each third


class Progress:
    """Prints from a thread: a line that is overwritten on a terminal, else a line when something changed."""

    def __init__(self, plan: Plan, rows: Callable[[], Sequence[Row]]) -> None:
        self._plan, self._rows = plan, rows
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._began = time.monotonic()
        self._updates_before = -1
        self._terminal = sys.stdout.isatty()

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._show(last=True)

    def _run(self) -> None:
        printed = 0.0
        while not self._stopping.wait(REFRESH_S):
            if self._terminal or time.monotonic() - printed >= LINE_EVERY_S:
                self._show()
                printed = time.monotonic()

    def _show(self, last: bool = False) -> None:
        try:
            rows = list(self._rows())
        except Exception as error:  # a line that cannot be made now must not end the sweep
            print(f"  progress is not known now: {one_line(error)}", flush=True)
            return
        text = self.line(rows, time.monotonic() - self._began)
        if self._terminal:
            # A line that wraps could not be overwritten.
            text = text[: shutil.get_terminal_size().columns - 1]
            print(f"\r\033[K{text}", end="\n" if last else "", flush=True)
        else:
            print(text, flush=True)

    def line(self, rows: Sequence[Row], elapsed_s: float) -> str:
        """The line for these trials after so many seconds."""
        ended = [row for row in rows if row.state in ("COMPLETE", "PRUNED", "FAIL")]
        running = [row for row in rows if row.state == "RUNNING"]
        best = best_row(rows)
        parts = [f"{_clock(elapsed_s)}  {len(ended)} of {self._plan.trials} trials ended"]
        if running:
            parts.append(
                "running " + ", ".join(f"{row.label} ({row.step / self._plan.budget:.0%})" for row in running[:8])
            )
        if best is not None:
            parts.append(f"best {best.value:.4g} (trial {best.label})")
        parts.append(self._left(rows, ended, elapsed_s))
        return "  |  ".join(parts)

    def _left(self, rows: Sequence[Row], ended: Sequence[Row], elapsed_s: float) -> str:
        """Time left, from the pace so far and the mean length of the trials that ended."""
        done = sum(row.step for row in rows)
        if self._updates_before < 0:
            self._updates_before = done
        if len(ended) == self._plan.trials:
            return "all trials have ended"
        pace = (done - self._updates_before) / elapsed_s if elapsed_s > 0 else 0.0
        if pace <= 0:
            return "time left not known yet"
        # As if two trials had ended at the usual length before, so that the first to end do not decide alone.
        expected = USUAL_LENGTH if self._plan.pruning else 1.0
        usual = (sum(row.step for row in ended) + 2 * expected * self._plan.budget) / (len(ended) + 2)
        open_updates = sum(self._open(row.step, usual) for row in rows if row not in ended)
        open_updates += usual * (self._plan.trials - len(rows))
        return f"about {_clock(open_updates / pace)} left"

    def _open(self, step: int, usual: float) -> float:
        """Updates a running trial has before it: one beyond the usual length has survived, and may go on to the end."""
        return max(usual - step, (self._plan.budget - step) / 2)


def _clock(seconds: float) -> str:
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
