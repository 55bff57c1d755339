"""Checkpoints: one trial's whole state as safetensors and JSON.

A checkpoint is a folder named after its count of critic updates. Its manifest names each file with its size and
SHA-256, and is written last. A folder without a manifest is an interrupted write and is skipped. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wgan_core.config import Structure, Trial
from wgan_core.data.folder import MOST_BYTES, MOST_JSON_BYTES, Folder, TooLarge, parse_json
from wgan_core.errors import UserError, one_line

if TYPE_CHECKING:
    from wgan_core.training.means import Sums
    from wgan_core.training.state import TrainingState

FORMAT = 4
_READABLE = (3, FORMAT)
MANIFEST = "manifest.json"
STATE = "state.safetensors"
TRIAL = "trial.json"


_log = logging.getLogger(__name__)


class DamagedCheckpoint(UserError):
    """Error for a checkpoint file that is missing or differs from its manifest."""


@dataclass(frozen=True)
class Checkpoint:
    """A trial with its training state at one count of critic updates.

    Attributes:
        critic_updates: Critic updates made so far.
        state: The state of one lane.
        scores: Held-out metrics by name; empty for a checkpoint saved between two report steps.
        seconds: Training time so far.
        since_report: By training metric, the sum and number of updates since the last report. A checkpoint saved
            between two report steps needs them to finish the means.
    """

    trial: Trial
    structure: Structure
    critic_updates: int
    state: TrainingState
    scores: dict[str, float]
    seconds: float = 0.0
    since_report: Sums = field(default_factory=dict)


def folder_name(critic_updates: int) -> str:
    """Return the name of a checkpoint's folder. Names sort in the order of the counts."""
    return f"{critic_updates:09d}"


def is_folder_name(name: str) -> bool:
    """Return whether a name has the form of `folder_name`."""
    return re.fullmatch(r"[0-9]{9}", name) is not None


def write(folder: Folder, checkpoint: Checkpoint) -> Folder:
    """Write a checkpoint below `folder` and return the checkpoint's own folder.

    A complete checkpoint of the same step is not overwritten. Its scores may be known elsewhere, or it may belong to
    another process, on a node that was given up for lost.
    """
    from safetensors.torch import save

    described = {
        "format": FORMAT,
        "critic_updates": checkpoint.critic_updates,
        "scores": checkpoint.scores,
        "seconds": checkpoint.seconds,
        "since_report": checkpoint.since_report,
        "structure": checkpoint.structure.as_json(),
        "trial": checkpoint.trial.as_json(),
    }
    tensors = {name: tensor[0].contiguous().cpu() for name, tensor in checkpoint.state.tensors().items()}
    files = {STATE: save(tensors), TRIAL: json.dumps(described, indent=1).encode()}
    target = folder / folder_name(checkpoint.critic_updates)
    if _is_whole(target):
        return target
    # Delete the manifest first, so that a half-overwritten checkpoint never counts as complete.
    target.delete(MANIFEST)
    for name, content in files.items():
        target.write(name, content)
    manifest = {name: {"bytes": len(content), "sha256": _digest(content)} for name, content in files.items()}
    target.write(MANIFEST, json.dumps(manifest, indent=1).encode())
    return target


