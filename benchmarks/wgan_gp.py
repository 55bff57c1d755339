"""WGAN-GP as one writes it by hand: networks, gradient penalty, loop (Gulrajani et al. 2017, Algorithm 1).

What the benchmarks compare with. `MLP` and `CONV` are the layers of `Structure("mlp", ...)` and `Structure("conv",
...)` for 28x28 images, of torch's own modules.

    N samples in a batch   Z the latent dimension
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from wgan_core.data.mnist import load_mnist
from wgan_core.errors import UserError

BATCH, LATENT = 64, 100
SHAPE = (1, 28, 28)
LAMBDA, RATE, BETAS = 10.0, 1e-4, (0.5, 0.9)


@dataclass(frozen=True)
class Pair:
    critic: Callable[[], nn.Sequential]
    generator: Callable[[], nn.Sequential]


def mlp_critic() -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 512),
        nn.LeakyReLU(0.2),
        nn.Linear(512, 256),
        nn.LeakyReLU(0.2),
        nn.Linear(256, 1),
    )


def mlp_generator() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(LATENT, 128),
        nn.LeakyReLU(0.2),
        nn.Linear(128, 256),
        nn.BatchNorm1d(256),
        nn.LeakyReLU(0.2),
        nn.Linear(256, 512),
        nn.BatchNorm1d(512),
        nn.LeakyReLU(0.2),
        nn.Linear(512, 1024),
        nn.LeakyReLU(0.2),
        nn.Linear(1024, 784),
        nn.Tanh(),
        nn.Unflatten(1, SHAPE),
    )


def conv_critic() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 32, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(32, 64, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 1),
    )


def conv_generator() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(LATENT, 64 * 7 * 7, bias=False),
        nn.Unflatten(1, (64, 7, 7)),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1),
        nn.Tanh(),
    )


PAIRS = {"mlp": Pair(mlp_critic, mlp_generator), "conv": Pair(conv_critic, conv_generator)}


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, weight: Tensor) -> Tensor:
    """E (|grad D| - 1)^2 between real and fake samples (N, C, H, W), for weights (N,) in [0, 1]."""
    weight = weight[:, None, None, None]
    points = (weight * real + (1 - weight) * fake).requires_grad_(True)
    scores = critic(points)
    (gradient,) = torch.autograd.grad(scores, points, torch.ones_like(scores), create_graph=True)
    return ((gradient.flatten(1).norm(2, dim=1) - 1) ** 2).mean()


class Textbook:
    """One trial, on the device that holds its data."""

    def __init__(
        self,
        data: Tensor,
        n_critic: int,
        pair: Pair,
        *,
        lambda_gp: float = LAMBDA,
        lr: float = RATE,
        betas: tuple[float, float] = BETAS,
        fused: bool = False,
    ) -> None:
        """data: all real images, uint8 (M, 1, 28, 28)."""
        self.data, self.n_critic, self.lambda_gp = data, n_critic, lambda_gp
        self.critic, self.generator = pair.critic().to(data.device), pair.generator().to(data.device)
        # False would also rule out torch's own choice of a form; None leaves it to torch, as people do.
        kind = True if fused else None
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), lr=lr, betas=betas, fused=kind)
        self.generator_optimiser = torch.optim.Adam(self.generator.parameters(), lr=lr, betas=betas, fused=kind)

    def run(self, iterations: int) -> None:
        device = self.data.device
        for _ in range(iterations):
            for _ in range(self.n_critic):
                index = torch.randint(len(self.data), (BATCH,), device=device)
                z = torch.randn(BATCH, LATENT, device=device)
                self.update_critic(self.data[index].float() / 127.5 - 1, z, torch.rand(BATCH, device=device))
            self.update_generator(torch.randn(BATCH, LATENT, device=device))

    def update_critic(self, real: Tensor, z: Tensor, weight: Tensor) -> Tensor:
        """One update of the critic from real (N, C, H, W), z (N, Z) and weights (N,); its loss."""
        fake = self.generator(z).detach()
        penalty = gradient_penalty(self.critic, real, fake, weight)
        loss = self.critic(fake).mean() - self.critic(real).mean() + self.lambda_gp * penalty
        self.critic_optimiser.zero_grad()
        loss.backward()
        self.critic_optimiser.step()
        return loss.detach()

    def update_generator(self, z: Tensor) -> Tensor:
        """One update of the generator from z (N, Z); its loss."""
        loss = -self.critic(self.generator(z)).mean()
        self.generator_optimiser.zero_grad()
        loss.backward()
        self.generator_optimiser.step()
        return loss.detach()


def real_data(cache: Path | None = None) -> tuple[Tensor, str]:
    """Images (M, 1, 28, 28) uint8 and what they are: MNIST out of this folder, or out of where it is kept."""
    try:
        return torch.from_numpy(load_mnist(cache).train.values), "MNIST"
    except UserError as error:
        images = torch.randint(0, 256, (50_000, *SHAPE), dtype=torch.uint8)
        return images, f"RANDOM PIXELS, as MNIST could not be had ({error})"
