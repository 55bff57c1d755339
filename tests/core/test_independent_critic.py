"""The critic that is trained anew for each score: known transports, a textbook loop, and when it is measured."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor, nn

from wgan_core.data.toy import load_toy
from wgan_core.metrics import independent_critic
from wgan_core.metrics.distances import Projections, sliced_wasserstein
from wgan_core.metrics.evaluator import Evaluator
from wgan_core.metrics.independent_critic import BATCH, BETAS, CRITIC_NAME, PENALTY, RATE, SEED, SLOPE, critic_distance
from wgan_core.metrics.names import error_name

AXES, SHIFT = 16, 0.3


def paired(rows: int, seed: int, dependent: bool = True) -> Tensor:
    """Normal rows whose first two entries are near 1 or -1: the same sign in both, or two independent signs."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, AXES, generator=random)
    signs = torch.randint(2, (rows, 2), generator=random) * 2.0 - 1
    if dependent:
        signs[:, 1] = signs[:, 0]
    x[:, :2] = signs + 0.1 * x[:, :2]
    return x


def test_a_lost_dependence_is_worse_than_a_smaller_shift_where_sliced_wasserstein_says_the_opposite() -> None:
    real, fresh, independent = paired(5000, 0), paired(5000, 1), paired(5000, 2, dependent=False)
    shifted = fresh.clone()
    shifted[:, -1] += SHIFT  # The transport moves each row by .3.
    # Half of the rows have unequal signs, and at least an entry of each must move by about 2.
    directions = Projections.draw(AXES, 128, 0)
    sliced = [sliced_wasserstein(directions.of(real), directions.of(fake)).value for fake in (shifted, independent)]
    assert sliced[0] > sliced[1]
    floor, shift, lost = (critic_distance(real, fake) for fake in (fresh, shifted, independent))
    assert abs(floor.value) < 4 * floor.error + 0.01
    assert shift.value == pytest.approx(SHIFT, rel=0.2)
    assert lost.value == pytest.approx(1.0, rel=0.2)


def test_it_is_what_a_textbook_loop_on_each_half_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    updates, half = 20, 300
    monkeypatch.setattr(independent_critic, "UPDATES", updates)
    real, fake = paired(2 * half + 1, 3).double(), paired(4 * half, 4, dependent=False).double() + 0.5
    found = critic_distance(real, fake)
    mean, scale = real.mean(0), real.var(0).sum().sqrt()
    sides = [((side - mean) / scale).split(len(side) // 2) for side in (real, fake)]
    values = []
    for own, other in ((0, 1), (1, 0)):
        random = torch.Generator().manual_seed(SEED)
        layers = [nn.Linear(*size, dtype=torch.float64) for size in ((AXES, 64), (64, 64), (64, 1))]
        for layer in layers:
            drawn = torch.rand(layer.in_features, layer.out_features, generator=random, dtype=torch.float64)
            layer.weight.data = ((2 * drawn - 1) / math.sqrt(layer.in_features)).T.contiguous()
            layer.bias.data.zero_()
        critic = nn.Sequential(layers[0], nn.LeakyReLU(SLOPE), layers[1], nn.LeakyReLU(SLOPE), layers[2])
        optimiser = torch.optim.Adam(critic.parameters(), lr=RATE, betas=BETAS)
        for update in range(updates):
            for group in optimiser.param_groups:
                group["lr"] = RATE * (1 - update / updates)
            x, y = (side[own][torch.randint(len(side[own]), (BATCH,), generator=random)] for side in sides)
            share = torch.rand(BATCH, 1, generator=random, dtype=torch.float64)
            between = (share * x + (1 - share) * y).requires_grad_()
            (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
            penalty = (gradient.norm(dim=1) - 1).relu().square().mean()
            optimiser.zero_grad()
            (critic(y).mean() - critic(x).mean() + PENALTY * penalty).backward()
            optimiser.step()
        with torch.no_grad():
            values.append(float(critic(sides[0][other]).mean() - critic(sides[1][other]).mean()))
    assert found.value == pytest.approx(float(scale) * sum(values) / 2, rel=1e-9)


def test_a_sweep_measures_it_only_if_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(independent_critic, "UPDATES", 20)
    eight = load_toy("8gaussians")
    assert CRITIC_NAME not in Evaluator.build(eight, sample_size=400).names
    assert Evaluator.build(eight, sample_size=400, metrics=["independent_critic"]).names == (CRITIC_NAME,)
    asked = Evaluator.build(eight, sample_size=400, objective="independent_critic")
    assert asked.resolve("independent_critic") == CRITIC_NAME
    assert {"eval/w1", CRITIC_NAME, error_name(CRITIC_NAME)} <= asked.floors.keys()
    assert json.loads(json.dumps(asked.protocol))["metrics"][CRITIC_NAME]["lambda_gp"] == PENALTY
    few = Evaluator.build(eight, sample_size=100, objective="independent_critic")
    assert CRITIC_NAME not in few.names


@torch.no_grad()
def test_random_state_and_threads_do_not_change_it_and_it_changes_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(independent_critic, "UPDATES", 20)
    real, fake = paired(400, 5), paired(400, 6) + 1
    before = torch.get_rng_state()
    first = critic_distance(real, fake)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(9)
    threads = torch.get_num_threads()
    torch.set_num_threads(2 if threads == 1 else 1)
    try:
        assert critic_distance(real, fake).value == pytest.approx(first.value, rel=1e-5)
    finally:
        torch.set_num_threads(threads)
