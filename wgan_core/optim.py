"""Optimisers as functions of tensors, in place, for one lane.

All keep up to two moments a parameter, `first` and `second`, which start at zero. What the two decay rates mean is each
optimiser's own; they carry Adam's names, since Adam is what most trials use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

EPSILON = 1e-8


class Optimiser(Protocol):
    def __call__(
        self,
        parameters: Sequence[Tensor],
        gradients: Sequence[Tensor],
        first: Sequence[Tensor],
        second: Sequence[Tensor],
        *,
        step: int,
        lr: float,
        beta1: float,
        beta2: float,
    ) -> None:
        """One update of a list of tensors, all of one dtype and device; `step` counts from 1."""


def adam_(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    *,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
) -> None:
    """Adam (Kingma and Ba 2015, Algorithm 1).

    The arithmetic is torch's fused kernel: one pass over parameters, gradients and moments, where the
    operation-by-operation form makes seven (benchmarks/step.py has what that is worth).
    """
    steps = [torch.full((), float(step), device=parameters[0].device)] * len(parameters)
    torch._fused_adam_(
        list(parameters),
        list(gradients),
        list(first),
        list(second),
        [],
        steps,
        lr=lr,
        beta1=beta1,
        beta2=beta2,
        weight_decay=0.0,
        eps=EPSILON,
        amsgrad=False,
        maximize=False,
    )


def rmsprop_(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    *,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
) -> None:
    """RMSProp (Tieleman and Hinton 2012, lecture 6.5): `beta2` smooths the squares, `beta1` is the momentum."""
    for parameter, gradient, velocity, square in zip(parameters, gradients, first, second, strict=True):
        square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        velocity.mul_(beta1).addcdiv_(gradient, square.sqrt().add_(EPSILON))
        parameter.sub_(velocity, alpha=lr)


def sgd_(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    *,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
) -> None:
    """Gradient descent with momentum `beta1` (Sutskever et al. 2013, eq. 1 and 2 as torch.optim.SGD has them)."""
    for parameter, gradient, velocity in zip(parameters, gradients, first, strict=True):
        velocity.mul_(beta1).add_(gradient)
        parameter.sub_(velocity, alpha=lr)


OPTIMISERS: dict[str, Optimiser] = {"adam": adam_, "rmsprop": rmsprop_, "sgd": sgd_}
