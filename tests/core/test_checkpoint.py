"""Checkpoints: what is written is read bit for bit, an interruption leaves no trace, and damage is refused.

Run as a program, this file trains: `whole FOLDER` without a break, `resumed FOLDER` on from the checkpoints of
`whole`. So each of the two is a process of its own.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from pyarrow import fs
from safetensors import SafetensorError

from tests.core import cohorts
from tests.core.refusal import refused
from wgan_core.config import Hyper, Structure, Trial
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError
from wgan_core.training import checkpoint
from wgan_core.training.checkpoint import MANIFEST, STATE, TRIAL, Checkpoint, DamagedCheckpoint, folder_name
from wgan_core.training.cohort import Cohort
from wgan_core.training.state import TrainingState

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
HYPER = Hyper(lambda_gp=10.0, lr_critic=1e-3, lr_generator=5e-4, n_critic=3, beta1=0.5, beta2=0.9)
# At the interruption, trials stand in the midst of a round of critic updates and of a block of draws.
INTERRUPTED, BETWEEN, END = 5, 12, 20
CASES = {
    f"{networks}-{lanes}": (networks, [Trial(n, 40 + n, replace(HYPER, n_critic=3 - n)) for n in range(lanes)])
    for networks in ("mlp", "conv")
    for lanes in (1, 3)
}


def cohort_of(networks: str, trials: Sequence[Trial], width: int | None = None) -> Cohort:
    # As many samples as make the linear layers go through oneDNN where it is faster.
    options = {"critic": {"width": 8}, "generator": {"width": 8}} if networks == "conv" else {}
    structure = Structure(networks, (1, 8, 8), latent_dim=6, batch_size=64, network_options=options)
    return cohorts.cohort_of(structure, trials, (INTERRUPTED, END), width)


def advance_and_write(cohort: Cohort, folder: Folder) -> None:
    """Train until the next report and write a checkpoint of each trial, with the report's means as its scores."""
    for report in cohort.advance():
        number = report.trial.number
        state = cohort.state_of(number)
        kept = Checkpoint(report.trial, cohort.structure, report.critic_updates, state, report.means)
        checkpoint.write(folder / str(number), kept)


def whole(folder: Folder) -> None:
    for case, (networks, trials) in CASES.items():
        cohort = cohort_of(networks, trials)
        for _ in (INTERRUPTED, END):
            advance_and_write(cohort, folder / "whole" / case)


def stopped(folder: Folder) -> None:
    """Up to a report, on from it, and stopped between two."""
    for case, (networks, trials) in CASES.items():
        cohort = cohort_of(networks, trials)
        cohort.advance()
        still = iter(range(BETWEEN - INTERRUPTED))
        assert cohort.advance(lambda still=still: next(still, None) is None) == []
        assert cohort.advance(lambda: True) == [], "what was reported is reported again"
        for trial in trials:
            step, seconds, since_report = cohort.since_report(trial.number)
            assert step == BETWEEN
            assert seconds > 0
            state = cohort.state_of(trial.number)
            kept = Checkpoint(trial, cohort.structure, step, state, {}, since_report=since_report)
            checkpoint.write(folder / "stopped" / case / str(trial.number), kept)


