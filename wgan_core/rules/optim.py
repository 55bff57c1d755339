"""Optimisers as elementwise rules, which update all lanes at once, in place.

Each optimiser keeps up to two moments per parameter, `first` and `second`, which start at zero. The two decay rates
have Adam's names, since most trials use Adam:

    adam      beta1: decay of the mean gradient     beta2: decay of the mean square
    rmsprop   beta1: momentum                       beta2: decay of the mean square
    sgd       beta1: momentum                       beta2: not used

In shapes, K is the number of lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    Factors = tuple[Tensor, ...]
    Moved = tuple[Tensor, Tensor, Tensor]

EPSILON = 1e-8


@dataclass(frozen=True)
class Rates:
    """Inputs of an optimiser, one value per lane: (K,) each, float64 except `due`.

    Attributes:
        step: Count of this update, from 1.
        lr: Learning rate.
        beta1, beta2: Decay rates, as each optimiser uses them.
        weight_decay: Decoupled weight decay.
        due: Flags, bool: whether a lane takes the update. Other lanes stay unchanged.
    """

    step: Tensor
    lr: Tensor
    beta1: Tensor
    beta2: Tensor
    weight_decay: Tensor
    due: Tensor


class StepTensors(NamedTuple):
    """Tensors of one optimiser step, (K, ...) each. Each group has the order of the parameters.

    Attributes:
        parameters, first, second: Parameters and their two moments, updated in place.
        gradients: Their gradients.
        averages: Averages of the parameters, which follow them in place; empty for none.
        share: Weight of the new parameters in the averages, one number in [0, 1] per lane, (K,).
    """

    parameters: Sequence[Tensor]
    gradients: Sequence[Tensor]
    first: Sequence[Tensor]
    second: Sequence[Tensor]
    averages: Sequence[Tensor] = ()
    share: Tensor | None = None


@dataclass(frozen=True)
class Rule:
    """An optimiser in two parts.

    Attributes:
        factors: Returns the values that all elements of a lane share, (K,) each, float64.
        move: Returns the new parameter and moments. Its inputs are a parameter, its gradient, its two moments, and
            the tuple of factors, broadcast to the parameter's shape.
    """

    factors: Callable[[Rates], Factors]
    move: Callable[[Tensor, Tensor, Tensor, Tensor, Factors], Moved]


def _adam_factors(rates: Rates) -> Factors:
    bias1, bias2 = 1 - rates.beta1**rates.step, 1 - rates.beta2**rates.step
    return 1 - rates.beta1, rates.beta2, 1 - rates.beta2, rates.lr / bias1, bias2.sqrt()


def _adam(parameter: Tensor, gradient: Tensor, first: Tensor, second: Tensor, factors: Factors) -> Moved:
    """Apply Adam (Kingma and Ba 2015, Algorithm 1)."""
    new1, old2, new2, size, root = factors
    first = first.lerp(gradient, new1)
    second = second * old2 + gradient * gradient * new2
    return parameter - size * first / (second.sqrt() / root + EPSILON), first, second


def _rmsprop_factors(rates: Rates) -> Factors:
    return rates.beta1, rates.beta2, 1 - rates.beta2, rates.lr


def _rmsprop(parameter: Tensor, gradient: Tensor, velocity: Tensor, square: Tensor, factors: Factors) -> Moved:
    """Apply RMSProp (Tieleman and Hinton 2012, lecture 6.5): `beta2` smooths the squares, `beta1` is the momentum."""
    momentum, old, new, lr = factors
    square = square * old + gradient * gradient * new
    velocity = velocity * momentum + gradient / (square.sqrt() + EPSILON)
    return parameter - lr * velocity, velocity, square


def _sgd_factors(rates: Rates) -> Factors:
    return rates.beta1, rates.lr


def _sgd(parameter: Tensor, gradient: Tensor, velocity: Tensor, second: Tensor, factors: Factors) -> Moved:
    """Apply gradient descent with momentum `beta1` (Sutskever et al. 2013, eq. 1 and 2, in torch.optim.SGD's form)."""
    momentum, lr = factors
    velocity = velocity * momentum + gradient
    return parameter - lr * velocity, velocity, second


OPTIMISERS = {
    "adam": Rule(_adam_factors, _adam),
    "rmsprop": Rule(_rmsprop_factors, _rmsprop),
    "sgd": Rule(_sgd_factors, _sgd),
}


def factors_of(rule: Rule, rates: Rates) -> Factors:
    """Return the factors of a rule, followed by the factor of decoupled weight decay.

    Before each step, a parameter is multiplied by 1 - lr * weight_decay (Loshchilov and Hutter 2019, Algorithm 2, line
    12).
    """
    return *rule.factors(rates), 1 - rates.lr * rates.weight_decay


def move_(rule: Rule, tensors: StepTensors, factors: Factors, due: Tensor) -> None:
    """Make one step, operation by operation, in the lanes that are due. `factors_of` gives `factors`.

    All tensors must be of one dtype and on one device.
    """
    factors = tuple(factor.to(tensors.parameters[0].dtype) for factor in factors)
    for parameter, gradient, first, second in zip(*tensors[:4], strict=True):
        *of_lane, kept = (beside(factor, parameter) for factor in factors)
        after = rule.move(parameter * kept, gradient, first, second, tuple(of_lane))
        for old, new in zip((parameter, first, second), after, strict=True):
            old.copy_(new.where(beside(due, old), old))
    if tensors.share is not None:
        average_(tensors.averages, tensors.parameters, tensors.share)


def average_(averages: Sequence[Tensor], values: Sequence[Tensor], share: Tensor) -> None:
    """Move averages (K, ...), all of one dtype, towards values by a share per lane, (K,). 0 changes nothing."""
    if averages:
        share = share.to(averages[0].dtype)
    for average, value in zip(averages, values, strict=True):
        average.lerp_(value, beside(share, average))


def beside(values: Tensor, tensor: Tensor) -> Tensor:
    """Reshape values (K,) to broadcast with a tensor (K, ...). Floats take the tensor's dtype."""
    shaped = values.reshape(-1, *[1] * (tensor.dim() - 1))
    return shaped.to(tensor.dtype) if values.is_floating_point() else shaped
