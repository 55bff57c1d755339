"""Spectral normalisation of critics: against torch's own in a plain loop, over lanes, and in checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from tests.core.cohorts import cohort_of, distance_from_alone, largest_difference, pixels
from tests.reference import Drawn, Textbook
from wgan_core.backend.choices import BFLOAT16, FLOAT32
from wgan_core.config import Hyper, Structure, Trial
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError
from wgan_core.networks.layers import LeakyReLU
from wgan_core.networks.network import Network, build, initialise
from wgan_core.networks.pairs import PAIRS, Pair
from wgan_core.networks.spectral import SpectralNorm, spectral_norm
from wgan_core.training import checkpoint as checkpoints
from wgan_core.training.checkpoint import Checkpoint
from wgan_core.training.data import TrainingData
from wgan_core.training.preflight import check_fit
from wgan_core.training.state import TrainingState

LABELS = torch.tensor([0, 1, 2, 2] * 50)
DATA = TrainingData(pixels(), LABELS)
TRIALS = [
    Trial(0, 50, Hyper(0.0, 2e-4, 1e-4, 1, 0.5, 0.999)),
    Trial(1, 51, Hyper(1.0, 1e-4, 2e-4, 2, 0.0, 0.9)),
    Trial(2, 52, Hyper(10.0, 5e-5, 1e-4, 5, 0.5, 0.9)),
]
OPTIONS = {
    "mlp": {"critic": {"widths": [12, 8]}, "generator": {"widths": [8, 9, 7]}},
    "conv": {"critic": {"width": 3}, "generator": {"width": 3}},
}


def structure_of(networks: str, loss: str, classes: int = 0, embedding: int = 0) -> Structure:
    return Structure(
        networks,
        (1, 8, 8),
        latent_dim=6,
        batch_size=9,
        dtype="float64",
        loss=loss,
        network_options=OPTIONS[networks],
        classes=classes,
        label_embedding=embedding,
        spectral_norm=True,
    )


STRUCTURES = {
    "mlp": structure_of("mlp", "hinge"),
    "conv": structure_of("conv", "hinge"),
    "conv with a penalty": structure_of("conv", "wgan-gp"),
    "conv with learnt labels": structure_of("conv", "gan", 3, 4),
}
every_structure = pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES)


def plain_torch(structure: Structure, trial: Trial) -> Textbook:
    """A plain loop whose critic has torch's spectral norm, from the weights and vectors at which the product starts."""
    critic, generator = initialise(replace(structure, spectral_norm=False), trial.seed)
    ours = dict(initialise(structure, trial.seed)[0].named_buffers())
    for name, layer in list(critic.named_modules()):
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.Embedding):
            parametrizations.spectral_norm(layer)
            for vector in "uv":
                layer.get_buffer(f"parametrizations.weight.0._{vector}").copy_(ours[f"{name}.{vector}"])
    return Textbook(critic, generator, structure, trial)


def our_name(name: str) -> str:
    """The product's name of a tensor of torch's normalised layer."""
    weight = ".parametrizations.weight"
    name = name.replace(f"{weight}.original", ".layer.weight").replace(f"{weight}.0._", ".")
    bias = name.startswith("critic.") and name.endswith(".bias")
    return f"{name.removesuffix('.bias')}.layer.bias" if bias else name


@pytest.mark.parametrize(
    ("name", "updates"),
    [
        pytest.param("mlp", 500, marks=pytest.mark.slow),
        ("conv", 60),
        ("conv with a penalty", 30),
        ("conv with learnt labels", 30),
    ],
)
def test_a_run_equals_plain_torch(name: str, updates: int) -> None:
    """Weights, vectors, moments and the mean loss, of one lane and of three with other hyper-parameters."""
    structure = STRUCTURES[name]
    oracles = [plain_torch(structure, trial) for trial in TRIALS]
    for oracle in oracles:
        labels = LABELS if structure.classes else None
        oracle.run(Drawn(structure, pixels(), [oracle.trial.seed], labels), range(updates))
    for trials in (TRIALS[:1], TRIALS):
        cohort = cohort_of(structure, trials, [updates], data=DATA)
        for report, oracle in zip(cohort.advance(), oracles, strict=False):
            expected = {our_name(name): tensor for name, tensor in {**oracle.tensors(), **oracle.moments()}.items()}
            ours = {name: tensor[0] for name, tensor in cohort.state_of(report.trial.number).tensors().items()}
            assert {name for name in ours if ".average." not in name} == expected.keys()
            assert any(name.endswith(".u") for name in expected)
            assert largest_difference(expected, ours) < 1e-9, f"trial {report.trial.number} of {len(trials)}"
            loss = fmean(quantities["critic_loss"] for quantities in oracle.history)
            assert report.means["critic_loss"] == pytest.approx(loss, rel=1e-9)


@every_structure
def test_lanes_equal_the_same_trials_alone(structure: Structure) -> None:
    assert distance_from_alone(structure, TRIALS, 6, DATA) < 1e-12


def layers() -> Iterator[tuple[nn.Module, Tensor]]:
    yield nn.Linear(5, 4), torch.randn(3, 5)
    yield nn.Conv1d(2, 3, 3), torch.randn(3, 2, 6)
    yield nn.Conv2d(2, 3, 3, padding=1, bias=False), torch.randn(3, 2, 6, 6)
    yield nn.ConvTranspose1d(2, 3, 3), torch.randn(3, 2, 6)
    yield nn.ConvTranspose2d(2, 5, 4, stride=2), torch.randn(3, 2, 6, 6)
    yield nn.Embedding(4, 3), torch.tensor([1, 3, 3])