def resumed(folder: Folder) -> None:
    for case, (networks, trials) in CASES.items():
        for before, step in (("whole", INTERRUPTED), ("stopped", BETWEEN)):
            cohort = cohort_of(networks, [], len(trials))
            for trial in trials:
                kept = checkpoint.read(folder / before / case / str(trial.number) / folder_name(step))
                cohort.add(kept.trial, kept.state, kept.critic_updates, kept.since_report)
            advance_and_write(cohort, folder / f"resumed after {before}" / case)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one process has trained all cases without a break, and another has resumed them."""
    folder = tmp_path_factory.mktemp("trained")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for role in ("whole", "stopped", "resumed"):
        command = [sys.executable, __file__, role, str(folder)]
        subprocess.run(command, check=True, env=environment, timeout=300)
    return folder


@pytest.mark.parametrize("before", ["whole", "stopped"])
@pytest.mark.parametrize("case", CASES)
def test_a_resumed_trial_equals_the_uninterrupted_one_bit_for_bit(trained: Path, case: str, before: str) -> None:
    """Networks, moments, average, and the means that it reports; resumed at a report, and between two."""
    for trial in CASES[case][1]:
        expected, found = (
            trained / role / case / str(trial.number) / folder_name(END)
            for role in ("whole", f"resumed after {before}")
        )
        assert (found / STATE).read_bytes() == (expected / STATE).read_bytes(), trial
        assert (found / TRIAL).read_bytes() == (expected / TRIAL).read_bytes(), trial
        start = expected.parent / folder_name(INTERRUPTED)
        assert (start / STATE).read_bytes() != (expected / STATE).read_bytes(), "no training happened"


def made(critic_updates: int = 7, dtype: str = "float32") -> Checkpoint:
    """A checkpoint in which no tensor is zero or equal to another."""
    structure = Structure("mlp", (1, 4, 4), latent_dim=3, batch_size=5, dtype=dtype)
    tensors = TrainingState.initial(structure, 11, CPU).tensors()
    generator = torch.Generator().manual_seed(critic_updates)
    filled = {
        name: torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        if tensor.is_floating_point()
        else tensor + critic_updates
        for name, tensor in tensors.items()
    }
    scores = {"eval/fid": 0.1 + 0.2, "eval/recall": 1e-300}
    return Checkpoint(Trial(4, 2**62 + 1, HYPER), structure, critic_updates, TrainingState.from_tensors(filled), scores)


def folder_at(path: Path) -> Folder:
    return Folder.at(path)


def remote_at(path: Path) -> Folder:
    """A folder of a file system that is not the local one, so that files are written as to an object store."""
    return Folder(fs.SubTreeFileSystem(str(path), fs.LocalFileSystem()), "bucket")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("at", [folder_at, remote_at])
def test_what_is_written_is_read_bit_for_bit(tmp_path: Path, at: type[Folder], dtype: str) -> None:
    kept = made(dtype=dtype)
    read = checkpoint.read(checkpoint.write(at(tmp_path), kept))
    assert (read.trial, read.structure, read.critic_updates, read.scores) == (
        kept.trial,
        kept.structure,
        kept.critic_updates,
        kept.scores,
    )
    expected, tensors = kept.state.tensors(), read.state.tensors()
    assert set(tensors) == set(expected)
    for name, tensor in tensors.items():
        assert tensor.dtype == expected[name].dtype
        assert torch.equal(tensor, expected[name]), name


def test_a_lane_of_a_cohort_is_written_as_that_lane(tmp_path: Path) -> None:
    cohort = cohort_of("mlp", CASES["mlp-3"][1])
    kept = Checkpoint(cohort.trials[1], cohort.structure, 0, cohort.state_of(1), {})
    read = checkpoint.read(checkpoint.write(Folder.at(tmp_path), kept)).state.tensors()
    alone = TrainingState.initial(cohort.structure, cohort.trials[1].seed, CPU).tensors()
    assert all(torch.equal(read[name], tensor) for name, tensor in alone.items())


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE: list[tuple[str, Callable[[Path], object]]] = [
    *((name, damage) for name in (STATE, TRIAL) for damage in (truncate, alter, Path.unlink)),
    *((MANIFEST, partial(Path.write_text, data=data)) for data in ("", '{"state.safetensors": {"byt', "{}")),
]


@pytest.fixture
def target(tmp_path: Path) -> Folder:
    """A checkpoint's own folder."""
    return checkpoint.write(Folder.at(tmp_path), made())


@pytest.mark.parametrize(("name", "damage"), DAMAGE)
def test_a_damaged_file_is_named_with_a_remedy(target: Folder, name: str, damage: Callable[[Path], object]) -> None:
    damage(Path(target.path) / name)
    refused(lambda: checkpoint.read(target), name, str(target), "older one")


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    refused(lambda: checkpoint.read(Folder.at(tmp_path)), f"a checkpoint is a folder with a {MANIFEST}; ", "has none")


