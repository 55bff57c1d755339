"""Full batches: every update sees every sample once, alone and beside other trials; columns of a table too."""

from __future__ import annotations

import pytest
import torch

from tests.core.cohorts import cohort_of, distance_from_alone
from tests.reference import Drawn, textbook
from wgan_core.config import Hyper, Structure, Trial
from wgan_core.data.coding import Coding, Column
from wgan_core.networks.network import initialise
from wgan_core.training.data import TrainingData

ROWS = torch.randn(30, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
CODING = Coding((Column("x"), Column("kind", values=("a", "b", "c")), Column("y")))
STRUCTURE = Structure(
    "ffpred",
    (5,),
    latent_dim=4,
    batch_size=30,
    dtype="float64",
    network_options={"critic": {"width": 7}, "generator": {"width": 8}},
    full_batch=True,
    coding=CODING,
)
TRIALS = [Trial(n, 10 + n, Hyper(lam, 1e-4, 1e-4, n + 1, 0.5, 0.9)) for n, lam in enumerate((0.1, 10.0, 1.0))]


def test_each_update_has_all_of_the_data_in_order_and_noise_of_its_own() -> None:
    batches = Drawn(STRUCTURE, ROWS, [10, 11])
    for updates in ([0, 0], [1, 40], [2, 41]):
        batch = batches.critic(updates)
        assert torch.equal(batch.real, ROWS.expand(2, 30, 5))
        assert not torch.equal(batch.z[0], batch.z[1])
    assert not torch.equal(batches.critic([0, 0]).z, batches.critic([1, 1]).z)


def test_a_batch_of_another_size_is_not_full() -> None:
    with pytest.raises(ValueError, match="full batch of 29 samples is no batch of 30"):
        Drawn(STRUCTURE, ROWS[:29], [0])


def test_a_run_equals_the_textbook_through_the_categories_of_a_table() -> None:
    """The critic's penalty and the generator's gradient go through the softmax of the categorical column."""
    cohort = cohort_of(STRUCTURE, TRIALS[:1], [4], data=TrainingData(ROWS))
    (report,) = cohort.advance()
    oracle = textbook(STRUCTURE, TRIALS[0], initialise)
    oracle.run(Drawn(STRUCTURE, ROWS, [TRIALS[0].seed]), range(4))
    ours = cohort.state_of(0).tensors()
    for name, tensor in oracle.tensors().items():
        assert torch.allclose(ours[name][0], tensor, rtol=0, atol=1e-9), name
    losses = [update["critic_loss"] for update in oracle.history]
    assert report.means["critic_loss"] == pytest.approx(sum(losses) / 4, rel=1e-9)


def test_lanes_equal_the_same_trials_alone() -> None:
    assert distance_from_alone(STRUCTURE, TRIALS, 6, TrainingData(ROWS)) <= 1e-12
