"""Cohorts of several lanes in real sweeps, with networks that end their process or ask for too much memory.

All sweeps here have the same search and are given eight lanes, of which four fit; each is compared with the first.
"""

from __future__ import annotations

import math
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from sweeps.engine.driver.tune_search import trained_again
from sweeps.engine.plan.plan import Plan
from sweeps.engine.plan.presets import WGAN_GP
from sweeps.engine.storage.layout import CHECKPOINTS, SAMPLES, sample_name
from sweeps.engine.storage.spool import END_NAME, BestCheckpoint, EndRecord, ReportRecord, Spool, step_name
from sweeps.engine.storage.trial_store import TrialStore
from sweeps.engine.study.claims import Claim
from sweeps.engine.study.narrowing import width_for
from tests.sweeps.clusters import Head
from tests.sweeps.processes import Ended, Surroundings, wait_for
from tests.sweeps.stored import Stored
from wgan_core.backend.memory import is_out_of_memory, what_ran_out
from wgan_core.config import Trial
from wgan_core.data.folder import Folder
from wgan_core.networks.pairs import PAIRS
from wgan_core.training import checkpoint as checkpoints
from wgan_core.training.checkpoint import Checkpoint
from wgan_core.training.state import TrainingState

PARAMS = dict(WGAN_GP.presets[0])
TRIALS, CULPRIT, GREEDY = 6, 2, 5

# Points near a circle; the generator's buffers count its updates, and know the trial by the seed that it starts from.
SCRIPT = """
import os
import signal
import sys

import numpy as np
import torch
from torch import nn

from sweeps.engine.plan.options import parse
from sweeps.engine.plan.presets import WGAN_GP
from sweeps import run_script, run_sweep
from wgan_core.config import Structure
from wgan_core.data import Dataset, Split
from wgan_core.config import trial_seed
from wgan_core.networks.pairs import Pair, register

CULPRIT, GREEDY, FIT = (trial_seed(0, 2), 13), (trial_seed(0, 5), 5), 4


class Trap(torch.autograd.Function):
    @staticmethod
    def forward(x, deadly, greedy):
        if IS_TRAPPED and not deadly.is_meta:  # which has no values
            if deadly.any():
                os.kill(os.getpid(), signal.SIGKILL)
            if greedy.any():
                torch.empty(2**50, dtype=torch.uint8)
        return x.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None, None

    @staticmethod
    def vmap(info, in_dims, x, deadly, greedy):
        with open(WIDTHS, "a") as file:
            file.write(f"{os.getpid()} {info.batch_size}\\n")
        if info.batch_size > FIT:
            torch.empty(2**50, dtype=torch.uint8)
        return Trap.apply(x, deadly, greedy), in_dims[0]


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))
        # At which update, or never.
        for name, (seed, place) in (("culprit", CULPRIT), ("greedy", GREEDY)):
            self.register_buffer(name, torch.tensor(place if torch.initial_seed() == seed else -1))
        self.register_buffer("updates", torch.tensor(0))

    def forward(self, z):
        if not self.training:
            return self.body(z)
        self.updates += 1
        return Trap.apply(self.body(z), self.culprit == self.updates, self.greedy == self.updates)


def critic(structure):
    return nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1), nn.Flatten(0))


register("trapped", Pair(critic, lambda structure: Generator(), flat=True))


def split(count, rng):
    angle = 2 * np.pi * rng.random(count)
    return Split(np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32), None)


def main():
    options = parse("trapped", "", trials=6, budget=27, data=None)
    rng = np.random.Generator(np.random.PCG64(3))
    dataset = Dataset.of("circle", *(split(count, rng) for count in (96, 64, 64)))
    structure = Structure("trapped", (2,), latent_dim=4, batch_size=8, dtype="float64")
    run_sweep(options, dataset, structure, WGAN_GP)


sys.exit(run_script(main))
"""


