"""All tensors of K trials: networks, optimiser moments and the generator's average.

The first axis of every tensor is the lane. One lane of a state is a state as well. Tensor names are those of the
checkpoint files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor, nn

from wgan_core.config import Structure
from wgan_core.networks.network import Tensors, fixed_names, initialise


@dataclass
class NetworkState:
    """One network in every lane: parameters, buffers, and the optimiser's first and second moments.

    Parameters that do not require a gradient are among the buffers, so that no update changes them.
    """

    parameters: Tensors
    buffers: Tensors
    first: Tensors
    second: Tensors

    @classmethod
    def of(cls, module: nn.Module) -> NetworkState:
        """Return a single lane with a module's tensors and zero moments."""
        lanes = {name: tensor.detach().clone().unsqueeze(0) for name, tensor in module.named_parameters()}
        fixed = fixed_names(module)
        parameters = {name: tensor for name, tensor in lanes.items() if name not in fixed}
        buffers = {name: tensor for name, tensor in lanes.items() if name in fixed}
        buffers |= {name: tensor.detach().clone().unsqueeze(0) for name, tensor in module.named_buffers()}
        return cls(parameters, buffers, _zeros(parameters), _zeros(parameters))


@dataclass
class TrainingState:
    """State of K trials. `average` holds the exponential averages of the generator's parameters and buffers."""

    critic: NetworkState
    generator: NetworkState
    average: Tensors = field(default_factory=dict)

    @classmethod
    def initial(cls, structure: Structure, seed: int, device: torch.device) -> TrainingState:
        """Return the single-lane state in which a trial of this seed starts. The average starts at the generator."""
        critic, generator = (NetworkState.of(module) for module in initialise(structure, seed))
        average = {name: tensor.clone() for name, tensor in {**generator.parameters, **generator.buffers}.items()}
        return cls(critic, generator, average).to(device)

    def groups(self) -> Iterator[tuple[str, Tensors]]:
        """Yield the dictionaries of tensors, each with its prefix in a checkpoint."""
        for name, network in (("critic", self.critic), ("generator", self.generator)):
            for part in fields(NetworkState):
                yield f"{name}.{part.name}", getattr(network, part.name)
        yield "generator.average", self.average

    def tensors(self) -> Tensors:
        """Return all tensors by their names in a checkpoint."""
        return {f"{prefix}.{name}": tensor for prefix, group in self.groups() for name, tensor in group.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> TrainingState:
        def group(prefix: str) -> Tensors:
            start = f"{prefix}."
            return {name[len(start) :]: tensor for name, tensor in tensors.items() if name.startswith(start)}

        def network(name: str) -> NetworkState:
            return NetworkState(*(group(f"{name}.{part.name}") for part in fields(NetworkState)))

        return cls(network("critic"), network("generator"), group("generator.average"))

    @property
    def width(self) -> int:
        """Return the number of lanes, K."""
        return len(next(iter(self.tensors().values())))

    def is_finite(self) -> Tensor:
        """Return whether each tensor is finite in each lane, (T, K) bool, in the order of `tensors`."""
        return torch.stack([tensor.isfinite().reshape(len(tensor), -1).all(1) for tensor in self.tensors().values()])

    def lanes(self, indices: Sequence[int]) -> TrainingState:
        """Return a copy of these lanes, in this order."""
        return self._map(lambda tensor: tensor[list(indices)])

    def put(self, index: int, lane: TrainingState) -> None:
        """Overwrite a lane with a single-lane state."""
        given = lane.tensors()
        for name, tensor in self.tensors().items():
            tensor[index] = given[name][0]

    def to(self, device: torch.device) -> TrainingState:
        return self._map(lambda tensor: tensor.to(device))

    def _map(self, function: Callable[[Tensor], Tensor]) -> TrainingState:
        return TrainingState.from_tensors({name: function(tensor) for name, tensor in self.tensors().items()})


def _zeros(tensors: Tensors) -> Tensors:
    return {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
