"""The rules of the layout: which package imports which, what an import may do, and what the wheel holds."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("wgan_core", "sweeps")

# The modules that may import a library, as patterns of their names. The longest listed prefix of an import decides.
ALLOWED = {
    "mlflow": r"sweeps\.engine\.tracking\.\w+",
    "optuna": r"sweeps\.engine\.(doctor\.study|charts\.\w+"
    r"|study\.(claims|deaths|pruner|re\w+|rows|sampling|st\w+|trials))",
    "optuna.distributions": r"sweeps\.engine\.study\.sampling",
    "rich": r"sweeps\.engine\.terminal\.live",
    "ray": r"sweeps\.engine\.(driver\.(lane_probe|script|training|tune_search)"
    r"|worker\.(holder|rank_group|runner|trainable)|doctor\.sharing|cluster\.(connection|drain|imports|local|nodes|notice|use))",
    "sweeps": r"sweeps(\..+)?",
}
# The packages from the top down. A module imports from packages on its own line and on lines below, never from above.
ORDER: dict[str, tuple[tuple[str, ...], ...]] = {
    "sweeps": (
        ("conditional", "gaussians", "mnist", "own", "sequences", "tabular", "cli"),
        ("commands", "notebook"),
        ("engine",),
    ),
    "sweeps.engine": (
        ("driver",),
        ("report",),
        ("charts", "terminal"),
        ("doctor",),
        ("results",),
        ("tracking", "worker"),
        ("storage",),
        ("study",),
        ("cluster", "plan"),
    ),
    "wgan_core": (
        ("sampling",),
        ("training",),
        ("networks",),
        ("metrics",),
        ("kinds",),
        ("config",),
        ("data",),
        ("backend",),
        ("rules",),
        ("cache", "errors", "public"),
        ("rights", "source"),
    ),
}
# Packages that others import as a whole: what they export is in their `__init__`, and their modules are their own.
CLOSED = ("sweeps.engine.tracking",)
# Reading a pickle runs whatever its author wrote into it.
UNSAFE_MODULES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"torch.export.load", "torch.load", "torch.save", "torch.jit.load", "torch.package.PackageImporter"}


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the two packages as written, by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and dotted name of all that is imported, also in functions and for type checkers only.

    `from a import b` gives `a.b`, since b may be a module. Relative imports are ruff's to refuse.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def under(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def prefixes(name: str) -> list[str]:
    """a.b.c -> a, a.b, a.b.c: importing a module imports the packages above it."""
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts) + 1)]


def misplaced(importer: str, tree: ast.Module) -> list[str]:
    """The imports that `ALLOWED` does not grant to this module."""
    wrong = []
    for line, imported in imports(tree):
        rules = [package for package in ALLOWED if under(imported, package)]
        if rules and not re.fullmatch(ALLOWED[max(rules, key=len)], importer):
            wrong.append(f"{importer}:{line} imports {imported}")
    return wrong


def into_closed(importer: str, tree: ast.Module) -> list[str]:
    """The imports of a module of a package in `CLOSED`, from outside the package."""
    wrong = []
    for line, imported in imports(tree):
        below = [name for name in prefixes(imported) if name.rpartition(".")[0] in CLOSED and name in modules()]
        wrong += [f"{importer}:{line} imports {name}" for name in below if not under(importer, name.rpartition(".")[0])]
    return wrong


def unsafe(name: str, tree: ast.Module) -> list[str]:
    """Where a module could unpickle something."""
    wrong = [
        f"{name}:{line} imports {imported}"
        for line, imported in imports(tree)
        if imported.partition(".")[0] in UNSAFE_MODULES or imported in UNSAFE_CALLS
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in UNSAFE_CALLS:
            wrong.append(f"{name}:{node.lineno} uses {ast.unparse(node)}")
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            wrong.append(f"{name}:{node.lineno} allows pickles")
    return wrong


def graph_of(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """The modules that each module imports. A package counts only if a name is imported from its own file."""
    graph: dict[str, set[str]] = {}
    for name, tree in trees.items():
        reached = set()
        for _, imported in imports(tree):
            reached.add(imported if imported in trees else imported.rpartition(".")[0])
        graph[name] = (reached & trees.keys()) - {name}
    return graph


def upward(graph: dict[str, set[str]]) -> list[str]:
    """The imports that go to a package above the importer's own, or from or to a package that `ORDER` does not list."""
    wrong = []
    for tree, lines in ORDER.items():
        ranks = {name: rank for rank, names in enumerate(lines) for name in names}

        def place(module: str, tree: str = tree, ranks: dict[str, int] = ranks) -> int | None:
            if not module.startswith(f"{tree}."):
                return None
            return ranks.get(module[len(tree) + 1 :].partition(".")[0], -1)

        for importer, targets in sorted(graph.items()):
            for target in sorted(targets):
                above, below = place(importer), place(target)
                if above is not None and below is not None and not 0 <= above <= below:
                    wrong.append(f"{importer} imports {target}")
    return wrong


