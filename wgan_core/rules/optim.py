"""Optimisers as rules for one element, which move all lanes at once, in place.

All keep up to two moments a parameter, `first` and `second`, which start at zero. What the two decay rates mean is each
optimiser's own; they carry Adam's names, since Adam is what most trials use.

    K lanes
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    Factors = tuple[Tensor, ...]
    Moved = tuple[Tensor, Tensor, Tensor]

EPSILON = 1e-8


@dataclass(frozen=True)
class Rates:
    """What an optimiser is told, a value a lane: (K,) each, in double precision.

    step: the count of this update, from 1. due: bool, whether a lane takes the update; the others stay as they are.
    """

    step: Tensor
    lr: Tensor
    beta1: Tensor
    beta2: Tensor
    due: Tensor


@dataclass(frozen=True)
class Rule:
    """An optimiser in two parts.

    factors: of `Rates`, what all elements of a lane have in common, (K,) each, in double precision.
    move: of a parameter, its gradient and its moments, and the factors as they stand beside them, what parameter and
    moments become.
    """

    factors: Callable[[Rates], Factors]
    move: Callable[..., Moved]


def _adam_factors(rates: Rates) -> Factors:
    bias1, bias2 = 1 - rates.beta1**rates.step, 1 - rates.beta2**rates.step
    return 1 - rates.beta1, rates.beta2, 1 - rates.beta2, rates.lr / bias1, bias2.sqrt()


def _adam(
    parameter: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    new1: Tensor,
    old2: Tensor,
    new2: Tensor,
    size: Tensor,
    root: Tensor,
) -> Moved:
    """Adam (Kingma and Ba 2015, Algorithm 1)."""
    first = first.lerp(gradient, new1)
    second = second * old2 + gradient * gradient * new2
    return parameter - size * first / (second.sqrt() / root + EPSILON), first, second


def _rmsprop_factors(rates: Rates) -> Factors:
    return rates.beta1, rates.beta2, 1 - rates.beta2, rates.lr


def _rmsprop(
    parameter: Tensor,
    gradient: Tensor,
    velocity: Tensor,
    square: Tensor,
    momentum: Tensor,
    old: Tensor,
    new: Tensor,
    lr: Tensor,
) -> Moved:
    """RMSProp (Tieleman and Hinton 2012, lecture 6.5): `beta2` smooths the squares, `beta1` is the momentum."""
    square = square * old + gradient * gradient * new
    velocity = velocity * momentum + gradient / (square.sqrt() + EPSILON)
    return parameter - lr * velocity, velocity, square


def _sgd_factors(rates: Rates) -> Factors:
    return rates.beta1, rates.lr


def _sgd(parameter: Tensor, gradient: Tensor, velocity: Tensor, second: Tensor, momentum: Tensor, lr: Tensor) -> Moved:
    """Gradient descent with momentum `beta1` (Sutskever et al. 2013, eq. 1 and 2 as torch.optim.SGD has them)."""
    velocity = velocity * momentum + gradient
    return parameter - lr * velocity, velocity, second


OPTIMISERS = {
    "adam": Rule(_adam_factors, _adam),
    "rmsprop": Rule(_rmsprop_factors, _rmsprop),
    "sgd": Rule(_sgd_factors, _sgd),
}


def move_(
    rule: Rule,
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    factors: Factors,
    due: Tensor,
) -> None:
    """One update of tensors (K, ...), all of one dtype and device, of the lanes that are due."""
    factors = tuple(factor.to(parameters[0].dtype) for factor in factors)
    for parameter, gradient, *moments in zip(parameters, gradients, first, second, strict=True):
        of_lane = [beside(factor, parameter) for factor in factors]
        after = rule.move(parameter, gradient, *moments, *of_lane)
        for old, new in zip((parameter, *moments), after, strict=True):
            old.copy_(new.where(beside(due, old), old))


def average_(averages: Sequence[Tensor], values: Sequence[Tensor], share: Tensor) -> None:
    """Move averages (K, ...), all of one dtype, towards values by a share a lane, (K,): 0 leaves them as they are."""
    if averages:
        share = share.to(averages[0].dtype)
    for average, value in zip(averages, values, strict=True):
        average.lerp_(value, beside(share, average))


def beside(values: Tensor, tensor: Tensor) -> Tensor:
    """Values (K,) as they stand beside a tensor (K, ...): its rank, and its dtype unless they are bools."""
    shaped = values.reshape(-1, *[1] * (tensor.dim() - 1))
    return shaped.to(tensor.dtype) if values.is_floating_point() else shaped