def rewrite(target: Folder, name: str, content: bytes) -> None:
    """Put other content in a checkpoint, with a manifest that vouches for it."""
    manifest = json.loads(target.read(MANIFEST))
    manifest[name] = {"bytes": len(content), "sha256": checkpoint._digest(content)}
    target.write(name, content)
    target.write(MANIFEST, json.dumps(manifest).encode())


def test_a_checkpoint_of_format_3_is_read(target: Folder) -> None:
    """Format 3 calls the loss `objective`."""
    described = json.loads(target.read(TRIAL))
    structure = described["structure"]
    structure["objective"] = structure.pop("loss")
    rewrite(target, TRIAL, json.dumps({**described, "format": 3}).encode())
    assert checkpoint.read(target).structure == made().structure


def test_an_unknown_format_is_refused(target: Folder) -> None:
    rewrite(target, TRIAL, json.dumps({**json.loads(target.read(TRIAL)), "format": 99}).encode())
    said = ("reads the checkpoint formats 3, 4; ", "has format 99: read it with the version that wrote it")
    refused(lambda: checkpoint.read(target), *said)


@pytest.mark.parametrize("left_out", ["trial", "structure", "critic_updates", "scores", "seconds"])
def test_a_description_that_lacks_something_is_damaged(target: Folder, left_out: str) -> None:
    described = {key: value for key, value in json.loads(target.read(TRIAL)).items() if key != left_out}
    rewrite(target, TRIAL, json.dumps(described).encode())
    with pytest.raises(DamagedCheckpoint, match=rf"must describe a trial; KeyError: '{left_out}': take an older one"):
        checkpoint.read(target)


class Trap:
    """Unpickling this makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_is_refused_and_not_unpickled(target: Folder, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    content = pickle.dumps(Trap(trap))
    pickle.loads(content)
    trap.rmdir()  # It was made: the trap works.
    rewrite(target, STATE, content)
    with pytest.raises((UserError, SafetensorError)):
        checkpoint.read(target)
    assert not trap.exists()


def test_the_latest_complete_checkpoint_counts(tmp_path: Path) -> None:
    """Folders without a manifest, and what else lies about, are passed over."""
    folder = Folder.at(tmp_path / "checkpoints")
    assert checkpoint.latest(folder) is None
    for critic_updates in (900, 10_000, 2_000, 30_000):
        checkpoint.write(folder, made(critic_updates))
    (folder / folder_name(30_000)).delete(MANIFEST)
    folder.write("note.txt", b"by hand")
    assert checkpoint.valid(folder) == [folder_name(count) for count in (900, 2_000, 10_000)]
    found = checkpoint.latest(folder)
    assert found is not None
    assert found.critic_updates == 10_000


def test_an_interrupted_write_is_no_checkpoint_and_can_be_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder.at(tmp_path)
    checkpoint.write(folder, made(1))
    write = Folder.write

    def write_until_manifest(self: Folder, name: str, content: bytes) -> None:
        if name == MANIFEST:
            raise KeyboardInterrupt
        write(self, name, content)

    monkeypatch.setattr(Folder, "write", write_until_manifest)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.write(folder, made(2))
    monkeypatch.undo()
    assert sorted((folder / folder_name(2)).names()) == sorted([STATE, TRIAL])
    assert checkpoint.valid(folder) == [folder_name(1)]
    checkpoint.write(folder, made(2))
    assert checkpoint.valid(folder) == [folder_name(1), folder_name(2)]
    assert checkpoint.read(folder / folder_name(2)).critic_updates == 2


def test_keep_deletes_all_others(tmp_path: Path) -> None:
    folder = Folder.at(tmp_path / "checkpoints")
    for critic_updates in (1, 2, 3, 4):
        checkpoint.write(folder, made(critic_updates))
    (folder / folder_name(4)).delete(MANIFEST)
    checkpoint.keep(folder, {folder_name(2)})
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [folder_name(2)]
    assert checkpoint.read(folder / folder_name(2)).critic_updates == 2
    checkpoint.keep(folder, {folder_name(2)})
    assert checkpoint.valid(folder) == [folder_name(2)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"whole": whole, "stopped": stopped, "resumed": resumed}[sys.argv[1]](Folder.at(sys.argv[2]))
