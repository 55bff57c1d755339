"""Checkpoints that commands read, and checks of the options for sampling."""

from __future__ import annotations

import argparse

from sweeps.engine.plan.plan import FILE, is_name
from sweeps.engine.results.leaderboard import checkpoint_of
from sweeps.engine.results.results import Results, open_results
from sweeps.engine.study.rows import Row
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError, one_line
from wgan_core.training import checkpoint as checkpoints
from wgan_core.training.checkpoint import Checkpoint

# More samples fit in no memory.
MOST_SAMPLES = 10**12


def best_checkpoint(results: Results, row: Row | None = None) -> Checkpoint:
    """Return the best checkpoint of a trial; for None, that of the sweep.

    Raises:
        UserError: The sweep has no score yet, or the checkpoint cannot be read or is of other data.
    """
    found = _read(checkpoint_of(results.folder, row or results.best))
    plan = results.plan.structure
    for name in ("sample_shape", "coding", "classes", "conditions"):
        if getattr(found.structure, name) != getattr(plan, name):
            raise UserError(
                f"a checkpoint must be of the data of its sweep; its {name} differs from that in {FILE}: name a sweep "
                "whose files are its own"
            )
    return found


def named_checkpoint(given: argparse.Namespace) -> Checkpoint:
    """Return the checkpoint that `given.source` names.

    `given.source` is the folder of a checkpoint, or the name of a sweep, which stands for its best checkpoint. A folder
    with a checkpoint takes precedence over a sweep of the same name.

    Raises:
        UserError: The checkpoint cannot be read, or there is no such sweep.
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
    """Raise `UserError` if `count` is below 1, or above what torch counts."""
    if count < 1:
        raise UserError(f"--n must be a whole number >= 1; given {count}: give --n 64, for example")
    if count >= MOST_SAMPLES:
        raise UserError(f"--n must be a whole number below 10^12; given {count}: give --n 64, for example")


def check_seed(seed: int) -> None:
    """Raise `UserError` if torch does not accept the seed."""
    if not 0 <= seed < 2**63:
        raise UserError(f"--seed must be a whole number in [0, 2^63); given {seed}: give --seed 0, for example")