@pytest.mark.parametrize("most", [1, 2, 6, 8, 64])
def test_as_few_lanes_as_hold_the_trials(most: int) -> None:
    """Of few sizes, never more than asked for, and enough."""
    widths = [width_for(trials, most) for trials in range(1, most + 1)]
    assert all(trials <= width <= most for trials, width in enumerate(widths, 1))
    assert set(widths) == {2**power for power in range(7) if 2**power < most} | {most}
    assert widths == sorted(widths)
    assert all(width < 2 * trials for trials, width in enumerate(widths, 1))
    assert width_for(0, most) == 1


def test_what_the_allocator_says_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**50, dtype=torch.uint8)
    assert is_out_of_memory(refused.value)
    assert "1125899906842624 bytes" in what_ran_out(refused.value)
    assert "\n" not in what_ran_out(refused.value)
    on_a_gpu = torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 3 GiB"
    )
    assert is_out_of_memory(on_a_gpu)
    assert what_ran_out(on_a_gpu) == "CUDA out of memory. Tried to allocate 2.00 GiB"
    assert not is_out_of_memory(RuntimeError("the size of tensor a must match"))


def test_one_line_for_all_that_go_on() -> None:
    assert trained_again(["7"]) == "trial 7 is trained again from its last checkpoint"
    assert trained_again(["1", "2"]) == "trials 1, 2 are trained again from their last checkpoints"


class Reached:
    """A trial's folder as processes on several numbers of lanes leave it, which come to other scores at a step."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder, self._plan = Folder.at(folder), plan
        self._trial = Trial(0, 1, WGAN_GP.hyper(PARAMS))
        self.kept: TrialStore | None = None

    def start(self, told: int) -> int:
        """A new process, of a cohort of which the study was told so much; where it goes on."""
        self.kept = TrialStore(self.folder, "eval/a")
        found = self.kept.start(Claim(self._trial, PARAMS, False, told), "", shares_process=True)
        return found.critic_updates if found else 0

    def report(self, step: int, score: float) -> float:
        assert self.kept is not None
        return self.kept.report(self.at(step, {"eval/a": score}), {"eval/a": score}, str(score).encode())["eval/a"]

    def at(self, step: int, scores: dict[str, float]) -> Checkpoint:
        state = TrainingState.initial(self._plan.structure, step, torch.device("cpu"))
        return Checkpoint(self._trial, self._plan.structure, step, state, scores)

    def stands(self, step: int) -> tuple[float, str, float]:
        """The score of a report in its record, in its picture and in its checkpoint."""
        record = Spool(self.folder).read(step_name(step))
        assert isinstance(record, ReportRecord)
        picture = (self.folder / SAMPLES).read(sample_name(step)).decode()
        scores, _ = checkpoints.read_scores(self.folder / CHECKPOINTS / checkpoints.folder_name(step))
        return record.metrics["eval/a"], picture, scores["eval/a"]

    def end(self, step: int) -> BestCheckpoint | None:
        TrialStore(self.folder, "eval/a").end("FAIL", "", step)
        end = Spool(self.folder).read(END_NAME)
        assert isinstance(end, EndRecord)
        return end.best


@pytest.fixture
def reached(tmp_path: Path, make_plan: Callable[..., Plan]) -> Reached:
    return Reached(tmp_path, make_plan())


def test_a_report_that_the_study_was_not_told_of_stays_once_recorded(reached: Reached) -> None:
    """Trained again with other last bits, the study gets the score of the record, the picture and the checkpoint."""
    assert reached.start(0) == 0
    assert reached.report(10, 5.0) == 5.0
    reached.report(20, 3.0)
    assert reached.start(10) == 10
    assert reached.report(20, 3.5) == 3.0
    assert reached.stands(20) == (3.0, "3.0", 3.0)
    assert reached.start(20) == 20
    best = reached.end(20)
    assert best == BestCheckpoint(20, 3.0, checkpoints.folder_name(20))


def test_what_the_study_was_not_told_of_is_no_best(reached: Reached) -> None:
    """Of a trial that ends before it reaches that report again."""
    reached.start(0)
    reached.report(10, 5.0)
    reached.report(20, 3.0)
    assert reached.end(10) == BestCheckpoint(10, 5.0, checkpoints.folder_name(10))


def test_a_report_without_its_record_is_made_anew(reached: Reached, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process died before it, with a checkpoint written."""
    reached.start(0)
    reached.report(10, 5.0)
    with monkeypatch.context() as dying:
        dying.setattr(Spool, "write", lambda *_: sys.exit())
        with pytest.raises(SystemExit):
            reached.report(20, 3.0)
    assert reached.start(10) == 10
    assert reached.report(20, 3.5) == 3.5
    assert reached.stands(20) == (3.5, "3.5", 3.5)


