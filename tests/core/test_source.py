"""Code that was typed at a prompt is told apart from other code of the same name."""

from __future__ import annotations

import functools
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from wgan_core.config import Structure
from wgan_core.metrics.own import OwnMetric
from wgan_core.networks.network import own_digest
from wgan_core.networks.pairs import PAIRS, Pair
from wgan_core.source import source_of


def typed(text: str, name: str = "it") -> Any:
    """Return what a name stands for after this text was typed at a prompt."""
    known: dict[str, Any] = {"__name__": "__main__", "torch": torch, "nn": nn, "functools": functools}
    exec(compile(text, "<stdin>", "exec"), known)  # what Python's prompt does
    return known[name]


def score(real: Tensor, fake: Tensor) -> float:
    return float(real.mean() - fake.mean())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def it(real, fake): return 1.0", "def it(real, fake): return 2.0"),
        ("def it(real, fake): return real.mean()", "def it(real, fake): return real.std()"),
        ("it = lambda real, fake: 1.0", "it = lambda real, fake: 2.0"),
        ("def it(real, fake, power=1): return real ** power", "def it(real, fake, power=2): return real ** power"),
        ("def it(real, fake, *, p=1): return real ** p", "def it(real, fake, *, p=2): return real ** p"),
        (
            "def make(p): return lambda real, fake: p\nit = make(1)",
            "def make(p): return lambda real, fake: p\nit = make(2)",
        ),
        (
            "def f(p, real, fake): return p\nit = functools.partial(f, 1)",
            "def f(p, real, fake): return p\nit = functools.partial(f, 2)",
        ),
        ("class it:\n def __call__(self, a, b): return 1.0", "class it:\n def __call__(self, a, b): return 2.0"),
        (
            "class A:\n def __call__(self, a, b): return 1.0\nit = A()",
            "class A:\n def __call__(self, a, b): return 2.0\nit = A()",
        ),
        (
            "class A:\n def f(self, a, b): return 1.0\nit = A().f",
            "class A:\n def f(self, a, b): return 2.0\nit = A().f",
        ),
        (
            "class A:\n def __init__(self, p): self.p = p\n def __call__(self, a, b): return self.p\nit = A(0.5)",
            "class A:\n def __init__(self, p): self.p = p\n def __call__(self, a, b): return self.p\nit = A(0.9)",
        ),
        ("class it:\n slope = 1", "class it:\n slope = 2"),
        ("class it:\n @property\n def p(self): return 1", "class it:\n @property\n def p(self): return 2"),
        ("class it:\n @staticmethod\n def p(): return 1", "class it:\n @staticmethod\n def p(): return 2"),
    ],
)
def test_code_at_a_prompt_is_told_apart(one: str, other: str) -> None:
    assert source_of(typed(one)) == source_of(typed(one)) != source_of(typed(other))
    assert source_of(typed(one))


def test_code_in_a_file_keeps_its_source_text() -> None:
    assert source_of(score).startswith("def score(real: Tensor")


def test_functions_that_capture_each_other_end() -> None:
    assert source_of(typed("def make():\n def f(): return g()\n def g(): return f()\n return f\nit = make()"))


def test_a_text_is_equal_in_each_process() -> None:
    code = (
        "from wgan_core.source import source_of\n"
        "known = {}\n"
        "exec(\"def it(x, y={'a', 'b'}): return x in {'a', 'b', 'c', 'd'}\", known)\n"
        "print(source_of(known['it']))"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in "123"
    ]
    assert said[0] == said[1] == said[2]


def test_a_metric_and_networks_of_a_prompt_have_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    metric = [OwnMetric("gap", typed(f"def it(real, fake): return {value}"), "a gap").entry(None) for value in (1, 2)]  # type: ignore[arg-type]
    assert metric[0] != metric[1]
    digests = []
    for slope in (0.1, 0.2):
        text = f"class it(nn.Module):\n def forward(self, x): return nn.functional.leaky_relu(x, {slope}).sum(1)"
        kind = typed(text)
        pair = Pair(lambda _, kind=kind: kind(), lambda s: nn.Linear(s.latent_dim, 2))
        monkeypatch.setitem(PAIRS, "prompt", pair)
        digests.append(own_digest(Structure("prompt", (2,), latent_dim=3)))
    assert digests[0] != digests[1]
