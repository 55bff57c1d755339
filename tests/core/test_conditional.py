"""Networks that are told a class: against the textbook, lane by lane, and from the checkpoint to the program."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.core.cohorts import check_program, cohort_of, distance_from_alone, largest_difference, pixels
from tests.reference import Drawn, textbook
from wgan_core.config import Hyper, Structure, Trial
from wgan_core.data.dataset import Dataset, Split, count_classes
from wgan_core.errors import UserError
from wgan_core.metrics.by_class import ByClass
from wgan_core.metrics.objective import resolve_objective
from wgan_core.metrics.on_features import Fid, Kid
from wgan_core.metrics.wasserstein import SlicedWasserstein
from wgan_core.networks.conditioning import Conditional
from wgan_core.networks.network import build, initialise
from wgan_core.training.cohort import Cohort
from wgan_core.training.data import TrainingData
from wgan_core.training.samples import evaluation_labels, grid_labels
from wgan_core.training.state import TrainingState

CPU = torch.device("cpu")
CLASSES = 3
TRIALS = [Trial(n, 40 + n, Hyper(10.0 ** (1 - n), 1e-3, 5e-4, 1 + n, 0.5, 0.9)) for n in range(3)]
LABELS = torch.tensor([0, 1, 2, 2] * 50)
DATA = TrainingData(pixels(), LABELS)
STRUCTURES = {
    f"{networks}-{embedding}": Structure(
        networks, (1, 8, 8), 6, 9, dtype="float64", classes=CLASSES, label_embedding=embedding
    )
    for networks in ("mlp", "conv")
    for embedding in (0, 4)
}


@pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES)
def test_updates_equal_the_textbook(structure: Structure) -> None:
    """Over few updates from one start: the oracle's modules are told the labels that the batches draw."""
    trial = TRIALS[1]
    oracle = textbook(structure, trial, initialise)
    oracle.run(Drawn(structure, pixels(), [trial.seed], LABELS), range(4))
    cohort = cohort_of(structure, [trial], [4], data=DATA)
    cohort.advance()
    ours = {name: tensor[0] for name, tensor in cohort.state_of(trial.number).tensors().items()}
    assert largest_difference(oracle.tensors(), ours) < 1e-10


@pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES)
def test_lanes_equal_the_same_trials_alone(structure: Structure) -> None:
    assert distance_from_alone(structure, TRIALS, 6, DATA) < 1e-12


def test_fakes_have_the_labels_of_their_reals_and_the_generators_own_follow_the_data() -> None:
    structure = STRUCTURES["mlp-0"]
    # A sample whose pixels say which class it has.
    data = (LABELS * 10).to(torch.uint8)[:, None, None, None].expand(-1, 1, 8, 8).contiguous()
    batches = Drawn(structure, data, [5], LABELS)
    drawn = []
    for update in range(200):
        batch = batches.critic([update])
        assert batch.labels is not None
        assert torch.equal((127.5 * (batch.real[0, :, 0, 0, 0] + 1)).round().long(), 10 * batch.labels[0])
        _, told = batches.generator([update])
        assert told is not None
        drawn.append(told)
    shares = torch.cat(drawn, dim=1).flatten().bincount() / (200 * 9)
    assert torch.allclose(shares, torch.tensor([0.25, 0.25, 0.5]), atol=0.04)
    assert not torch.equal(drawn[0], batches.critic([0]).labels)


@pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES)
def test_each_label_is_told_apart(structure: Structure) -> None:
    critic, generator = (network.double() for network in build(structure))
    generator.eval()
    z, x = torch.randn(5, 6).double(), torch.randn(5, 1, 8, 8).double()
    samples, scores = (
        [net(given, torch.full((5,), label)) for label in range(3)] for net, given in ((generator, z), (critic, x))
    )
    assert samples[0].shape == (5, 1, 8, 8)
    assert scores[0].shape == (5,)
    for outputs in (samples, scores):
        assert not torch.allclose(outputs[0], outputs[1])
        assert not torch.allclose(outputs[1], outputs[2])


def test_the_code_is_one_hot_beside_vectors_and_constant_planes_beside_images() -> None:
    labels = torch.tensor([2, 0])
    vector = Conditional(torch.nn.Identity(), 3, 0, flat=True)(torch.full((2, 1, 2, 2), 7.0), labels)
    assert vector.tolist() == [[7, 7, 7, 7, 0, 0, 1], [7, 7, 7, 7, 1, 0, 0]]
    planes = Conditional(torch.nn.Identity(), 3, 0, flat=False)(torch.full((2, 1, 2, 2), 7.0), labels)
    assert planes.shape == (2, 4, 2, 2)
    assert planes[:, 1:].flatten(2).unique(dim=2).squeeze(2).tolist() == [[0, 0, 1], [1, 0, 0]]


def test_from_the_checkpoint_to_the_program(tmp_path: Path) -> None:
    check_program(replace(STRUCTURES["mlp-4"], dtype="float32"), TRIALS[0], DATA, tmp_path)


def test_labels_of_scores_and_of_grids() -> None:
    structure = STRUCTURES["mlp-0"]
    drawn = evaluation_labels(structure, LABELS, 4000)
    assert drawn is not None
    assert torch.allclose(drawn.bincount() / 4000, torch.tensor([0.25, 0.25, 0.5]), atol=0.03)
    rows = grid_labels(structure, 2)
    assert rows is not None
    assert rows.tolist() == [0, 0, 1, 1, 2, 2]
    unconditional = replace(structure, classes=0)
    assert evaluation_labels(unconditional, LABELS, 4) is None
    assert grid_labels(unconditional, 4) is None


def labelled(train: list[int] | None, test: list[int]) -> Dataset:
    def split(labels: list[int] | None, count: int) -> Split:
        return Split(np.zeros((count, 2), np.float32), None if labels is None else np.array(labels))

    count = 4 if train is None else len(train)
    return Dataset.of("t", split(train, count), split(test, len(test)), split(test, len(test)))


def test_classes_are_those_of_the_training_split() -> None:
    assert count_classes(labelled([0, 2, 1, 1], [0, 1])) == 3
    for train, test, said in (
        (None, [0], "has no column 'label'"),
        ([1, 2], [1], "t has 1, 2: number the classes anew"),
        ([0, 1], [1, 4], "validation split must be in the training split; of t, 4 is not"),
    ):
        with pytest.raises(UserError, match=said):
            count_classes(labelled(train, test))


def test_what_a_metric_of_classes_wants_is_said() -> None:
    """Networks that are told classes; where they are, features of images that are no digits."""
    sliced = SlicedWasserstein()
    for measured in ((Fid().spec, Kid().spec, sliced.spec), (sliced.spec,)):
        for name in ("intra_fid", "intra_sliced_wasserstein"):
            with pytest.raises(
                UserError, match=r"; it is for scripts whose networks are told classes, such as"
            ) as info:
                resolve_objective(name, measured)
            assert "--features" not in str(info.value)
    with pytest.raises(UserError, match=r"with --features$"):
        resolve_objective("intra_fid", (*ByClass(sliced).specs, sliced.spec))


def test_classes_need_labels() -> None:
    with pytest.raises(ValueError, match="3 classes need the labels"):
        Cohort(STRUCTURES["mlp-0"], TrainingData(pixels()), [1])
    assert TrainingState.initial(STRUCTURES["mlp-0"], 1, CPU).critic.parameters
