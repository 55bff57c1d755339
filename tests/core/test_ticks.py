"""What a tick must be so that a GPU can record it once and replay it: shown without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from torch.utils._python_dispatch import TorchDispatchMode

from wgan_core.backend import graph, kernels
from wgan_core.backend.graph import ProgramRecorder
from wgan_core.config import Hyper, Structure, Trial
from wgan_core.data.coding import Coding, Column
from wgan_core.networks.conditioning import blank_labels
from wgan_core.networks.pairs import PAIRS
from wgan_core.rules.losses import LOSSES
from wgan_core.rules.optim import OPTIMISERS, StepTensors
from wgan_core.training.batches import BLOCK, Batches
from wgan_core.training.cohort import Cohort
from wgan_core.training.data import TrainingData
from wgan_core.training.state import TrainingState
from wgan_core.training.step import Step
from wgan_core.training.ticks import Ticks

HYPER = Hyper(10.0, 1e-4, 1e-4, 1, 0.5, 0.9)
NARROW = {"critic": {"widths": [16, 8]}, "generator": {"widths": [8, 16, 8]}}
MLP = Structure("mlp", (1, 8, 8), latent_dim=6, batch_size=9, network_options=NARROW)
OTHER = replace(MLP, network_options={})
STRUCTURES = {
    **{loss: replace(MLP, loss=loss) for loss in LOSSES},
    **{optimiser: replace(MLP, optimiser=optimiser) for optimiser in OPTIMISERS},
    "conv": replace(OTHER, networks="conv"),
    "dcgan": replace(OTHER, networks="dcgan", sample_shape=(1, 28, 28)),
    "residual": replace(OTHER, networks="residual", sample_shape=(3, 32, 32)),
    "projection": replace(OTHER, networks="projection", sample_shape=(3, 32, 32), classes=3, spectral_norm=True),
    "sequence": replace(OTHER, networks="sequence", sample_shape=(2, 16)),
    "ffpred": replace(OTHER, networks="ffpred", sample_shape=(12,)),
    "full batch": replace(MLP, full_batch=True, batch_size=50),
    "one-hot labels": replace(MLP, classes=3),
    "spectral": replace(MLP, loss="hinge", spectral_norm=True),
    "learnt labels": replace(OTHER, networks="conv", classes=3, label_embedding=4),
    "conditions": replace(MLP, conditions=Coding((Column("a"), Column("b")))),
}


def ticks_of(structure: Structure, width: int, device: torch.device) -> Ticks:
    data = torch.zeros(50, *structure.sample_shape, device=device)
    labels = blank_labels(structure, 50)
    start = TrainingState.initial(structure, 0, device)
    ticks = Ticks(
        Step(structure),
        TrainingData(data, labels if labels is None else labels.to(device)),
        start.lanes([0] * width),
        True,
    )
    for lane in range(width):
        ticks.put(lane, Trial(lane, lane, HYPER), start, 0)
    return ticks


class OneDevice(TorchDispatchMode):
    """Fails where an operation takes a value from one device to another."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        tensors = [each for each in (*args, *(kwargs or {}).values(), output) if isinstance(each, Tensor)]
        if len({tensor.device.type for tensor in tensors}) > 1:
            raise AssertionError(f"{function} has tensors on {[tensor.device.type for tensor in tensors]}")
        return output


def test_all_pairs_are_among_them() -> None:
    assert {structure.networks for structure in STRUCTURES.values()} >= PAIRS.keys()


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES)
def test_a_tick_reads_nothing_back_from_its_device(structure: Structure, width: int) -> None:
    """The meta device holds no values at all: whoever asks for one there, or copies one there, fails."""
    ticks = ticks_of(structure, width, torch.device("meta"))
    with OneDevice():
        for is_due in (True, False, True):
            ticks.tick(dict.fromkeys(range(width), 0), is_due)


