"""A `torch.export` program, read as data: JSON and raw tensors in, tensor operators out, and nothing else is run.

`torch.export.load` is not used, since it runs what the author of a file wrote into it (read in torch 2.13.0). In
`torch/export/pt2_archive/_package.py` it unpickles tensor subclasses and opaque constants and loads compiled libraries;
in `torch/_export/serde/serialize.py` it unpickles the sample inputs (`deserialize_torch_artifact`), evaluates the
expressions of sizes as Python (`sympy.sympify`), and calls any attribute of `torch` that a node names. Here pickles are
refused or not looked at, sizes come from the tensors themselves, and a node can only name an operator of ATen that
takes no path and gives tensors. A fault within an operator of torch, or a program that takes too much memory or time,
is not guarded against.

The layout of the archive is that of `torch/_export/serde/schema.py`, major version 8.
"""

from __future__ import annotations

import io
import json
import math
import operator
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wgan_core.errors import one_line

SCHEMA_MAJOR = 8
NO_ARCHIVE = "it is not an archive that torch.export.save wrote"
# The codes of `ScalarType`, `MemoryFormat` and `Layout` in the schema.
DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
LAYOUTS = {7: torch.strided}
# A size that is free; its range is stated under the name.
SYMBOL = re.compile(r"Symbol\('(\w+)'[^()]*\)")
# Arithmetic on sizes.
ON_SIZES: dict[str, Callable[..., Any]] = {
    **{
        f"_operator.{name}": getattr(operator, name)
        for name in ("eq", "ne", "le", "ge", "lt", "gt", "neg", "pos", "mul", "add", "sub", "floordiv", "mod", "pow")
    },
    **{f"_operator.{name}": getattr(operator, name) for name in ("truediv", "and_", "or_", "lshift", "rshift")},
    **{f"torch.{name}": getattr(torch, name) for name in ("sym_int", "sym_float", "sym_ite", "sym_max", "sym_min")},
    **{f"torch.{name}": getattr(torch, name) for name in ("sym_not", "sym_sum")},
    "math.trunc": math.trunc,
}
# A forward under `torch.no_grad` is exported as a graph within the graph.
NO_GRAD = "torch.ops.higher_order.wrap_with_set_grad_enabled"
# Text is the one type of argument that can name a file. In these operators it names a mode.
TEXT = frozenset({"conv1d", "conv2d", "conv3d", "div", "div_", "einsum", "gelu", "gelu_", "meshgrid", "pad"})
# These give a size, or check one, and no tensor.
GIVE_NO_TENSOR = frozenset(
    {
        "_assert_scalar",
        "_assert_tensor_metadata",
        "numel",
        "sym_constrain_range",
        "sym_constrain_range_for_size",
        "sym_numel",
        "sym_size",
        "sym_storage_offset",
        "sym_stride",
    }
)


class ProgramError(ValueError):
    """A file is not a program that can be read as data; the message says why, on one line."""


class Name(str):
    """Stands among the arguments of a step for the value that goes by this name."""


@dataclass(frozen=True)
class Step:
    """One call of an operator.

    Attributes:
        positional, keywords: its arguments, with a `Name` for each value that is worked out.
        results: the names of what it gives, None for what is not there.
        unpack: whether it gives a sequence, whose items are the results.
        done_with: names that no later step uses.
    """

    call: Callable[..., Any]
    positional: tuple[Any, ...]
    keywords: dict[str, Any]
    results: tuple[str | None, ...]
    unpack: bool
    done_with: tuple[str, ...]

    def run(self, values: dict[str, Any]) -> None:
        keywords = {name: filled(value, values) for name, value in self.keywords.items()}
        given = self.call(*filled(list(self.positional), values), **keywords)
        results = given if self.unpack else (given,)
        values.update({name: value for name, value in zip(self.results, results, strict=False) if name is not None})
        # Else all activations of a batch would be held until the end.
        for name in self.done_with:
            values.pop(name, None)


@dataclass(frozen=True)
class Graph:
    """Steps in order, from named inputs to outputs. `single`: its one output is given as it is, not as a sequence."""

    inputs: tuple[Any, ...]
    steps: tuple[Step, ...]
    outputs: tuple[Any, ...]
    single: bool

    def run(self, values: dict[str, Any]) -> list[Any]:
        """The outputs for these values of the inputs. Of the values, only what the outputs need is left."""
        for step in self.steps:
            step.run(values)
        return [filled(output, values) for output in self.outputs]


