"""A trial over several ranks against the same trial on one: two processes, each on half of every batch.

Run as a program, this file is a rank: `trains FOLDER RANK` or `loses FOLDER RANK`.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.core.cohorts import pixels
from wgan_core.backend import ranks
from wgan_core.backend.ranks import ALONE, Group, LostRank, Ranks, joined
from wgan_core.config import Hyper, Structure, Trial
from wgan_core.data.coding import Coding, Column
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError
from wgan_core.networks.batch_norm import check_over_ranks, over_ranks
from wgan_core.networks.pairs import PAIRS, Pair
from wgan_core.training import checkpoint, preflight
from wgan_core.training.checkpoint import STATE, Checkpoint, folder_name
from wgan_core.training.cohort import Cohort
from wgan_core.training.data import TrainingData

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
RANKS = 2
TRIAL = Trial(0, 7, Hyper(10.0, 1e-3, 5e-4, n_critic=2, beta1=0.5, beta2=0.9))
CLASSES = 3
# At the first, the trial stands in the midst of a round of critic updates and of a block of draws.
GRID = (3, 7)
WIDTHS = {"critic": {"widths": [16, 8]}, "generator": {"widths": [8, 16, 8]}}
PLAIN = Structure("mlp", (1, 8, 8), latent_dim=6, batch_size=10, dtype="float64", network_options=WIDTHS)
CONV = replace(PLAIN, networks="conv", network_options={"critic": {"width": 8}, "generator": {"width": 8}})
CASES = {
    "mlp": PLAIN,
    "conv": CONV,
    "told classes": replace(CONV, classes=CLASSES, label_embedding=2),
    "told numbers": replace(CONV, conditions=Coding((Column("a"),))),
    "gan-r1": replace(PLAIN, loss="gan-r1", network_options={"generator": {"widths": [8, 8], "batch_norm": True}}),
    "wgan-clip, rmsprop": replace(PLAIN, loss="wgan-clip", optimiser="rmsprop"),
    "spectral": replace(CONV, loss="hinge", spectral_norm=True),
    "full batch": replace(PLAIN, batch_size=200, full_batch=True, loss="hinge"),
}


def cohort_of(structure: Structure, together: Ranks = ALONE, grid: tuple[int, ...] = GRID) -> Cohort:
    labels = torch.arange(200) % CLASSES if structure.is_conditional else None
    if structure.conditions is not None:
        labels = torch.linspace(-1, 1, 200)[:, None]
    return Cohort(structure, TrainingData(pixels(), labels), grid, ranks=together)


def train(cohort: Cohort, folder: Folder) -> None:
    """To the end of the grid; a checkpoint at each report, whose scores are the means."""
    while cohort.trials:
        (report,) = cohort.advance()
        state = cohort.state_of(TRIAL.number)
        checkpoint.write(folder, Checkpoint(TRIAL, cohort.structure, report.critic_updates, state, report.means))
        if report.critic_updates == GRID[-1]:
            cohort.drop(TRIAL.number)


def train_from(cohort: Cohort, before: Folder, after: Folder) -> None:
    """On from the first checkpoint of another."""
    kept = checkpoint.read(before / folder_name(GRID[0]))
    cohort.add(kept.trial, kept.state, kept.critic_updates, kept.since_report)
    train(cohort, after)


def from_seed(cohort: Cohort, folder: Folder) -> None:
    cohort.add(TRIAL)
    train(cohort, folder)


def trains(folder: Folder, group: Group) -> None:
    """Each case from its seed, and on from where one process has left it; then one that rank 0 is told to stop."""
    for case, structure in CASES.items():
        own = folder / str(group.rank) / case
        from_seed(cohort_of(structure, group), own / "seed")
        train_from(cohort_of(structure, group), folder / "one" / case / "seed", own / "continued")
    stopped, asked = cohort_of(PLAIN, group, (30,)), itertools.count()
    stopped.add(TRIAL)
    # What another than the first is told counts for nothing.
    assert stopped.advance(lambda: group.rank == 1 or next(asked) == 2) == []
    (folder / str(group.rank)).write("stopped", json.dumps(stopped.since_report(0)[0]).encode())


def loses(folder: Folder, group_of: Callable[[str], AbstractContextManager[Group]], rank: int) -> None:
    """Rank 1 hangs, dies, and so does not start again; rank 0 writes what it is told, and after how long."""
    for way in ("hangs", "dies", "does not start"):
        file, began = Path(folder.path) / way, time.monotonic()
        try:
            with group_of(f"{way} here") as group:
                cohort = cohort_of(CASES["conv"], group)
                cohort.add(TRIAL)
                if rank == 1:
                    if way == "dies":
                        os._exit(3)
                    wait_for(file)
                cohort.advance()
        except LostRank as error:
            if rank == 0:
                file.with_suffix(".part").write_text(f"{time.monotonic() - began:.1f} {error}")
                file.with_suffix(".part").rename(file)


def wait_for(file: Path) -> None:
    while not file.exists():
        time.sleep(0.02)


def launch(role: str, folder: Path) -> list[int]:
    """Run all ranks, and wait for their ends; the exit statuses."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, role, str(folder)]
    running = [subprocess.Popen([*command, str(rank)], env=environment) for rank in range(RANKS)]
    return [each.wait(120) for each in running]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one process, this one, and then two ranks have trained all cases."""
    folder = tmp_path_factory.mktemp("trained")
    for case, structure in CASES.items():
        from_seed(cohort_of(structure), Folder.at(str(folder / "one" / case / "seed")))
    assert launch("trains", folder) == [0] * RANKS
    for case, structure in CASES.items():
        own = Folder.at(str(folder / "one" / case))
        train_from(cohort_of(structure), Folder.at(str(folder / "0" / case / "seed")), own / "continued")
    return folder


@pytest.mark.parametrize("case", CASES)
def test_ranks_equal_one_process(trained: Path, case: str) -> None:
    """Parameters, moments, running statistics, the average and the reported means; from the seed, and from the other's
    checkpoint."""
    first = checkpoint.read(Folder.at(str(trained / "one" / case / "seed")) / folder_name(GRID[0]))
    for step in GRID:
        one = checkpoint.read(Folder.at(str(trained / "one" / case / "seed")) / folder_name(step))
        expected = one.state.tensors()
        others = [trained / "0" / case / "seed"]
        if step == GRID[-1]:
            others += [trained / part / case / "continued" for part in ("0", "one")]
            assert any((expected[name] != tensor).any() for name, tensor in first.state.tensors().items())
        for other in others:
            found = checkpoint.read(Folder.at(str(other)) / folder_name(step))
            ours = found.state.tensors()
            assert ours.keys() == expected.keys()
            apart = {name: float((ours[name] - tensor).abs().max()) for name, tensor in expected.items()}
            if one.structure.optimiser == "rmsprop":
                # Its velocity is divided by sqrt(v) + eps, so of a zero gradient's rounding it has 1e-10.
                apart = {name: apart[name] * (TRIAL.hyper.lr_critic if ".first." in name else 1) for name in apart}
            assert max(apart.values()) < 1e-10, (other, max(apart, key=lambda name: apart[name]))
            assert found.scores == pytest.approx(one.scores, rel=1e-10, abs=1e-10), other


@pytest.mark.parametrize("case", CASES)
def test_ranks_hold_the_same_bits(trained: Path, case: str) -> None:
    for start in ("seed", "continued"):
        files = [trained / str(rank) / case / start / folder_name(GRID[-1]) / STATE for rank in range(RANKS)]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_a_case_has_running_statistics_of_whole_batches(trained: Path) -> None:
    """What the comparison is worth: these tensors are in it."""
    for case in ("mlp", "conv"):
        state = checkpoint.read(Folder.at(str(trained / "0" / case / "seed")) / folder_name(GRID[-1])).state
        assert {name.rpartition(".")[2] for name in state.generator.buffers} == {
            "running_mean",
            "running_var",
            "num_batches_tracked",
        }


def test_all_ranks_stop_where_the_first_is_told_to(trained: Path) -> None:
    """At the third time that they agree."""
    assert [json.loads((trained / str(rank) / "stopped").read_text()) for rank in range(RANKS)] == [16, 16]


def test_a_lost_rank_is_an_error_and_not_a_hang(tmp_path: Path) -> None:
    assert launch("loses", tmp_path) == [0, 3]
    lost = "rank 0 of 2 has lost another, which died or did not come within 3 s: "
    for way, said in {
        "hangs": lost,
        "dies": lost,
        "does not start": "rank 0 of 2 has waited 3 s for the others to start: ",
    }.items():
        seconds, told = (tmp_path / way).read_text().split(" ", 1)
        assert told.startswith(said), way
        assert float(seconds) < 60, way


class Halves(Ranks):
    """Two ranks in one process: each part of a batch is given to it in turn."""

    size = 2


def test_only_layers_that_normalise_over_the_batch_are_replaced() -> None:
    shared = nn.BatchNorm1d(4)
    inner = nn.Sequential(nn.Linear(4, 4), shared, nn.LayerNorm(4), shared)
    module = nn.Sequential(inner, nn.BatchNorm1d(4, affine=False, track_running_stats=False))
    names = list(module.state_dict())
    assert over_ranks(module, ALONE) is module
    replaced = over_ranks(module, Halves())
    assert list(replaced.state_dict()) == names
    assert inner[1] is inner[3]
    assert inner[1] is not shared
    assert [type(each).__name__ for each in inner] == ["Linear", "_Shared", "LayerNorm", "_Shared"]
    assert type(over_ranks(nn.BatchNorm2d(3), Halves())).__name__ == "_Shared"


class Own(nn.BatchNorm1d):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input)


def test_a_normalisation_of_a_persons_own_is_refused_on_several_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    def generator(structure: Structure) -> nn.Module:
        return nn.Sequential(nn.Linear(structure.latent_dim, 3), Own(3))

    def critic(structure: Structure) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))

    monkeypatch.setitem(PAIRS, "own", Pair(critic, generator))
    structure = Structure("own", (3,), latent_dim=2, batch_size=8)
    preflight.check_fit(structure, lanes=1, ranks=1)
    with pytest.raises(UserError, match=r"given Own at '1', with a forward of its own: take torch.nn.BatchNorm"):
        preflight.check_fit(structure, lanes=1, ranks=2)
    check_over_ranks(nn.SyncBatchNorm(3))


def test_a_batch_that_does_not_divide_is_refused() -> None:
    preflight.check_fit(PLAIN, lanes=1, ranks=5)
    with pytest.raises(UserError, match=r"10 samples, 4 GPUs: give --gpus-per-trial 2, for example"):
        preflight.check_fit(PLAIN, lanes=1, ranks=4)


def test_several_lanes_over_several_ranks_are_refused() -> None:
    with pytest.raises(ValueError, match="a cohort over 2 ranks has one lane; given 3"):
        Cohort(PLAIN, TrainingData(torch.zeros(4, 1, 8, 8)), GRID, 3, ranks=Halves())


if __name__ == "__main__":
    torch.set_num_threads(1)
    role, place, number = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if role == "loses":
        ranks.TIMEOUT_S = 3.0
        loses(Folder.at(str(place)), lambda name: joined(place / name, number, RANKS, CPU), number)
    else:
        with joined(place / "meeting", number, RANKS, CPU) as group:
            trains(Folder.at(str(place)), group)
