"""Updates compiled as a whole: of a GPU's many small kernels beside the products, few are left.

An update is traced once for each number of lanes, as it is and with all its derivatives, down to torch's elementary
operations (`make_fx`), and the trace is compiled (`torch.compile`). So there is one definition of it still. Compiling
takes long for each number of lanes, so it is for long trainings; how long on a GPU, and what it gains: not measured.

What is compiled rounds as it likes: it adds up in another order, and keeps more digits between operations.

    K lanes
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._triton import has_triton

from wgan_core.config import Structure
from wgan_core.errors import one_line
from wgan_core.graph import COMPILED
from wgan_core.kernels import OPTIONS, compiled
from wgan_core.lanes import Lanes
from wgan_core.networks import Tensors
from wgan_core.ranks import ALONE, Ranks
from wgan_core.state import State
from wgan_core.step import CriticBatch, Step

# Or the powers in an optimiser's factors, one a lane, would be taken again for every single parameter.
WHOLE: dict[str, Any] = {**OPTIONS, "realize_opcount_threshold": 8}

_log = logging.getLogger(__name__)

# What puts a thing together again, of its tensors in order.
Builder = Callable[[Iterator[Tensor]], Any]
Update = Callable[..., Tensors]
Way = Callable[..., Sequence[Tensor]]


def step_of(structure: Structure, device: torch.device, execution: str, ranks: Ranks = ALONE) -> Step:
    """The step of a structure: compiled as a whole where that is asked for, on a GPU, for a trial that has one."""
    if execution != COMPILED or device.type != "cuda" or ranks.size > 1:
        return Step(structure, ranks)
    if not has_triton():
        _log.warning("updates are not compiled as a whole, which takes longer: Triton is not there")
        return Step(structure)
    return CompiledStep(structure, device)


class CompiledStep(Step):
    """A step of which each update is one compiled function for each set of shapes."""

    def __init__(self, structure: Structure, device: torch.device) -> None:
        super().__init__(structure)
        self._device = device
        # By update and shapes: the names of what it returns beside it.
        self._ways: dict[tuple[Any, ...], tuple[Way, list[str]]] = {}

    def update_critic(self, state: State, lanes: Lanes, batch: CriticBatch) -> Tensors:
        return self._carry_out(super().update_critic, state, lanes, batch)

    def update_generator(self, state: State, lanes: Lanes, z: Tensor, labels: Tensor | None = None) -> Tensors:
        return self._carry_out(super().update_generator, state, lanes, z, labels)

    def _carry_out(self, update: Update, *given: Any) -> Tensors:
        tensors: list[Tensor] = []
        builders = [apart(each, tensors) for each in given]
        key = (update.__name__, *(tensor.shape for tensor in tensors))
        if key not in self._ways:
            self._ways[key] = self._compiled(update, builders, tensors)
        way, names = self._ways[key]
        return dict(zip(names, way(*tensors), strict=True))

    def _compiled(
        self, update: Update, builders: Sequence[Builder], tensors: Sequence[Tensor]
    ) -> tuple[Way, list[str]]:
        names: list[str] = []

        def flat(*tensors: Tensor) -> tuple[Tensor, ...]:
            left = iter(tensors)
            quantities = update(*(builder(left) for builder in builders))
            names[:] = quantities
            return tuple(quantities.values())

        try:
            # On tensors without values: nothing is carried out, and the state stays as it is.
            graph = make_fx(flat, tracing_mode="fake")(*tensors)
        except Exception as error:  # of networks of a person's own, whatever they raise
            _log.warning("an update is not compiled as a whole, which takes longer: %s", one_line(error))
            return flat, names
        # Not the module: its call looks into errors, as for want of memory, and what looks there cannot be compiled.
        return compiled(graph.forward, self._device.type, WHOLE, otherwise=flat), names


def apart(thing: Any, tensors: list[Tensor]) -> Builder:
    """Add the tensors of a thing, of dataclasses and dictionaries of them, to a list; what puts it together again."""
    if thing is None:
        return lambda _: None
    if isinstance(thing, Tensor):
        tensors.append(thing)
        return next
    if isinstance(thing, dict):
        # By name: files give tensors back in any order.
        parts = {key: apart(value, tensors) for key, value in sorted(thing.items())}
        return lambda left: {key: part(left) for key, part in parts.items()}
    made, parts = type(thing), {each.name: apart(getattr(thing, each.name), tensors) for each in fields(thing)}
    return lambda left: made(**{name: part(left) for name, part in parts.items()})
