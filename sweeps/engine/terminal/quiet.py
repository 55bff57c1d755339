"""A sweep of which only the result is told."""

from __future__ import annotations

import logging
import warnings

from sweeps.engine.results.leaderboard import checkpoint_of
from sweeps.engine.terminal.outlet import put
from sweeps.engine.terminal.voice import Ending, Voice


class Quiet(Voice):
    """The best checkpoint's path at the end, for `$(...)`; nothing if the sweep was interrupted or has no best."""

    def __init__(self) -> None:
        # Only errors are to be heard of libraries too, by all of this process.
        logging.disable(logging.WARNING)
        warnings.simplefilter("ignore")

    def finished(self, ending: Ending) -> None:
        best = ending.results.best_so_far
        if ending.done and best is not None:
            put(str(checkpoint_of(ending.results.folder, best)))
