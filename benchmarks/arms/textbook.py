"""A trial as one writes it by hand: Gulrajani et al. 2017, Algorithm 1, with `torch.optim.Adam`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from arms.task import Record, Task
from torch import Tensor
from wgan_gp import BATCH, LATENT, gradient_penalty, mlp_critic, mlp_generator

from wgan_core.metrics.evaluator import Evaluator

EVALUATION_SEED = 0


class Trial:
    """The nets and optimisers of one point; `data` are all real images, uint8 (M, 1, 28, 28)."""

    def __init__(self, data: Tensor, point: Mapping[str, float]) -> None:
        self.data, self.lambda_gp, self.n_critic = data, point["lambda_gp"], int(point["n_critic"])
        self.critic, self.generator = mlp_critic(), mlp_generator()
        lr, betas = point["lr"], (point["beta1"], 1 - point["one_minus_beta2"])
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), lr=lr, betas=betas)
        self.generator_optimiser = torch.optim.Adam(self.generator.parameters(), lr=lr, betas=betas)
        self.critic_updates = 0

    def train(self, until: int) -> dict[str, float]:
        """Train up to this count of critic updates; the mean losses since the last call."""
        critic_losses, generator_losses = [], []
        while self.critic_updates < until:
            critic_losses.append(self.update_critic())
            self.critic_updates += 1
            if self.critic_updates % self.n_critic == 0:
                generator_losses.append(self.update_generator())
        losses = {"critic_loss": sum(critic_losses) / len(critic_losses)}
        # With few updates between two reports, there may be none of the generator among them.
        return losses | {"generator_loss": sum(generator_losses) / max(1, len(generator_losses))}

    def update_critic(self) -> float:
        real = self.data[torch.randint(len(self.data), (BATCH,))].float() / 127.5 - 1
        fake = self.generator(torch.randn(BATCH, LATENT)).detach()
        penalty = gradient_penalty(self.critic, real, fake, torch.rand(BATCH))
        loss = self.critic(fake).mean() - self.critic(real).mean() + self.lambda_gp * penalty
        self.critic_optimiser.zero_grad()
        loss.backward()
        self.critic_optimiser.step()
        return loss.item()

    def update_generator(self) -> float:
        loss = -self.critic(self.generator(torch.randn(BATCH, LATENT))).mean()
        self.generator_optimiser.zero_grad()
        loss.backward()
        self.generator_optimiser.step()
        return loss.item()

    @torch.no_grad()
    def samples(self, count: int) -> Tensor:
        z = torch.randn(count, LATENT, generator=torch.Generator().manual_seed(EVALUATION_SEED))
        drawn = self.generator.eval()(z)
        self.generator.train()
        return drawn

    def save(self, path: Path) -> None:
        parts = ("critic", "generator", "critic_optimiser", "generator_optimiser")
        torch.save({part: getattr(self, part).state_dict() for part in parts} | {"updates": self.critic_updates}, path)


def run(
    task: Task,
    data: Tensor,
    point: Mapping[str, float],
    evaluator: Evaluator,
    report: Callable[[Trial, dict[str, float]], None],
) -> Record:
    """Train a point for the whole budget; `report` is given the trial and its metrics at each step of the grid."""
    start, training = time.time(), 0.0
    trial = Trial(data, point)
    for step in task.grid:
        began = time.perf_counter()
        losses = trial.train(step)
        training += time.perf_counter() - began
        report(trial, losses | evaluator.scores(trial.samples(evaluator.sample_size)))
    return Record(dict(point), start, time.time(), training, task.grid)
