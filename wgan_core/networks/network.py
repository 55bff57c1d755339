"""Construction of a critic and a generator, and `Network`, which computes a plain `nn.Module` over lanes.

In shapes, K is the number of lanes and N the number of samples in a batch.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.utils.flop_counter import FlopCounterMode

from wgan_core.backend.choices import BFLOAT16, FLOAT32, TF32
from wgan_core.backend.convolution import fast_convolutions
from wgan_core.backend.linear import fast_linear
from wgan_core.backend.precision import Bfloat16Products, float32_on_gpus
from wgan_core.config import Structure
from wgan_core.errors import UserError, listed
from wgan_core.networks.conditioning import Conditional, widened
from wgan_core.networks.layers import Categorical
from wgan_core.networks.layers import Reshape as Reshape
from wgan_core.networks.pairs import PAIRS, own_pair
from wgan_core.networks.spectral import spectral_norm
from wgan_core.source import source_of

T = TypeVar("T")
Tensors = dict[str, Tensor]
# Floating-point operations of one lane's products. From this number on, a CPU is faster lane by lane: the kernels of a
# single lane save more time than vmap's fewer calls do (docs/log.md).
LARGE = 12_000_000


def own_digest(structure: Structure) -> str:
    """Return the SHA-256 of a user's own pair, or "" for a shipped pair.

    The digest covers layers, tensor shapes, and the source text of classes and functions. With it, a sweep is not
    continued with other networks of the same name.
    """
    pair = own_pair(structure.networks)
    if pair is None:
        return ""
    with torch.device("meta"):
        networks = build(structure)
    kinds = {type(module) for network in networks for module in network.modules()}
    own = [kind for kind in kinds if not kind.__module__.startswith(("torch.", "wgan_core."))]
    texts = sorted(source_of(each) for each in (*own, pair.critic, pair.generator))
    shapes = [str({name: tuple(tensor.shape) for name, tensor in each.state_dict().items()}) for each in networks]
    shapes += [f"fixed: {sorted(names)}" for each in networks if (names := fixed_names(each))]
    return hashlib.sha256("\n".join([*map(str, networks), *shapes, *texts]).encode()).hexdigest()


class Network:
    """An `nn.Module` as a function of its tensors, over a leading lane axis.

    The module supplies the arithmetic and the names. Its own tensors are never used. Only this class vectorises lanes.
    It calls `torch.func.vmap`, with two exceptions:

    - A single lane is computed without vmap, which would cost time and gain nothing.
    - On a CPU, lanes with large products are computed one after another, because the kernels for one lane are faster
      there. Each lane then has exactly the bits that it has when it trains alone.
    """

    def __init__(self, module: nn.Module, precision: str = FLOAT32) -> None:
        """Move the module to the meta device.

        Args:
            module: The network.
            precision: Precision of products in training, as in `Structure`. Evaluation uses float32 products.
        """
        self._module, self._precision = module.to("meta"), precision
        # Operations of one lane, by the shape of its input.
        self._counted: dict[torch.Size, int] = {}

    def __call__(
        self, parameters: Tensors, buffers: Tensors, x: Tensor, labels: Tensor | None = None, *, training: bool = True
    ) -> tuple[Tensor, Tensors]:
        """Return the outputs (K, N, ...), and the buffers after the call as new tensors.

        Args:
            parameters: The parameters of all lanes by name, each (K, ...).
            buffers: The buffers of all lanes by name, each (K, ...).
            x: Inputs (K, N, ...).
            labels: Classes (K, N) or conditions (K, N, C), if the module takes labels.
            training: Whether the module is in training mode.
        """
        self._module.train(training)
        # Conditions are stored in float32, whatever the dtype of the networks.
        inputs = (x,) if labels is None else (x, labels.to(x.dtype) if labels.is_floating_point() else labels)
        by_lane = self._is_by_lane(*inputs)
        with self._products(x, training, by_lane):
            if not by_lane:
                return torch.func.vmap(self._forward)(parameters, buffers, *inputs)
            each = zip(_lanes(parameters, len(x)), _lanes(buffers, len(x)), *map(_apart, inputs), strict=True)
            found = [self._forward(*lane) for lane in each]
        outputs = _together([output for output, _ in found])
        return outputs, {name: _together([after[name] for _, after in found]) for name in buffers}

    def _is_by_lane(self, *inputs: Tensor) -> bool:
        """Return whether lanes are computed one after another. Only shapes and the device type decide."""
        if len(inputs[0]) == 1:
            return True
        return inputs[0].device.type == "cpu" and self._operations(*inputs) >= LARGE

    def _operations(self, *inputs: Tensor) -> int:
        """Count the floating-point operations of one lane's products."""
        shape = inputs[0].shape[1:]
        if shape not in self._counted:
            # The module has torch's default dtype, which may differ from x's. The count is the same in every dtype.
            x, *labels = (each[0] for each in inputs)
            one_lane = [torch.empty(x.shape, device="meta"), *(each.to("meta") for each in labels)]
            # A module that needs values fails on the meta device. It fails under vmap too, and vmap's error says why.
            with suppress(Exception), FlopCounterMode(display=False) as counter, torch.no_grad():
                self._module(*one_lane)
            self._counted[shape] = counter.get_total_flops()
        return self._counted[shape]

    @contextmanager
    def _products(self, x: Tensor, training: bool, by_lane: bool) -> Iterator[None]:
        with ExitStack() as ways:
            if by_lane:
                ways.enter_context(fast_linear(x))
            ways.enter_context(fast_convolutions(x))
            if training and self._precision == BFLOAT16:
                ways.enter_context(Bfloat16Products())  # the mode entered last rounds first; others get its result
            if not training and self._precision == TF32 and x.is_cuda:
                ways.enter_context(float32_on_gpus())
            yield

    def _forward(self, parameters: Tensors, buffers: Tensors, *inputs: Tensor) -> tuple[Tensor, Tensors]:
        after = _map(buffers, torch.clone)
        return functional_call(self._module, {**parameters, **after}, inputs), after


