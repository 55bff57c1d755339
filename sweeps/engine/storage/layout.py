"""Where things lie in a sweep's folder: `<storage>/<sweep>/trials/<label>/...`."""

from __future__ import annotations

import re

from wgan_core.data.folder import Folder

TRIALS = "trials"
# A number; with a letter, a confirming trial of the one of that number.
LABEL = re.compile(r"([0-9]{1,9})([a-z]?)")
CHECKPOINTS, SAMPLES, MODEL = "checkpoints", "samples", "model"
MOST_PICTURE = 2**26  # bytes of a sample grid that are read
IMAGE = re.compile(r"[0-9]{9}\.png")


def sweep_folder(storage: str, name: str) -> Folder:
    return Folder.at(storage) / name


def storage_of_sweep(sweep: Folder) -> Folder:
    """Return the storage that a sweep's folder lies in."""
    return Folder(sweep.filesystem, sweep.path.rpartition("/")[0])


def trial_folder(sweep: Folder, label: str) -> Folder:
    """Of the trial that the plan calls so."""
    return sweep / TRIALS / label


def trial_labels(sweep: Folder) -> list[str]:
    """Of the trials that have a folder."""
    return [name for name in (sweep / TRIALS).names() if LABEL.fullmatch(name)]


def parts(label: str) -> tuple[int, str]:
    """The number of a trial's label, and its letter or nothing: in this order trials are listed."""
    found = LABEL.fullmatch(label)
    assert found is not None, label
    return int(found[1]), found[2]


def sample_name(critic_updates: int) -> str:
    """The sample grid of a report step; names sort as the steps do."""
    return f"{critic_updates:09d}.png"
