"""One update of K trials: Gulrajani et al. 2017, Algorithm 1, lines 4 to 12, for any loss and optimiser.

An update is a deterministic function of (state, batch, hyper-parameters). It changes the state in place, and no tensor
moves in memory. This module never reads a value back from a GPU.

    K lanes, N samples in a batch, Z the latent dimension
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wgan_core.backend.kernels import mover
from wgan_core.backend.ranks import ALONE, Ranks
from wgan_core.config import Structure
from wgan_core.networks.batch_norm import over_ranks
from wgan_core.networks.network import Network, Tensors, build, fixed_names
from wgan_core.networks.spectral import has_spectral_norm
from wgan_core.rules import losses
from wgan_core.rules.losses import LOSSES
from wgan_core.rules.optim import Rates, StepTensors, average_, beside
from wgan_core.training.lanes import Lanes
from wgan_core.training.state import NetworkState, TrainingState


@dataclass(frozen=True)
class CriticBatch:
    """Inputs of one critic update.

    Attributes:
        real: Real samples (K, N, ...).
        z: Latent inputs (K, N, Z) of the fakes.
        weight: Interpolation weights (K, N).
        labels: Labels (K, N), or conditions (K, N, C), of the real samples and of their fakes; None without both.
    """

    real: Tensor
    z: Tensor
    weight: Tensor
    labels: Tensor | None = None


class Step:
    """Updates of critic and generator, for trials of one structure or for one trial over several ranks.

    Each rank gets its own part of a batch. Returned quantities are those of the whole batch, equal on all ranks.
    """

    def __init__(self, structure: Structure, ranks: Ranks = ALONE) -> None:
        self.structure, self.ranks = structure, ranks
        # Only the networks' arithmetic is used. On the meta device building draws nothing from torch's generator.
        with torch.device("meta"):
            critic, generator = build(structure)
        self._fixed = fixed_names(critic)
        self._critic, self._iterates = Network(critic, structure.precision), has_spectral_norm(critic)
        self._generator = Network(over_ranks(generator, ranks), structure.precision)
        self._loss = LOSSES[structure.loss]

    def update_critic(self, state: TrainingState, lanes: Lanes, batch: CriticBatch) -> Tensors:
        """Make one critic update in every lane. The counts of `lanes` stay those before the update.

        Returns:
            Quantities by name, (K,) each: wasserstein_estimate and critic_loss. If the loss has a penalty, also
            gradient_norm and gradient_penalty, the latter without lambda.
        """
        parameters = _leaves(state.critic.parameters)
        with torch.no_grad():
            fake, buffers = self._generator(state.generator.parameters, state.generator.buffers, batch.z, batch.labels)
            _put(state.generator.buffers, buffers)

        carried, labels = state.critic.buffers, batch.labels

        def score(points: Tensor, labels: Tensor | None = labels) -> Tensor:
            nonlocal carried
            scores, carried = self._critic(parameters, carried, points, labels)
            return scores

        if self._iterates:
            # Each pass takes a step of the power iteration. Published loops have one pass for real and one for fake.
            real_scores, fake_scores = score(batch.real), score(fake)
        else:
            # Critics do not mix samples, so real and fake go through in one pass.
            twice = None if labels is None else torch.cat([labels, labels], dim=1)
            real_scores, fake_scores = score(torch.cat([batch.real, fake], dim=1), twice).chunk(2, dim=1)
        loss = self._loss.critic_loss(real_scores, fake_scores)
        quantities = {"wasserstein_estimate": losses.wasserstein_estimate(real_scores, fake_scores)}
        if (penalty := self._loss.penalty) is not None:
            norms = losses.gradient_norms(score, penalty.points(batch.real, fake, batch.weight))
            value = penalty.of(norms)
            loss = loss + lanes.lambda_gp.to(value.dtype) * value
            quantities |= {"gradient_penalty": value, "gradient_norm": norms.mean(1)}
        own = torch.autograd.grad(loss.sum(), list(parameters.values()))
        gradients, quantities = self._whole(parameters, own, quantities | {"critic_loss": loss})
        self._move(state.critic, gradients, lanes.critic_rates())
        _put(state.critic.buffers, self._shared(carried))
        if self._loss.clips:
            for tensor in state.critic.parameters.values():
                bound = beside(lanes.clip, tensor)
                tensor.clamp_(-bound, bound)
        return quantities

    def update_generator(self, state: TrainingState, lanes: Lanes, z: Tensor, labels: Tensor | None = None) -> Tensors:
        """Make one update of the generator and of its average in the lanes that are due. Other lanes stay unchanged.

        Args:
            state: The state, updated in place.
            lanes: The lanes, with the counts before the critic update that this update follows.
            z: Latent inputs (K, N, Z).
            labels: Labels (K, N); None if the networks take none.

        Returns:
            generator_loss, (K,), by name.
        """
        generator, rates = state.generator, lanes.generator_rates()
        parameters = _leaves(generator.parameters)
        fake, buffers = self._generator(parameters, generator.buffers, z, labels)
        scores, carried = self._critic(state.critic.parameters, state.critic.buffers, fake, labels)
        loss = self._loss.generator_loss(scores)
        own = torch.autograd.grad(loss.sum(), list(parameters.values()))
        gradients, quantities = self._whole(parameters, own, {"generator_loss": loss})
        _put(generator.buffers, {name: buffers[name].detach() for name in buffers}, rates.due)
        _put(state.critic.buffers, self._shared(carried), rates.due)
        share = self._average_share(rates)
        self._move(generator, gradients, rates, [state.average[name] for name in parameters], share)
        averaged = {name: tensor for name, tensor in generator.buffers.items() if tensor.is_floating_point()}
        average_([state.average[name] for name in averaged], list(averaged.values()), share)
        counted = {name: tensor for name, tensor in generator.buffers.items() if name not in averaged}
        _put(state.average, counted, rates.due)
        return quantities

    def samples(self, state: TrainingState, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return samples (K, N, ...) of the averaged generators in evaluation mode, for z (K, N, Z), labels (K, N)."""
        parameters = {name: state.average[name] for name in state.generator.parameters}
        buffers = {name: state.average[name] for name in state.generator.buffers}
        with torch.no_grad():
            return self._generator(parameters, buffers, z, labels, training=False)[0]

    def critic_values(self, state: TrainingState, samples: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the critics' values (K, N), in evaluation mode, of samples (K, N, ...) with labels (K, N)."""
        with torch.no_grad():
            return self._critic(state.critic.parameters, state.critic.buffers, samples, labels, training=False)[0]

    def _whole(
        self, names: Iterable[str], gradients: Sequence[Tensor], quantities: Tensors
    ) -> tuple[list[Tensor], Tensors]:
        """Average one rank's gradients, of parameters of these names, and its quantities over all ranks.

        The results are the gradients and quantities of the whole batch.
        """
        own = dict(zip(names, gradients, strict=True))
        # All ranks need the same order, and files return parameters in any order.
        order = sorted(own)
        averaged = self.ranks.average([own[name] for name in order] + [each.detach() for each in quantities.values()])
        whole = dict(zip(order, averaged, strict=False))
        return [whole[name] for name in own], dict(zip(quantities, averaged[len(order) :], strict=True))

    def _shared(self, buffers: Tensors) -> Tensors:
        """Return a critic's buffers after a pass, detached. Over several ranks, average the floating-point buffers."""
        # A mean of equal numbers may differ from them in the last bit, and fixed parameters must not change.
        floating = sorted(
            name for name, tensor in buffers.items() if tensor.is_floating_point() and name not in self._fixed
        )
        means = self.ranks.average([buffers[name] for name in floating]) if floating else []
        whole = {**buffers, **dict(zip(floating, means, strict=True))}
        return {name: whole[name].detach() for name in buffers}

    def _move(
        self,
        network: NetworkState,
        gradients: Sequence[Tensor],
        rates: Rates,
        averages: Sequence[Tensor] = (),
        share: Tensor | None = None,
    ) -> None:
        """Move the parameters along their gradients, then their averages, if any, towards them."""
        # Match tensors by name: files return them in any order, and no optimiser checks whose moment it gets.
        groups = (network.parameters, network.first, network.second)
        parameters, first, second = ([group[name] for name in network.parameters] for group in groups)
        tensors = StepTensors(parameters, gradients, first, second, averages, share)
        mover(self.structure.optimiser, gradients[0].device.type)(tensors, rates)

    def _average_share(self, rates: Rates) -> Tensor:
        """Return the weight of the new values in the generators' exponential averages, (K,); 0 in lanes not due.

        The decay grows as step / (step + 9) with the count of generator updates, up to `ema_decay`.
        """
        decay = (rates.step / (rates.step + 9)).clamp(max=self.structure.ema_decay)
        return torch.where(rates.due, 1 - decay, 0.0)


def _leaves(parameters: Tensors) -> Tensors:
    """Return leaf tensors on the same storage, to differentiate with respect to."""
    return {name: tensor.detach().requires_grad_() for name, tensor in parameters.items()}


def _put(tensors: Tensors, values: Mapping[str, Tensor], due: Tensor | None = None) -> None:
    """Overwrite tensors (K, ...) by name, in the lanes that are due. None means all lanes."""
    for name, value in values.items():
        tensor = tensors[name]
        tensor.copy_(value if due is None else torch.where(beside(due, tensor), value, tensor))
