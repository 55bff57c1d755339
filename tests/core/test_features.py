"""FID and KID on a person's own features are those of the formulas, known by name, and their file runs nothing."""

import hashlib
import io
import json
import math
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from wgan_core.data.dataset import Dataset, Split, to_model
from wgan_core.data.mnist import load_mnist
from wgan_core.errors import UserError
from wgan_core.metrics import Evaluator, check_objective, known_metrics, resolve_objective
from wgan_core.metrics.evaluator import REFERENCE_SEED, draw
from wgan_core.metrics.features import OwnFeatures, loaded
from wgan_core.metrics.program import Program, ProgramError, operator_named
from wgan_core.metrics.specs import SLICED_NAME, fid_name, kid_name

SHAPE = (3, 8, 8)
# More than one batch of 250.
SIZE = 300
MODEL = "archive/models/model.json"
BATCH = torch.export.Dim("batch")


class Given(nn.Module):
    """A network written as a function of the images."""

    def __init__(self, forward: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.given = forward

    def forward(self, x: Tensor) -> Any:
        return self.given(x)


def tiny(channels: int = 3) -> nn.Module:
    torch.manual_seed(7)
    network = nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(inplace=True), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.Dropout(), nn.Linear(32, 12),
    )  # fmt: skip
    return network.eval().requires_grad_(False)


def program_of(
    network: nn.Module, shape: tuple[int, ...] = SHAPE, sizes: Any = BATCH, dtype: torch.dtype = torch.float32
) -> bytes:
    """The program of a network as a file, for any number of images unless `sizes` says otherwise."""
    dynamic = None if sizes is None else ({0: sizes},)
    buffer = io.BytesIO()
    example = torch.zeros(4, *shape, dtype=dtype)
    torch.export.save(torch.export.export(network, (example,), dynamic_shapes=dynamic), buffer)
    return buffer.getvalue()


def saved(path: Path, network: nn.Module, *details: Any) -> Path:
    path.write_bytes(program_of(network, *details))
    return path


