"""What holds on a GPU: recorded updates, lanes and draws against eager ones, against one lane and against the CPU.

It needs torch and pytest alone; where nothing else is, `python -m pytest --noconftest tests/core/test_cuda.py` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from wgan_core.backend.choices import CAPTURED, EAGER
from wgan_core.backend.kernels import mover
from wgan_core.backend.memory import give_back
from wgan_core.backend.precision import float32_on_gpus
from wgan_core.config import Hyper, Structure, Trial
from wgan_core.rules.optim import Rates, StepTensors
from wgan_core.training.batches import BLOCK, Batches
from wgan_core.training.cohort import Cohort, Report
from wgan_core.training.data import TrainingData

pytestmark = pytest.mark.needs_gpu

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
NEVER = 10**9
# Draws of several blocks of 16 updates are replayed by then, and all else many times.
UPDATES = 100
# With an n_critic of 1 each tick has a generator update; without one there are ticks that have none.
ALWAYS_DUE, AT_TIMES_DUE = (1, 2, 7), (2, 3, 7)
PAIRS = ("mlp", "conv")
DTYPES = ("float32", "float64")


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    """Convolutions may not choose an algorithm that adds up in another order each time."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    with float32_on_gpus():
        yield
    torch.backends.cudnn.deterministic = before


def trials_of(n_critics: Sequence[int]) -> list[Trial]:
    """Unlike in all that a lane has of its own."""
    return [
        Trial(at, 1000 + at, Hyper(10.0 / (1 + at), 1e-4 * (1 + at), 2e-4 / (1 + at), n_critic, 0.2 * (at % 4), 0.9))
        for at, n_critic in enumerate(n_critics)
    ]


