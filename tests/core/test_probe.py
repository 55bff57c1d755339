"""How fast lanes train, tried for real at small sizes, and what does not fit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from wgan_core.backend.memory import is_out_of_memory
from wgan_core.config import Hyper, Structure
from wgan_core.networks.pairs import PAIRS, Pair, register
from wgan_core.training.data import TrainingData
from wgan_core.training.probe import capacity, measure

CPU = torch.device("cpu")
TOY = Structure("own", (2,), latent_dim=3, batch_size=4)
HYPER = Hyper(lambda_gp=1.0, lr_critic=1e-3, lr_generator=1e-3, n_critic=2, beta1=0.5, beta2=0.9)
TOO_MANY = 4


class Costly(torch.autograd.Function):
    """The identity, of which more than `TOO_MANY` at once need more memory than any machine has."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], x: Tensor) -> tuple[Tensor, Any]:  # type: ignore[override]
        if info.batch_size > TOO_MANY:
            torch.empty(2**50, dtype=torch.uint8)
        return Costly.apply(x), in_dims[0]


class Faulty(nn.Module):
    """A layer that works for one trial alone."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x.sum().item()


class Layer(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Costly.apply(x)  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    PAIRS.pop("own", None)


def own(layer: type[nn.Module]) -> None:
    """A pair whose critic has this layer."""
    critic = lambda structure: nn.Sequential(nn.Linear(2, 4), layer(), nn.Linear(4, 1), nn.Flatten(0))  # noqa: E731
    register("own", Pair(critic, lambda structure: nn.Linear(structure.latent_dim, 2)))


def data(structure: Structure) -> Tensor:
    return torch.randn(32, *structure.sample_shape)


@pytest.mark.parametrize("lanes", [1, 4])
def test_what_fits_is_timed(lanes: int) -> None:
    own(Layer)
    found = measure(TOY, TrainingData(data(TOY)), [HYPER] * lanes, samples=10, seconds=0.01)
    assert found.lanes == lanes
    assert found.updates_per_s is not None
    assert found.updates_per_s > 0
    assert found.peak_bytes is None


def test_what_does_not_fit_is_told_and_the_next_can_be_tried() -> None:
    own(Layer)
    assert measure(TOY, TrainingData(data(TOY)), [HYPER] * (TOO_MANY + 1), 10, 0.01).updates_per_s is None
    assert measure(TOY, TrainingData(data(TOY)), [HYPER] * TOO_MANY, 10, 0.01).updates_per_s is not None


def test_any_other_error_is_raised() -> None:
    own(Faulty)
    assert measure(TOY, TrainingData(data(TOY)), [HYPER], 10, 0.01).updates_per_s is not None
    with pytest.raises(RuntimeError, match="vmap"):
        measure(TOY, TrainingData(data(TOY)), [HYPER] * 2, 10, 0.01)


def test_classes_and_lanes_of_several_n_critic() -> None:
    """The shipped networks that are told labels, and a cycle of the longest n_critic."""
    narrow = {"critic": {"widths": [8]}, "generator": {"widths": [8, 8]}}
    structure = Structure("mlp", (1, 4, 4), latent_dim=3, batch_size=4, classes=3, network_options=narrow)
    pixels, labels = torch.randint(0, 256, (32, 1, 4, 4), dtype=torch.uint8), torch.arange(32) % 3
    hypers = [Hyper(1.0, 1e-3, 1e-3, n_critic, 0.5, 0.9) for n_critic in (1, 5, 20)]
    found = measure(structure, TrainingData(pixels, labels), hypers, 10, 0.0)
    assert found.updates_per_s is not None


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize(("seconds", "updates"), [(0.0, 4), (10.0, 20)])
def test_the_updates_of_all_lanes_are_counted(
    lanes: int, seconds: float, updates: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock on which each part takes a second: cycles of two for so many seconds, or three updates at least."""
    own(Layer)
    monkeypatch.setattr("wgan_core.training.probe.time", SimpleNamespace(perf_counter=itertools.count().__next__))
    found = measure(TOY, TrainingData(data(TOY)), [HYPER] * lanes, 10, seconds)
    assert found.updates_per_s == lanes * updates


@pytest.mark.parametrize(
    ("error", "is_so"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_want_of_memory_is_told_from_other_errors(error: Exception, is_so: bool) -> None:
    assert is_out_of_memory(error) == is_so


def test_of_the_cpu_no_memory_is_known() -> None:
    assert capacity(CPU, 1.0) is None


@pytest.mark.needs_gpu
def test_memory_of_a_gpu() -> None:
    """It grows with the lanes, within the share that the process may take."""
    structure, device = Structure("mlp", (1, 28, 28)), torch.device("cuda")
    there = capacity(device, 0.5)
    assert there is not None
    assert there <= 0.5 * torch.cuda.get_device_properties(device).total_memory
    pixels = torch.randint(0, 256, (64, 1, 28, 28), dtype=torch.uint8, device=device)
    peaks = [measure(structure, TrainingData(pixels), [HYPER] * lanes, 500, 0.1).peak_bytes for lanes in (1, 64)]
    assert peaks[0] is not None
    assert peaks[1] is not None
    assert 0 < peaks[0] < peaks[1] < there
