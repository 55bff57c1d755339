"""Networks that are told numbers: against the textbook, lane by lane, their data, and their exports."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from tests.core.cohorts import cohort_of, distance_from_alone, largest_difference, pixels
from tests.core.hostile import encoded
from tests.core.test_spectral import our_name, plain_torch
from tests.reference import Drawn, textbook
from wgan_core.config import Hyper, Structure, Trial
from wgan_core.data.coding import Coding, Column
from wgan_core.data.folder import Folder
from wgan_core.data.images import has_images, load_images
from wgan_core.data.tables import load_table
from wgan_core.errors import UserError
from wgan_core.networks.conditioning import Conditional
from wgan_core.networks.network import build, initialise
from wgan_core.networks.pairs.projection import ConditionalBatchNorm, ProjectionCritic
from wgan_core.sampling.generator import InUnits, averaged_generator, program, read_generator, write_generator
from wgan_core.training import checkpoint as checkpoints
from wgan_core.training.checkpoint import Checkpoint
from wgan_core.training.cohort import Cohort
from wgan_core.training.data import TrainingData
from wgan_core.training.preflight import check_fit
from wgan_core.training.samples import evaluation_labels, grid_conditions

CONDITIONS = Coding((Column("mass", 70.0, 12.0), Column("count", 3.0, 2.0, whole=True)))
TRIALS = [Trial(n, 40 + n, Hyper(10.0 ** (1 - n), 1e-3, 5e-4, 1 + n, 0.5, 0.9)) for n in range(3)]
GIVEN = torch.randn(200, 2, generator=torch.Generator().manual_seed(8))
MLP = Structure("mlp", (1, 8, 8), 6, 9, dtype="float64", conditions=CONDITIONS)
CONV = replace(MLP, networks="conv")
PROJECTION = Structure(
    "projection",
    (1, 28, 28),
    latent_dim=6,
    batch_size=6,
    dtype="float64",
    loss="hinge",
    network_options={"critic": {"width": 3}, "generator": {"width": 3}},
    conditions=CONDITIONS,
    spectral_norm=True,
)


def data_of(structure: Structure, given: Tensor = GIVEN) -> TrainingData:
    return TrainingData(pixels(structure.sample_shape), given)


@pytest.mark.parametrize("structure", [MLP, CONV], ids=["mlp", "conv"])
def test_updates_equal_the_textbook(structure: Structure) -> None:
    trial = TRIALS[1]
    oracle = textbook(structure, trial, initialise)
    oracle.run(Drawn(structure, pixels(), [trial.seed], GIVEN), range(4))
    cohort = cohort_of(structure, [trial], [4], data=data_of(structure))
    cohort.advance()
    ours = {name: tensor[0] for name, tensor in cohort.state_of(trial.number).tensors().items()}
    assert largest_difference(oracle.tensors(), ours) < 1e-10


def test_updates_of_the_projection_pair_equal_the_textbook() -> None:
    trial = TRIALS[1]
    oracle = plain_torch(PROJECTION, trial)
    oracle.run(Drawn(PROJECTION, pixels((1, 28, 28)), [trial.seed], GIVEN.double()), range(6))
    cohort = cohort_of(PROJECTION, [trial], [6], data=data_of(PROJECTION))
    cohort.advance()
    ours = {name: tensor[0] for name, tensor in cohort.state_of(trial.number).tensors().items()}
    expected = {our_name(name): tensor for name, tensor in oracle.tensors().items()}
    assert largest_difference(expected, ours) < 1e-10


@pytest.mark.parametrize(("structure", "updates"), [(MLP, 6), (CONV, 6), (PROJECTION, 3)], ids=["mlp", "conv", "proj"])
def test_lanes_equal_the_same_trials_alone(structure: Structure, updates: int) -> None:
    assert distance_from_alone(structure, TRIALS, updates, data_of(structure)) < 1e-11


def test_fakes_have_the_conditions_of_their_reals_and_the_generators_own_follow_the_data() -> None:
    # A sample whose pixels say which conditions it has.
    given = torch.stack([torch.arange(200.0), -torch.arange(200.0)], dim=1)
    data = torch.arange(200, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 8, 8).contiguous()
    batches, drawn = Drawn(MLP, data, [5], given), []
    for update in range(100):
        batch = batches.critic([update])
        assert batch.labels is not None
        assert torch.equal((127.5 * (batch.real[0, :, 0, 0, 0] + 1)).round(), batch.labels[0, :, 0].double())
        _, told = batches.generator([update])
        assert told is not None
        assert torch.equal(told[..., 0], -told[..., 1])
        drawn.append(told)
    assert float(torch.cat(drawn)[..., 0].mean()) == pytest.approx(99.5, abs=6)
    assert not torch.equal(drawn[0], batches.critic([0]).labels)


def test_the_code_is_the_values_beside_vectors_and_constant_planes_beside_images() -> None:
    given = torch.tensor([[0.5, -2.0], [1.0, 3.0]])
    vector = Conditional(nn.Identity(), 0, 0, flat=True)(torch.full((2, 1, 1, 2), 7.0), given)
    assert vector.tolist() == [[7, 7, 0.5, -2], [7, 7, 1, 3]]
    planes = Conditional(nn.Identity(), 0, 0, flat=False)(torch.full((2, 1, 2, 2), 7.0), given)
    assert planes.shape == (2, 3, 2, 2)
    assert planes[:, 1:].flatten(2).unique(dim=2).squeeze(2).tolist() == given.tolist()


def test_a_score_is_the_unconditional_one_and_the_projection_on_a_linear_map_of_the_conditions() -> None:
    critic, _ = initialise(replace(PROJECTION, spectral_norm=False), 0)
    assert isinstance(critic, ProjectionCritic)
    assert isinstance(critic.embedding, nn.Linear)
    x, given = torch.randn(3, 1, 28, 28).double(), torch.randn(3, 2).double()
    features = critic.blocks(x).sum(dim=(2, 3))
    expected = F.linear(features, critic.score.weight)[:, 0] + (given @ critic.embedding.weight.T * features).sum(1)
    assert torch.allclose(critic(x, given), expected)


def test_a_conditional_normalisation_has_a_scale_and_a_shift_that_are_linear_in_the_conditions() -> None:
    layer, x, given = ConditionalBatchNorm(2, 0, conditions=1), torch.randn(5, 2, 4, 4), torch.arange(5.0)[:, None]
    plain = nn.BatchNorm2d(2)
    assert torch.allclose(layer(x, given), plain(x), atol=1e-6)
    with torch.no_grad():
        layer.scale.weight[:, 0] = torch.tensor([2.0, -1.0])
        layer.shift.weight[:, 0] = torch.tensor([0.5, 3.0])
    scale = 1 + given * torch.tensor([2.0, -1.0])
    expected = plain(x) * scale[..., None, None] + (given * torch.tensor([0.5, 3.0]))[..., None, None]
    assert torch.allclose(layer(x, given), expected, atol=1e-5)


def test_conditions_are_told_apart() -> None:
    for structure in (MLP, CONV, replace(PROJECTION, spectral_norm=False)):
        critic, generator = (network.double() for network in build(structure))
        generator.eval()
        with torch.no_grad():  # the maps of the conditions in the projection pair's generator start at zero
            for parameter in generator.parameters():
                parameter += 0.1 * (parameter == 0)
        z, x = torch.randn(5, 6).double(), torch.randn(5, *structure.sample_shape).double()
        for net, inputs in ((generator, z), (critic, x)):
            low, high = (net(inputs, torch.full((5, 2), value).double()) for value in (-1.0, 1.0))
            assert not torch.allclose(low, high)


def test_conditions_of_scores_are_rows_of_the_data() -> None:
    drawn = evaluation_labels(MLP, GIVEN, 4000)
    assert drawn is not None
    assert drawn.shape == (4000, 2)
    assert (drawn[:, None] == GIVEN).all(2).any(1).all()


def test_a_structure_with_conditions_survives_json_and_one_without_reads_as_before() -> None:
    assert Structure.from_json(MLP.as_json()) == MLP
    plain = replace(MLP, conditions=None)
    before = {name: value for name, value in plain.as_json().items() if name != "conditions"}
    assert Structure.from_json(before) == plain
    assert not plain.is_conditional
    assert (MLP.code_length, plain.code_length, replace(plain, classes=3).code_length) == (2, 0, 3)


def test_a_structure_that_cannot_be_conditioned_is_refused_in_one_line() -> None:
    for wrong, said in (
        ({"classes": 3}, "conditions must be numeric columns"),
        ({"conditions": Coding((Column("a", values=("x", "y")),))}, "1 columns of categories: leave those out"),
        ({"conditions": Coding(())}, "conditions must be 1 to"),
        ({"conditions": Coding((Column("a", sd=float("nan")),))}, "must have a finite mean and spread"),
        ({"label_embedding": 4}, "label_embedding must be 0 where there are no classes"),
    ):
        with pytest.raises(UserError, match=said) as info:
            replace(MLP, **wrong)
        assert "\n" not in str(info.value)


def test_data_without_the_conditions_is_refused() -> None:
    for given in (None, GIVEN[:, :1], torch.zeros(200, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"2 conditions need those of the data, \(200, 2\): given"):
            Cohort(MLP, TrainingData(pixels(), given), [1])
    check_fit(PROJECTION, 1)


# Data


def test_the_conditions_of_a_table_are_columns_of_its_own_and_the_rest_is_as_without() -> None:
    with_conditions, whole = (
        load_table("diabetes", condition=names, coding="standard") for names in (["bp", "bmi", "bp"], [])
    )
    coding, conditions = with_conditions.coding, with_conditions.conditions
    assert whole.coding is not None
    assert coding is not None
    assert conditions is not None
    assert [column.name for column in conditions.columns] == ["bp", "bmi"]
    places = {column.name: at.start for column, at in whole.coding.placed()}
    assert [column.name for column in coding.columns] == [name for name in places if name not in ("bp", "bmi")]
    for name in ("train", "validation", "test"):
        ours, theirs = getattr(with_conditions, name), getattr(whole, name)
        np.testing.assert_array_equal(ours.labels, theirs.values[:, [places["bp"], places["bmi"]]])
        np.testing.assert_array_equal(ours.values[:, 0], theirs.values[:, places["age"]])
        assert ours.labels.dtype == np.float32
    assert with_conditions.digest not in (whole.digest, load_table("diabetes", condition=["bmi", "bp"]).digest)
    assert whole.conditions is None


def table_of(path: Path, **columns: Any) -> Path:
    rows = {"a": np.arange(40.0), "b": np.arange(40) % 7, "c": ["x", "y"] * 20, **columns}
    pq.write_table(pa.table(rows), path)
    return path


@pytest.mark.parametrize(
    ("options", "columns", "said"),
    [
        ({"condition": ["d"]}, {}, "--condition must name columns of .*, which has a, b, c; given 'd': check the name"),
        (
            {"condition": ["c"]},
            {},
            "--condition must name columns of numbers; 'c' is read as text: number its values",
        ),
        (
            {"condition": ["b"], "categorical": ["b", "c"]},
            {},
            "a column must be one of numbers or of categories; 'b' is named as both: name it once",
        ),
        ({"condition": ["a"], "drop": ["a"]}, {}, "a condition must stay in the table; --drop has 'a' too"),
        ({"condition": ["a", "b"], "drop": ["c"]}, {}, "a table must have columns to learn; .* has only 'a'"),
        (
            {"condition": ["a"], "drop": ["c"]},
            {"a": [None, *np.arange(39.0)]},
            "must have a value in each row; row 0 of .* has none in 'a': .* or leave it out of --condition",
        ),
        (
            {"condition": ["a"], "drop": ["c"]},
            {"a": [1.0] * 40},
            "--condition must name columns of numbers; 'a' is read as always 1.0",
        ),
    ],
)
def test_columns_that_cannot_be_conditions_are_refused_in_one_line(
    tmp_path: Path, options: dict[str, Any], columns: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said) as info:
        load_table(table_of(tmp_path / "t.parquet", **columns), **options)
    assert "\n" not in str(info.value)


def images_of(path: Path, **columns: Any) -> Path:
    """50 images of 4 x 6 pixels, with these columns beside them."""
    pixels = np.random.default_rng(0).integers(0, 256, (50, 4, 6), np.uint8)
    column = [{"bytes": encoded(Image.fromarray(image), "PNG"), "path": None} for image in pixels]
    pq.write_table(pa.table({"image": column, **columns}), path)
    return path


def test_the_conditions_of_images_are_standardised_columns(tmp_path: Path) -> None:
    energy, angle = np.linspace(5, 9, 50), np.arange(50)
    path = images_of(tmp_path / "i.parquet", energy=energy, angle=angle, label=np.arange(50) % 5)
    assert has_images(path)
    dataset = load_images(path, ["angle", "energy"])
    assert dataset.conditions is not None
    parts = [dataset.train, dataset.validation, dataset.test]
    found = np.concatenate([part.labels for part in parts])  # type: ignore[misc]
    columns = dataset.conditions.columns
    assert [column.name for column in columns] == ["angle", "energy"]
    for at, (column, given) in enumerate(zip(columns, (angle, energy), strict=True)):
        assert found[:40, at].mean() == pytest.approx(0, abs=1e-6)
        assert found[:40, at].std() == pytest.approx(1, rel=1e-6)
        np.testing.assert_allclose(
            np.sort(found[:, at] * column.sd + column.mean), np.sort(given), rtol=1e-5, atol=1e-4
        )
    assert load_images(path).conditions is None
    assert load_images(path, ["energy"]).digest != dataset.digest


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"b": np.arange(50)}, "--condition must name columns of .*, which has image, b; given 'a': check the name"),
        ({"a": ["x"] * 50}, "--condition must name columns of numbers; 'a' is string"),
        ({"a": [None, 1.0] * 25}, "must have a finite number in each row; row 0 of .* has none in 'a'"),
        (
            {"a": [2.0] * 50},
            "a condition must vary in the training split; 'a' is 2 there, with a spread of 0: leave it",
        ),
        ({"a": [0.0, 1e300] * 25}, "a condition must vary in the training split; 'a' is .*, with a spread of inf"),
    ],
)
def test_columns_beside_images_that_cannot_be_conditions_are_refused(
    tmp_path: Path, columns: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said) as info:
        load_images(images_of(tmp_path / "i.parquet", **columns), ["a"])
    assert "\n" not in str(info.value)


def test_a_table_has_no_images(tmp_path: Path) -> None:
    assert not has_images(table_of(tmp_path / "t.parquet", image=np.arange(40.0)))
    (tmp_path / "t.csv").write_text("image\n1\n")
    assert not has_images(tmp_path / "t.csv")
    with pytest.raises(UserError, match=r"must be a Parquet or CSV file or a folder of them, or one of wine; "):
        has_images(tmp_path / "nothing", ("wine",))


# Exports


@pytest.mark.parametrize(("mean", "sd"), [(70.0, 12.0), (1.7e9, 60.0)])
def test_from_the_checkpoint_to_the_program_in_the_datas_units(tmp_path: Path, mean: float, sd: float) -> None:
    conditions = Coding((Column("mass", mean, sd), Column("count", 3.0, 2.0)))
    structure, trial = replace(MLP, dtype="float32", conditions=conditions), TRIALS[0]
    cohort = cohort_of(structure, [trial], [3], data=data_of(structure))
    cohort.advance()
    kept = Checkpoint(trial, structure, 3, cohort.state_of(0), {"eval/a": 1.0})
    found = checkpoints.read(checkpoints.write(Folder.at(tmp_path), kept))
    assert found.structure == structure
    z, given = torch.randn(7, 6), torch.randn(7, 2)
    in_units = given.double() * torch.tensor([sd, 2.0]) + torch.tensor([mean, 3.0], dtype=torch.float64)
    expected = cohort.samples(0, z, given)
    torch.testing.assert_close(averaged_generator(found)(z, in_units), expected)
    write_generator(Folder.at(tmp_path / "model"), found)
    torch.testing.assert_close(read_generator(Folder.at(tmp_path / "model"))(z, in_units), expected)
    said = json.loads((tmp_path / "model" / "generator.json").read_text())["input"]
    assert said.endswith("; conditions: float64 (N, 2), in the data's own units: mass, count")
    loaded = torch.export.load(io.BytesIO(program(found))).module()
    torch.testing.assert_close(loaded(z, in_units), expected)


def test_conditions_beside_a_large_mean_keep_their_digits() -> None:
    conditions = Coding((Column("time", 1.7e9, 60.0),))
    module = InUnits(Conditional(nn.Identity(), 0, 0, flat=True), conditions, torch.float32)
    late = torch.tensor([[1.7e9 + 90]], dtype=torch.float64)
    assert module(torch.zeros(1, 1), late).tolist() == [[0, 1.5]]


def test_a_picture_shows_conditions_in_order() -> None:
    given = torch.tensor([[3.0, 0.0], [1.0, 1.0], [2.0, 2.0], [0.0, 3.0]])
    assert grid_conditions(given, 2).tolist() == [[0, 3], [2, 2]]
    assert grid_conditions(given, 6)[:, 0].tolist() == [0, 0, 1, 2, 2, 3]
