"""What one trial-update must at least take: its arithmetic and its bytes, at the best rates of the device.

Counted on the CPU at K = 1, as ours does it; trials share nothing, so K of them are K times that.

    arithmetic   the matrix products, backward passes included
    bytes        28 a parameter and update for Adam in fp32 (parameter, gradient and both moments read, all but the
                 gradient written); 8 a parameter of the generator and update of it, for its average; each weight once
                 for each product that reads it; the output of each product once, but for gradients of weights, which
                 are in the 28

The floor is the larger of the two times and not their sum: a GPU computes and moves bytes at once, so no order of work
is quicker than either (the roofline of Williams et al. 2009), while the sum is what one takes that overlaps nothing.
Both are kept, for a reader who wants the sum. Where all trials fit into a cache, as at K = 1, fewer bytes move.
On a CPU the floor is the arithmetic alone, as in `step.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from fused.ours import Ours, cohort_of, trials_of
from measuring import Products
from torch import Tensor
from wgan_gp import SHAPE

ADAM_BYTES, AVERAGE_BYTES, NUMBER_BYTES = 28, 8, 4


@dataclass(frozen=True)
class Work:
    """Of one trial-update: operations of products, and bytes by what moves them."""

    operations: int
    optimiser_bytes: int
    weight_bytes: int
    activation_bytes: int

    @property
    def bytes(self) -> int:
        return self.optimiser_bytes + self.weight_bytes + self.activation_bytes


@dataclass(frozen=True)
class Rates:
    """What the device can at best: operations per second of products by precision, bytes per second of a copy.

    copies: None on a CPU, where bytes are not counted.
    """

    products: dict[str, float]
    copies: float | None

    def seconds(self, work: Work) -> dict[str, Any]:
        """The least seconds of a trial-update: by products in each precision, by bytes, and the floor of each."""
        products = {precision: work.operations / rate for precision, rate in self.products.items()}
        moved = work.bytes / self.copies if self.copies else 0.0
        return {
            "products": products,
            "bytes": moved if self.copies else None,
            "floor": {precision: max(taken, moved) for precision, taken in products.items()},
        }


def work_of(name: str, n_critic: int) -> Work:
    """Of one trial-update of the structure of this name."""
    data = torch.zeros((64, *SHAPE), dtype=torch.uint8)
    state = cohort_of(name, data, trials_of(1, n_critic), (1,)).state_of(0)
    critic, generator = ([*network.parameters.values()] for network in (state.critic, state.generator))
    # With a lane axis a bias has two axes; products read what has more.
    weights = {_form(tensor) for tensor in (*critic, *generator) if tensor.dim() > 2}
    moved = {"weight": 0, "activation": 0}

    def seen(operands: Sequence[Any], output: Any) -> None:
        for tensor in _tensors(operands):
            moved["weight"] += NUMBER_BYTES * tensor.numel() * (_form(tensor) in weights)
        for tensor in _tensors(output if isinstance(output, list | tuple) else (output,)):
            moved["activation"] += NUMBER_BYTES * tensor.numel() * (_form(tensor) not in weights)

    ours = Ours(name, data, n_critic, 1)
    with Products(seen) as products:
        ours.run(1)
    critic_size, generator_size = (sum(tensor.numel() for tensor in network) for network in (critic, generator))
    optimiser = ADAM_BYTES * (n_critic * critic_size + generator_size) + AVERAGE_BYTES * generator_size
    return Work(products.operations, optimiser, moved["weight"], moved["activation"])


def _tensors(given: Sequence[Any]) -> list[Tensor]:
    """The matrices and kernels among the operands; a bias is none."""
    return [each for each in given if isinstance(each, Tensor) and len(_form(each)) > 0 and each.dim() > 1]


def _form(tensor: Tensor) -> tuple[int, ...]:
    """A shape by which a weight is known in any layout and with or without a lane axis.

    No activation has that of a weight here, as the batch is 64 and no dense layer has that many units.
    """
    return tuple(sorted(size for size in tensor.shape if size > 1)) if math.prod(tensor.shape) > 1 else ()
