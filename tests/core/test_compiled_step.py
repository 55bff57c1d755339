"""Updates compiled as a whole are the updates they are compiled from: shown up to the code that a GPU would get."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from wgan_core import compiled_step, kernels, networks, step
from wgan_core.compiled_step import CompiledStep, apart, step_of
from wgan_core.config import Hyper, Structure, Trial
from wgan_core.graph import CAPTURED, COMPILED, EAGER
from wgan_core.lanes import Lanes
from wgan_core.loop import Cohort
from wgan_core.networks import Pair
from wgan_core.optim import OPTIMISERS
from wgan_core.pairs.mlp import mlp_generator
from wgan_core.state import State
from wgan_core.step import CriticBatch

CPU = torch.device("cpu")
NARROW = {"critic": {"widths": [16, 8]}, "generator": {"widths": [8, 16, 8]}}
MLP = Structure("mlp", (1, 8, 8), latent_dim=6, batch_size=9, dtype="float64", network_options=NARROW)
CONV = replace(MLP, networks="conv", network_options={}, classes=3)
# Layers of one shape.
SQUARE = Structure(
    "mlp",
    (4,),
    latent_dim=6,
    batch_size=9,
    dtype="float64",
    network_options={"critic": {"widths": [4, 4, 4]}, "generator": {"widths": [4]}},
)
UPDATES = 14


@pytest.fixture(autouse=True)
def by_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """Optimisers as on a GPU: torch's own kernel on the CPU reads the rates of a lane."""
    monkeypatch.setattr(step, "mover", lambda name, device: kernels.by_rule(OPTIMISERS[name], "meta"))


def trained(structure: Structure, width: int, made: Callable[[Structure], step.Step]) -> tuple[Cohort, list[Any]]:
    """A cohort whose n_critics differ, after some updates and a report, and that report but for its time."""
    noise = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8, generator=noise)
    labels = torch.randint(0, 3, (40,), generator=noise) if structure.classes else None
    cohort = Cohort(structure, pixels, (UPDATES,), CPU, width, labels)
    cohort._step = made(structure)
    for number in range(width):
        cohort.add(Trial(number, 50 + number, Hyper(10.0 / (1 + number), 1e-3, 2e-3, 1 + number, 0.2 * number, 0.9)))
    return cohort, [replace(report, seconds=0.0) for report in cohort.advance()]


def compiled_for(structure: Structure) -> CompiledStep:
    return CompiledStep(structure, CPU)


def apart_by(one: Cohort, other: Cohort) -> float:
    pairs = [(one.state_of(each.number).tensors(), other.state_of(each.number).tensors()) for each in one.trials]
    return max(float((ours[name] - theirs[name]).abs().max()) for ours, theirs in pairs for name in ours)