def read(folder: Folder) -> Checkpoint:
    """Read the checkpoint in this folder.

    Raises:
        UserError: The folder has no manifest, or its format is unknown to this version.
        DamagedCheckpoint: A file differs from the manifest or does not describe a trial.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    from wgan_core.training.state import TrainingState

    if not folder.exists(MANIFEST):
        raise UserError(
            f"a checkpoint is a folder with a {MANIFEST}; {folder} has none: name one of the folders below checkpoints/"
        )
    contents = {name: _verified(folder, name, expected) for name, expected in _manifest(folder).items()}
    with _describing(folder):
        described = _described(contents[TRIAL])
    if described.get("format") not in _READABLE:
        raise UserError(
            f"this version reads the checkpoint formats {', '.join(map(str, _READABLE))}; {folder} has format "
            f"{described.get('format')}: read it with the version that wrote it"
        )
    try:
        tensors = {name: tensor.unsqueeze(0) for name, tensor in load(contents[STATE]).items()}
    except SafetensorError as error:
        raise DamagedCheckpoint(
            f"{STATE} of checkpoint {folder} must be safetensors; {error}: take an older one"
        ) from error
    with _describing(folder):
        return Checkpoint(
            trial=Trial.from_json(described["trial"]),
            structure=Structure.from_json(described["structure"]),
            critic_updates=_count(described["critic_updates"]),
            state=TrainingState.from_tensors(tensors),
            scores=described["scores"],
            seconds=described["seconds"],
            since_report={name: (total, count) for name, (total, count) in described["since_report"].items()},
        )


def read_scores(folder: Folder) -> tuple[dict[str, float], int]:
    """Return the scores and the count of critic updates of a checkpoint, without reading its state.

    Raises:
        DamagedCheckpoint: The manifest or `trial.json` is missing or damaged.
    """
    content = _verified(folder, TRIAL, _manifest(folder)[TRIAL])
    with _describing(folder):
        described = _described(content)
        scores = {str(name): float(score) for name, score in described["scores"].items()}
        return scores, _count(described["critic_updates"])


def valid(folder: Folder) -> list[str]:
    """Return the names of the complete checkpoints below `folder`, oldest first."""
    return [name for name in folder.names() if is_folder_name(name) and (folder / name).exists(MANIFEST)]


def latest(folder: Folder) -> Checkpoint | None:
    """Return the newest undamaged checkpoint below `folder`, or None. Log a warning for each damaged one.

    Raises:
        UserError: A checkpoint has a format that this version does not know.
    """
    for name in reversed(valid(folder)):
        try:
            found = read(folder / name)
            if name != folder_name(found.critic_updates):
                raise DamagedCheckpoint(
                    f"checkpoint {folder / name} must be of the critic updates in its name; it is of "
                    f"{found.critic_updates}: take an older one"
                )
            return found
        except DamagedCheckpoint as error:
            _log.warning("passing over a checkpoint: %s", error)
    return None


def keep(folder: Folder, names: set[str]) -> None:
    """Delete all checkpoints below `folder` except those in `names`, and interrupted writes too.

    Files and folders without the name of a checkpoint are not touched.
    """
    for name in folder.names():
        if is_folder_name(name) and name not in names:
            # Another process may delete the same checkpoint at the same time.
            with suppress(FileNotFoundError):
                (folder / name).delete(MANIFEST)
                folder.delete(name)


@contextmanager
def _describing(folder: Folder) -> Iterator[None]:
    """Turn the errors of reading a damaged description into `DamagedCheckpoint`."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise DamagedCheckpoint(
            f"{TRIAL} of checkpoint {folder} must describe a trial; {one_line(error)}: take an older one"
        ) from error


def _described(content: bytes) -> dict[str, Any]:
    described = parse_json(content)
    if not isinstance(described, dict):
        raise TypeError(f"it is a {type(described).__name__}")
    return described


def _count(value: Any) -> int:
    """Return a count of critic updates. Raise `ValueError` for any other value."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**9:
        raise ValueError(f"critic_updates is {value!r}")
    return value


def _is_whole(folder: Folder) -> bool:
    try:
        return folder.exists(MANIFEST) and all(_verified(folder, *each) for each in _manifest(folder).items())
    except DamagedCheckpoint:
        return False


def _verified(folder: Folder, name: str, expected: dict[str, Any]) -> bytes:
    try:
        content = folder.read(name, expected["bytes"])
    except TooLarge as error:
        raise DamagedCheckpoint(str(error)) from error
    except FileNotFoundError:
        raise DamagedCheckpoint(
            f"checkpoint {folder} lacks {name}, which its manifest names: take an older one"
        ) from None
    if len(content) != expected["bytes"] or _digest(content) != expected["sha256"]:
        raise DamagedCheckpoint(
            f"{name} of checkpoint {folder} must have {expected['bytes']} bytes and SHA-256 {expected['sha256']}; "
            f"it has {len(content)} bytes and {_digest(content)}: delete the folder to go on from an older one"
        )
    return content


def _manifest(folder: Folder) -> dict[str, Any]:
    try:
        manifest = folder.json(MANIFEST)
        most = {STATE: MOST_BYTES, TRIAL: MOST_JSON_BYTES}
        return {
            name: {"bytes": min(int(manifest[name]["bytes"]), most[name]), "sha256": str(manifest[name]["sha256"])}
            for name in (STATE, TRIAL)
        }
    except (FileNotFoundError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise DamagedCheckpoint(
            f"{MANIFEST} of checkpoint {folder} must name {STATE} and {TRIAL} by size and hash; it does not: "
            "delete the folder to go on from an older one"
        ) from error


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
