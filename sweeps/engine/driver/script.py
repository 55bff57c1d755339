"""Functions that a sweep script calls.

Importing this module imports neither torch nor Ray, so a script shows its help quickly.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sweeps.engine.driver.outcome import LostRay, NoScore, outcome
from sweeps.engine.terminal.choose import reporter_for
from sweeps.engine.terminal.text import escaped_errors
from wgan_core.errors import one_line

if TYPE_CHECKING:
    from sweeps.engine.plan.options import Options
    from sweeps.engine.plan.space import Space
    from sweeps.engine.results.results import Results
    from wgan_core.config import Structure
    from wgan_core.data.dataset import Dataset
    from wgan_core.metrics.own import OwnMetric

AGAIN = "the same command again goes on from the last checkpoints"


def run_script(main: Callable[[], None]) -> int:
    """Call a script's main function, and show an error in one line.

    Args:
        main: The function. It reads the command line itself.

    Returns:
        The exit status: 0 for success, 1 for an error, 2 for an error that the user can fix, 130 if interrupted, 143 if
        ended by SIGTERM.
    """
    asked = sys.argv[1:]
    with escaped_errors():
        reporter = reporter_for("--quiet" in asked, "--json" in asked)
        return outcome(main, asked, f": {AGAIN}", _foreseen, reporter.failed)


def run_sweep(
    options: Options, dataset: Dataset, structure: Structure, space: Space, metrics: Sequence[OwnMetric] = ()
) -> Results:
    """Run, continue or extend a sweep, confirm its leaders if `--confirm` is given, and print its leaderboard.

    Args:
        options: Command line options, from `parse`.
        dataset: Data that trials train on and are scored against.
        structure: Networks and settings that all trials share.
        space: Hyper-parameters to search.
        metrics: Your own metrics, measured besides the default metrics of the data. The sweep minimises the first one
            unless the options name another.

    Returns:
        The sweep's results.

    Raises:
        UserError: An option, the data or the storage cannot be used. No trial has started.
        NoScore: All trials failed.
        KeyboardInterrupt: The user stopped the sweep before its end.
    """
    from sweeps.engine.driver.run import run

    return run(options, dataset, structure, space, metrics)


def _foreseen(error: Exception) -> str | None:
    """Return the message of an error that is no bug, and None for any other error."""
    if isinstance(error, NoScore):
        return str(error)
    if isinstance(error, LostRay):
        return f"{error}: {AGAIN}"
    if "sweeps.engine.driver.full_disk" in sys.modules:
        from sweeps.engine.driver.full_disk import FullDisk

        if isinstance(error, FullDisk):
            return str(error)
    if "ray" in sys.modules:
        from ray.exceptions import RayError
        from ray.tune import TuneError

        if isinstance(error, RayError | TuneError):
            return f"{one_line(error)}: {AGAIN}"
    return None
