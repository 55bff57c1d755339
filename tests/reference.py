"""The textbook loop: Gulrajani et al. 2017, Algorithm 1, with `torch.optim.Adam`. The oracle of the tests.

Written as one would in a notebook, one trial, one module a network. It shares nothing with the
product but the modules themselves and the numbers drawn.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from wgan_core.batches import Batches
from wgan_core.config import Structure, Trial


class Textbook:
    """One trial. `history` gets the quantities of every update."""

    def __init__(self, critic: nn.Module, generator: nn.Module, trial: Trial) -> None:
        hyper = trial.hyper
        betas = (hyper.beta1, hyper.beta2)
        self.critic, self.generator, self.trial = critic, generator, trial
        self.critic_optimiser = torch.optim.Adam(critic.parameters(), lr=hyper.lr_critic, betas=betas)
        self.generator_optimiser = torch.optim.Adam(generator.parameters(), lr=hyper.lr_generator, betas=betas)
        self.history: list[dict[str, float]] = []

    def update_critic(self, real: Tensor, z: Tensor, weight: Tensor) -> None:
        fake = self.generator(z).detach()
        weight = weight.reshape(-1, *[1] * (real.dim() - 1))
        points = (weight * real + (1 - weight) * fake).requires_grad_(True)
        scores = self.critic(points)
        (gradient,) = torch.autograd.grad(scores, points, torch.ones_like(scores), create_graph=True)
        norms = gradient.flatten(1).norm(2, dim=1)
        penalty = ((norms - 1) ** 2).mean()
        estimate = self.critic(real).mean() - self.critic(fake).mean()
        loss = -estimate + self.trial.hyper.lambda_gp * penalty
        self.critic_optimiser.zero_grad()
        loss.backward()
        self.critic_optimiser.step()
        self.history.append(
            {
                "wasserstein_estimate": estimate.item(),
                "gradient_penalty": penalty.item(),
                "gradient_norm": norms.mean().item(),
                "critic_loss": loss.item(),
            }
        )

    def update_generator(self, z: Tensor) -> None:
        loss = -self.critic(self.generator(z)).mean()
        self.generator_optimiser.zero_grad()
        loss.backward()
        self.generator_optimiser.step()
        self.history[-1]["generator_loss"] = loss.item()

    def run(self, batches: Batches, updates: range, after: Callable[[], None] = lambda: None) -> None:
        """Train on a trial's own batches; `after` is called after every critic update and what follows it."""
        for update in updates:
            batch = batches.critic([update])
            self.update_critic(batch.real[0], batch.z[0], batch.weight[0])
            if (update + 1) % self.trial.hyper.n_critic == 0:
                self.update_generator(batches.generator([update // self.trial.hyper.n_critic])[0])
            after()

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers under the product's names."""
        named = {}
        for name, network in (("critic", self.critic), ("generator", self.generator)):
            named |= {f"{name}.parameters.{key}": tensor.detach() for key, tensor in network.named_parameters()}
            named |= {f"{name}.buffers.{key}": tensor for key, tensor in network.named_buffers()}
        return named

    def moments(self) -> dict[str, Tensor]:
        """Adam's moments under the product's names; zero before the first update."""
        named = {}
        for name, network, optimiser in (
            ("critic", self.critic, self.critic_optimiser),
            ("generator", self.generator, self.generator_optimiser),
        ):
            for key, parameter in network.named_parameters():
                state = optimiser.state[parameter]
                zero = torch.zeros_like(parameter)
                named[f"{name}.adam_first.{key}"] = state.get("exp_avg", zero)
                named[f"{name}.adam_second.{key}"] = state.get("exp_avg_sq", zero)
        return named


def textbook(
    structure: Structure, trial: Trial, build: Callable[[Structure, int], tuple[nn.Module, nn.Module]]
) -> Textbook:
    """A textbook trial that starts where the product's trial of the same seed starts."""
    return Textbook(*build(structure, trial.seed), trial)
