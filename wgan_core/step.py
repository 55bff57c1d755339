"""One update of K trials: Gulrajani et al. 2017, Algorithm 1, lines 4 to 12.

An update is a deterministic function of (state, batch, hyper-parameters). The state is updated in
place. Nothing here reads a value back from the device.

    K lanes, N samples in a batch, Z the latent dimension
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wgan_core import objectives
from wgan_core.config import Hyper, Structure
from wgan_core.networks import Network, Tensors, build
from wgan_core.optim import adam_
from wgan_core.state import NetworkState, State


@dataclass(frozen=True)
class CriticBatch:
    """What one critic update consumes: real samples (K, N, ...), z (K, N, Z), interpolation weights (K, N)."""

    real: Tensor
    z: Tensor
    weight: Tensor


class Step:
    """The two updates for trials of one structure."""

    def __init__(self, structure: Structure) -> None:
        # Their arithmetic alone is wanted: on the meta device nothing is drawn from torch's generator.
        with torch.device("meta"):
            critic, generator = build(structure)
        self._critic, self._generator = Network(critic), Network(generator)
        self._ema_decay = structure.ema_decay

    def update_critic(
        self, state: State, hypers: Sequence[Hyper], batch: CriticBatch, updates: Sequence[int]
    ) -> Tensors:
        """One critic update of every lane; `updates` are the lanes' counts before it.

        Returns, each (K,): wasserstein_estimate, gradient_penalty (without lambda), gradient_norm, critic_loss.
        """
        parameters = _leaves(state.critic.parameters)
        with torch.no_grad():
            fake, state.generator.buffers = self._generator(
                state.generator.parameters, state.generator.buffers, batch.z
            )

        def score(points: Tensor) -> Tensor:
            return self._critic(parameters, state.critic.buffers, points)[0]

        # Critics do not mix samples, so real and fake go through in one pass.
        real_scores, fake_scores = score(torch.cat([batch.real, fake], dim=1)).chunk(2, dim=1)
        norms = objectives.gradient_norms(score, objectives.interpolate(batch.real, fake, batch.weight))
        estimate = objectives.wasserstein_estimate(real_scores, fake_scores)
        penalty = objectives.two_sided_penalty(norms)
        weights = torch.tensor([hyper.lambda_gp for hyper in hypers], dtype=penalty.dtype, device=penalty.device)
        loss = weights * penalty - estimate
        gradients = torch.autograd.grad(loss.sum(), list(parameters.values()))
        for lane, hyper in enumerate(hypers):
            _adam_lane(state.critic, gradients, lane, updates[lane] + 1, hyper.lr_critic, hyper)
        quantities = {
            "wasserstein_estimate": estimate,
            "gradient_penalty": penalty,
            "gradient_norm": norms.mean(1),
            "critic_loss": loss,
        }
        return {name: value.detach() for name, value in quantities.items()}

    def update_generator(
        self, state: State, hypers: Sequence[Hyper], z: Tensor, updates: Sequence[int], due: Iterable[int]
    ) -> Tensors:
        """One generator update, and one of its average, of the lanes in `due`; the others stay as they are.

        z: (K, N, Z); `updates` are the lanes' counts of generator updates before it. Returns generator_loss, (K,).
        """
        generator = state.generator
        parameters = _leaves(generator.parameters)
        fake, buffers = self._generator(parameters, generator.buffers, z)
        loss = objectives.generator_loss(self._critic(state.critic.parameters, state.critic.buffers, fake)[0])
        gradients = torch.autograd.grad(loss.sum(), list(parameters.values()))
        for lane in due:
            for name, tensor in generator.buffers.items():
                tensor[lane] = buffers[name][lane]
            _adam_lane(generator, gradients, lane, updates[lane] + 1, hypers[lane].lr_generator, hypers[lane])
            self._average_lane(state, lane, updates[lane])
        return {"generator_loss": loss.detach()}

    def samples(self, state: State, z: Tensor) -> Tensor:
        """Samples (K, N, ...) of the averaged generators, in evaluation mode, for z (K, N, Z)."""
        parameters = {name: state.average[name] for name in state.generator.parameters}
        buffers = {name: state.average[name] for name in state.generator.buffers}
        with torch.no_grad():
            return self._generator(parameters, buffers, z, training=False)[0]

    def _average_lane(self, state: State, lane: int, updates: int) -> None:
        """Exponential average of the generator, whose horizon grows with the count until it is the decay's own."""
        decay = min(self._ema_decay, (1 + updates) / (10 + updates))
        for name, tensor in {**state.generator.parameters, **state.generator.buffers}.items():
            average = state.average[name][lane]
            if tensor.is_floating_point():
                average.lerp_(tensor[lane], 1 - decay)
            else:
                average.copy_(tensor[lane])


def _leaves(parameters: Tensors) -> Tensors:
    """The same storage as leaf tensors to differentiate with respect to."""
    return {name: tensor.detach().requires_grad_() for name, tensor in parameters.items()}


def _adam_lane(
    network: NetworkState, gradients: Sequence[Tensor], lane: int, step: int, lr: float, hyper: Hyper
) -> None:
    adam_(
        [tensor[lane] for tensor in network.parameters.values()],
        # The kernel walks all tensors alike, but a convolution's gradient may come in another memory layout.
        [tensor[lane].contiguous() for tensor in gradients],
        # By name: files give tensors back in any order, and the kernel does not check which moment is whose.
        [network.first[name][lane] for name in network.parameters],
        [network.second[name][lane] for name in network.parameters],
        step=step,
        lr=lr,
        beta1=hyper.beta1,
        beta2=hyper.beta2,
    )