def noting(names: list[str], method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, which adds its name to a list whenever it is called."""

    @wraps(method)
    def noted(*given: Any) -> Any:
        names.append(method.__name__)
        return method(*given)

    return noted


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize(
    "structure",
    [
        MLP,
        CONV,
        replace(MLP, objective="hinge", optimiser="sgd"),
        replace(MLP, objective="gan-r1", optimiser="rmsprop"),
    ],
    ids=["mlp", "conv with labels", "hinge and sgd", "r1 and rmsprop"],
)
def test_a_traced_update_is_the_update(structure: Structure, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    carried_out = []
    for name in ("update_critic", "update_generator"):
        plain = getattr(step.Step, name)
        monkeypatch.setattr(step.Step, name, noting(carried_out, plain))
    ours, reports = trained(structure, width, compiled_for)
    assert carried_out == ["update_critic", "update_generator"]  # to be traced; the others are of the trace
    theirs, expected = trained(structure, width, step.Step)
    assert apart_by(ours, theirs) < 1e-12
    assert [report.means for report in reports] == [pytest.approx(report.means, rel=1e-9) for report in expected]
    assert not any(report.problem for report in reports)


def test_what_is_traced_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with the options that a GPU's code is generated with, which torch checks first."""
    given = []

    def up_to_code(function: Any, device: str, options: dict[str, Any], otherwise: Any) -> Any:
        given.append(torch.compile(function, options=options))
        return torch.compile(function, fullgraph=True, backend="aot_eager")

    monkeypatch.setattr(compiled_step, "compiled", up_to_code)
    ours, _ = trained(MLP, 3, compiled_for)
    theirs, _ = trained(MLP, 3, step.Step)
    assert apart_by(ours, theirs) < 1e-12
    assert len(given) == 2


def test_an_update_is_traced_once_for_each_number_of_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    traced = []

    def note(function: Any, *_: Any, **__: Any) -> Any:
        traced.append(function)
        return function

    monkeypatch.setattr(compiled_step, "compiled", note)
    cohort, _ = trained(replace(MLP, dtype="float32"), 3, compiled_for)
    assert len(traced) == 2
    newcomer = Trial(9, 77, Hyper(3.0, 5e-4, 3e-4, 2, 0.1, 0.99))
    cohort.grid = (*cohort.grid, 2 * UPDATES, 10**6)
    cohort.drop(0)
    cohort.add(newcomer)
    cohort.advance()
    assert len(traced) == 2
    cohort.drop(1)
    cohort.resize(2)
    cohort.advance()
    assert len(traced) == 4


class Looks(nn.Module):
    """A critic that reads what it computes, as no trace can."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.layer(x.flatten(1)).squeeze(1)
        return scores if float(scores.detach().sum()) > 0 else 2 * scores


def test_what_cannot_be_traced_is_carried_out_as_it_is_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(networks.PAIRS, "looks", Pair(lambda structure: Looks(), mlp_generator))
    structure = replace(MLP, networks="looks", network_options={})
    with caplog.at_level(logging.WARNING, compiled_step.__name__):
        ours, _ = trained(structure, 1, compiled_for)
    theirs, _ = trained(structure, 1, step.Step)
    assert apart_by(ours, theirs) == 0
    said = [record.getMessage() for record in caplog.records if record.name == compiled_step.__name__]
    assert len(said) == 2
    assert all("is not compiled as a whole, which takes longer: " in each for each in said)


@pytest.mark.parametrize(
    ("device", "execution", "is_whole"),
    [("cuda", COMPILED, True), ("cuda", CAPTURED, False), ("cuda", EAGER, False), ("cpu", COMPILED, False)],
)
def test_only_a_gpus_updates_are_compiled_and_where_it_is_asked_for(
    device: str, execution: str, is_whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled_step, "has_triton", lambda: True)
    assert (type(step_of(MLP, torch.device(device), execution)) is CompiledStep) is is_whole


def test_without_triton_it_is_said_that_nothing_is_compiled(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compiled_step, "has_triton", lambda: False)
    with caplog.at_level(logging.WARNING, compiled_step.__name__):
        made = step_of(MLP, torch.device("cuda"), COMPILED)
    assert type(made) is step.Step
    assert "Triton is not there" in caplog.text


def test_a_part_that_is_compiled_by_itself_is_not_where_it_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    def compile_(function: Any, **_: Any) -> Any:
        def way(*given: Any) -> Any:
            called.append(function)
            return function(*given)

        return way

    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setattr(kernels, "has_triton", lambda: True)
    part = kernels.compiled(lambda x: 2 * x, "cuda")
    graph = make_fx(lambda x: part(x) + 1, tracing_mode="fake")(torch.ones(3))
    assert graph(torch.ones(3)).tolist() == [3, 3, 3]
    assert not called
    assert part(torch.ones(3)).tolist() == [2, 2, 2]
    assert len(called) == 1


def test_what_cannot_be_compiled_as_a_whole_has_its_parts_compiled(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("out of registers")

    compile_ = torch.compile
    monkeypatch.setattr(kernels, "has_triton", lambda: True)
    monkeypatch.setattr(torch, "compile", lambda function, **_: compile_(function, backend=fails))
    way = kernels.compiled(lambda x: 2 * x, "cuda", otherwise=lambda x: 3 * x)
    assert way(torch.ones(1)).tolist() == [3]
    assert "out of registers" in caplog.text


def test_want_of_memory_is_not_taken_for_what_cannot_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be carried out again, on a state that is half updated, and no lane be given up."""

    def runs_out(graph: Any, inputs: Any) -> Any:
        def run(*tensors: Tensor) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

        return run

    compile_ = torch.compile
    monkeypatch.setattr(kernels, "has_triton", lambda: True)
    monkeypatch.setattr(torch, "compile", lambda function, **_: compile_(function, fullgraph=True, backend=runs_out))
    made = CompiledStep(SQUARE, torch.device("cuda"))
    with pytest.raises(torch.OutOfMemoryError):
        made.update_critic(*given_to(State.initial(SQUARE, 3, CPU)))


def given_to(state: State) -> tuple[State, Lanes, CriticBatch]:
    """What a critic update of a lane of `SQUARE` takes."""
    noise = torch.Generator().manual_seed(2)
    drawn = (torch.rand(1, 9, *shape, generator=noise, dtype=torch.float64) for shape in ((4,), (6,), ()))
    return state, Lanes.of([Trial(0, 0, Hyper(10.0, 1e-3, 1e-3, 1, 0.0, 0.9))], [0], CPU), CriticBatch(*drawn)


def test_a_state_from_a_file_is_not_taken_for_one_in_another_order() -> None:
    """Of equal shapes, by which alone two of its tensors cannot be told apart."""
    state = State.initial(SQUARE, 3, CPU)
    tensors = state.tensors()
    turned = State.from_tensors({name: tensors[name].clone() for name in reversed(tensors)})
    made = compiled_for(SQUARE)
    for each in (state, turned):
        made.update_critic(*given_to(each))
    assert len(made._ways) == 1
    assert all(torch.equal(value, turned.tensors()[name]) for name, value in state.tensors().items())


def test_a_thing_of_tensors_comes_apart_and_together_again() -> None:
    given = {"a": torch.ones(2), "b": None, "c": {"d": torch.zeros(3)}}
    tensors: list[Tensor] = []
    builder = apart(given, tensors)
    assert [len(tensor) for tensor in tensors] == [2, 3]
    other = [torch.full((2,), 5.0), torch.full((3,), 6.0)]
    built = builder(iter(other))
    assert built["a"] is other[0]
    assert built["b"] is None
    assert built["c"]["d"] is other[1]