def test_libraries_are_imported_only_where_they_belong() -> None:
    wrong = [line for name, tree in modules().items() for line in misplaced(name, tree)]
    assert not wrong, "\n".join(wrong)


def test_no_module_of_a_closed_package_is_imported_from_outside() -> None:
    wrong = [line for name, tree in modules().items() for line in into_closed(name, tree)]
    assert not wrong, "\n".join(wrong)


def test_imports_run_one_way_between_packages() -> None:
    wrong = upward(graph_of(modules()))
    assert not wrong, "\n".join(wrong)


def test_no_modules_import_each_other() -> None:
    try:
        tuple(TopologicalSorter(graph_of(modules())).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_nothing_is_unpickled() -> None:
    wrong = [line for name, tree in modules().items() for line in unsafe(name, tree)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("importer", "source", "count"),
    [
        ("wgan_core.training.cohort", "import mlflow", 1),
        ("wgan_core.training.cohort", "def f():\n    from sweeps.engine import study", 1),
        ("sweeps.engine.report.page", "from optuna import distributions", 1),
        ("sweeps.engine.study.sampling", "from optuna.distributions import FloatDistribution", 0),
        ("sweeps.engine.plan.space", "from optuna.distributions import FloatDistribution", 1),
        ("sweeps.engine.plan.space", "import optuna", 1),
        ("sweeps.engine.tracking.files", "import mlflow.entities", 0),
        ("sweeps.engine.driver.tune_search", "from ray import tune", 0),
        ("sweeps.engine.study.study", "import ray", 1),
        ("sweeps.mnist", "import rayon, sweeps.engine.study.rows", 0),
    ],
)
def test_the_import_rule_sees_what_it_should(importer: str, source: str, count: int) -> None:
    assert len(misplaced(importer, ast.parse(source))) == count


@pytest.mark.parametrize(
    ("importer", "source", "count"),
    [
        ("sweeps.cli", "import sweeps.engine.tracking.store", 1),
        ("sweeps.cli", "def f():\n    from sweeps.engine.tracking.store import connect, pages", 2),
        ("sweeps.cli", "from sweeps.engine.tracking import connect, store", 1),
        ("sweeps.cli", "from sweeps.engine import tracking", 0),
        ("sweeps.engine.tracking.trial", "from sweeps.engine.tracking.store import connect", 0),
    ],
)
def test_the_rule_of_closed_packages_sees_what_it_should(importer: str, source: str, count: int) -> None:
    assert len(into_closed(importer, ast.parse(source))) == count


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("import pickle", 1),
        ("from cloudpickle import loads", 1),
        ("import torch\ntorch.load('x')", 1),
        ("from torch import load", 1),
        ("import numpy as np\nnp.load('x', allow_pickle=True)", 1),
        ("import numpy as np\nnp.load('x', allow_pickle=False)", 0),
        ('"""Never torch.load, nor pickle."""', 0),
    ],
)
def test_the_pickle_rule_sees_what_it_should(source: str, count: int) -> None:
    assert len(unsafe("m", ast.parse(source))) == count