@dataclass(frozen=True)
class Program:
    """A program of one tensor.

    Attributes:
        image: the name of its input.
        takes: the least and the largest size that the input may have, by dimension.
        weights: parameters, buffers and constants by their name in the graph, on the CPU.
        result: the name of its output.
    """

    graph: Graph
    image: str
    takes: tuple[tuple[float, float], ...]
    weights: Mapping[str, Tensor]
    result: Name

    @classmethod
    def parse(cls, data: bytes) -> Program:
        """The program that `torch.export.save` wrote. Raises `ProgramError`."""
        try:
            return read_archive(zipfile.ZipFile(io.BytesIO(data)))
        except ProgramError:
            raise
        except zipfile.BadZipFile as error:
            raise ProgramError(NO_ARCHIVE) from error
        # Bytes that others wrote may break any expectation, and each in a way of its own.
        except Exception as error:
            raise ProgramError(f"it is damaged: {one_line(error)}") from error

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Any:
        """What the program makes of a tensor on the CPU, which is left alone. Raises whatever its operators raise."""
        # A program may work in place.
        values: dict[str, Any] = {**self.weights, self.image: x.clone()}
        self.graph.run(values)
        return values[self.result]


# The archive


def read_archive(archive: zipfile.ZipFile) -> Program:
    root = archive.namelist()[0].partition("/")[0]
    if f"{root}/models/model.json" not in archive.namelist():
        raise ProgramError(NO_ARCHIVE)
    program = json.loads(archive.read(f"{root}/models/model.json"))
    if (major := program["schema_version"]["major"]) != SCHEMA_MAJOR:
        raise ProgramError(f"its schema is {major}, and only {SCHEMA_MAJOR} is known here")
    graph, signature = program["graph_module"]["graph"], program["graph_module"]["signature"]
    weights = read_tensors(archive, f"{root}/data/weights", "model_weights_config.json")
    constants = read_tensors(archive, f"{root}/data/constants", "model_constants_config.json")
    image, bound = read_inputs(signature["input_specs"], {**constants, **weights})
    return Program(
        graph=read_graph(graph),
        image=image,
        takes=tuple(limits(size, program["range_constraints"]) for size in graph["tensor_values"][image]["sizes"]),
        weights=bound,
        result=read_result(signature["output_specs"]),
    )


def read_tensors(archive: zipfile.ZipFile, folder: str, listing: str) -> dict[str, Tensor]:
    """The tensors that a listing in the archive names, on the CPU."""
    if f"{folder}/{listing}" not in archive.namelist():
        raise ProgramError("it is of an older format, which holds pickles")
    entries = json.loads(archive.read(f"{folder}/{listing}"))["config"]
    if any(entry["use_pickle"] for entry in entries.values()):
        raise ProgramError("it holds pickled objects, which are not read")
    stored: dict[str, bytearray] = {}  # tensors may share memory, and then share a file
    for entry in entries.values():
        if (path := entry["path_name"]) not in stored:
            stored[path] = bytearray(archive.read(f"{folder}/{path}"))
    return {name: read_tensor(stored[entry["path_name"]], entry["tensor_meta"]) for name, entry in entries.items()}


def read_tensor(raw: bytearray, meta: dict[str, Any]) -> Tensor:
    sizes, strides = ([size["as_int"] for size in meta[key]] for key in ("sizes", "strides"))
    if not raw:
        return torch.empty(sizes, dtype=DTYPES[meta["dtype"]])
    # torch refuses what would lie outside of the bytes.
    return torch.frombuffer(raw, dtype=DTYPES[meta["dtype"]]).as_strided(
        sizes, strides, meta["storage_offset"]["as_int"]
    )


