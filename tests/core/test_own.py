"""A person's own networks and metrics: what is found out about them before anything starts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from tests.core.scored import objectives
from wgan_core.config import Hyper, Structure, Trial
from wgan_core.data import Dataset, Split
from wgan_core.errors import UserError
from wgan_core.metrics.evaluator import Evaluator
from wgan_core.metrics.own import OwnMetric
from wgan_core.metrics.registry import known_metrics
from wgan_core.metrics.wasserstein import SLICED_NAME, W1_NAME
from wgan_core.networks.layers import LeakyReLU
from wgan_core.networks.network import initialise, loaded_generator, own_digest
from wgan_core.networks.pairs import PAIRS, Pair, own_pair, register
from wgan_core.training.cohort import Cohort
from wgan_core.training.data import TrainingData
from wgan_core.training.preflight import check_fit
from wgan_core.training.state import TrainingState
from wgan_core.training.step import Step

CPU = torch.device("cpu")
STRUCTURE = Structure("own", (2,), latent_dim=3)


def mean_difference(real: Tensor, fake: Tensor) -> float:
    return float((real.mean(0) - fake.mean(0)).norm())


def generator(structure: Structure) -> nn.Module:
    return nn.Linear(structure.latent_dim, 2)


def normalised(structure: Structure) -> nn.Module:
    return nn.Sequential(generator(structure), nn.BatchNorm1d(2))


class Scored(nn.Module):
    """A critic of which one step is given."""

    def __init__(self, step: object) -> None:
        super().__init__()
        self.first, self.last, self.step = nn.Linear(2, 4), nn.Linear(4, 1), step

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.last(self.step(self.first(x)))  # type: ignore[operator]
        return scores.squeeze(1)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    PAIRS.pop("own", None)


def pair(step: object) -> Pair:
    return Pair(lambda structure: Scored(step), generator)


@pytest.mark.parametrize("lanes", [1, 3])
def test_networks_that_can_be_trained_pass(lanes: int) -> None:
    register("own", pair(torch.tanh))
    check_fit(STRUCTURE, lanes)
    assert own_pair("own") is PAIRS["own"]
    assert own_pair("mlp") is None


def by_value(x: Tensor) -> Tensor:
    return torch.tanh(x) if float(x.detach().abs().max()) < 1e9 else x


def test_a_decision_by_value_is_refused_side_by_side_only() -> None:
    register("own", pair(by_value))
    with pytest.raises(UserError, match=r"3 trials side by side; of 'own' an update fails: .*: mend them, or give --l"):
        check_fit(STRUCTURE, 3)


def test_a_critic_without_the_gradient_that_the_loss_takes_is_refused() -> None:
    register("own", pair(torch.Tensor.detach))
    with pytest.raises(UserError, match=r"loss 'wgan-gp'; of 'own' an update fails"):
        check_fit(STRUCTURE, 1)


def test_batch_normalisation_of_one_sample_is_refused() -> None:
    """Of shipped networks and of your own; without batch normalisation a batch of one is allowed."""
    said = r"batch_size must be at least 2 .*BatchNorm.d at '.*' of the generator: take"
    for networks in ("mlp", "dcgan"):
        with pytest.raises(UserError, match=said):
            check_fit(Structure(networks, (1, 28, 28), batch_size=1), 1)
    check_fit(Structure("mlp", (2,), batch_size=1, network_options={"generator": {"batch_norm": False}}), 1)
    register("own", Pair(lambda structure: Scored(torch.tanh), normalised))
    check_fit(STRUCTURE, 1)
    with pytest.raises(UserError, match=said):
        check_fit(replace(STRUCTURE, batch_size=1), 1)


@pytest.mark.parametrize("step", [lambda x: x - x.mean(0), lambda x: x.flip(0)], ids=["mean", "flip"])
def test_a_critic_that_mixes_the_batch_is_refused(step: object) -> None:
    register("own", pair(step))
    with pytest.raises(UserError, match="must score each sample by itself; that of 'own'"):
        check_fit(STRUCTURE, 1)


def test_shapes_that_do_not_fit_are_named() -> None:
    register("own", Pair(lambda structure: nn.Linear(2, 1), generator))
    with pytest.raises(UserError, match=r"critic of 'own' must give, for inputs of shape \(2, 2\).*\(2,\); it gives"):
        check_fit(STRUCTURE, 1)
    PAIRS["own"] = Pair(lambda structure: Scored(torch.tanh), lambda structure: nn.Linear(9, 2))
    with pytest.raises(UserError, match=r"generator of 'own' must take inputs of shape \(2, 3\); it fails: "):
        check_fit(STRUCTURE, 1)
    PAIRS["own"] = Pair(lambda structure: Scored(torch.tanh), lambda structure: nn.Linear(3, 7))
    with pytest.raises(UserError, match=r"outputs of shape \(2, 2\); it gives \(2, 7\): reshape"):
        check_fit(STRUCTURE, 1)


def test_random_draws_in_a_network_are_refused() -> None:
    register("own", pair(nn.Dropout(0.5)))
    with pytest.raises(UserError, match=r"must draw no random numbers.*given Dropout at 'step'"):
        check_fit(STRUCTURE, 1)


@pytest.mark.parametrize("step", [nn.Dropout(0.0), nn.RReLU(0.2, 0.2)])
def test_layers_that_draw_nothing_pass(step: nn.Module) -> None:
    register("own", pair(step))
    check_fit(STRUCTURE, 1)


class Mixing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (Mixing(), "take out what mixes the batch, in or before Mixing at 'step'"),
        (Noisy(), "take out its random draws, in or before Noisy at 'step'"),
    ],
)
def test_the_layer_at_fault_is_named(step: nn.Module, said: str) -> None:
    register("own", pair(step))
    with pytest.raises(UserError, match=said):
        check_fit(STRUCTURE, 1)


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.more = nn.Linear(2, 1), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.used(x)
        return scores.squeeze(1)


def test_parameters_that_are_not_used_are_named() -> None:
    register("own", Pair(lambda structure: Unused(), generator))
    with pytest.raises(UserError, match=r"an update fails; the critic does not use more\.weight, more\.bias, which"):
        check_fit(STRUCTURE, 1)


class Special(nn.Module):
    """A generator with a frozen layer, tied weights and a buffer that is not persistent."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.frozen, self.one, self.two = nn.Linear(latent_dim, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.two.weight = self.one.weight
        self.last = nn.Linear(4, 2)
        self.frozen.requires_grad_(False)
        self.scale: Tensor
        self.register_buffer("scale", torch.tensor([2.0, 3.0]), persistent=False)

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.last(self.two(torch.tanh(self.one(self.frozen(z))))) * self.scale
        return out


