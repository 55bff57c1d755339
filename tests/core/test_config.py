"""Configurations: what is out of range is refused by name, and JSON gives back what was put in."""

from __future__ import annotations

import ast
import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wgan_core.config import Hyper, Structure, Trial
from wgan_core.errors import UserError
from wgan_core.rules.losses import LOSSES

STRUCTURE = Structure("mlp", (1, 28, 28))
HYPER = Hyper(lambda_gp=10.0, lr_critic=1e-4, lr_generator=1e-4, n_critic=5, beta1=0.0, beta2=0.9)
TRIAL = Trial(3, 17, HYPER)

OPTIONS = "options by name for critic, generator or both, in values that JSON has"
OUT_OF_RANGE = [
    (STRUCTURE, "sample_shape", "a tuple of whole numbers > 0", [(), (0,), (1, -28, 28), (1, 28.0, 28), (True, 28)]),
    (STRUCTURE, "latent_dim", "a whole number from 1 to 1,048,576", [0, -1, 2.5, True, 2**20 + 1]),
    (STRUCTURE, "batch_size", "a whole number >= 1", [0, -64, 64.0, False]),
    (STRUCTURE, "ema_decay", "a number in [0, 1)", [-0.1, 1.0, 1.5, math.nan]),
    (STRUCTURE, "dtype", "one of float32, float64", ["float16", "", None]),
    (STRUCTURE, "loss", f"one of {', '.join(LOSSES)}", ["wgan", "", None]),
    (STRUCTURE, "optimiser", "one of adam, rmsprop, sgd", ["adagrad", None]),
    (STRUCTURE, "precision", "one of float32, tf32, bfloat16", ["float16", "bf16", None]),
    (STRUCTURE, "classes", "a whole number from 0 to 65,536", [-1, 2.0, True, 2**16 + 1]),
    (STRUCTURE, "label_embedding", "a whole number from 0 to 65,536", [-1, 0.5]),
    (STRUCTURE, "full_batch", "true or false", [0, None]),
    (STRUCTURE, "spectral_norm", "true or false", [1, None]),
    (STRUCTURE, "label_embedding", "0 where there are no classes", [8]),
    (STRUCTURE, "network_options", OPTIONS, [{"widths": [1]}, {"critic": [1]}, [], {"critic": {"a": object}}]),
    *[
        (HYPER, field, invariant, [*values, math.nan, math.inf, -math.inf, "1", None, True])
        for field, invariant, values in (
            ("clip", "a finite number > 0", [0.0, -1]),
            ("decay_updates", "a whole number from 0 to 1,000,000,000", [-1, 1.5]),
            ("lambda_gp", "a finite number >= 0", [-1e-9, -10]),
            ("lr_critic", "a finite number > 0", [0, 0.0, -1e-4]),
            ("lr_generator", "a finite number > 0", [0, 0.0, -1e-4]),
            ("n_critic", "a whole number >= 1", [0, -5, 1.5, 5.0]),
            ("beta1", "a number in [0, 1)", [-0.1, 1, 1.0, 2]),
            ("beta2", "a number in [0, 1)", [-0.1, 1, 1.0, 2]),
            ("weight_decay", "a finite number >= 0", [-1e-9]),
        )
    ],
    (TRIAL, "number", "a whole number >= 0", [-1, 1.0, True, "3"]),
    (TRIAL, "seed", "a whole number in [0, 2^63)", [-1, 2**63, 1.0, None]),
]


@pytest.mark.parametrize(
    ("owner", "field", "invariant", "value"),
    [(owner, field, invariant, value) for owner, field, invariant, values in OUT_OF_RANGE for value in values],
    ids=lambda item: type(item).__name__ if isinstance(item, Structure | Hyper | Trial) else repr(item),
)
def test_an_error_names_field_invariant_value_and_remedy(owner: Any, field: str, invariant: str, value: object) -> None:
    """And what it proposes is taken."""
    with pytest.raises(UserError) as refused:
        replace(owner, **{field: value})
    said, _, proposed = str(refused.value).partition(f": set {field} to ")
    assert said == f"{field} must be {invariant}; given {value!r}"
    proposal, example, rest = proposed.partition(", for example")
    assert (example, rest) == (", for example", "")
    replace(owner, **{field: ast.literal_eval(proposal)})


@pytest.mark.parametrize(
    ("owner", "field", "value"),
    [
        (STRUCTURE, "sample_shape", (784,)),
        (STRUCTURE, "latent_dim", 1),
        (STRUCTURE, "batch_size", 1),
        (STRUCTURE, "ema_decay", 0.0),
        (STRUCTURE, "dtype", "float64"),
        (STRUCTURE, "precision", "bfloat16"),
        (HYPER, "lambda_gp", 0),
        (HYPER, "lr_critic", 1e-300),
        (HYPER, "n_critic", 1),
        (HYPER, "beta1", 0),
        (HYPER, "beta2", 0.999999),
        (TRIAL, "number", 0),
        (TRIAL, "seed", 2**63 - 1),
    ],
    ids=repr,
)
def test_the_ends_of_a_range_are_taken(owner: Any, field: str, value: object) -> None:
    assert getattr(replace(owner, **{field: value}), field) == value


def test_the_torch_dtype_is_the_named_one() -> None:
    assert STRUCTURE.torch_dtype == torch.float32
    assert replace(STRUCTURE, dtype="float64").torch_dtype == torch.float64


positive = st.floats(1e-300, 1e300)
share = st.floats(0, 1, exclude_max=True)
hypers = st.builds(Hyper, st.floats(0, 1e300), positive, positive, st.integers(1, 100), share, share)
trials = st.builds(Trial, st.integers(0, 10**9), st.integers(0, 2**63 - 1), hypers)
structures = st.builds(
    Structure,
    networks=st.text(),
    sample_shape=st.lists(st.integers(1, 90), min_size=1, max_size=4).map(tuple),
    latent_dim=st.integers(1, 1000),
    batch_size=st.integers(1, 1000),
    ema_decay=share,
    dtype=st.sampled_from(["float32", "float64"]),
)


@given(trial=trials, structure=structures)
def test_json_gives_back_what_was_put_in(trial: Trial, structure: Structure) -> None:
    assert Trial.from_json(json.loads(json.dumps(trial.as_json()))) == trial
    assert Structure.from_json(json.loads(json.dumps(structure.as_json()))) == structure
