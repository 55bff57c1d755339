"""Layout of a sweep's folder: `<storage>/<sweep>/trials/<label>/...`."""

from __future__ import annotations

import re

from wgan_core.data.folder import Folder

TRIALS = "trials"
# A trial's number. A letter after it marks a confirming trial of the trial with that number.
LABEL = re.compile(r"([0-9]{1,9})([a-z]?)")
CHECKPOINTS, SAMPLES, MODEL = "checkpoints", "samples", "model"
MOST_PICTURE = 2**26  # most bytes to read of a sample grid
IMAGE = re.compile(r"[0-9]{9}\.png")


def sweep_folder(storage: str, name: str) -> Folder:
    return Folder.at(storage) / name


def storage_of_sweep(sweep: Folder) -> Folder:
    """Return the storage folder that contains a sweep's folder."""
    return Folder(sweep.filesystem, sweep.path.rpartition("/")[0])


def trial_folder(sweep: Folder, label: str) -> Folder:
    """Return the folder of the trial with this label."""
    return sweep / TRIALS / label


def trial_labels(sweep: Folder) -> list[str]:
    """Return the labels of the trials that have a folder."""
    return [name for name in (sweep / TRIALS).names() if LABEL.fullmatch(name)]


def parts(label: str) -> tuple[int, str]:
    """Return the number and the letter (or "") of a trial's label. Trials are sorted by this pair."""
    found = LABEL.fullmatch(label)
    assert found is not None, label
    return int(found[1]), found[2]


def sample_name(critic_updates: int) -> str:
    """Return the file name of a report step's sample grid. Names sort in the order of the steps."""
    return f"{critic_updates:09d}.png"
