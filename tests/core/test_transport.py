"""The critic's estimate where the answer is known: a shift of W1 = 1 reads as W + W^2 / (2 λ)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from wgan_core.config import Hyper, Structure, Trial
from wgan_core.networks import network as networks
from wgan_core.networks.pairs import Pair
from wgan_core.networks.pairs.mlp import mlp_critic
from wgan_core.training.cohort import Cohort
from wgan_core.training.data import TrainingData

SPREAD = 0.02
LAMBDAS = (0.1, 1.0, 10.0)
NEVER = 10**9


class Cloud(nn.Module):
    """A generator of points close to the origin."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return SPREAD * z


def test_the_trained_critic_reads_the_shift_plus_what_lambda_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real points are the fakes' law moved by a unit vector.

    Both laws are narrow, so that the points between them lie evenly along the shift whichever real
    sample a fake is paired with. There the best critic has a constant slope s, which maximises
    s W - λ (s - 1)^2: s = 1 + W / (2 λ), and it reads s W.
    """
    pair = Pair(lambda structure: mlp_critic(structure, (32, 32)), lambda _: Cloud())
    monkeypatch.setitem(networks.PAIRS, "shift", pair)
    data = SPREAD * torch.randn(4096, 2, generator=torch.Generator().manual_seed(1)) + torch.tensor([0.6, -0.8])
    structure = Structure("shift", (2,), latent_dim=2, batch_size=64)
    cohort = Cohort(structure, TrainingData(data), [1000, 1200], len(LAMBDAS))
    for number, lambda_gp in enumerate(LAMBDAS):
        cohort.add(Trial(number, number, Hyper(lambda_gp, 2e-3, 1e-4, NEVER, 0.5, 0.9)))
    cohort.advance()
    for report in cohort.advance():
        expected = 1 + 1 / (2 * report.trial.hyper.lambda_gp)
        assert report.means["wasserstein_estimate"] == pytest.approx(expected, rel=0.02), report.trial
        assert report.means["gradient_norm"] == pytest.approx(expected, rel=0.02), report.trial