def _map(tensors: Mapping[str, Tensor], function: Callable[[Tensor], T]) -> dict[str, T]:
    return {name: function(tensor) for name, tensor in tensors.items()}


def _lanes(tensors: Tensors, count: int) -> list[Tensors]:
    """Split tensors (K, ...) into one dictionary for each of `count` lanes."""
    apart = _map(tensors, _apart)
    return [{name: lanes[lane] for name, lanes in apart.items()} for lane in range(count)]


def _apart(tensor: Tensor) -> tuple[Tensor, ...]:
    """Split a tensor (K, ...) into lanes. For one lane, squeeze: its derivative needs no copy."""
    return (tensor.squeeze(0),) if len(tensor) == 1 else tensor.unbind()


def _together(lanes: list[Tensor]) -> Tensor:
    return lanes[0].unsqueeze(0) if len(lanes) == 1 else torch.stack(lanes)


def build(structure: Structure) -> tuple[nn.Module, nn.Module]:
    """Build the critic and the generator of a structure, initialised from torch's global random generator.

    Raises:
        UserError: The pair or an option is unknown. The pair does not take samples of this shape. The critic has batch
            normalisation. A layer draws random numbers. A layer of the critic cannot be normalised spectrally.
    """
    pair = PAIRS.get(structure.networks)
    if pair is None:
        raise UserError(
            f"networks must be one of {', '.join(sorted(PAIRS))}; given {structure.networks!r}: name one of "
            "these; for networks of your own, give the script that registers them with --script FILE"
        )
    coded = structure.is_conditional and not pair.labelled
    if coded:
        with torch.device("meta"):  # without label codes, so that an error names the shape of the user's samples
            _part(structure, pair.critic, "critic")
    for_critic, for_generator = widened(structure, pair.flat) if coded else (structure, structure)
    critic, generator = _part(for_critic, pair.critic, "critic"), _part(for_generator, pair.generator, "generator")
    if coded:
        critic = Conditional(critic, structure.classes, structure.label_embedding, pair.flat)
        generator = Conditional(generator, structure.classes, structure.label_embedding, flat=True)
    if structure.coding is not None and structure.coding.blocks:
        generator = Categorical(generator, structure.coding, structure.latent_dim, structure.gumbel)
    _check(critic, generator)
    return spectral_norm(critic) if structure.spectral_norm else critic, generator


