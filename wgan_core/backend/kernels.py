"""Fast kernels for optimisers, averages and random draws.

On the CPU, Adam is torch's own fused kernel, lane by lane. It passes once over parameters, gradients and moments. The
rule of `wgan_core.rules.optim`, operation by operation, passes seven times (measured by benchmarks/step.py). On a GPU,
`torch.compile` turns each chain of elementwise operations into one kernel. The results are the same but for rounding.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.utils._triton import has_triton

from wgan_core.cache import keep_compiled_code_private
from wgan_core.rules.optim import EPSILON, OPTIMISERS, Rates, Rule, StepTensors, average_, factors_of, move_

_log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

# Maximum versions of one compiled function. Each optimiser, dtype and set of shapes in a process needs its own.
VERSIONS = 1024
LIMITS: dict[str, Any] = {"recompile_limit": VERSIONS, "accumulated_recompile_limit": VERSIONS}
# This pass mistakes Philox's multipliers, which need 64 bits, for indices, which have 32 bits on a GPU (torch 2.11 to
# 2.13).
OPTIONS: dict[str, Any] = {"constant_and_index_propagation": False}

# Updates tensors in the lanes that are due. Then adds share * (parameter - average) to each average.
Mover: TypeAlias = Callable[[StepTensors, Rates], None]


@functools.cache
def mover(optimiser: str, device: str) -> Mover:
    """Return the optimiser of this name for this type of device."""
    return fused_adam if optimiser == "adam" and device == "cpu" else by_rule(OPTIMISERS[optimiser], device)


def by_rule(rule: Rule, device: str) -> Mover:
    """Return an optimiser that applies the rule operation by operation, or compiled on a GPU."""

    def elementwise(tensors: StepTensors, factors: tuple[Tensor, ...], due: Tensor) -> None:
        move_(rule, tensors, factors, due)

    carried_out = compiled(elementwise, device)
    return lambda tensors, rates: carried_out(tensors, factors_of(rule, rates), rates.due)


def fused_adam(tensors: StepTensors, rates: Rates) -> None:
    """Apply Adam by torch's fused CPU kernel. On the CPU, reading a lane's values needs no waiting."""
    values = (rates.step, rates.lr, rates.beta1, rates.beta2, rates.weight_decay, rates.due)
    told = zip(*(each.tolist() for each in values), strict=True)
    for lane, (step, lr, beta1, beta2, weight_decay, due) in enumerate(told):
        if due:
            # torch's Adam would add the decay to the gradient, so that the moments would see it.
            fused = torch._fused_adamw_ if weight_decay else torch._fused_adam_
            fused(
                [tensor[lane] for tensor in tensors.parameters],
                # The kernel needs one memory layout for all tensors, but a convolution's gradient may have another.
                [tensor[lane].contiguous() for tensor in tensors.gradients],
                [tensor[lane] for tensor in tensors.first],
                [tensor[lane] for tensor in tensors.second],
                [],
                [torch.tensor(step, dtype=torch.float32)] * len(tensors.parameters),
                lr=lr,
                beta1=beta1,
                beta2=beta2,
                weight_decay=weight_decay,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
            )
    if tensors.share is not None:
        average_(tensors.averages, tensors.parameters, tensors.share)


def compiled(function: Callable[P, T], device: str) -> Callable[P, T]:
    """Compile a function for a GPU. Return it unchanged for other devices, where compiling is slow, and without Triton.

    torch compiles the function for the first number of lanes, and once more for every other number. If torch cannot
    compile the function, one warning is logged and the original function runs.
    """
    if device != "cuda" or not has_triton():
        return function
    # Import here, because this import creates a folder.
    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

    keep_compiled_code_private()
    way: Callable[P, T] = torch.compile(function, fullgraph=True, options=OPTIONS)

    @functools.wraps(function)
    def call(*arguments: P.args, **named: P.kwargs) -> T:
        nonlocal way
        try:
            with torch._dynamo.config.patch(**LIMITS):
                return way(*arguments, **named)
        except (TorchDynamoException, FailOnRecompileLimitHit) as error:
            # Compiling fails before anything runs, e.g. without a C compiler, which Triton needs.
            _log.warning("a part of an update is not compiled, which takes longer: %s", cause_of(error))
            way = function
            return way(*arguments, **named)

    return call


def cause_of(error: Exception) -> str:
    """Return an error's type and first line, without the advice that torch puts below."""
    cause = getattr(error, "inner_exception", error)
    said = str(cause).strip().splitlines()
    return ": ".join([type(cause).__name__, *said[:1]])
