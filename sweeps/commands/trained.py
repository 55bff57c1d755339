"""The checkpoint that a command is about, and how many samples are asked of it."""

from __future__ import annotations

import argparse

from sweeps.engine.plan.plan import is_name
from sweeps.engine.results.leaderboard import checkpoint_of
from sweeps.engine.results.results import Results, open_results
from sweeps.engine.study.rows import Row
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError, one_line
from wgan_core.training import checkpoint as checkpoints
from wgan_core.training.checkpoint import Checkpoint


def best_checkpoint(results: Results) -> Checkpoint:
    """The best of a sweep. Raises `UserError` if there is none yet, or none that can be read."""
    return _read(checkpoint_of(results.folder, results.best))


def trial_checkpoint(results: Results, row: Row) -> Checkpoint:
    """The best of a trial. Raises `UserError` if it cannot be read."""
    return _read(checkpoint_of(results.folder, row))


def named_checkpoint(given: argparse.Namespace) -> Checkpoint:
    """The checkpoint in the folder that is `given.source`; the best of the sweep of that name, if the folder is none.

    Raises `UserError` for a checkpoint that cannot be read.
    """
    folder = Folder.at(given.source)
    if is_name(given.source) and not folder.exists(checkpoints.MANIFEST):
        return best_checkpoint(open_results(given.storage, given.source, given.study_storage))
    return _read(folder)


def _read(folder: Folder) -> Checkpoint:
    try:
        return checkpoints.read(folder)
    except OSError as error:
        raise UserError(
            f"a checkpoint must be files that can be read; {folder}: {one_line(error)}: check --storage, or the path"
        ) from error


def check_count(count: int) -> None:
    """Raises `UserError` for fewer samples than one."""
    if count < 1:
        raise UserError(f"--n must be a whole number >= 1; given {count}: give --n 64, for example")


def check_seed(seed: int) -> None:
    """Raises `UserError` for a seed that torch does not take."""
    if not 0 <= seed < 2**63:
        raise UserError(f"--seed must be a whole number in [0, 2^63); given {seed}: give --seed 0, for example")