def test_the_order_rule_sees_what_it_should() -> None:
    assert upward({"wgan_core.training.step": {"wgan_core.rules.draws"}}) == []
    assert upward({"wgan_core.metrics.own": {"wgan_core.metrics.metric"}}) == []
    assert len(upward({"wgan_core.rules.draws": {"wgan_core.training.step"}})) == 1
    assert len(upward({"sweeps.engine.study.rows": {"sweeps.engine.results.status"}})) == 1
    assert len(upward({"wgan_core.new": {"wgan_core.errors"}})) == 1


def test_packages_for_the_browser_tests_are_named() -> None:
    """`make test-deps` must install Chromium as soon as a test wants it, else CI would fail on the skip."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "tests").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    if any(ast.unparse(node) == "pytest.mark.needs_browser" for node in nodes):
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert re.search(r"^TEST_PACKAGES \?=.*\bchromium\b", makefile, re.MULTILINE)


IMPORT_ALL = """
import importlib, json, os, pkgutil, random, sys

for name in ("ray", "mlflow", "optuna", "sweeps"):
    sys.modules[name] = None
import numpy, torch  # what importing these does is not ours

def conditions():
    state = numpy.random.get_state()
    return {
        "default dtype": str(torch.get_default_dtype()),
        "default device": str(torch.get_default_device()),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul precision": torch.get_float32_matmul_precision(),
        "convolutions on GPUs": torch.backends.cudnn.conv.fp32_precision,
        "gradients": torch.is_grad_enabled(),
        "torch's random state": torch.get_rng_state().tolist(),
        "numpy's random state": [state[1].tolist(), *state[2:]],
        "python's random state": random.getstate(),
        "environment": dict(os.environ),
    }

before = conditions()
import wgan_core
names = sorted(m.name for m in pkgutil.walk_packages(wgan_core.__path__, "wgan_core.") if "__main__" not in m.name)
for name in names:
    importlib.import_module(name)
after = conditions()
with open(sys.argv[1], "w") as file:
    json.dump({"names": names, "changed": [key for key in before if before[key] != after[key]]}, file)
"""


def completed(
    command: list[str], cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)


def test_core_imports_alone_and_without_effects(tmp_path: Path) -> None:
    """The core is usable without the sweep's libraries, and importing it does nothing else."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "MPLCONFIGDIR": str(elsewhere),  # torchmetrics imports Matplotlib, which caches a list of fonts
    }
    command = [sys.executable, "-c", IMPORT_ALL, str(tmp_path / "result.json")]
    run = completed(command, cwd=scratch, env=environment)
    assert run.returncode == 0, run.stderr
    assert (run.stdout, run.stderr) == ("", "")
    assert [str(path.relative_to(scratch)) for path in scratch.rglob("*")] == []
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert result["changed"] == []
    assert set(result["names"]) == {name for name in modules() if name.startswith("wgan_core.")}


def test_the_wheel_holds_both_packages_and_nothing_else(tmp_path: Path) -> None:
    """Built from a copy: setuptools leaves build folders in the source, and packs what it finds in old ones."""
    source = tmp_path / "source"
    source.mkdir()
    for entry in ("pyproject.toml", "README.md", *PACKAGES, "tests", "benchmarks", "cluster", "docs"):
        if (ROOT / entry).is_dir():
            shutil.copytree(ROOT / entry, source / entry, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        elif (ROOT / entry).exists():
            shutil.copy(ROOT / entry, source / entry)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "-w", str(tmp_path / "dist")]
    run = completed([*pip, "wheel", *options, str(source)])
    assert run.returncode == 0, run.stdout + run.stderr

    (wheel,) = (tmp_path / "dist").glob("wgan_sweeps-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {
        path.relative_to(source).as_posix()
        for package in PACKAGES
        for path in (source / package).rglob("*")
        if path.suffix in (".py", ".safetensors", ".html", ".css", ".js") or path.name == "py.typed"
    }
    assert {"wgan_core/py.typed", "sweeps/py.typed"} <= wanted
    assert any(name.startswith("wgan_core/metrics/") and name.endswith(".safetensors") for name in wanted)
    assert held == wanted
