"""The alternative: K models fused layer by layer, as in HFTA (Wang et al., MLSys 2021, section 3).

Dense layers become batched products, convolutions grouped ones over K times the channels, batch normalisation one over
K times the channels, and one Adam runs over the stacked parameters with rates and decays a model. Eager, and in lock
step: all models start together, take turns together and end together. Written for the comparison alone, from the layers
of `wgan_gp.PAIRS`.

    K models   N samples in a batch   C, H, W, of one model's image
    dense activations (K, N, features); images (N, K * C, H, W)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from wgan_gp import BATCH, LATENT, Pair

EPSILON = 1e-8

# The layers, each from the K that it stands for.


class Dense(nn.Module):
    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach().t() for layer in layers]).contiguous())
        biases = [layer.bias.detach()[None] for layer in layers if layer.bias is not None]
        self.bias = nn.Parameter(torch.stack(biases)) if biases else None

    def forward(self, x: Tensor) -> Tensor:
        return torch.bmm(x, self.weight) if self.bias is None else torch.baddbmm(self.bias, x, self.weight)


class Convolution(nn.Module):
    def __init__(self, layers: Sequence[nn.Conv2d | nn.ConvTranspose2d]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.cat([layer.weight.detach() for layer in layers]))
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        self.bias = nn.Parameter(torch.cat(biases)) if biases else None
        self.stride, self.padding, self.models = layers[0].stride, layers[0].padding, len(layers)
        self.convolve = F.conv_transpose2d if isinstance(layers[0], nn.ConvTranspose2d) else F.conv2d

    def forward(self, x: Tensor) -> Tensor:
        return self.convolve(x, self.weight, self.bias, self.stride, self.padding, groups=self.models)


class DenseNormalised(nn.Module):
    def __init__(self, layers: Sequence[nn.BatchNorm1d]) -> None:
        super().__init__()
        self.norm = widened(layers, nn.BatchNorm1d)

    def forward(self, x: Tensor) -> Tensor:
        models, batch, features = x.shape
        return self.norm(x.transpose(0, 1).reshape(batch, -1)).view(batch, models, features).transpose(0, 1)


class Flatten(nn.Module):
    """Images to dense activations."""

    def __init__(self, layers: Sequence[nn.Flatten]) -> None:
        super().__init__()
        self.models = len(layers)

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), self.models, -1).transpose(0, 1)


class Unflatten(nn.Module):
    """Dense activations to images."""

    def __init__(self, layers: Sequence[nn.Unflatten]) -> None:
        super().__init__()
        self.shape = layers[0].unflattened_size

    def forward(self, x: Tensor) -> Tensor:
        models, batch, _ = x.shape
        channels, *sides = self.shape
        return x.transpose(0, 1).reshape(batch, models * channels, *sides)


def widened(layers: Sequence[nn.Module], kind: type[nn.BatchNorm1d | nn.BatchNorm2d]) -> nn.Module:
    """A batch normalisation over the channels of all."""
    wide = kind(sum(layer.num_features for layer in layers))
    wide.load_state_dict(
        {
            name: torch.cat([layer.state_dict()[name] for layer in layers]) if tensor.dim() else tensor
            for name, tensor in layers[0].state_dict().items()
        }
    )
    return wide.to(layers[0].weight)


FUSED: dict[type[nn.Module], Callable[[Sequence[nn.Module]], nn.Module]] = {
    nn.Linear: Dense,
    nn.Conv2d: Convolution,
    nn.ConvTranspose2d: Convolution,
    nn.BatchNorm1d: DenseNormalised,
    nn.BatchNorm2d: lambda layers: widened(layers, nn.BatchNorm2d),
    nn.Flatten: Flatten,
    nn.Unflatten: Unflatten,
    # What has no tensors and looks at one number at a time.
    **dict.fromkeys((nn.LeakyReLU, nn.ReLU, nn.Tanh), lambda layers: layers[0]),
}


def fuse(networks: Sequence[nn.Sequential]) -> nn.Sequential:
    """One network for K that have the same layers, with their tensors."""
    return nn.Sequential(*(FUSED[type(layers[0])](layers) for layers in zip(*networks, strict=True)))


class Adam:
    """Kingma and Ba 2015, Algorithm 1, of stacked parameters; rates and decays, (K,), are each model's own.

    torch.optim.Adam has one of each, so this is written out, a tensor at a time, as HFTA's own is.
    """

    def __init__(self, network: nn.Module, lr: Tensor, beta1: Tensor, beta2: Tensor) -> None:
        models = len(lr)
        self.parameters = list(network.parameters())
        # All that belongs to a model is contiguous, so each parameter is a matrix with a row a model.
        self.rows = [parameter.detach().view(models, -1) for parameter in self.parameters]
        self.first, self.second = ([torch.zeros_like(row) for row in self.rows] for _ in range(2))
        self.lr, self.beta1, self.beta2 = lr[:, None], beta1[:, None], beta2[:, None]
        self.steps = 0

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        self.steps += 1
        size = -self.lr / (1 - self.beta1**self.steps)
        root = (1 - self.beta2**self.steps).sqrt()
        for parameter, row, first, second in zip(self.parameters, self.rows, self.first, self.second, strict=True):
            gradient = parameter.grad.view_as(row)
            first.lerp_(gradient, 1 - self.beta1)
            second.lerp_(gradient.square(), 1 - self.beta2)
            row.addcmul_(first / (second.sqrt().div_(root).add_(EPSILON)), size)


class Hfta:
    """K trials, on the device that holds their data."""

    def __init__(
        self,
        data: Tensor,
        n_critic: int,
        pair: Pair,
        lambda_gp: Sequence[float],
        lr: Sequence[float],
        betas: tuple[float, float],
    ) -> None:
        """data: all real images, uint8 (M, 1, 28, 28); lambda_gp, lr: one a model."""
        self.data, self.n_critic, self.models = data, n_critic, len(lr)
        dtype = torch.get_default_dtype()

        def of_each(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=data.device)

        self.lambda_gp = of_each(lambda_gp)
        self.critic, self.generator = (
            fuse([make() for _ in lr]).to(data.device) for make in (pair.critic, pair.generator)
        )
        self.critic_optimiser, self.generator_optimiser = (
            Adam(network, of_each(lr), *(of_each([beta] * self.models) for beta in betas))
            for network in (self.critic, self.generator)
        )

    def run(self, iterations: int) -> None:
        device = self.data.device
        for _ in range(iterations):
            for _ in range(self.n_critic):
                index = torch.randint(len(self.data), (BATCH, self.models), device=device)
                real = self.data[index].flatten(1, 2).float() / 127.5 - 1
                z = torch.randn(self.models, BATCH, LATENT, device=device)
                self.update_critic(real, z, torch.rand(BATCH, self.models, device=device))
            self.update_generator(torch.randn(self.models, BATCH, LATENT, device=device))

    def update_critic(self, real: Tensor, z: Tensor, weight: Tensor) -> Tensor:
        """One update of all critics from real (N, K * C, H, W), z (K, N, Z) and weights (N, K); losses (K,)."""
        with torch.no_grad():
            fake = self.generator(z)
        penalty = self._penalty(real, fake, weight)
        losses = self._mean(self.critic(fake)) - self._mean(self.critic(real)) + self.lambda_gp * penalty
        self.critic_optimiser.zero_grad()
        # Models share nothing, so the gradient of the sum holds each one's own.
        losses.sum().backward()
        self.critic_optimiser.step()
        return losses.detach()

    def update_generator(self, z: Tensor) -> Tensor:
        """One update of all generators from z (K, N, Z); losses (K,)."""
        losses = -self._mean(self.critic(self.generator(z)))
        self.generator_optimiser.zero_grad()
        losses.sum().backward()
        self.generator_optimiser.step()
        return losses.detach()

    def _penalty(self, real: Tensor, fake: Tensor, weight: Tensor) -> Tensor:
        """(K,), as `wgan_gp.gradient_penalty` of each."""
        shares = weight.repeat_interleave(real.shape[1] // self.models, 1)[:, :, None, None]
        points = (shares * real + (1 - shares) * fake).requires_grad_(True)
        scores = self.critic(points)
        (gradient,) = torch.autograd.grad(scores, points, torch.ones_like(scores), create_graph=True)
        norms = gradient.reshape(len(points), self.models, -1).norm(2, dim=2)
        return ((norms - 1) ** 2).mean(0)

    def _mean(self, scores: Tensor) -> Tensor:
        """Over the batch of scores (K, N, 1)."""
        return scores.mean((1, 2))
