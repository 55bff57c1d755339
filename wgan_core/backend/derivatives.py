"""Queries to autograd about which derivatives a custom function must compute."""

from __future__ import annotations

from typing import Any

import torch


def asked(ctx: Any) -> list[bool]:
    """Return whether the current backward pass needs the gradient at each input of the function.

    The function must take its tensors first. `ctx.needs_input_grad` says only what any pass could need. A penalty first
    needs the gradient at the inputs alone and then at the weights alone, so other products would be wasted.
    """
    could = ctx.needs_input_grad
    # Only tensor inputs have nodes, so there may be fewer nodes than inputs.
    nodes = [node for node, _ in ctx.next_functions]
    wanted = [each and _is_wanted(node) for each, node in zip(could, nodes, strict=False)]
    return wanted + [False] * (len(could) - len(wanted))


def _is_wanted(node: Any) -> bool:
    try:
        # This function is not part of torch's public interface, so it may disappear.
        return torch._C._will_engine_execute_node(node)
    except (AttributeError, RuntimeError):  # the engine raises RuntimeError for a leaf
        return True