class PlainTensor(nn.Module):
    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.linear, self.scale = nn.Linear(latent_dim, 2), torch.tensor([2.0, 3.0])

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.linear(z) * self.scale
        return out


def frozen_critic(_: Structure) -> nn.Module:
    critic = Scored(torch.tanh)
    critic.first.requires_grad_(False)
    return critic


def test_frozen_tied_and_not_persistent_tensors_survive_training_and_export(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PAIRS, "special", Pair(frozen_critic, lambda s: Special(s.latent_dim)))
    structure = Structure("special", (2,), latent_dim=3, batch_size=8, loss="wgan-clip")
    check_fit(structure, 2)
    began = dict(zip(("critic", "generator"), initialise(structure, 0), strict=True))
    cohort = Cohort(structure, TrainingData(points()), [6])
    cohort.add(Trial(0, 0, Hyper(0.0, 1e-2, 1e-2, 1, 0.0, 0.9, clip=0.01)))
    cohort.advance()
    state = cohort.state_of(0)
    for network, name in (("critic", "first.weight"), ("generator", "frozen.weight")):
        assert torch.equal(getattr(state, network).buffers[name][0], began[network].get_parameter(name))
    assert torch.equal(state.average["frozen.weight"][0], began["generator"].get_parameter("frozen.weight"))
    assert not torch.equal(state.generator.parameters["one.weight"][0], began["generator"].get_parameter("one.weight"))

    loaded = loaded_generator(structure, {name: tensor[0] for name, tensor in state.average.items()}).eval()
    assert isinstance(loaded, Special)
    assert loaded.one.weight is loaded.two.weight
    z = torch.randn(5, 3)
    with torch.no_grad():
        trained = Step(structure).samples(state, z[None])[0]
        assert torch.allclose(loaded(z), trained, atol=1e-6)
        exported = torch.export.export(loaded.requires_grad_(False), (z,))
        assert torch.allclose(exported.module()(z), trained, atol=1e-6)


