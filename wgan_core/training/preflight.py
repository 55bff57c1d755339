"""Checks that a structure can be trained, made before a sweep starts: one update with two samples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle

from wgan_core.config import Hyper, Structure, Trial
from wgan_core.data.limits import size_text
from wgan_core.errors import UserError, listed, one_line
from wgan_core.networks.batch_norm import check_over_ranks
from wgan_core.networks.conditioning import blank_labels
from wgan_core.networks.network import build, initialise, loaded_generator
from wgan_core.networks.pairs import SHIPPED
from wgan_core.training.footprint import state_bytes
from wgan_core.training.lanes import Lanes
from wgan_core.training.state import TrainingState
from wgan_core.training.step import CriticBatch, Step

SAMPLES = 2
HYPER = Hyper(lambda_gp=1.0, lr_critic=1e-4, lr_generator=1e-4, n_critic=1, beta1=0.5, beta2=0.9)


def check_fit(structure: Structure, lanes: int, ranks: int = 1) -> None:
    """Check that the networks fit the samples and can be trained.

    A small file can hold samples for which layers take gigabytes. So networks are first counted without memory. A
    user's own networks are then tried on the CPU, through all derivatives that the loss takes. The trial update has two
    lanes if `lanes` is above 1. Shipped networks are not tried, because they have checks of their own.

    Args:
        structure: The structure to check.
        lanes: Number of trials that train side by side.
        ranks: Number of GPUs per trial. Each takes an equal part of a batch.

    Raises:
        UserError: The batch does not divide over the GPUs, or has one sample under batch normalisation. The networks do
            not fit the samples, or one trial of them does not fit into half of the available memory. Or they cannot be
            trained.
    """
    if structure.batch_size % ranks:
        raise UserError(
            f"a batch must divide evenly over the GPUs of a trial; {structure.batch_size} samples, {ranks} GPUs: give "
            f"--gpus-per-trial {_divisor(structure.batch_size, ranks)}, for example"
        )
    what = f"networks must be made from a structure and their options; {structure.networks!r} fails"
    with _told(what, "mend them"):
        _check_memory(structure)
    if structure.networks in SHIPPED:
        with torch.device("meta"):
            _check_batch(structure, build(structure)[1])
        return
    with _told(what, "mend them"):
        critic, generator = initialise(structure, 0)
    _check_batch(structure, generator)
    if ranks > 1:
        check_over_ranks(generator)
    _check_network("generator", generator, structure, (structure.z_length,), structure.sample_shape)
    _check_network("critic", critic, structure, structure.sample_shape, ())
    _check_independence(critic, structure)
    _check_round_trip(generator, structure)
    beside = f", {lanes} trials side by side" if lanes > 1 else ""
    what = f"networks must be trainable with the loss {structure.loss!r}{beside}; of {structure.networks!r}"
    what += " an update fails" + _unused("generator", generator, structure, (structure.z_length,))
    with _told(
        what + _unused("critic", critic, structure, structure.sample_shape),
        "mend them" + (", or give --lanes 1" if lanes > 1 else ""),
    ):
        _update(replace(structure, batch_size=SAMPLES, full_batch=False), min(lanes, SAMPLES))


def _check_batch(structure: Structure, generator: nn.Module) -> None:
    """Raise if the generator normalises over a batch of one sample. `build` has refused critics that normalise so."""
    if structure.batch_size > 1:
        return
    for name, module in generator.named_modules():
        if isinstance(module, _BatchNorm):
            raise UserError(
                "batch_size must be at least 2 for networks with batch normalisation, because one sample has no "
                f"spread; given 1, and {type(module).__name__} at {name!r} of the generator: take a larger batch, or "
                "networks without batch normalisation"
            )


def _check_memory(structure: Structure) -> None:
    size, half = state_bytes(structure), psutil.virtual_memory().available // 2
    if size > half:
        raise UserError(
            "the networks of a trial, with gradients and moments, must fit into half of the memory that is available, "
            f"{size_text(half)}; those of {structure.networks!r} for samples of shape {structure.sample_shape} take "
            f"{size_text(size)}: give smaller samples, other --networks, or a machine with more memory"
        )


def _divisor(batch: int, ranks: int) -> int:
    """Return the largest number of ranks, at most `ranks`, that divides the batch."""
    return next(count for count in range(min(batch, ranks), 0, -1) if batch % count == 0)


@contextmanager
def _told(what: str, remedy: str) -> Iterator[None]:
    """Turn any error but a `UserError`, as a user's own code may raise, into a `UserError` that says what must hold."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what}: {one_line(error)}: {remedy}") from error


