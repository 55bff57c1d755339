"""One update of K trials: Gulrajani et al. 2017, Algorithm 1, lines 4 to 12, for any objective and optimiser.

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
from wgan_core.objectives import OBJECTIVES
from wgan_core.optim import OPTIMISERS
from wgan_core.state import NetworkState, State


@dataclass(frozen=True)
class CriticBatch:
    """What one critic update consumes: real samples (K, N, ...), z (K, N, Z), interpolation weights (K, N).

    labels: those of the real samples and of the fakes beside them, (K, N); None where networks are told none.
    """

    real: Tensor
    z: Tensor
    weight: Tensor
    labels: Tensor | None = None


class Step:
    """The two updates for trials of one structure."""

    def __init__(self, structure: Structure) -> None:
        # Their arithmetic alone is wanted: on the meta device nothing is drawn from torch's generator.
        with torch.device("meta"):
            critic, generator = build(structure)
        self._critic, self._generator = Network(critic), Network(generator)
        self._objective = OBJECTIVES[structure.objective]
        self._optimiser = OPTIMISERS[structure.optimiser]
        self._ema_decay = structure.ema_decay

    def update_critic(
        self, state: State, hypers: Sequence[Hyper], batch: CriticBatch, updates: Sequence[int]
    ) -> Tensors:
        """One critic update of every lane; `updates` are the lanes' counts before it.

        Returns, each (K,): wasserstein_estimate, critic_loss, and where the objective has a penalty gradient_norm and
        gradient_penalty, without lambda.
        """
        parameters = _leaves(state.critic.parameters)
        with torch.no_grad():
            fake, state.generator.buffers = self._generator(
                state.generator.parameters, state.generator.buffers, batch.z, batch.labels
            )

        def score(points: Tensor) -> Tensor:
            return self._critic(parameters, state.critic.buffers, points, batch.labels)[0]

        # Critics do not mix samples, so real and fake go through in one pass.
        both, labels = torch.cat([batch.real, fake], dim=1), batch.labels
        twice = None if labels is None else torch.cat([labels, labels], dim=1)
        scores = self._critic(parameters, state.critic.buffers, both, twice)[0]
        real_scores, fake_scores = scores.chunk(2, dim=1)
        loss = self._objective.critic_loss(real_scores, fake_scores)
        quantities = {"wasserstein_estimate": objectives.wasserstein_estimate(real_scores, fake_scores)}
        if (penalty := self._objective.penalty) is not None:
            norms = objectives.gradient_norms(score, penalty.points(batch.real, fake, batch.weight))
            value = penalty.of(norms)
            weights = torch.tensor([hyper.lambda_gp for hyper in hypers], dtype=value.dtype, device=value.device)
            loss = loss + weights * value
            quantities |= {"gradient_penalty": value, "gradient_norm": norms.mean(1)}
        gradients = torch.autograd.grad(loss.sum(), list(parameters.values()))
        for lane, hyper in enumerate(hypers):
            lr = hyper.rate(hyper.lr_critic, updates[lane])
            self._update_lane(state.critic, gradients, lane, updates[lane] + 1, lr, hyper)
            if self._objective.clips:
                for tensor in state.critic.parameters.values():
                    tensor[lane].clamp_(-hyper.clip, hyper.clip)
        return {name: value.detach() for name, value in (quantities | {"critic_loss": loss}).items()}

    def update_generator(
        self,
        state: State,
        hypers: Sequence[Hyper],
        z: Tensor,
        updates: Sequence[int],
        due: Iterable[int],
        labels: Tensor | None = None,
    ) -> Tensors:
        """One generator update, and one of its average, of the lanes in `due`; the others stay as they are.

        z: (K, N, Z); labels: (K, N), where networks are told any; `updates` are the lanes' counts of generator updates
        before it. Returns generator_loss, (K,).
        """
        generator = state.generator
        parameters = _leaves(generator.parameters)
        fake, buffers = self._generator(parameters, generator.buffers, z, labels)
        scores = self._critic(state.critic.parameters, state.critic.buffers, fake, labels)[0]
        loss = self._objective.generator_loss(scores)
        gradients = torch.autograd.grad(loss.sum(), list(parameters.values()))
        for lane in due:
            for name, tensor in generator.buffers.items():
                tensor[lane] = buffers[name][lane]
            hyper = hypers[lane]
            lr = hyper.rate(hyper.lr_generator, updates[lane] * hyper.n_critic)
            self._update_lane(generator, gradients, lane, updates[lane] + 1, lr, hyper)
            self._average_lane(state, lane, updates[lane])
        return {"generator_loss": loss.detach()}

    def samples(self, state: State, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Samples (K, N, ...) of the averaged generators, in evaluation mode, for z (K, N, Z), labels (K, N)."""
        parameters = {name: state.average[name] for name in state.generator.parameters}
        buffers = {name: state.average[name] for name in state.generator.buffers}
        with torch.no_grad():
            return self._generator(parameters, buffers, z, labels, training=False)[0]

    def _update_lane(
        self, network: NetworkState, gradients: Sequence[Tensor], lane: int, step: int, lr: float, hyper: Hyper
    ) -> None:
        self._optimiser(
            [tensor[lane] for tensor in network.parameters.values()],
            # Adam's kernel walks all tensors alike, but a convolution's gradient may come in another memory layout.
            [tensor[lane].contiguous() for tensor in gradients],
            # By name: files give tensors back in any order, and the kernel does not check which moment is whose.
            [network.first[name][lane] for name in network.parameters],
            [network.second[name][lane] for name in network.parameters],
            step=step,
            lr=lr,
            beta1=hyper.beta1,
            beta2=hyper.beta2,
        )

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