def test_tensors_that_do_not_fit_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PAIRS, "special", Pair(frozen_critic, lambda s: Special(s.latent_dim)))
    structure = Structure("special", (2,), latent_dim=3)
    tensors = {name: tensor[0] for name, tensor in TrainingState.initial(structure, 0, CPU).average.items()}
    del tensors["scale"]
    tensors |= {"last.bias": torch.zeros(3), "more": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"another shape: last\.bias, more, scale$"):
        loaded_generator(structure, tensors)


def test_a_plain_tensor_of_a_generator_is_named() -> None:
    register("own", Pair(lambda structure: Scored(torch.tanh), lambda structure: PlainTensor(structure.latent_dim)))
    with pytest.raises(UserError, match=r"stored and loaded; .*register scale with `register_buffer`"):
        check_fit(STRUCTURE, 1)


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(UserError, match="given 'mlp', which is taken"):
        register("mlp", pair(torch.tanh))
    register("mlp", PAIRS["mlp"])


def test_an_unknown_name_says_what_is_known_and_how_to_add_one() -> None:
    with pytest.raises(UserError, match=r"one of conv, .*; given 'own'.*--script"):
        check_fit(STRUCTURE, 1)


# Metrics


def test_an_own_metric_is_measured_with_its_floor_and_preferred() -> None:
    values = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    dataset = Dataset.of("mine", *(Split(part.numpy(), None) for part in values.split(100)))
    metric = OwnMetric("mean_difference", mean_difference, "distance of the means; data units")
    evaluator = Evaluator.build(dataset, sample_size=100, metrics=[metric])
    assert objectives(evaluator) == ("eval/mean_difference", W1_NAME, SLICED_NAME)
    assert evaluator.objective_default == evaluator.resolve("mean_difference") == "eval/mean_difference"
    assert evaluator.resolve("w1") == W1_NAME
    shifted = values[100:200] + torch.tensor([3.0, 4.0])
    assert evaluator.scores(shifted)["eval/mean_difference"] == pytest.approx(5.0)
    assert 0 < evaluator.floors["eval/mean_difference"] < 1
    assert evaluator.protocol["metrics"]["eval/mean_difference"]["source_sha256"]
    assert "eval/mean_difference" not in known_metrics()
    assert evaluator.specs[0].can_be_objective


def test_a_changed_metric_is_another_protocol() -> None:
    def other(real: Tensor, fake: Tensor) -> float:
        return 0.0

    values = torch.zeros(30, 2).numpy()
    dataset = Dataset.of("mine", *(Split(values[:10], None) for _ in range(3)))
    found = [
        Evaluator.build(dataset, metrics=[OwnMetric("m", function, "m")]).protocol
        for function in (mean_difference, other)
    ]
    assert found[0] != found[1]


@pytest.mark.parametrize("name", ["", "Energy", "eval/x", "9x", "a-b"])
def test_a_metric_has_a_name_that_can_be_typed(name: str) -> None:
    with pytest.raises(UserError, match="lower-case letters"):
        OwnMetric(name, mean_difference, "m")


# What a person's own code may do wrong


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (Pair(lambda: nn.Linear(2, 1), generator), r"made from a structure and their options; 'own' fails: TypeError"),
        (Pair(lambda structure: nn.Linear(-1, 1), generator), r"'own' fails: RuntimeError: .*: mend them"),
        (Pair(lambda structure: Pairs(), generator), r"critic of 'own' must give one tensor; it gives a tuple"),
        (Pair(lambda structure: Scored(missing), generator), r"critic of 'own' .* it fails: AttributeError"),
        (Pair(lambda structure: Scored(noisy), generator), r"critic of 'own' does not: take out its random draws"),
    ],
    ids=["signature", "constructor", "tuple", "attribute", "random"],
)
def test_whatever_own_networks_raise_is_one_line(made: Pair, said: str) -> None:
    register("own", made)
    with pytest.raises(UserError, match=said) as caught:
        check_fit(STRUCTURE, 1)
    assert "\n" not in str(caught.value)


