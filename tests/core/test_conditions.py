"""Networks that are told numbers: against the textbook, lane by lane, and their code."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.core.cohorts import cohort_of, distance_from_alone, largest_difference, pixels
from tests.core.test_spectral import our_name, plain_torch
from tests.reference import Drawn, textbook
from wgan_core.config import Hyper, Structure, Trial
from wgan_core.data.coding import Coding, Column
from wgan_core.errors import UserError
from wgan_core.networks.conditioning import Conditional
from wgan_core.networks.network import build, initialise
from wgan_core.networks.pairs.projection import ConditionalBatchNorm, ProjectionCritic
from wgan_core.training.cohort import Cohort
from wgan_core.training.data import TrainingData
from wgan_core.training.preflight import check_fit
from wgan_core.training.samples import evaluation_labels

CONDITIONS = Coding((Column("mass", 70.0, 12.0), Column("count", 3.0, 2.0, whole=True)))
TRIALS = [Trial(n, 40 + n, Hyper(10.0 ** (1 - n), 1e-3, 5e-4, 1 + n, 0.5, 0.9)) for n in range(3)]
GIVEN = torch.randn(200, 2, generator=torch.Generator().manual_seed(8))
MLP = Structure("mlp", (1, 8, 8), 6, 9, dtype="float64", conditions=CONDITIONS)
CONV = replace(MLP, networks="conv")
PROJECTION = Structure(
    "projection",
    (1, 28, 28),
    latent_dim=6,
    batch_size=6,
    dtype="float64",
    loss="hinge",
    network_options={"critic": {"width": 3}, "generator": {"width": 3}},
    conditions=CONDITIONS,
    spectral_norm=True,
)


def data_of(structure: Structure, given: Tensor = GIVEN) -> TrainingData:
    return TrainingData(pixels(structure.sample_shape), given)


@pytest.mark.parametrize("structure", [MLP, CONV], ids=["mlp", "conv"])
def test_updates_equal_the_textbook(structure: Structure) -> None:
    trial = TRIALS[1]
    oracle = textbook(structure, trial, initialise)
    oracle.run(Drawn(structure, pixels(), [trial.seed], GIVEN), range(4))
    cohort = cohort_of(structure, [trial], [4], data=data_of(structure))
    cohort.advance()
    ours = {name: tensor[0] for name, tensor in cohort.state_of(trial.number).tensors().items()}
    assert largest_difference(oracle.tensors(), ours) < 1e-10


def test_updates_of_the_projection_pair_equal_the_textbook() -> None:
    trial = TRIALS[1]
    oracle = plain_torch(PROJECTION, trial)
    oracle.run(Drawn(PROJECTION, pixels((1, 28, 28)), [trial.seed], GIVEN.double()), range(6))
    cohort = cohort_of(PROJECTION, [trial], [6], data=data_of(PROJECTION))
    cohort.advance()
    ours = {name: tensor[0] for name, tensor in cohort.state_of(trial.number).tensors().items()}
    expected = {our_name(name): tensor for name, tensor in oracle.tensors().items()}
    assert largest_difference(expected, ours) < 1e-10


@pytest.mark.parametrize(("structure", "updates"), [(MLP, 6), (CONV, 6), (PROJECTION, 3)], ids=["mlp", "conv", "proj"])
def test_lanes_equal_the_same_trials_alone(structure: Structure, updates: int) -> None:
    assert distance_from_alone(structure, TRIALS, updates, data_of(structure)) < 1e-11


def test_fakes_have_the_conditions_of_their_reals_and_the_generators_own_follow_the_data() -> None:
    # A sample whose pixels say which conditions it has.
    given = torch.stack([torch.arange(200.0), -torch.arange(200.0)], dim=1)
    data = torch.arange(200, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 8, 8).contiguous()
    batches, drawn = Drawn(MLP, data, [5], given), []
    for update in range(100):
        batch = batches.critic([update])
        assert batch.labels is not None
        assert torch.equal((127.5 * (batch.real[0, :, 0, 0, 0] + 1)).round(), batch.labels[0, :, 0].double())
        _, told = batches.generator([update])
        assert told is not None
        assert torch.equal(told[..., 0], -told[..., 1])
        drawn.append(told)
    assert float(torch.cat(drawn)[..., 0].mean()) == pytest.approx(99.5, abs=6)
    assert not torch.equal(drawn[0], batches.critic([0]).labels)


def test_the_code_is_the_values_beside_vectors_and_constant_planes_beside_images() -> None:
    given = torch.tensor([[0.5, -2.0], [1.0, 3.0]])
    vector = Conditional(nn.Identity(), 0, 0, flat=True)(torch.full((2, 1, 1, 2), 7.0), given)
    assert vector.tolist() == [[7, 7, 0.5, -2], [7, 7, 1, 3]]
    planes = Conditional(nn.Identity(), 0, 0, flat=False)(torch.full((2, 1, 2, 2), 7.0), given)
    assert planes.shape == (2, 3, 2, 2)
    assert planes[:, 1:].flatten(2).unique(dim=2).squeeze(2).tolist() == given.tolist()


def test_a_score_is_the_unconditional_one_and_the_projection_on_a_linear_map_of_the_conditions() -> None:
    critic, _ = initialise(replace(PROJECTION, spectral_norm=False), 0)
    assert isinstance(critic, ProjectionCritic)
    assert isinstance(critic.embedding, nn.Linear)
    x, given = torch.randn(3, 1, 28, 28).double(), torch.randn(3, 2).double()
    features = critic.blocks(x).sum(dim=(2, 3))
    expected = F.linear(features, critic.score.weight)[:, 0] + (given @ critic.embedding.weight.T * features).sum(1)
    assert torch.allclose(critic(x, given), expected)


def test_a_conditional_normalisation_has_a_scale_and_a_shift_that_are_linear_in_the_conditions() -> None:
    layer, x, given = ConditionalBatchNorm(2, 0, conditions=1), torch.randn(5, 2, 4, 4), torch.arange(5.0)[:, None]
    plain = nn.BatchNorm2d(2)
    assert torch.allclose(layer(x, given), plain(x), atol=1e-6)
    with torch.no_grad():
        layer.scale.weight[:, 0] = torch.tensor([2.0, -1.0])
        layer.shift.weight[:, 0] = torch.tensor([0.5, 3.0])
    scale = 1 + given * torch.tensor([2.0, -1.0])
    expected = plain(x) * scale[..., None, None] + (given * torch.tensor([0.5, 3.0]))[..., None, None]
    assert torch.allclose(layer(x, given), expected, atol=1e-5)


def test_conditions_are_told_apart() -> None:
    for structure in (MLP, CONV, replace(PROJECTION, spectral_norm=False)):
        critic, generator = (network.double() for network in build(structure))
        generator.eval()
        with torch.no_grad():  # the maps of the conditions in the projection pair's generator start at zero
            for parameter in generator.parameters():
                parameter += 0.1 * (parameter == 0)
        z, x = torch.randn(5, 6).double(), torch.randn(5, *structure.sample_shape).double()
        for net, inputs in ((generator, z), (critic, x)):
            low, high = (net(inputs, torch.full((5, 2), value).double()) for value in (-1.0, 1.0))
            assert not torch.allclose(low, high)


def test_conditions_of_scores_are_rows_of_the_data() -> None:
    drawn = evaluation_labels(MLP, GIVEN, 4000)
    assert drawn is not None
    assert drawn.shape == (4000, 2)
    assert (drawn[:, None] == GIVEN).all(2).any(1).all()


def test_a_structure_with_conditions_survives_json_and_one_without_reads_as_before() -> None:
    assert Structure.from_json(MLP.as_json()) == MLP
    plain = replace(MLP, conditions=None)
    before = {name: value for name, value in plain.as_json().items() if name != "conditions"}
    assert Structure.from_json(before) == plain
    assert not plain.is_conditional
    assert (MLP.code_length, plain.code_length, replace(plain, classes=3).code_length) == (2, 0, 3)


def test_a_structure_that_cannot_be_conditioned_is_refused_in_one_line() -> None:
    for wrong, said in (
        ({"classes": 3}, "conditions must be numeric columns"),
        ({"conditions": Coding((Column("a", values=("x", "y")),))}, "1 columns of categories: leave those out"),
        ({"conditions": Coding(())}, "conditions must be 1 to"),
        ({"conditions": Coding((Column("a", sd=float("nan")),))}, "must have a finite mean and spread"),
        ({"label_embedding": 4}, "label_embedding must be 0 where there are no classes"),
    ):
        with pytest.raises(UserError, match=said) as info:
            replace(MLP, **wrong)
        assert "\n" not in str(info.value)


def test_data_without_the_conditions_is_refused() -> None:
    for given in (None, GIVEN[:, :1], torch.zeros(200, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"2 conditions need those of the data, \(200, 2\): given"):
            Cohort(MLP, TrainingData(pixels(), given), [1])
    check_fit(PROJECTION, 1)