def _check(critic: nn.Module, generator: nn.Module) -> None:
    for name, module in critic.named_modules():
        if isinstance(module, _BatchNorm):
            raise UserError(
                "a critic must not normalise over the batch: real and generated samples pass in one batch, whose "
                "statistics they would share, and a gradient penalty is on each sample's own gradient; given batch "
                f"normalisation at {name!r}: take layer normalisation"
            )
    for network in (critic, generator):
        for name, module in network.named_modules():
            if _draws(module):
                raise UserError(
                    "a network must draw no random numbers, so that an update can be repeated bit for bit; given "
                    f"{type(module).__name__} at {name!r}: leave it out"
                )


def _draws(module: nn.Module) -> bool:
    """Return whether a layer draws random numbers in training. `Dropout(0)` draws none."""
    if isinstance(module, _DropoutNd):
        return bool(module.p > 0)
    return isinstance(module, nn.RReLU) and module.lower < module.upper


def fixed_names(module: nn.Module) -> set[str]:
    """Return the names of the parameters that training does not change, as their `requires_grad` is false."""
    return {name for name, parameter in module.named_parameters() if not parameter.requires_grad}


def assign(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Replace the parameters and buffers of a module by tensors, under the names of `named_parameters` and such.

    `load_state_dict` has no buffers that are not persistent, and wants each tied weight under all its names.

    Raises:
        ValueError: The names or shapes differ from those of the module. The message names the tensors.
    """
    named = [
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ]
    first: dict[int, str] = {}
    for name, tensor in named:
        first.setdefault(id(tensor), name)
    own = {name: tensor for name, tensor in named if first[id(tensor)] == name}
    different = {name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape}
    if odd := sorted(different | (own.keys() ^ tensors.keys())):
        raise ValueError(f"these tensors are missing, unknown or of another shape: {listed(odd)}")
    made: dict[str, nn.Parameter] = {}
    for name, tensor in named:
        source = first[id(tensor)]
        path, _, leaf = name.rpartition(".")
        owner = module.get_submodule(path)
        if isinstance(tensor, nn.Parameter):
            given = tensors[source]
            made.setdefault(source, nn.Parameter(given, requires_grad=tensor.requires_grad))
            owner._parameters[leaf] = made[source]
        else:
            owner._buffers[leaf] = tensors[source]


def _part(structure: Structure, make: Callable[..., nn.Module], name: str) -> nn.Module:
    """Make the critic or the generator with its options. Raises `UserError` for an unknown option."""
    options = structure.network_options.get(name, {})
    known = list(inspect.signature(make).parameters)[1:]
    for option in options:
        if option not in known:
            raise UserError(
                f"the {name} of the networks {structure.networks!r} takes the options {', '.join(known) or 'none'}; "
                f"given {option!r}: rename it or leave it out"
            )
    return make(structure, **options)


def loaded_generator(structure: Structure, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Return the generator of a structure with these parameters and buffers. Raise `ValueError` if they do not fit."""
    # Building on the meta device draws and allocates nothing.
    with torch.device("meta"):
        _, generator = build(structure)
    assign(generator, tensors)
    return generator


def initialise(structure: Structure, seed: int) -> tuple[nn.Module, nn.Module]:
    """Build the critic and the generator of a trial with this seed, on the CPU.

    The state of torch's global random generator is left unchanged.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed GPUs as well
        critic, generator = build(structure)
    return critic.to(structure.torch_dtype), generator.to(structure.torch_dtype)
