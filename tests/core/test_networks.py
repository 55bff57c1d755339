"""Networks: lanes, the activation against torch's, what is refused, and repeatable initialisation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wgan_core.config import Structure
from wgan_core.errors import UserError
from wgan_core.networks.layers import LeakyReLU
from wgan_core.networks.network import Network, build, initialise
from wgan_core.training.state import NetworkState, TrainingState

NARROW = {"critic": {"widths": [64, 64]}, "generator": {"widths": [64, 64]}}


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_lanes_are_an_axis_in_front(name: str, lanes: int) -> None:
    """Each lane gives what its own module gives, and counts its own batch statistics."""
    structure = Structure(name, (3, 8, 8), latent_dim=5, dtype="float64")
    initial = [TrainingState.initial(structure, seed, torch.device("cpu")).tensors() for seed in range(lanes)]
    state = TrainingState.from_tensors({name: torch.cat([each[name] for each in initial]) for name in initial[0]})
    critic, generator = (Network(module) for module in build(structure))
    z = torch.randn(lanes, 6, 5, dtype=torch.float64)
    samples, buffers = generator(state.generator.parameters, state.generator.buffers, z)
    scores, _ = critic(state.critic.parameters, state.critic.buffers, samples)
    assert samples.shape == (lanes, 6, 3, 8, 8)
    assert scores.shape == (lanes, 6)
    for lane in range(lanes):
        own_critic, own_generator = initialise(structure, lane)
        expected = own_generator(z[lane])
        assert torch.allclose(samples[lane], expected, atol=1e-12)
        assert torch.allclose(scores[lane], own_critic(expected), atol=1e-12)
        for key, tensor in own_generator.named_buffers():
            assert torch.allclose(buffers[key][lane].double(), tensor.double(), atol=1e-12), key


def test_a_call_leaves_the_buffers_that_it_was_given() -> None:
    structure = Structure("mlp", (1, 8, 8), latent_dim=5)
    tensors = NetworkState.of(initialise(structure, 0)[1])
    before = {name: tensor.clone() for name, tensor in tensors.buffers.items()}
    _, after = Network(build(structure)[1])(tensors.parameters, tensors.buffers, torch.randn(1, 6, 5))
    assert all(torch.equal(before[name], tensor) for name, tensor in tensors.buffers.items())
    assert not all(torch.equal(before[name], tensor) for name, tensor in after.items())


POINTS = torch.tensor([-3.0, -1e-30, -0.0, 0.0, 1e-30, 2.0], dtype=torch.float64)


def penalty_gradients(activation: type[nn.Module], slope: float) -> list[Tensor]:
    """The gradient penalty's derivatives with respect to a critic's weights: a double backward through it."""
    generator = torch.Generator().manual_seed(2)
    first, second, third = nn.Linear(3, 8), nn.Linear(8, 8), nn.Linear(8, 1)
    critic = nn.Sequential(first, activation(slope), second, activation(slope), third).double()
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    weights = [layer.weight for layer in (first, second, third)]
    return list(torch.autograd.grad((gradient.norm(dim=1) - 1).square().mean(), weights))


@pytest.mark.parametrize("slope", [0.2, 0.01, 0.0])
def test_leaky_relu_equals_torchs_in_a_double_backward(slope: float) -> None:
    for ours, theirs in zip(penalty_gradients(LeakyReLU, slope), penalty_gradients(nn.LeakyReLU, slope), strict=True):
        assert theirs.abs().max() > 0
        assert torch.allclose(ours, theirs, rtol=1e-12)


def test_leaky_relu_does_not_propagate_the_zero_of_its_second_derivative() -> None:
    """Its first derivative hangs on nothing, where that of torch's hangs on x, with a second derivative of zero."""
    x = POINTS.clone().requires_grad_()
    (ours,) = torch.autograd.grad(LeakyReLU()(x).sum(), x, create_graph=True)
    (theirs,) = torch.autograd.grad(F.leaky_relu(x, 0.2).sum(), x, create_graph=True)
    assert not ours.requires_grad
    assert torch.autograd.grad(theirs.sum(), x)[0].tolist() == [0.0] * len(POINTS)


def test_an_unknown_pair_names_those_there_are() -> None:
    known = "conv, dcgan, ffpred, mlp, projection, residual, sequence"
    with pytest.raises(UserError, match=rf"networks must be one of {known}; given 'resnet'"):
        build(Structure("resnet", (1, 28, 28)))


@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_the_same_seed_gives_the_same_tensors(name: str) -> None:
    structure = Structure(name, (1, 8, 8), latent_dim=5)
    first, second, other = (initialise(structure, seed) for seed in (2**62, 2**62, 1))
    for network, again, different in zip(first, second, other, strict=True):
        tensors = network.state_dict()
        assert all(torch.equal(tensors[key], tensor) for key, tensor in again.state_dict().items())
        assert not all(torch.equal(tensors[key], tensor) for key, tensor in different.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_initialisation_takes_the_structures_dtype(dtype: torch.dtype) -> None:
    structure = Structure("conv", (1, 8, 8), dtype=str(dtype).removeprefix("torch."))
    for network in initialise(structure, 3):
        assert {parameter.dtype for parameter in network.parameters()} == {dtype}


@pytest.mark.parametrize(
    ("structure", "device", "lanes", "by_lane"),
    [
        (Structure("mlp", (1, 28, 28), batch_size=64), "cpu", 3, True),
        (Structure("conv", (1, 28, 28), batch_size=64), "cpu", 3, True),
        (Structure("mlp", (2,), latent_dim=2, batch_size=64, network_options=NARROW), "cpu", 3, False),
        (Structure("mlp", (2,), latent_dim=2, batch_size=64, network_options=NARROW), "cpu", 1, True),
        (Structure("mlp", (2,), latent_dim=2, batch_size=2000, network_options=NARROW), "cpu", 3, True),
        # Where there is no CPU, many small kernels are what costs.
        (Structure("mlp", (1, 28, 28), batch_size=64), "meta", 3, False),
    ],
)
def test_lanes_are_vectorised_but_for_large_networks_on_a_cpu(
    structure: Structure, device: str, lanes: int, by_lane: bool
) -> None:
    network = Network(build(structure)[0])
    batch = torch.empty(lanes, structure.batch_size, *structure.sample_shape, device=device, dtype=torch.float64)
    assert network._is_by_lane(batch) == by_lane


def test_the_work_of_a_lane_is_that_of_its_products() -> None:
    network = Network(build(Structure("mlp", (2,), latent_dim=2, network_options=NARROW))[0])
    assert network._operations(torch.empty(5, 7, 2)) == 2 * 7 * (2 * 64 + 64 * 64 + 64)