def test_the_check_sees_what_reads_and_what_copies() -> None:
    nothing = torch.zeros(3, device="meta")
    with pytest.raises(RuntimeError, match="meta"), OneDevice():
        nothing.tolist()
    with pytest.raises(AssertionError, match="has tensors on"), OneDevice():
        nothing.copy_(torch.zeros(3))


def held(thing: object) -> dict[str, Tensor]:
    """All tensors that an object holds, by where they are, whatever it is made of."""
    found = {}
    for name, value in vars(thing).items():
        values = (
            value if isinstance(value, list | tuple) else list(value.values()) if isinstance(value, dict) else [value]
        )
        found |= {f"{name}.{n}": each for n, each in enumerate(values) if isinstance(each, Tensor)}
    return found


def test_all_that_a_tick_touches_stays_where_it_is() -> None:
    """Also when lanes change hands: a recorded program goes on writing where it wrote."""
    ticks = ticks_of(replace(OTHER, networks="conv", classes=3), 2, torch.device("cpu"))

    def places() -> dict[str, int]:
        parts = {"lanes": ticks.lanes, "means": ticks.means}
        parts |= {"critic": ticks._batches.for_critic, "generator": ticks._batches.for_generator}
        tensors = ticks.state.tensors() | {f"{a}.{b}": t for a, part in parts.items() for b, t in held(part).items()}
        return {name: tensor.data_ptr() for name, tensor in tensors.items()}

    for count in range(2):
        ticks.tick({0: count, 1: count}, True)
    before = places()
    assert len(before) == len(set(before.values())) > len(ticks.state.tensors()) + len(ticks.lanes.hyper)
    for count in range(2, 2 + BLOCK):
        ticks.tick({0: count, 1: count}, count % 3 == 0)
    ticks.vacate(1)
    ticks.tick({0: 2 + BLOCK}, True)
    ticks.put(1, Trial(5, 5, replace(HYPER, n_critic=7)), ticks.state.lanes([0]), 3)
    ticks.means.put(1, {"critic_loss": (1.0, 2)})
    ticks.tick({0: 3 + BLOCK, 1: 0}, True)
    ticks.means.take([0, 1])
    assert places() == before