def rewritten(data: bytes, changes: dict[str, Callable[[bytes], bytes]]) -> bytes:
    """An archive with the files that end so changed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(buffer, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            for ending, change in changes.items():
                content = change(content) if name.endswith(ending) else content
            target.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def colour() -> Dataset:
    pixels = np.random.default_rng(0).integers(0, 256, (3 * SIZE, *SHAPE), np.uint8)
    pixels[:SIZE] //= 2
    splits = (Split(part, None) for part in np.split(pixels, 3))
    return Dataset.of("images:t", *splits)


@pytest.fixture(scope="module")
def images(colour: Dataset) -> Tensor:
    """Images that no reference holds."""
    return to_model(torch.from_numpy(colour.test.values // 3), torch.float32)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("features") / "My tiny-net.pt2", tiny())


@pytest.fixture(scope="module")
def evaluator(colour: Dataset, file: Path) -> Evaluator:
    return Evaluator.build(colour, sample_size=SIZE, features=file)


# What is measured


def test_the_metrics_are_named_after_the_file_and_its_hash_and_fid_is_the_objective(
    evaluator: Evaluator, file: Path
) -> None:
    label = f"my_tiny_net_{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}"
    assert evaluator.names == (f"eval/fid_{label}", f"eval/kid_{label}", SLICED_NAME)
    assert evaluator.objective_default == f"eval/fid_{label}"
    assert set(evaluator.floors) == set(evaluator.names)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("resnet18.pt2", "resnet18"),
        ("Inception v3-2015.b.pt2", "inception_v3_2015_b"),
        ("a_much_too_long_name_of_a_file.pt2", "a_much_too_long_name"),
        ("a_much_too_long_nam_e.pt2", "a_much_too_long_nam"),
        ("特徴.pt2", "features"),
    ],
)
def test_the_name_of_a_file_becomes_part_of_a_metric(name: str, stem: str) -> None:
    features = OwnFeatures.of(Path(name), b"content")
    assert features.stem == stem
    assert features.label == f"{stem}_ed7002b4"
    assert features.protocol()["program_sha256"].startswith("ed7002b4")


def test_the_protocol_holds_the_whole_hash_and_can_be_written(evaluator: Evaluator, file: Path) -> None:
    assert json.loads(json.dumps(evaluator.protocol)) == evaluator.protocol
    for name in evaluator.names[:2]:
        assert evaluator.protocol["metrics"][name]["program_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert str(file.parent) not in json.dumps(evaluator.protocol)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save")
def test_scores_are_torchmetrics_on_the_networks_own_features(
    colour: Dataset, evaluator: Evaluator, images: Tensor
) -> None:
    network = tiny()
    real, fake = network(draw(colour.validation, SIZE, REFERENCE_SEED).values), network(images)
    extractor = nn.Identity()
    extractor.num_features = 12  # type: ignore[assignment]
    frechet = FrechetInceptionDistance(feature=extractor)
    kernel = KernelInceptionDistance(feature=extractor, subsets=1, subset_size=SIZE)
    for metric in (frechet, kernel):
        metric.update(real.double(), real=True)
        metric.update(fake.double(), real=False)
    scores = evaluator.scores(images)
    fid, kid, _ = evaluator.names
    assert scores[fid] == pytest.approx(float(frechet.compute()), rel=1e-4)
    assert scores[kid] == pytest.approx(float(kernel.compute()[0]), rel=1e-4)
    assert scores[SLICED_NAME] == Evaluator.build(colour, sample_size=SIZE).scores(images)[SLICED_NAME]


def test_a_pickled_evaluator_reads_the_program_once_and_gives_the_same_scores(
    evaluator: Evaluator, images: Tensor, file: Path
) -> None:
    expected = evaluator.scores(images)
    again = pickle.loads(pickle.dumps(evaluator))
    loaded.cache_clear()
    assert again.scores(images) == again.scores(images) == expected
    assert loaded.cache_info().misses == 1
    assert again.protocol == evaluator.protocol
    assert len(repr(evaluator.references[0])) < file.stat().st_size  # the program is not printed


def test_on_digits_they_stand_beside_the_digit_features_which_keep_their_names_and_scores(tmp_path: Path) -> None:
    mnist = load_mnist()
    file = saved(tmp_path / "digits.pt2", tiny(1), (1, 28, 28))
    both, alone = Evaluator.build(mnist, sample_size=250, features=file), Evaluator.build(mnist, sample_size=250)
    assert both.names[2:] == alone.names == (fid_name(), kid_name(), SLICED_NAME)
    assert both.objective_default == both.names[0] == resolve_objective("fid", both.names) != fid_name()
    assert resolve_objective(fid_name(), both.names) == fid_name()
    assert {name: both.floors[name] for name in alone.names} == alone.floors
    assert {name: both.protocol["metrics"][name] for name in alone.names} == alone.protocol["metrics"]
    named = Evaluator.build(mnist, names=["kid", fid_name()], sample_size=250, features=file)
    assert named.names == (both.names[1], fid_name())


def test_short_names_mean_the_persons_features_and_all_are_declared(evaluator: Evaluator) -> None:
    fid, kid, _ = evaluator.names
    for given, full in (("fid", fid), ("eval/fid", fid), ("kid", kid), (kid.removeprefix("eval/"), kid), (fid, fid)):
        assert resolve_objective(given, evaluator.names) == full
    assert resolve_objective("kid", (kid,)) == kid
    for name in evaluator.names:
        spec = known_metrics(evaluator.names)[name]
        assert spec.comparable
        assert spec.direction == "minimize"
        assert spec.name == name
    assert fid not in known_metrics()
    with pytest.raises(UserError, match=rf"measured on the data of the sweep; {kid} is not; choose from: {fid}$"):
        check_objective("kid", (fid,))
    with pytest.raises(UserError, match=r"choose from: eval/sliced_wasserstein; .* --features"):
        check_objective("kid", (SLICED_NAME,))


def test_samples_whose_features_are_not_finite_score_nan_on_them(colour: Dataset, tmp_path: Path) -> None:
    network = Given(lambda x: x.flatten(1)[:, :4] / x.flatten(1).std(1, keepdim=True))
    evaluator = Evaluator.build(colour, sample_size=SIZE, features=saved(tmp_path / "f.pt2", network))
    scores = evaluator.scores(torch.zeros(SIZE, *SHAPE))
    assert all(math.isnan(scores[name]) for name in evaluator.names[:2])
    assert math.isfinite(scores[SLICED_NAME])


def test_scoring_leaves_the_samples_alone_though_the_program_works_in_place(colour: Dataset, tmp_path: Path) -> None:
    network = Given(lambda x: x.mul_(2).flatten(1)[:, :4])
    evaluator = Evaluator.build(colour, sample_size=SIZE, features=saved(tmp_path / "f.pt2", network))
    assert evaluator.floors[SLICED_NAME] == Evaluator.build(colour).floors[SLICED_NAME]


# What is refused


def refused(dataset: Dataset, path: Path) -> str:
    with pytest.raises(UserError) as caught:
        Evaluator.build(dataset, features=path)
    message = str(caught.value)
    assert message.startswith("--features")
    assert "\n" not in message
    return message


def test_a_file_that_is_missing_or_no_program_is_refused(colour: Dataset, tmp_path: Path) -> None:
    assert "No such file" in refused(colour, tmp_path / "missing.pt2")
    assert "directory" in refused(colour, tmp_path)
    text, weights = tmp_path / "text.pt2", tmp_path / "weights.pt2"
    text.write_text("features")
    torch.save(tiny().state_dict(), weights)
    for path in (text, weights):
        assert "torch.export.save" in refused(colour, path)


def test_a_program_for_a_fixed_number_of_images_is_refused(colour: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "f.pt2"
    for sizes, found in ((None, "takes 4;"), (torch.export.Dim("batch", min=1, max=64), "takes 1 to 64;")):
        message = refused(colour, saved(path, tiny(), SHAPE, sizes))
        assert found in message
        assert 'torch.export.Dim("batch")' in message


def test_a_program_for_other_images_is_refused(colour: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "f.pt2"
    assert "('N', 3, 8, 8)" in refused(colour, saved(path, tiny(1), (1, 28, 28)))
    double = saved(path, tiny().double(), SHAPE, BATCH, torch.float64)
    assert "fails on them: RuntimeError" in refused(colour, double)
    table = np.zeros((30, 7), np.float32)
    tables = Dataset.of("t", Split(table[:10], None), Split(table[10:20], None), Split(table[20:], None))
    assert "for images" in refused(tables, path)


@pytest.mark.parametrize(
    ("network", "found"),
    [
        (lambda x: x[:, :, :2, 0], "(N, D)"),
        (lambda x: x.flatten(1).sum(1), "(N, D)"),
        (lambda x: (x * 9).long().flatten(1), "gives torch.int64"),
        (lambda x: (x.flatten(1), x), "must give one tensor"),
        (lambda x: x.flatten(1)[:, :0], "gives 0;"),
        (lambda x: x.flatten(1).repeat(1, 22), f"1 to 4096 features; f.pt2 gives {22 * 192}; pool"),
        (lambda x: x.flatten(1).log(), "finite"),
        (lambda x: x.flatten(1) - x.flatten(1).mean(0), "call eval()"),
        (lambda x: F.dropout(x.flatten(1)), "call eval()"),
    ],
)
def test_features_that_cannot_be_used_are_refused(
    network: Callable[[Tensor], Any], found: str, colour: Dataset, tmp_path: Path
) -> None:
    message = refused(colour, saved(tmp_path / "f.pt2", Given(network)))
    assert found in message.replace(f"{tmp_path}/", "")


def test_features_of_a_training_image_that_are_not_finite_are_refused(colour: Dataset, tmp_path: Path) -> None:
    darkest = float(colour.train.values.reshape(SIZE, -1).mean(1).max()) / 127.5 - 1
    network = Given(lambda x: x.flatten(1)[:, :4] + (x.flatten(1).mean(1, keepdim=True) - darkest - 0.1).log())
    assert "finite" in refused(colour, saved(tmp_path / "f.pt2", network))


# The program, read as data


class Many(nn.Module):
    """What networks are made of: shared weights, constants, lists, attention, sizes, and a part without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, padding="same")
        self.norms = nn.ModuleList([nn.GroupNorm(2, 8), nn.BatchNorm2d(8)])
        self.attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")
        self.first = nn.Linear(8, 8)
        self.second = nn.Linear(8, 8)
        self.second.weight = self.first.weight
        self.register_buffer("shift", torch.randn(8), persistent=False)
        self.scale = torch.tensor([0.5])

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = F.interpolate((x + 1) * self.scale, size=(12, 12), mode="bilinear", antialias=True)
        x = F.max_pool2d(F.hardswish(self.convolution(x)), 2)
        for norm in self.norms:
            x = norm(x)
        x = x.view(x.shape[0], 8, -1).transpose(1, 2)
        x = self.attention(torch.cat([self.shift.expand(x.shape[0], 1, 8), x], 1))
        a, b = self.first(x).chunk(2, dim=-1)
        spread, mean = torch.var_mean(self.second(x), 1)
        return torch.cat([a.amax(1), F.softmax(b, -1).mean(1), spread, mean, x[:, 0]], 1)


