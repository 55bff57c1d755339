"""Columns as numbers and the way back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from wgan_core.config import Structure
from wgan_core.data.coding import Coding, Column
from wgan_core.errors import UserError
from wgan_core.networks.layers import Categorical
from wgan_core.networks.network import build, initialise

TABLE = Coding(
    (
        Column("age", 40.0, 10.0, whole=True),
        Column("kind", values=("a", "b", "c")),
        Column("height", 1.7, 0.1),
        Column("ill", values=(False, True)),
    ),
    label="ill",
)
ROWS = torch.tensor([[0.04, 0.2, 0.5, 0.3, -1.0, 0.6, 0.4], [-1.16, 0.9, 0.0, 0.1, 0.5, 0.1, 0.9]])


def test_as_stored_is_what_rows_are_after_the_way_there_and_back() -> None:
    stored = TABLE.as_stored(ROWS)
    assert stored[:, 1:4].tolist() == [[0, 1, 0], [1, 0, 0]]
    assert stored[:, 5:].tolist() == [[1, 0], [0, 1]]
    assert stored[:, 0].tolist() == pytest.approx([0.0, -1.2])
    assert torch.equal(stored[:, 4], ROWS[:, 4])
    assert torch.allclose(TABLE.as_stored(stored), stored)
    assert TABLE.decode(stored) == TABLE.decode(ROWS)
    assert ROWS[0, 1] == 0.2  # the argument is left as it was


def test_a_coding_is_kept_with_the_structure_and_must_fit_it() -> None:
    structure = Structure("mlp", (7,), coding=TABLE)
    assert Structure.from_json(structure.as_json()) == structure
    Coding((Column("x"), Column("n", 10.0, 1.0, whole=True))).check((2, 3))
    with pytest.raises(UserError, match=r"coding of 4 columns is of samples of shape \(7,\).*given the sample_shape"):
        Structure("mlp", (8,), coding=TABLE)
    with pytest.raises(UserError, match="with as many channels"):
        Structure("mlp", (4, 10), coding=TABLE)


def test_a_generator_gives_shares_of_each_categorical_column_and_is_a_module_of_lanes() -> None:
    """Shares sum to one, other entries have no bounds and are as the network gives them."""
    inner = nn.Linear(5, 7)
    with torch.no_grad():
        inner.bias += 3
    wrapped, z = Categorical(inner, TABLE), torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
    samples = wrapped(z)
    assert torch.allclose(samples[:, 1:4].sum(1), torch.ones(9))
    assert torch.allclose(samples[:, 5:].sum(1), torch.ones(9))
    assert torch.equal(samples[:, [0, 4]], inner(z)[:, [0, 4]])
    assert torch.equal(samples[:, 1:4], inner(z)[:, 1:4].softmax(1))


def test_structures_with_categorical_columns_build_such_generators() -> None:
    structure = Structure("ffpred", (7,), latent_dim=4, coding=TABLE)
    assert isinstance(build(structure)[1], Categorical)
    numeric = Structure("ffpred", (2,), latent_dim=4, coding=Coding((Column("x"), Column("y"))))
    assert not isinstance(build(numeric)[1], Categorical)
    _, generator = initialise(structure, 0)
    samples = generator(torch.zeros(3, 4))
    assert samples.shape == (3, 7)
    assert torch.allclose(samples[:, 5:].sum(1), torch.ones(3))
