"""Adam (Kingma and Ba 2015, Algorithm 1) as a function of tensors, in place, for one lane.

The arithmetic is torch's fused kernel: one pass over parameters, gradients and moments, where the
operation-by-operation form makes seven (benchmarks/step.py has what that is worth).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

EPSILON = 1e-8


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
    """One Adam update of a list of tensors. `first` and `second` are the moments; `step` counts from 1."""
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
