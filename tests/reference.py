"""The textbook loop: Gulrajani et al. 2017, Algorithm 1, with an optimiser of `torch.optim`. The oracle of the tests.

Written as one would in a notebook, one trial, one module a network. It shares nothing with the
product but the modules themselves and the numbers drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wgan_core.config import Structure, Trial
from wgan_core.training.batches import Batches
from wgan_core.training.data import TrainingData
from wgan_core.training.step import CriticBatch


def bce(scores: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, target))


def critic_loss(loss: str, real: Tensor, fake: Tensor) -> Tensor:
    if loss.startswith("wgan"):
        return fake.mean() - real.mean()
    if loss.startswith("gan"):
        return bce(real, 1.0) + bce(fake, 0.0)
    return torch.clamp(1 - real, min=0).mean() + torch.clamp(1 + fake, min=0).mean()


def generator_loss(loss: str, fake: Tensor) -> Tensor:
    if loss == "gan-saturating":
        return -bce(fake, 0.0)
    return bce(fake, 1.0) if loss.startswith("gan") else -fake.mean()


def penalised(loss: str, real: Tensor, fake: Tensor, weight: Tensor) -> Tensor | None:
    """The points on which the critic's gradient is penalised."""
    if loss in ("wgan-gp", "wgan-lp"):
        return weight * real + (1 - weight) * fake
    return {"gan-r1": real, "gan-r2": fake}.get(loss)


def penalty_of(loss: str, norms: Tensor) -> Tensor:
    if loss == "wgan-gp":
        return ((norms - 1) ** 2).mean()
    return (torch.clamp(norms - 1, min=0) ** 2).mean() if loss == "wgan-lp" else 0.5 * (norms**2).mean()


def optimiser_of(
    name: str, module: nn.Module, lr: float, beta1: float, beta2: float, weight_decay: float = 0.0
) -> torch.optim.Optimizer:
    if name == "rmsprop":
        return torch.optim.RMSprop(module.parameters(), lr=lr, alpha=beta2, momentum=beta1)
    if name == "sgd":
        return torch.optim.SGD(module.parameters(), lr=lr, momentum=beta1)
    if weight_decay:
        return torch.optim.AdamW(module.parameters(), lr=lr, betas=(beta1, beta2), weight_decay=weight_decay)
    return torch.optim.Adam(module.parameters(), lr=lr, betas=(beta1, beta2))