def test_a_damaged_checkpoint_is_replaced_by_one_with_the_recorded_score(reached: Reached) -> None:
    reached.start(0)
    reached.report(10, 5.0)
    reached.report(20, 3.0)
    (reached.folder / CHECKPOINTS / checkpoints.folder_name(20)).write("state.safetensors", b"")
    assert reached.start(20) == 10
    assert reached.report(20, 3.5) == 3.0
    assert reached.stands(20) == (3.0, "3.0", 3.0)
    assert reached.start(20) == 20


def test_a_score_that_was_not_finite_stays(reached: Reached) -> None:
    reached.start(0)
    reached.report(10, math.nan)
    reached.start(0)
    assert math.isnan(reached.report(10, 3.0))
    assert reached.end(10) is None


def test_what_was_saved_between_reports_is_gone_on_from(reached: Reached) -> None:
    """Whatever was reported since without the study being told."""
    reached.start(0)
    reached.report(10, 5.0)
    assert reached.kept is not None
    reached.kept.save(reached.at(15, {}))
    reached.report(20, 3.0)
    assert reached.start(10) == 15


@dataclass
class Sweep:
    """One of the sweeps here, what its driver says, and on how many lanes the generator was called."""

    stored: Stored
    ran: Ended
    _widths: Path

    @property
    def widths(self) -> list[int]:
        calls = [line.split() for line in self._widths.read_text().splitlines()]
        # Before anything starts, the driver tries the networks.
        return [int(width) for process, width in calls if int(process) != os.getpid()]

    @property
    def values(self) -> list[dict[int, float]]:
        return [values for _, _, values in self.stored.search()]

    @property
    def faults(self) -> list[int]:
        return self.stored.faults()

    def deaths(self) -> list[str]:
        """The lines that tell of trials that go on."""
        return re.findall(r"^trials? .* trained again .*$", self.ran.out, re.MULTILINE)


@pytest.fixture(scope="module", autouse=True)
def networks_of_this_file() -> Iterator[None]:
    """The script runs in this process, and other tests expect the shipped networks alone."""
    yield
    PAIRS.pop("trapped", None)


def run(
    joined: Surroundings, storage: Path, trapped: bool = False, beside: Callable[[], object] | None = None
) -> Sweep:
    PAIRS.pop("trapped", None)  # of a sweep before
    script, widths = storage / "trapped.py", storage / "widths"
    script.write_text(f"WIDTHS, IS_TRAPPED = {str(widths)!r}, {trapped}\n{SCRIPT}")
    options = ("--lanes", 8, "--max-concurrent", 1, "--no-pruning", "--name", "trapped")
    ran = joined.run(script, storage, *options, beside=beside)
    return Sweep(Stored(storage, "trapped"), ran.succeeded(with_tracebacks=trapped or beside is not None), widths)