@pytest.mark.parametrize(("layer", "x"), list(layers()), ids=lambda each: type(each).__name__)
def test_a_layer_is_torchs_in_values_and_gradients(layer: nn.Module, x: Tensor) -> None:
    """In three passes of training and one of evaluation, which takes no step of the power iteration."""
    theirs = parametrizations.spectral_norm(deepcopy(layer))
    ours = SpectralNorm(layer)
    for vector in "uv":
        theirs.get_buffer(f"parametrizations.weight.0._{vector}").copy_(ours.get_buffer(vector))
    for training in (True, True, True, False):
        found = [module.train(training)(x) for module in (ours, theirs)]
        assert torch.allclose(*found, rtol=1e-5, atol=1e-6)
        for vector in "uv":
            their_vector = theirs.get_buffer(f"parametrizations.weight.0._{vector}")
            assert torch.allclose(ours.get_buffer(vector), their_vector, atol=1e-6)
    weights = (ours.layer.weight, theirs.parametrizations.weight.original)  # type: ignore[union-attr]
    gradients = [
        torch.autograd.grad(output.square().sum(), weight)[0]  # type: ignore[arg-type]
        for output, weight in zip(found, weights, strict=True)
    ]
    assert gradients[0].any()
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["mlp", "ffpred", "conv", "dcgan", "residual", "projection"])
def test_each_weight_of_a_critic_is_normalised_after_its_initial_draws(name: str) -> None:
    """The critic has the weights that it has without, and each has a largest singular value of one."""
    structure = Structure(name, (1, 28, 28), classes=3, label_embedding=0 if name == "projection" else 2)
    plain, generator = initialise(structure, 4)
    critic, same = initialise(replace(structure, spectral_norm=True), 4)
    weights = {key.replace(".layer.", "."): tensor for key, tensor in critic.named_parameters()}
    assert all(torch.equal(weights[key], tensor) for key, tensor in plain.named_parameters())
    assert all(torch.equal(same.state_dict()[key], tensor) for key, tensor in generator.state_dict().items())
    normalised = [layer for layer in critic.modules() if isinstance(layer, SpectralNorm)]
    assert len(normalised) == sum(tensor.dim() > 1 for tensor in plain.parameters())
    for layer in normalised:
        matrix = layer._matrix().detach()
        sigma = torch.linalg.matrix_norm(matrix, 2)
        # A power iteration from below, over 15 steps.
        assert 0.9 * sigma < layer.u @ matrix @ layer.v <= sigma * 1.0001


def test_a_pair_on_the_meta_device_draws_nothing() -> None:
    before = torch.get_rng_state()
    with torch.device("meta"):
        build(Structure("residual", (1, 28, 28), spectral_norm=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_shared_layer_is_one_layer_still() -> None:
    layer = nn.Linear(3, 3)
    normalised = spectral_norm(nn.Sequential(layer, nn.Tanh(), layer))
    first, _, second = normalised._modules.values()
    assert isinstance(first, SpectralNorm)
    assert first is second


class Product(nn.Module):
    """A critic with a weight of its own, outside of any layer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.weight).squeeze(1)


def test_a_weight_that_cannot_be_normalised_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PAIRS, "own", Pair(lambda _: nn.Sequential(Product()), lambda s: nn.Linear(s.latent_dim, 2)))
    structure = Structure("own", (2,), latent_dim=3, batch_size=8)
    check_fit(structure, 2)
    with pytest.raises(UserError, match="another layer, Product at '0', has a weight: take it out, or leave out"):
        check_fit(replace(structure, spectral_norm=True), 2)


@pytest.mark.parametrize("lanes", [1, 3])
def test_a_pair_of_ones_own_is_normalised_and_passes_the_checks(lanes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks compare two passes of a critic, which must start from the same vectors."""

    def critic(structure: Structure) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 16), LeakyReLU(), nn.Linear(16, 1), nn.Flatten(0))

    monkeypatch.setitem(PAIRS, "own", Pair(critic, lambda structure: nn.Linear(structure.latent_dim, 2)))
    check_fit(Structure("own", (2,), latent_dim=3, batch_size=8, loss="hinge", spectral_norm=True), lanes)


def test_a_checkpoint_keeps_the_vectors_and_continues_to_the_same_bits(tmp_path: Path) -> None:
    structure = replace(STRUCTURES["conv"], dtype="float32")
    whole, first, second = (cohort_of(structure, [], [4, 9], 1, DATA) for _ in range(3))
    for cohort in (whole, first):
        cohort.add(TRIALS[1])
        cohort.advance()
    whole.advance()
    kept = Checkpoint(TRIALS[1], structure, 4, first.state_of(1), {})
    found = checkpoints.read(checkpoints.write(Folder.at(tmp_path), kept))
    assert found.structure == structure
    assert {name.rpartition(".")[2] for name in found.state.critic.buffers} == {"u", "v"}
    second.add(TRIALS[1], found.state, 4)
    second.advance()
    assert largest_difference(whole.state_of(1).tensors(), second.state_of(1).tensors()) == 0.0


def test_the_power_iteration_is_not_rounded_to_bfloat16() -> None:
    structure = replace(STRUCTURES["conv"], dtype="float32")
    tensors = TrainingState.initial(structure, 0, torch.device("cpu")).lanes([0, 0]).critic
    found = []
    for precision in (FLOAT32, BFLOAT16):
        network = Network(initialise(structure, 0)[0], precision)
        found.append(network(tensors.parameters, tensors.buffers, torch.randn(2, 5, 1, 8, 8))[1])
    assert any(name.endswith(".u") for name in found[0])
    assert largest_difference(*found) == 0.0