def read_inputs(specs: Iterable[Any], tensors: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """The name of the one input that a person gives, and the tensors by their name in the graph."""
    images, bound = [], {}
    for spec in specs:
        ((kind, entry),) = spec.items()
        if kind == "user_input" and "as_tensor" in entry["arg"]:
            images.append(entry["arg"]["as_tensor"]["name"])
        elif kind in ("parameter", "buffer", "tensor_constant"):
            bound[entry["arg"]["name"]] = tensors[entry[f"{kind}_name"]]
        elif kind not in ("user_input", "constant_input"):  # arguments that are no tensors are fixed by the export
            raise ProgramError(f"it has an input of the kind {kind}")
    if len(images) != 1:
        raise ProgramError(f"it must take one tensor, and takes {len(images)}")
    return images[0], bound


def read_result(specs: Iterable[Any]) -> Name:
    outputs = [spec["user_output"]["arg"] for spec in specs if "user_output" in spec]
    if len(outputs) != 1 or "as_tensor" not in outputs[0]:
        raise ProgramError("it must give one tensor and nothing else")
    return Name(outputs[0]["as_tensor"]["name"])


def limits(size: dict[str, Any], ranges: Mapping[str, Any]) -> tuple[float, float]:
    """The least and the largest value of a size; a size that is worked out from others has none stated."""
    if "as_int" in size:
        return size["as_int"], size["as_int"]
    symbol = SYMBOL.fullmatch(size["as_expr"]["expr_str"])
    stated = ranges.get(symbol[1] if symbol else "", {"min_val": None, "max_val": None})
    least, largest = stated["min_val"], stated["max_val"]
    return 0 if least is None else least, math.inf if largest is None else largest


# The graph


def read_graph(graph: dict[str, Any]) -> Graph:
    outputs = tuple(read_argument(output) for output in graph["outputs"])
    later: set[str] = set(names_in(outputs))
    steps = [read_step(node, later) for node in reversed(graph["nodes"])]
    return Graph(
        inputs=tuple(read_argument(entry) for entry in graph["inputs"]),
        steps=tuple(reversed(steps)),
        outputs=outputs,
        single=graph["is_single_tensor_return"],
    )


def read_step(node: dict[str, Any], later: set[str]) -> Step:
    """A node as a step; `later` are the names that are used after it, to which it adds its own."""
    call = operator_named(node["target"])
    by_name = isinstance(call, torch._ops.OpOverload)
    given = [(entry["name"], read_argument(entry["arg"])) for entry in node["inputs"]]
    results, unpack = read_results(node)
    used = set(names_in([value for _, value in given]))
    done_with = (used | {name for name in results if name is not None}) - later
    later |= used
    return Step(
        call=call,
        positional=() if by_name else tuple(value for _, value in given),
        keywords=dict(given) if by_name else {},
        results=results,
        unpack=unpack,
        done_with=tuple(sorted(done_with)),
    )


def read_results(node: dict[str, Any]) -> tuple[tuple[str | None, ...], bool]:
    """The names of a node's results, None for one that is not there, and whether the operator gives a sequence."""
    outputs = node["outputs"]
    if len(outputs) == 1 and "as_tensors" in outputs[0]:
        return tuple(output["name"] for output in outputs[0]["as_tensors"]), True
    names = tuple(read_argument(output) for output in outputs)
    if not all(name is None or isinstance(name, Name) for name in names):
        raise ProgramError(f"{node['target']} gives lists within a list")
    return names, len(names) > 1 or node.get("is_hop_single_tensor_return") is False


def read_argument(argument: dict[str, Any]) -> Any:
    """The value that the schema's `Argument` states, or a `Name` for one that is worked out."""
    ((kind, value),) = argument.items()
    if kind == "as_none":
        return None
    if kind in ("as_tensor", "as_sym_int", "as_sym_float", "as_sym_bool", "as_optional_tensor"):
        return read_reference(value)
    if kind in ("as_tensors", "as_sym_ints", "as_sym_floats", "as_sym_bools", "as_optional_tensors"):
        return [read_reference(item) for item in value]
    if kind in ("as_int", "as_ints", "as_bool", "as_bools", "as_string"):
        return value
    if kind == "as_float":
        return float(value)
    if kind == "as_floats":
        return [float(item) for item in value]
    if kind == "as_device":
        return torch.device("cpu")  # wherever it was exported
    codes: dict[str, Mapping[int, Any]] = {
        "as_scalar_type": DTYPES,
        "as_memory_format": MEMORY_FORMATS,
        "as_layout": LAYOUTS,
    }
    if kind in codes and value in codes[kind]:
        return codes[kind][value]
    if kind == "as_graph":
        return read_graph(value["graph"])
    raise ProgramError(f"it has an argument {kind} of {str(value)[:40]}, which is not supported")


def read_reference(value: dict[str, Any]) -> Any:
    """What `{"name": ...}`, `{"as_name": ...}` or a number or tensor wrapped once more stands for."""
    if "name" in value:
        return Name(value["name"])
    if "as_name" in value:
        return Name(value["as_name"])
    return read_argument(value)


def names_in(value: Any) -> Iterable[Name]:
    if isinstance(value, Name):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from names_in(item)


def filled(value: Any, values: Mapping[str, Any]) -> Any:
    """An argument with values in place of names."""
    if isinstance(value, Name):
        return values[value]
    return [filled(item, values) for item in value] if isinstance(value, list) else value


# What a node may call


def operator_named(target: str) -> Callable[..., Any]:
    """What a node calls. Raises `ProgramError` unless it is known to do no more than work on its tensors."""
    if target == NO_GRAD:
        return inline
    if target in ON_SIZES:
        return ON_SIZES[target]
    found = re.fullmatch(r"torch\.ops\.aten\.(\w+)\.(\w+)", target)
    overload = getattr(getattr(torch.ops.aten, found[1], None), found[2], None) if found else None
    if not isinstance(overload, torch._ops.OpOverload):
        raise ProgramError(f"it uses {target}, which is not an operator of ATen")
    if not is_harmless(overload):
        raise ProgramError(f"it uses {target}, which takes text or gives no tensor; try run_decompositions() on it")
    return overload


def is_harmless(overload: torch._ops.OpOverload) -> bool:
    """Whether an operator takes no path and gives tensors only. What reads or writes a file breaks one of the two."""
    schema = overload._schema
    name = schema.name.removeprefix("aten::")
    if name in GIVE_NO_TENSOR:
        return True
    takes_text = any("str" in str(argument.type) for argument in schema.arguments)
    gives = [str(result.type) for result in schema.returns]
    return (name in TEXT or not takes_text) and bool(gives) and set(gives) <= {"Tensor", "List[Tensor]"}


def inline(enabled: bool, graph: Graph, *values: Any) -> Any:
    """A graph within the graph; nothing here has a gradient, so `enabled` makes no difference."""
    outputs = graph.run(dict(zip(graph.inputs, values, strict=True)))
    return outputs[0] if graph.single else outputs