def cohort_of(
    networks: str,
    dtype: str,
    trials: Sequence[Trial],
    device: torch.device = CUDA,
    grid: Sequence[int] = (NEVER,),
    execution: str = CAPTURED,
) -> Cohort:
    structure = Structure(networks, (1, 8, 8), latent_dim=6, batch_size=16, dtype=dtype)
    pixels = torch.randint(0, 256, (200, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    cohort = Cohort(structure, TrainingData(pixels.to(device)), grid, len(trials), execution=execution)
    for trial in trials:
        cohort.add(trial)
    return cohort


def train(cohort: Cohort, updates: int) -> None:
    left = iter(range(updates))
    cohort.advance(lambda: next(left, None) is None)


def apart(one: Cohort, other: Cohort, number: int) -> float:
    """The largest difference between any numbers of a trial's state in two cohorts."""
    theirs = other.state_of(number).tensors()
    return max(
        float((tensor.cpu().double() - theirs[name].cpu().double()).abs().max())
        for name, tensor in one.state_of(number).tensors().items()
    )


def same(one: Cohort, other: Cohort, number: int) -> bool:
    theirs = other.state_of(number).tensors()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in one.state_of(number).tensors().items())


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[torch.cuda.CUDAGraph]:
    """The graphs made so far."""
    made: list[torch.cuda.CUDAGraph] = []
    graph = torch.cuda.CUDAGraph

    def make(*arguments: Any, **named: Any) -> torch.cuda.CUDAGraph:
        made.append(graph(*arguments, **named))
        return made[-1]

    monkeypatch.setattr(torch.cuda, "CUDAGraph", make)
    return made


@pytest.mark.parametrize(("n_critics", "programs"), [(ALWAYS_DUE, 3), (AT_TIMES_DUE, 4)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("networks", PAIRS)
def test_recorded_updates_and_their_reports_are_eager_ones_to_the_bit(
    networks: str, dtype: str, n_critics: tuple[int, ...], programs: int, recorded: list[torch.cuda.CUDAGraph]
) -> None:
    """Two blocks of draws, a tick with generators and, where there is any, one without are recorded."""
    found: list[tuple[Cohort, list[Report]]] = []
    for execution in (EAGER, CAPTURED):
        cohort = cohort_of(networks, dtype, trials_of(n_critics), CUDA, (UPDATES // 2, UPDATES), execution)
        reports = [replace(report, seconds=0.0) for _ in range(2) for report in cohort.advance()]
        found.append((cohort, reports))
        assert len(recorded) >= programs if execution == CAPTURED else not recorded
    (eager, expected), (captured, reports) = found
    assert len(reports) == 2 * len(n_critics)
    assert reports == expected
    assert not any(report.problem for report in reports)
    assert all({"critic_loss", "generator_loss"} <= report.means.keys() for report in reports)
    assert all(same(captured, eager, number) for number in range(len(n_critics)))


@pytest.mark.parametrize("networks", PAIRS)
def test_a_lane_is_its_trial_alone(networks: str) -> None:
    trials = trials_of(ALWAYS_DUE)
    together = cohort_of(networks, "float64", trials)
    train(together, 20)
    for trial in trials:
        alone = cohort_of(networks, "float64", [trial])
        train(alone, 20)
        assert apart(together, alone, trial.number) < 1e-12


@pytest.mark.parametrize("networks", PAIRS)
def test_a_gpu_computes_what_the_cpu_does(networks: str) -> None:
    trials = trials_of(ALWAYS_DUE)
    ours, theirs = (cohort_of(networks, "float64", trials, device) for device in (CUDA, CPU))
    for cohort in (ours, theirs):
        train(cohort, 20)
    assert all(apart(ours, theirs, trial.number) < 1e-9 for trial in trials)


def test_draws_are_those_of_the_cpu() -> None:
    """Of counts and seeds beyond 32 bits too; the logarithm and the cosine alone are the device's own."""
    structure = Structure("mlp", (1, 8, 8), latent_dim=5, batch_size=9, dtype="float64", classes=3)
    seeds, first = torch.tensor([5, 2**62 + 3]), torch.tensor([0, 2**33])
    found = []
    for device in (CUDA, CPU):
        data, labels = torch.zeros(100, 1, 8, 8, device=device), torch.zeros(100, dtype=torch.int64, device=device)
        batches = Batches(structure, TrainingData(data, labels), seeds.to(device))
        for blocks in (batches.for_critic, batches.for_generator):
            blocks.fill(first.to(device))
        counts = (first + BLOCK - 1).to(device)
        drawn = [*batches.for_critic.at(counts), *batches.for_generator.at(counts)]
        found.append([tensor.cpu() for tensor in drawn])
    (rows, z, weight, other_z, other_rows), theirs = found
    for whole, expected in ((rows, theirs[0]), (weight, theirs[2]), (other_rows, theirs[4])):
        assert torch.equal(whole, expected)
    for normal, expected in ((z, theirs[1]), (other_z, theirs[3])):
        torch.testing.assert_close(normal, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("networks", PAIRS)
@pytest.mark.parametrize("n_critics", [ALWAYS_DUE, AT_TIMES_DUE])
def test_lanes_that_change_hands_after_a_recording_change_nothing_of_their_neighbours(
    networks: str, n_critics: tuple[int, ...]
) -> None:
    """A trial dropped, another added, and the cohort narrowed: as without a recording, and as if nothing had been."""
    trials = trials_of(n_critics)
    newcomer = Trial(9, 77, Hyper(3.0, 5e-4, 3e-4, 2, 0.1, 0.99))
    captured, eager, left_alone = (
        cohort_of(networks, "float32", trials, execution=each) for each in (CAPTURED, EAGER, EAGER)
    )
    for cohort in (captured, eager):
        train(cohort, UPDATES)
        cohort.drop(1)
        train(cohort, 7)
        cohort.add(newcomer)
        train(cohort, UPDATES)
    train(left_alone, 2 * UPDATES + 7)
    assert all(same(captured, eager, number) for number in (0, 2, 9))
    assert all(same(captured, left_alone, number) for number in (0, 2))
    for cohort in (captured, eager):
        cohort.drop(0)
        cohort.resize(2)
        train(cohort, UPDATES)
    assert all(same(captured, eager, number) for number in (2, 9))
    assert captured.since_report(2)[0] == 3 * UPDATES + 7
    assert captured.since_report(2)[2] == eager.since_report(2)[2]


def test_memory_comes_back_when_a_cohort_is_narrowed() -> None:
    """Of recordings too, whose tensors are theirs as long as they live."""
    cohort = cohort_of("mlp", "float32", trials_of((1, 2)))

    def taken() -> int:
        train(cohort, UPDATES)
        give_back(CUDA)
        return torch.cuda.memory_allocated(CUDA)

    narrow = taken()
    cohort.resize(32)
    assert taken() > 2 * narrow
    cohort.resize(2)
    assert taken() <= 1.05 * narrow


def test_adam_by_rule_is_torchs() -> None:
    """Compiled, over 50 steps, of lanes that differ in rate and decays; each third step one lane is not due."""
    noise = torch.Generator().manual_seed(3)
    lanes, shapes = ((1e-3, 0.0, 0.9), (1e-2, 0.5, 0.9), (3e-4, 0.9, 0.999)), ((4, 5), (7,))

    def draw(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(len(lanes), *shape, dtype=torch.float64, generator=noise).to(CUDA)

    ours = [draw(shape) for shape in shapes]
    first, second = ([torch.zeros_like(tensor) for tensor in ours] for _ in range(2))
    theirs = [[tensor[lane].clone().requires_grad_() for tensor in ours] for lane in range(len(lanes))]
    optimisers = [
        torch.optim.Adam(parameters, lr=lr, betas=(beta1, beta2))
        for parameters, (lr, beta1, beta2) in zip(theirs, lanes, strict=True)
    ]
    lr, beta1, beta2 = torch.tensor(lanes, dtype=torch.float64, device=CUDA).unbind(1)
    counts = torch.zeros(len(lanes), dtype=torch.float64)
    for step in range(50):
        due = torch.tensor([step % 3 > 0 or lane != step % len(lanes) for lane in range(len(lanes))])
        counts += due
        gradients = [draw(shape) for shape in shapes]
        for lane, optimiser in enumerate(optimisers):
            for parameter, gradient in zip(theirs[lane], gradients, strict=True):
                parameter.grad = gradient[lane].clone()
            if due[lane]:
                optimiser.step()
        rates = Rates(counts.clamp(min=1).to(CUDA), lr, beta1, beta2, torch.zeros_like(lr), due.to(CUDA))
        mover("adam", "cuda")(StepTensors(ours, gradients, first, second), rates)
    for lane, parameters in enumerate(theirs):
        for tensor, parameter in zip(ours, parameters, strict=True):
            torch.testing.assert_close(tensor[lane], parameter.detach(), rtol=1e-12, atol=1e-12)