@pytest.fixture(scope="module")
def undisturbed(joined: Surroundings, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return run(joined, tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.slow
def test_a_cohort_that_runs_out_of_memory_goes_on_with_half_its_lanes(undisturbed: Sweep) -> None:
    """All trials end with scores at every report, none of them trained on more lanes than fit; a line says so."""
    assert [state for state, _, _ in undisturbed.stored.search()] == ["COMPLETE"] * TRIALS
    assert [len(values) for values in undisturbed.values] == [9] * TRIALS
    widths = undisturbed.widths
    assert widths[0] == 8
    assert set(widths[1:]) == {4, 2}
    assert widths.count(8) == 1
    (line,) = re.findall(r"^8 lanes do not fit in memory.*$", undisturbed.ran.out, re.MULTILINE)
    assert "1125899906842624 bytes): 4 from now on; " in line
    assert undisturbed.faults == [0] * TRIALS
    assert undisturbed.deaths() == []


@pytest.mark.slow
def test_the_lanes_follow_the_trials_that_are_left(undisturbed: Sweep) -> None:
    """Four, as long as there are trials for them; the last two have two."""
    widths = undisturbed.widths[1:]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.slow
def test_a_process_that_is_killed_once_costs_nothing_but_time(
    joined: Surroundings, shared_ray: Head, undisturbed: Sweep, tmp_path: Path
) -> None:
    """Its trials go on together, none alone, on as many lanes as before; all comes out bit for bit."""

    def kill() -> None:
        wait_for(lambda: Stored(tmp_path, "trapped").reports(0) >= 2, "two reports of trial 0")
        (worker,) = shared_ray.process.workers()
        os.kill(worker, signal.SIGKILL)

    sweep = run(joined, tmp_path, beside=kill)
    (line,) = sweep.deaths()
    assert line.startswith(
        "trials 0, 1, 2, 3 are trained again from their last checkpoints: a process of 4 trials died: "
    )
    assert sweep.stored.search() == undisturbed.stored.search()
    assert sweep.stored.states() == undisturbed.stored.states()
    assert sweep.faults == [0] * TRIALS
    assert set(sweep.widths[1:]) == {4, 2}
    assert sweep.widths.count(8) == 1, "the new process was to start with the lanes that fit"


@pytest.fixture(scope="module")
def trapped(joined: Surroundings, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A sweep with a trial that kills its process, and one that fits on no number of lanes, each at its own place."""
    return run(joined, tmp_path_factory.mktemp("trapped"), trapped=True)


@pytest.mark.slow
def test_of_a_cohort_that_dies_at_the_same_place_only_the_culprit_fails(trapped: Sweep, undisturbed: Sweep) -> None:
    """Twice in company, then three times alone; the others come to the values of the sweep in which nothing died, to
    1e-12 in double precision: their lanes were fewer in between."""
    assert trapped.faults == [3 if number == CULPRIT else 0 for number in range(TRIALS)]
    culprit = trapped.stored.trials()[CULPRIT]
    reason = "its process died 3 times, the last time: killed, or out of memory"
    assert (culprit.state.name, culprit.user_attrs["reason"]) == ("FAIL", reason)
    assert f"trial {CULPRIT} failed: {reason}" in trapped.ran.out
    first, second, *alone = trapped.deaths()
    assert first.startswith(
        "trials 0, 1, 2, 3 are trained again from their last checkpoints: a process of 4 trials died: "
    )
    assert second.startswith("trials 0, 1, 2, 3 are ")
    assert "each is now trained alone" in second
    assert [line.partition(" is ")[0] for line in alone] == [f"trial {CULPRIT}"] * 2
    for number in set(range(TRIALS)) - {CULPRIT, GREEDY}:
        assert trapped.stored.trials()[number].state.name == "COMPLETE"
        assert trapped.values[number] == pytest.approx(undisturbed.values[number], rel=1e-12)


@pytest.mark.slow
def test_a_trial_that_does_not_fit_alone_fails_with_the_remedy(trapped: Sweep) -> None:
    """Its company has gone on without it, and its reports up to there stay."""
    greedy = trapped.stored.trials()[GREEDY]
    assert greedy.state.name == "FAIL"
    reason = greedy.user_attrs["reason"]
    assert reason.startswith("does not fit in memory (DefaultCPUAllocator: can't allocate memory: ")
    assert reason.endswith(": give a smaller batch_size, or fewer processes by a smaller --max-concurrent")
    assert trapped.faults[GREEDY] == 0
    assert f"trial {GREEDY} failed: {reason}" in trapped.ran.out
    assert 0 < len(greedy.intermediate_values) < 9
    lanes = re.findall(r"^(\d+) lanes do not fit in memory .*: (\d+) from now on", trapped.ran.out, re.MULTILINE)
    assert lanes == [("8", "4"), ("2", "1")]
