"""The Wasserstein distance that a critic of its own reads (Danihelka et al. 2017; Im et al. 2018).

The critic of a trial depends on the trial. This critic does not: its network, penalty, number of updates and random
numbers are fixed. It is trained anew for each score, on half of the held-out and half of the generated samples. Its
estimate is taken on the other halves, where a critic that has learnt samples by heart gains nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from wgan_core.metrics.distances import Estimate, standard_error
from wgan_core.metrics.metric import Distance, HeldOut, MetricSpec, SampleDraw, Side
from wgan_core.metrics.wasserstein import Compact

CRITIC_NAME = "eval/independent_critic"
# Each half trains a critic, which is read on the other half.
FOLDS = 2
WIDTH, SLOPE = 64, 0.2
UPDATES, BATCH, RATE, BETAS = 300, 128, 3e-3, (0.5, 0.9)
PENALTY = 10.0
SEED = 2_017
# A critic trained on fewer samples a side learns them by heart.
LEAST = 200


class IndependentCritic(Distance):
    """The estimate of a fixed critic, on the values of a sample or on 128 projections of them.

    It sees what holds between many axes, which a projection on one line does not. It takes seconds, so it is measured
    only if it is named.
    """

    on_request = True
    spec = MetricSpec(
        CRITIC_NAME,
        "1-Wasserstein distance as a critic reads it that is trained anew on half of the samples and read on the "
        "other half; data units, near 0 at best, and may be below",
        "minimize",
        frozenset({"held-out split", "sample size"}),
        "Danihelka et al. 2017; Im et al. 2018; the penalty: Petzka et al. 2018, equation 8",
    )

    def suits(self, data: HeldOut) -> bool:
        # Windows that overlap would be in both halves.
        return len(data.real.values) >= LEAST and not data.dataset.overlapping

    def view(self, data: HeldOut) -> Compact:
        return Compact.of_size(data.real.values)

    def represent(self, view: Compact, drawn: SampleDraw) -> Tensor:
        return view.of(drawn.values)

    def scores(self, real: Side, draws: Sequence[SampleDraw]) -> dict[str, float]:
        """Train on the samples of all draws at once, as each training takes seconds."""
        return super().scores(real, [SampleDraw(torch.cat([drawn.values for drawn in draws]))])

    def distance(self, real: Tensor, fake: Tensor) -> Estimate:
        return critic_distance(real, fake)

    def entry(self, real: Side) -> dict[str, Any]:
        return {
            **real.view.protocol(),
            "folds": FOLDS,
            "widths": [WIDTH, WIDTH],
            "slope": SLOPE,
            "updates": UPDATES,
            "batch_size": BATCH,
            "learning_rate": RATE,
            "betas": list(BETAS),
            "lambda_gp": PENALTY,
            "seed": SEED,
        }


def critic_distance(real: Tensor, fake: Tensor) -> Estimate:
    """Return the 1-Wasserstein distance between samples (N, D) and (M, D) as a fixed critic reads it, in their units.

    Both sides are centred and divided by one number, so that a real sample is about 1 from the mean. The penalty is
    one-sided, so that the estimate is at most about W + W²/(2λ) of these, with λ 10. A critic trains on each half and
    is read on the other. The standard error takes the trained critics as given.

    Args:
        real: Real samples. Of an odd number, the last is left out.
        fake: Generated samples, of any number. Of an odd number, the last is left out.
    """
    mean, scale = real.mean(0), float(real.double().var(0).sum().sqrt()) or 1.0
    reals, fakes = (torch.stack(((side - mean) / scale).split(len(side) // FOLDS)[:FOLDS]) for side in (real, fake))
    with torch.enable_grad():
        weights = _train(reals, fakes)
    with torch.no_grad():
        on_real, on_fake = (_values(weights, side.flip(0)) for side in (reals, fakes))
    error = math.hypot(*map(standard_error, on_fake)) / FOLDS
    return Estimate(scale * float(on_real.double().mean() - on_fake.double().mean()), scale * error)


def _train(reals: Tensor, fakes: Tensor) -> list[Tensor]:
    """Return the weights of one critic for each half, (halves, N, D) and (halves, M, D), after all updates."""
    random, dtype = torch.Generator().manual_seed(SEED), reals.dtype
    weights = []
    sizes = (reals.shape[2], WIDTH, WIDTH, 1)
    for inputs, outputs in itertools.pairwise(sizes):
        start = torch.rand(1, inputs, outputs, generator=random, dtype=dtype).mul(2).sub(1).div(math.sqrt(inputs))
        biases = torch.zeros(FOLDS, 1, outputs, dtype=dtype, requires_grad=True)
        weights += [start.repeat(FOLDS, 1, 1).requires_grad_(), biases]
    optimiser = torch.optim.Adam(weights, lr=RATE, betas=BETAS)
    to_zero = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, UPDATES)
    batch = min(BATCH, reals.shape[1], fakes.shape[1])
    for _ in range(UPDATES):
        real, fake = (side[:, torch.randint(side.shape[1], (batch,), generator=random)] for side in (reals, fakes))
        share = torch.rand(batch, 1, generator=random, dtype=dtype)
        between = (share * real + (1 - share) * fake).requires_grad_()
        on_real, on_fake, on_between = _values(weights, torch.cat([real, fake, between], 1)).split(batch, 1)
        (gradient,) = torch.autograd.grad(on_between.sum(), between, create_graph=True)
        excess = (torch.linalg.vector_norm(gradient, dim=-1) - 1).clamp(min=0)
        loss = (on_fake - on_real + PENALTY * excess.square()).mean(1).sum()
        for weight, slope in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight.grad = slope
        optimiser.step()
        to_zero.step()
    return weights


def _values(weights: Sequence[Tensor], x: Tensor) -> Tensor:
    """Return the values (halves, N) of the critics at samples (halves, N, D)."""
    for layer in range(0, len(weights), 2):
        x = torch.baddbmm(weights[layer + 1], x if layer == 0 else F.leaky_relu(x, SLOPE), weights[layer])
    return x.squeeze(-1)
