"""Whether a structure can be trained at all, found out before anything starts: one update of two samples."""

from __future__ import annotations

from dataclasses import replace

import torch

from wgan_core.config import Hyper, Structure
from wgan_core.errors import UserError, one_line
from wgan_core.networks import SHIPPED, build, initialise
from wgan_core.state import State
from wgan_core.step import CriticBatch, Step

SAMPLES = 2
HYPER = Hyper(lambda_gp=1.0, lr_critic=1e-4, lr_generator=1e-4, n_critic=1, beta1=0.5, beta2=0.9)


def check_fit(structure: Structure, lanes: int) -> None:
    """Raises `UserError` if the networks are not made for the samples, or cannot be trained so many side by side.

    Networks of a person's own are tried on the CPU, on two lanes if there are several, through the derivatives that
    the objective takes; shipped ones, whose checks are their own, are only built.
    """
    if structure.networks in SHIPPED:
        build(structure)
        return
    _check_shapes(structure)
    _check_independence(structure)
    try:
        _update(replace(structure, batch_size=SAMPLES, full_batch=False), min(lanes, SAMPLES))
    except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
        beside = f", {lanes} trials side by side" if lanes > 1 else ""
        raise UserError(
            f"networks must be trainable by the objective {structure.objective!r}{beside}; of {structure.networks!r} "
            f"an update fails: {one_line(error)}: mend them" + (", or give --lanes 1" if lanes > 1 else "")
        ) from error


def _check_shapes(structure: Structure) -> None:
    critic, generator = build(structure)
    labels = (torch.zeros(SAMPLES, dtype=torch.int64),) if structure.classes else ()
    wanted = {"generator": (SAMPLES, *structure.sample_shape), "critic": (SAMPLES,)}
    given = {"generator": (SAMPLES, structure.latent_dim), "critic": wanted["generator"]}
    for name, network in (("generator", generator), ("critic", critic)):
        network.to(structure.torch_dtype)
        try:
            found = tuple(network(torch.zeros(given[name], dtype=structure.torch_dtype), *labels).shape)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise UserError(
                f"the {name} of {structure.networks!r} must take inputs of shape {given[name]}; it fails: "
                f"{one_line(error)}: mend it, or the latent_dim and the data that it is given"
            ) from error
        if found != wanted[name]:
            raise UserError(
                f"the {name} of {structure.networks!r} must give, for inputs of shape {given[name]}, outputs of shape "
                f"{wanted[name]}; it gives {found}: reshape them"
            )


def _check_independence(structure: Structure) -> None:
    """A gradient penalty is on each sample's own gradient, and real and generated samples pass in one batch."""
    critic, _ = initialise(structure, 0)
    labels = (torch.zeros(SAMPLES, dtype=torch.int64),) if structure.classes else ()
    shape, noise = (SAMPLES, *structure.sample_shape), torch.Generator().manual_seed(0)
    one, other = (torch.randn(shape, generator=noise, dtype=structure.torch_dtype) for _ in range(2))
    other[0] = one[0]
    with torch.no_grad():
        alike = torch.allclose(critic(one, *labels)[0], critic(other, *labels)[0], rtol=1e-4, atol=1e-5)
    if not alike:
        raise UserError(
            f"a critic must score each sample by itself; that of {structure.networks!r} gives one sample another score "
            "beside another sample: take out what mixes the batch"
        )


def _update(structure: Structure, lanes: int) -> None:
    device, hypers = torch.device("cpu"), [HYPER] * lanes
    step, state = Step(structure), State.initial(structure, 0, device).lanes([0] * lanes)
    real = torch.zeros(lanes, SAMPLES, *structure.sample_shape, dtype=structure.torch_dtype)
    z = torch.zeros(lanes, SAMPLES, structure.latent_dim, dtype=structure.torch_dtype)
    weight = torch.full((lanes, SAMPLES), 0.5, dtype=structure.torch_dtype)
    labels = torch.zeros(lanes, SAMPLES, dtype=torch.int64) if structure.classes else None
    step.update_critic(state, hypers, CriticBatch(real, z, weight, labels), [0] * lanes)
    step.update_generator(state, hypers, z, [0] * lanes, list(range(lanes)), labels)