def schedule_of(optimiser: torch.optim.Optimizer, over: int, critic_updates: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Linear decay to zero `over` so many critic updates, of which each step of this optimiser is one or more."""
    return torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: max(0.0, 1 - step * critic_updates / over) if over else 1.0
    )


class Drawn:
    """The product's batches, for counts of updates in any order."""

    def __init__(self, structure: Structure, data: Tensor, seeds: Sequence[int], labels: Tensor | None = None) -> None:
        self._batches = Batches(structure, TrainingData(data, labels), torch.tensor(list(seeds)))

    def critic(self, updates: Sequence[int]) -> CriticBatch:
        counts = torch.tensor(list(updates))
        self._batches.for_critic.fill(counts)
        return self._batches.critic(counts)

    def generator(self, updates: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        counts = torch.tensor(list(updates))
        self._batches.for_generator.fill(counts)
        return self._batches.generator(counts)


MOMENTS = {"first": ("exp_avg", "momentum_buffer"), "second": ("exp_avg_sq", "square_avg")}


class Textbook:
    """One trial. `history` gets the quantities of every update."""

    def __init__(self, critic: nn.Module, generator: nn.Module, structure: Structure, trial: Trial) -> None:
        hyper = trial.hyper
        self.critic, self.generator, self.trial = critic, generator, trial
        self.loss, name = structure.loss, structure.optimiser
        both = hyper.beta1, hyper.beta2, hyper.weight_decay
        self.critic_optimiser = optimiser_of(name, critic, hyper.lr_critic, *both)
        self.generator_optimiser = optimiser_of(name, generator, hyper.lr_generator, *both)
        self.critic_schedule = schedule_of(self.critic_optimiser, hyper.decay_updates, 1)
        self.generator_schedule = schedule_of(self.generator_optimiser, hyper.decay_updates, hyper.n_critic)
        self.history: list[dict[str, float]] = []

    def update_critic(self, real: Tensor, z: Tensor, weight: Tensor, labels: Tensor | None = None) -> None:
        told = () if labels is None else (labels,)
        fake = self.generator(z, *told).detach()
        weight = weight.reshape(-1, *[1] * (real.dim() - 1))
        real_scores, fake_scores = self.critic(real, *told), self.critic(fake, *told)
        loss = critic_loss(self.loss, real_scores, fake_scores)
        quantities = {"wasserstein_estimate": (real_scores.mean() - fake_scores.mean()).item()}
        points = penalised(self.loss, real, fake, weight)
        if points is not None:
            points = points.detach().requires_grad_(True)
            scores = self.critic(points, *told)
            (gradient,) = torch.autograd.grad(scores, points, torch.ones_like(scores), create_graph=True)
            norms = gradient.flatten(1).norm(2, dim=1)
            penalty = penalty_of(self.loss, norms)
            loss = loss + self.trial.hyper.lambda_gp * penalty
            quantities |= {"gradient_penalty": penalty.item(), "gradient_norm": norms.mean().item()}
        self.critic_optimiser.zero_grad()
        loss.backward()
        self.critic_optimiser.step()
        self.critic_schedule.step()
        if self.loss == "wgan-clip":
            for parameter in self.critic.parameters():
                parameter.data.clamp_(-self.trial.hyper.clip, self.trial.hyper.clip)
        self.history.append({**quantities, "critic_loss": loss.item()})

    def update_generator(self, z: Tensor, labels: Tensor | None = None) -> None:
        told = () if labels is None else (labels,)
        loss = generator_loss(self.loss, self.critic(self.generator(z, *told), *told))
        self.generator_optimiser.zero_grad()
        loss.backward()
        self.generator_optimiser.step()
        self.generator_schedule.step()
        self.history[-1]["generator_loss"] = loss.item()

    def run(self, batches: Drawn, updates: range, after: Callable[[], None] = lambda: None) -> None:
        """Train on a trial's own batches; `after` is called after every critic update and what follows it."""
        for update in updates:
            batch = batches.critic([update])
            self.update_critic(batch.real[0], batch.z[0], batch.weight[0], first(batch.labels))
            if (update + 1) % self.trial.hyper.n_critic == 0:
                z, labels = batches.generator([update // self.trial.hyper.n_critic])
                self.update_generator(z[0], first(labels))
            after()

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers under the product's names."""
        named = {}
        for name, network in (("critic", self.critic), ("generator", self.generator)):
            named |= {f"{name}.parameters.{key}": tensor.detach() for key, tensor in network.named_parameters()}
            named |= {f"{name}.buffers.{key}": tensor for key, tensor in network.named_buffers()}
        return named

    def moments(self) -> dict[str, Tensor]:
        """The optimisers' moments under the product's names; zero before the first update."""
        named = {}
        for name, network, optimiser in (
            ("critic", self.critic, self.critic_optimiser),
            ("generator", self.generator, self.generator_optimiser),
        ):
            for key, parameter in network.named_parameters():
                state = optimiser.state[parameter]
                for moment, theirs in MOMENTS.items():
                    kept = next((state[each] for each in theirs if state.get(each) is not None), None)
                    named[f"{name}.{moment}.{key}"] = torch.zeros_like(parameter) if kept is None else kept
        return named


def first(labels: Tensor | None) -> Tensor | None:
    return None if labels is None else labels[0]


def textbook(
    structure: Structure, trial: Trial, build: Callable[[Structure, int], tuple[nn.Module, nn.Module]]
) -> Textbook:
    """A textbook trial that starts where the product's trial of the same seed starts."""
    return Textbook(*build(structure, trial.seed), structure, trial)