def _check_network(
    name: str, network: nn.Module, structure: Structure, given: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    """Raise unless the network maps samples of shape `given` to shape `wanted`, with equal outputs for equal inputs."""
    inputs, outputs = (SAMPLES, *given), (SAMPLES, *wanted)
    what = f"the {name} of {structure.networks!r}"
    with _told(
        f"{what} must take inputs of shape {inputs}; it fails",
        "mend it, or the latent_dim and the data that it is given",
    ):
        zeros = torch.zeros(inputs, dtype=structure.torch_dtype)
        first, second = (_outputs(network, zeros, structure) for _ in "12")
    if not isinstance(first, torch.Tensor):
        raise UserError(f"{what} must give one tensor; it gives a {type(first).__name__}: return the tensor alone")
    if tuple(first.shape) != outputs:
        raise UserError(
            f"{what} must give, for inputs of shape {inputs}, outputs of shape {outputs}; it gives "
            f"{tuple(first.shape)}: reshape them"
        )
    if not torch.equal(first, second):
        at_fault = _differing(network, structure, zeros, zeros)
        raise UserError(
            f"a network must give the same outputs for the same inputs, so that an update can be repeated bit for bit; "
            f"{what} does not: take out its random draws{at_fault}"
        )


def _outputs(network: nn.Module, x: Tensor, structure: Structure) -> Any:
    """Return what the network gives for x and blank labels, and leave its buffers as they were."""
    buffers = {name: tensor.clone() for name, tensor in network.named_buffers()}
    labels = blank_labels(structure, SAMPLES)
    return functional_call(network, buffers, (x,) if labels is None else (x, labels))


def _check_independence(critic: nn.Module, structure: Structure) -> None:
    """Raise unless the critic scores each sample independently of the other samples in its batch.

    A gradient penalty is on each sample's own gradient, and real and generated samples pass the critic in one batch.
    """
    shape, noise = (SAMPLES, *structure.sample_shape), torch.Generator().manual_seed(0)
    one, other = (torch.randn(shape, generator=noise, dtype=structure.torch_dtype) for _ in range(2))
    other[0] = one[0]
    with torch.no_grad():
        beside_one, beside_other = (_outputs(critic, each, structure)[0] for each in (one, other))
    if not torch.allclose(beside_one, beside_other, rtol=1e-4, atol=1e-5):
        at_fault = _differing(critic, structure, one, other)
        raise UserError(
            f"a critic must score each sample by itself; that of {structure.networks!r} gives one sample another score "
            f"beside another sample: take out what mixes the batch{at_fault}"
        )


def _differing(network: nn.Module, structure: Structure, one: Tensor, other: Tensor) -> str:
    """Return the name of the first layer that gives another output for the first sample of a batch, or no text."""
    passes: list[list[tuple[str, Tensor]]] = []

    def note(module: nn.Module, name: str) -> RemovableHandle:
        def hook(_: nn.Module, __: object, output: object) -> None:
            if isinstance(output, Tensor) and output.dim():
                passes[-1].append((f"{type(module).__name__} at {name!r}", output.detach()[0]))

        return module.register_forward_hook(hook)

    handles = [note(module, name) for name, module in network.named_modules() if name]
    try:
        with torch.no_grad():
            for batch in (one, other):
                passes.append([])
                _outputs(network, batch, structure)
    finally:
        for handle in handles:
            handle.remove()
    for (name, first), (_, second) in zip(*passes, strict=False):
        if first.shape == second.shape and not torch.allclose(first, second, rtol=1e-4, atol=1e-5):
            return f", in or before {name}"
    return ""


def _unused(name: str, network: nn.Module, structure: Structure, given: tuple[int, ...]) -> str:
    """Return the sentence that names the parameters on which no output depends, or an empty text."""
    learnt = {each: tensor for each, tensor in network.named_parameters() if tensor.requires_grad}
    inputs = torch.randn(SAMPLES, *given, generator=torch.Generator().manual_seed(0)).to(structure.torch_dtype)
    outputs = _outputs(network, inputs, structure)
    if not learnt or not outputs.requires_grad:
        return ""
    try:
        gradients = torch.autograd.grad(outputs.sum(), list(learnt.values()), allow_unused=True)
    except RuntimeError:  # the update says why
        return ""
    unused = [each for each, gradient in zip(learnt, gradients, strict=True) if gradient is None]
    # An update has no gradient for them.
    return f"; the {name} does not use {listed(unused)}, which may be left out or frozen" if unused else ""


def _check_round_trip(generator: nn.Module, structure: Structure) -> None:
    """Raise unless the generator gives the same samples once its weights were stored and loaded, as for an export."""
    average = TrainingState.initial(structure, 0, torch.device("cpu")).average
    z = torch.randn(SAMPLES, structure.z_length, generator=torch.Generator().manual_seed(0)).to(structure.torch_dtype)
    plain = sorted(
        f"{name}.{key}".lstrip(".")
        for name, module in generator.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, Tensor)
    )
    remedy = "register what is no parameter with `register_buffer`, and make no tensors from values in `__init__`"
    if plain:
        remedy = f"register {listed(plain)} with `register_buffer`"
    what = f"the generator of {structure.networks!r} must give the same samples once its weights are stored and loaded"
    with _told(f"{what}; it fails", remedy), torch.no_grad():
        loaded = loaded_generator(structure, {name: tensor[0] for name, tensor in average.items()}).eval()
        before, after = (_outputs(each, z, structure) for each in (generator.eval(), loaded))
    generator.train()
    if not torch.allclose(before, after, rtol=1e-4, atol=1e-5, equal_nan=True):
        raise UserError(f"{what}; it gives others: {remedy}")


def _update(structure: Structure, lanes: int) -> None:
    device = torch.device("cpu")
    told = Lanes.of([Trial(0, 0, HYPER)] * lanes, [0] * lanes, device)
    step, state = Step(structure), TrainingState.initial(structure, 0, device).lanes([0] * lanes)
    real = torch.zeros(lanes, SAMPLES, *structure.sample_shape, dtype=structure.torch_dtype)
    z = torch.zeros(lanes, SAMPLES, structure.z_length, dtype=structure.torch_dtype)
    weight = torch.full((lanes, SAMPLES), 0.5, dtype=structure.torch_dtype)
    labels = blank_labels(structure, lanes, SAMPLES)
    step.update_critic(state, told, CriticBatch(real, z, weight, labels))
    step.update_generator(state, told, z, labels)