def test_counts_run_far_apart_and_lanes_come_and_go() -> None:
    """Draws hold for a block of counts, of each lane its own: trials with n_critic 1 and 7, and newcomers."""
    structure = replace(MLP, dtype="float64")
    data = torch.randn(40, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    trials = [Trial(n, 50 + n, replace(HYPER, n_critic=n_critic)) for n, n_critic in enumerate((1, 7, 2, 1))]

    def cohort(width: int) -> Cohort:
        return Cohort(structure, TrainingData(data), [5 * step for step in range(1, 30)], width)

    together = cohort(3)
    for trial in trials[:3]:
        together.add(trial)
    for step in range(9):
        together.advance()
        if step == 3:
            together.drop(0)
        if step == 4:
            together.add(trials[3])
    for trial, reports in ((trials[1], 9), (trials[2], 9), (trials[3], 4)):
        alone = cohort(1)
        alone.add(trial)
        for _ in range(reports):
            alone.advance()
        expected, ours = alone.state_of(trial.number).tensors(), together.state_of(trial.number).tensors()
        assert max(float((expected[name] - ours[name]).abs().max()) for name in expected) < 1e-12, trial


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """As for a GPU, up to the code that is generated in the end."""
    return torch.compile(function, fullgraph=True, backend="aot_eager")


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_what_is_compiled_on_a_gpu_compiles_and_computes_the_same(
    optimiser: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For any number of lanes: after the second it is not compiled again."""
    plain = kernels.by_rule(OPTIMISERS[optimiser], "cpu")
    monkeypatch.setattr(kernels, "compiled", lambda function, device: traced(function))
    move = kernels.by_rule(OPTIMISERS[optimiser], "cpu")
    compiled = []
    for width in (3, 4, 5, 8):
        ticks = ticks_of(MLP, width, torch.device("cpu"))
        rates, share = ticks.lanes.generator_rates(), torch.linspace(0, 1, width, dtype=torch.float64)
        found = []
        for way in (move, plain):
            noise = torch.Generator().manual_seed(2)
            tensors = [[torch.rand(width, *shape, generator=noise) for shape in ((4, 5), (7,))] for _ in range(5)]
            way(StepTensors(*tensors, share), rates)
            found.append([tensor for group in tensors for tensor in group])
        for ours, theirs in zip(*found, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
        compiled.append(counters["stats"]["unique_graphs"])
    assert compiled[1] == compiled[2] == compiled[3]


def test_draws_compile_and_are_the_same_to_the_bit() -> None:
    seeds = torch.tensor([5, 2**62 + 3])
    data = TrainingData(torch.zeros(100, 1, 8, 8), torch.zeros(100, dtype=torch.int64))
    batches = Batches(replace(MLP, classes=3), data, seeds)
    updates = torch.tensor([0, 2**33])[:, None] + torch.arange(BLOCK)
    for draw in (batches._draw_critic, batches._draw_generator):
        for ours, theirs in zip(traced(draw)(updates), draw(updates), strict=True):
            assert torch.equal(ours, theirs)


def no_compiler(graph: Any, inputs: Any) -> Any:
    raise RuntimeError("no C compiler is there\nand advice")


@pytest.mark.parametrize(("backend", "cause"), [(no_compiler, "RuntimeError: no C compiler"), ("eager", "Unsupported")])
def test_what_cannot_be_compiled_is_carried_out_as_it_is_and_says_why(
    backend: Any, cause: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    compile_ = torch.compile
    monkeypatch.setattr(kernels, "has_triton", lambda: True)
    monkeypatch.setattr(torch, "compile", lambda function, **_: compile_(function, fullgraph=True, backend=backend))

    def double(x: Tensor) -> Tensor:
        if backend == "eager":
            torch._dynamo.graph_break()
        return 2 * x

    way = kernels.compiled(double, "cuda")
    for _ in range(2):
        assert way(torch.ones(3)).tolist() == [2, 2, 2]
    (warning,) = [record.getMessage() for record in caplog.records if record.name == kernels.__name__]
    assert f"which takes longer: {cause}" in warning
    assert "TORCHDYNAMO_VERBOSE" not in warning
    assert "advice" not in warning


def test_programs_are_the_functions_themselves_where_nothing_is_recorded() -> None:
    def function() -> None:
        raise AssertionError("not to be called")

    assert ProgramRecorder(torch.device("cpu")).program(function) is function
    assert ProgramRecorder(torch.device("cuda"), is_captured=False).program(function) is function


def test_a_program_that_cannot_be_recorded_goes_on_as_its_function(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is carried out once a call, as if it had been recorded. torch.cuda is a stand-in here: no GPU is needed."""

    class Stream:
        def wait_stream(self, other: object) -> None: ...

    @contextmanager
    def refuses(*_: object, **__: object) -> Iterator[None]:
        yield
        raise RuntimeError("operation not permitted when stream is capturing\nand advice")

    recorded: list[int] = []
    for name, stand_in in {
        "Stream": Stream,
        "CUDAGraph": object,
        "graph_pool_handle": object,
        "current_stream": Stream,
        "set_stream": lambda _: recorded.append(len(calls)),
        "stream": lambda _: nullcontext(),
        "graph": refuses,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    calls: list[bool] = []
    program = ProgramRecorder(torch.device("cuda")).program(lambda: calls.append(bool(recorded)))
    for _ in range(6):
        program()
    # Three calls before the recording, which carries out nothing on a GPU and is one call here, and three after.
    assert calls == [False] * 4 + [True] * 3
    (warning,) = [record.getMessage() for record in caplog.records if record.name == graph.__name__]
    assert "operation not permitted" in warning
    assert "--no-capture" in warning