@pytest.mark.parametrize("decomposed", [False, True])
def test_a_program_gives_what_torch_gives(decomposed: bool) -> None:
    network = Many().eval()
    exported = torch.export.export(network, (torch.zeros(4, *SHAPE),), dynamic_shapes=({0: BATCH},))
    buffer = io.BytesIO()
    torch.export.save(exported.run_decompositions() if decomposed else exported, buffer)
    program = Program.parse(buffer.getvalue())
    for size in (3, 250):
        x = torch.randn(size, *SHAPE)
        torch.testing.assert_close(program(x), network(x), rtol=1e-5, atol=1e-5)


class Touch:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_pickles_in_the_archive_are_not_read_and_sizes_not_evaluated(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    data = program_of(tiny())
    model = zipfile.ZipFile(io.BytesIO(data)).read(MODEL)
    (symbol,) = json.loads(model)["range_constraints"]
    code = f"__import__('pathlib').Path('{trace}').touch()".encode()
    model = model.replace(f"Symbol('{symbol}', positive=True, integer=True)".encode(), code)
    assert model.count(code) > 1
    changed = rewritten(data, {MODEL: lambda _: model, "model.pt": lambda _: pickle.dumps(Touch(trace))})
    x = torch.randn(3, *SHAPE)
    torch.testing.assert_close(Program.parse(changed)(x), tiny()(x))
    assert not trace.exists()


@pytest.mark.parametrize("folder", ["weights", "constants"])
def test_weights_that_are_pickled_are_refused(folder: str) -> None:
    listing = f"{folder}/model_{folder}_config.json"
    entry = {"path_name": "opaque_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    content = json.dumps({"config": {"0.weight": entry}}).encode()
    pickled = rewritten(program_of(tiny()), {listing: lambda _: content})
    with pytest.raises(ProgramError, match="pickled"):
        Program.parse(pickled)
    with pytest.raises(ProgramError, match="older format"):
        Program.parse(pickled.replace(listing.encode(), listing.upper().encode()))


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.load",
        "_operator.attrgetter",
        "torch.ops.aten.save.default",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.get_device.default",
        "torch.ops.aten.no_such.default",
        "torch.ops.mine.relu.default",
        "torch.ops.higher_order.cond",
        "torch.ops.aten.__class__.mro",
    ],
)
def test_a_node_can_name_nothing_but_harmless_operators(target: str) -> None:
    with pytest.raises(ProgramError, match=f"uses {target}, which"):
        operator_named(target)


def test_bytes_that_are_wrong_in_any_way_are_one_error() -> None:
    data = program_of(tiny())
    for changes in (
        {"models/model.json": lambda content: content.replace(b'"major": 8', b'"major": 9')},
        {"models/model.json": lambda content: content[:-9]},
        {"models/model.json": lambda _: b"[]"},
        {"weights/weight_0": lambda content: content[:-8]},
        {"models/model.json": lambda content: content.replace(b'"as_bool"', b'"as_custom_obj"')},
    ):
        with pytest.raises(ProgramError):
            Program.parse(rewritten(data, changes))
