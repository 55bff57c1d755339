"""Which of its derivatives a function of our own is asked for."""

from __future__ import annotations

from typing import Any

import torch


def asked(ctx: Any) -> list[bool]:
    """Whether the backward pass that is going on wants the gradient at each input of the function, tensors first.

    `ctx.needs_input_grad` says which of them any pass could want. A penalty first asks for the gradient at the inputs
    alone, and then at the weights alone: products for the others would be for nothing.
    """
    could = ctx.needs_input_grad
    # Those of tensors, of which there may be fewer than inputs.
    nodes = [node for node, _ in ctx.next_functions]
    wanted = [each and _is_wanted(node) for each, node in zip(could, nodes, strict=False)]
    return wanted + [False] * (len(could) - len(wanted))


def _is_wanted(node: Any) -> bool:
    try:
        # torch's, but not part of its public interface: it may go.
        return torch._C._will_engine_execute_node(node)
    except (AttributeError, RuntimeError):  # the latter of a leaf, of which the engine does not say
        return True
