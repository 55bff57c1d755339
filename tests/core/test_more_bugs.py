"""Bugs of public WGAN implementations that sit in the networks and in what is drawn, and not in the update.

`test_the_check_sees_the_bug` puts each bug in and runs its check again, which must fail.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from wgan_core.config import Hyper, Structure, Trial
from wgan_core.networks import network as networks
from wgan_core.networks.network import initialise
from wgan_core.networks.pairs import PAIRS, Pair
from wgan_core.training.cohort import Cohort
from wgan_core.training.data import TrainingData
from wgan_core.training.state import TrainingState

CPU = torch.device("cpu")
SHAPES: dict[str, tuple[int, ...]] = {
    "mlp": (2, 3),
    "ffpred": (7,),
    "conv": (3, 8, 8),
    "dcgan": (1, 28, 28),
    "residual": (1, 28, 28),
    "sequence": (2, 12),
}
HYPER = Hyper(lambda_gp=10.0, lr_critic=1e-3, lr_generator=1e-3, n_critic=1, beta1=0.5, beta2=0.9)


def test_every_pair_has_its_check() -> None:
    assert SHAPES.keys() == PAIRS.keys()


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def structure_of(name: str, classes: int = 0) -> Structure:
    return Structure(name, SHAPES[name], latent_dim=10, batch_size=6, dtype="float64", classes=classes)


# 10: a sigmoid left on the critic


def scores_have_no_bounds(name: str, classes: int = 0) -> None:
    """A score is linear in its critic's last layer: nothing comes after it."""
    critic, _ = initialise(structure_of(name, classes), 0)
    inputs = (normal(5, *SHAPES[name]), torch.tensor([0, 1, 2, 0, 1]))[: 2 if classes else 1]
    last = [layer for layer in critic.modules() if isinstance(layer, nn.Linear)][-1]
    with torch.no_grad():
        before = critic(*inputs)
        for parameter in last.parameters():
            parameter.mul_(-1e6)
        assert before.any()
        assert torch.allclose(critic(*inputs), -1e6 * before, rtol=1e-9)


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("name", SHAPES)
def test_bug_10_no_critic_ends_with_a_sigmoid(name: str, classes: int) -> None:
    scores_have_no_bounds(name, classes)


# 14: `BatchNorm(n, 0.8)` sets epsilon, not the momentum


def normalisation_is_torchs(name: str) -> None:
    """What a batch normalisation gives has mean 0 and variance 1, and a tenth of a batch is kept of its statistics."""
    _, generator = initialise(structure_of(name), 0)
    given: list[tuple[_BatchNorm, Tensor, Tensor]] = []

    def note(layer: _BatchNorm, inputs: tuple[Tensor], output: Tensor) -> None:
        given.append((layer, inputs[0].transpose(0, 1).flatten(1), output.transpose(0, 1).flatten(1)))

    layers = [layer for layer in generator.modules() if isinstance(layer, _BatchNorm)]
    for layer in layers:
        layer.register_forward_hook(note)
    with torch.no_grad():
        generator(normal(64, 10))
    assert len(given) == len(layers) > 0
    for layer, inputs, output in given:
        assert torch.allclose(output.mean(1), torch.zeros(len(output)).double(), atol=1e-9)
        assert torch.allclose(output.var(1, correction=0), torch.ones(len(output)).double(), rtol=0.05)
        assert layer.running_mean is not None
        assert torch.allclose(layer.running_mean, 0.1 * inputs.mean(1))


@pytest.mark.parametrize("name", [name for name in SHAPES if name != "ffpred"])
def test_bug_14_batch_normalisation_has_torchs_own_epsilon_and_momentum(name: str) -> None:
    normalisation_is_torchs(name)


def test_bug_14_ffpred_normalises_nothing() -> None:
    assert not any(isinstance(layer, _BatchNorm) for layer in initialise(structure_of("ffpred"), 0)[1].modules())


# 21: random numbers that no seed of the trial decides


def state_after(seed: int) -> TrainingState:
    """Of a trial that trains for four updates, while the global generators stand at this seed."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (the global generator is what must not matter)
    random.seed(seed)
    cohort = Cohort(structure_of("mlp"), TrainingData(normal(40, 2, 3)), [4])
    cohort.add(Trial(0, 5, HYPER))
    cohort.advance()
    return cohort.state_of(0)


def the_seed_of_the_trial_decides() -> None:
    first = state_after(1)
    drawn = (torch.rand(1), np.random.random(), random.random())  # noqa: NPY002
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    assert drawn == (torch.rand(1), np.random.random(), random.random())  # noqa: NPY002
    second = state_after(2).tensors()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.tensors().items())


def test_bug_21_training_draws_nothing_from_a_global_generator() -> None:
    the_seed_of_the_trial_decides()


# The bugs themselves


def with_sigmoid(pair: Pair) -> Pair:
    return replace(pair, critic=lambda structure: nn.Sequential(pair.critic(structure), nn.Sigmoid()))


def with_batch_norm(pair: Pair, **settings: float) -> Pair:
    def make(structure: Structure) -> nn.Module:
        generator = pair.generator(structure)
        for layer in generator.modules():
            if isinstance(layer, _BatchNorm):
                layer.__dict__.update(settings)
        return generator

    return replace(pair, generator=make)


def uniform_of_torch(seeds: Tensor, stream: object, updates: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    return torch.rand(*updates.shape, size, dtype=dtype)


def normal_of_numpy(seeds: Tensor, stream: object, updates: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(np.random.standard_normal((*updates.shape, size))).to(dtype)  # noqa: NPY002


def indices_of_python(seeds: Tensor, stream: object, updates: Tensor, size: int, below: int) -> Tensor:
    return torch.tensor([random.randrange(below) for _ in range(updates.numel() * size)]).reshape(*updates.shape, size)


CHECKS: dict[str, Callable[[str], None]] = {
    "sigmoid": scores_have_no_bounds,
    "eps": normalisation_is_torchs,
    "momentum": normalisation_is_torchs,
}
VARIANTS: dict[str, Callable[[Pair], Pair]] = {
    "sigmoid": with_sigmoid,
    "eps": lambda pair: with_batch_norm(pair, eps=0.8),
    "momentum": lambda pair: with_batch_norm(pair, momentum=0.8),
}


@pytest.mark.parametrize(
    ("bug", "name"),
    [(bug, name) for bug in CHECKS for name in SHAPES if bug == "sigmoid" or name != "ffpred"],
)
def test_the_check_sees_the_bug_in_a_network(bug: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(networks.PAIRS, name, VARIANTS[bug](PAIRS[name]))
    with pytest.raises(AssertionError):
        CHECKS[bug](name)


@pytest.mark.parametrize(
    ("target", "variant"), [("uniform", uniform_of_torch), ("normal", normal_of_numpy), ("indices", indices_of_python)]
)
def test_the_check_sees_draws_from_a_global_generator(
    target: str, variant: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"wgan_core.rules.draws.{target}", variant)
    with pytest.raises(AssertionError):
        the_seed_of_the_trial_decides()