class Pairs(nn.Module):
    """A critic that returns its hidden layer too."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, 0], x


def missing(x: Tensor) -> Tensor:
    return x.no_such_method()  # type: ignore[no-any-return,operator]


def noisy(x: Tensor) -> Tensor:
    return x + torch.randn_like(x)


def test_a_digest_tells_networks_of_one_name_apart() -> None:
    register("own", pair(torch.tanh))
    first = own_digest(STRUCTURE)
    assert first == own_digest(STRUCTURE)
    PAIRS["own"] = Pair(lambda structure: Scored(torch.sigmoid), generator)
    assert own_digest(STRUCTURE) != first
    PAIRS["own"] = Pair(frozen_critic, generator)
    frozen = own_digest(STRUCTURE)
    PAIRS["own"] = Pair(lambda structure: Scored(torch.tanh), generator)
    assert frozen != own_digest(STRUCTURE)
    assert own_digest(Structure("mlp", (2,))) == ""


@pytest.mark.parametrize("name", ["fid", "kid", "w1", "intra_fid", "sliced_wasserstein", "c2st"])
def test_a_metric_may_not_have_the_name_of_a_shipped_one(name: str) -> None:
    with pytest.raises(UserError, match=f"'{name}' is a shipped one: rename it"):
        OwnMetric(name, mean_difference, "m")


@pytest.mark.parametrize(
    ("measure", "said"),
    [
        (lambda real, fake: fake.nothing, "'m' fails: AttributeError"),
        (lambda real, fake: fake.mean(0), "must give a number .* 'm' fails: ValueError"),
        (lambda real, fake: math.nan, "finite number for real samples on both sides; 'm' is nan"),
    ],
)
def test_a_metric_that_fails_on_real_samples_is_refused(measure: Callable[[Tensor, Tensor], float], said: str) -> None:
    values = torch.randn(30, 2, generator=torch.Generator().manual_seed(0)).numpy()
    dataset = Dataset.of("mine", *(Split(values[:10], None) for _ in range(3)))
    with pytest.raises(UserError, match=said):
        Evaluator.build(dataset, metrics=[OwnMetric("m", measure, "m")])


def test_own_data_must_be_pixels_or_finite_floats() -> None:
    values = np.zeros((4, 2), dtype=np.float32)
    values[2, 1] = np.nan
    with pytest.raises(UserError, match="must be finite; sample 2 has nan: fill or drop it"):
        Split(values, None)
    with pytest.raises(UserError, match="uint8 pixels or floats; given int64: convert them"):
        Split(np.zeros((4, 2), dtype=np.int64), None)


class Counted(nn.Module):
    """A critic that counts its passes in training, as whoever keeps running values in buffers does."""

    passes: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 1)
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.passes.add_(1)
        scores: Tensor = self.linear(x)
        return scores.squeeze(1)


def spectral(structure: Structure) -> nn.Module:
    return nn.Sequential(spectral_norm(nn.Linear(2, 16)), LeakyReLU(), spectral_norm(nn.Linear(16, 1)), nn.Flatten(0))


def points() -> Tensor:
    return torch.randn(64, 2, generator=torch.Generator().manual_seed(5))


def test_a_critics_buffers_are_carried_through_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    """By each pass of a lane: of samples and of penalised points in a critic update, and of a generator update."""
    monkeypatch.setitem(PAIRS, "counted", Pair(lambda _: Counted(), lambda s: nn.Linear(s.latent_dim, 2)))
    structure = Structure("counted", (2,), latent_dim=3, batch_size=8)
    cohort = Cohort(structure, TrainingData(points()), [6], width=2)
    for number, n_critic in enumerate((1, 3)):
        cohort.add(Trial(number, number, Hyper(10.0, 1e-3, 1e-3, n_critic, 0.5, 0.9)))
    cohort.advance()
    passes = [cohort.state_of(number).critic.buffers["passes"].item() for number in (0, 1)]
    assert passes == [6 * 2 + 6, 6 * 2 + 2]


def test_torchs_spectral_norm_finds_the_norm_of_a_critics_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes one step of the power iteration a pass, which is of no use if the vectors it keeps are dropped."""
    monkeypatch.setitem(PAIRS, "spectral", Pair(spectral, lambda s: nn.Linear(s.latent_dim, 2)))
    structure = Structure("spectral", (2,), latent_dim=3, batch_size=8, loss="hinge")
    cohort = Cohort(structure, TrainingData(points()), [200])
    cohort.add(Trial(0, 0, Hyper(0.0, 1e-5, 1e-5, 1, 0.0, 0.9)))
    cohort.advance()
    critic = cohort.state_of(0).critic
    weight = critic.parameters["0.parametrizations.weight.original"][0]
    u, v = (critic.buffers[f"0.parametrizations.weight.0._{name}"][0] for name in ("u", "v"))
    norm = torch.linalg.matrix_norm(weight, 2)
    assert float(u @ weight @ v) == pytest.approx(float(norm), rel=1e-3)
    before = initialise(structure, 0)[0].get_buffer("0.parametrizations.weight.0._u")
    assert not torch.allclose(u, before)
