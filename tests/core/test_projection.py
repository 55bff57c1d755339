"""The projection pair with classes: against the textbook with torch's spectral norm, its layers, and its exports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.core.cohorts import check_program, cohort_of, distance_from_alone, largest_difference, pixels
from tests.core.test_spectral import our_name, plain_torch
from tests.reference import Drawn
from wgan_core.config import Hyper, Structure, Trial
from wgan_core.errors import UserError
from wgan_core.networks.network import initialise
from wgan_core.networks.pairs import PAIRS, Pair
from wgan_core.networks.pairs.projection import ConditionalBatchNorm, ProjectionCritic
from wgan_core.training.data import TrainingData
from wgan_core.training.preflight import check_fit

SHAPE = (1, 28, 28)
LABELS = torch.tensor([0, 1, 2, 2] * 50)
DATA = TrainingData(pixels(SHAPE), LABELS)
STRUCTURE = Structure(
    "projection",
    SHAPE,
    latent_dim=6,
    batch_size=6,
    dtype="float64",
    loss="hinge",
    network_options={"critic": {"width": 3}, "generator": {"width": 3}},
    classes=3,
    spectral_norm=True,
)
TRIALS = [Trial(n, 40 + n, Hyper(0.0, 1e-4, 5e-5 * (n + 1), 1 + n, 0.5, 0.9)) for n in range(3)]


def test_updates_equal_the_textbook() -> None:
    trial = TRIALS[1]
    oracle = plain_torch(STRUCTURE, trial)
    oracle.run(Drawn(STRUCTURE, pixels(SHAPE), [trial.seed], LABELS), range(10))
    cohort = cohort_of(STRUCTURE, [trial], [10], data=DATA)
    cohort.advance()
    ours = {name: tensor[0] for name, tensor in cohort.state_of(trial.number).tensors().items()}
    expected = {our_name(name): tensor for name, tensor in {**oracle.tensors(), **oracle.moments()}.items()}
    assert expected.keys() == {name for name in ours if ".average." not in name}
    assert largest_difference(expected, ours) < 1e-10


def test_lanes_equal_the_same_trials_alone() -> None:
    assert distance_from_alone(STRUCTURE, TRIALS, 4, DATA) < 1e-11


def test_a_score_is_the_unconditional_one_and_the_projection_on_the_label() -> None:
    critic, _ = initialise(replace(STRUCTURE, spectral_norm=False), 0)
    assert isinstance(critic, ProjectionCritic)
    assert critic.embedding is not None
    x, labels = torch.randn(3, *SHAPE).double(), torch.tensor([2, 0, 2])
    features = critic.blocks(x).sum(dim=(2, 3))
    expected = F.linear(features, critic.score.weight)[:, 0] + torch.stack(
        [features[n] @ critic.embedding.weight[label] for n, label in enumerate(labels)]
    )
    assert torch.allclose(critic(x, labels), expected)


def test_a_conditional_normalisation_has_a_scale_and_a_shift_for_each_label() -> None:
    layer, x, labels = ConditionalBatchNorm(2, 3), torch.randn(5, 2, 4, 4), torch.tensor([0, 1, 2, 1, 0])
    plain = nn.BatchNorm2d(2)
    assert torch.allclose(layer(x, labels), plain(x), atol=1e-6)
    with torch.no_grad():
        layer.scale.weight[1] = torch.tensor([2.0, -1.0])
        layer.shift.weight[1] = torch.tensor([0.5, 3.0])
    expected = plain(x)
    expected[labels == 1] *= torch.tensor([2.0, -1.0])[:, None, None]
    expected[labels == 1] += torch.tensor([0.5, 3.0])[:, None, None]
    assert torch.allclose(layer(x, labels), expected, atol=1e-6)


@pytest.mark.parametrize("side", [28, 32, 64])
@pytest.mark.parametrize("classes", [0, 3])
def test_each_side_with_and_without_classes(side: int, classes: int) -> None:
    structure = replace(STRUCTURE, sample_shape=(3, side, side), classes=classes, dtype="float32")
    critic, generator = initialise(structure, 0)
    labels = (torch.tensor([0, 2]),) if classes else ()
    samples = generator(torch.randn(2, 6), *labels)
    assert samples.shape == (2, 3, side, side)
    assert critic(samples, *labels).shape == (2,)


def test_from_the_checkpoint_to_the_program(tmp_path: Path) -> None:
    check_program(replace(STRUCTURE, dtype="float32"), TRIALS[0], DATA, tmp_path)


class Told(nn.Module):
    """A network of one linear layer that takes labels as a second input."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.linear, self.shift = nn.Linear(before, after), nn.Embedding(3, after)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        outputs: Tensor = self.linear(x) + self.shift(labels)
        return outputs.squeeze(1)


def test_a_pair_of_ones_own_may_take_labels_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its functions get the shapes without a label's code; without `labelled` they are given the code, and fail."""
    pair = Pair(lambda _: Told(2, 1), lambda structure: Told(structure.latent_dim, 2), labelled=True)
    structure = Structure("own", (2,), latent_dim=3, batch_size=8, classes=3)
    monkeypatch.setitem(PAIRS, "own", pair)
    check_fit(structure, 2)
    monkeypatch.setitem(PAIRS, "own", replace(pair, labelled=False))
    with pytest.raises(UserError):
        check_fit(structure, 2)
