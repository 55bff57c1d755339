"""The benchmarks run, and what they print and keep is whole. Nothing is said here of how fast anything is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def figures_of(script: str, *options: str, out: Path) -> dict[str, Any]:
    command = [sys.executable, ROOT / "benchmarks" / script, *options, "--json", out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=out.parent, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_step(tmp_path: Path) -> None:
    found = figures_of("step.py", "--pairs", "2", "--seconds", "0.1", "--n-critic", "2", out=tmp_path / "step.json")
    (figure,) = found["figures"]
    assert figure["n_critic"] == 2
    assert figure["ours_ms"] > figure["ours_floor_ms"] > 0
    # We run real and generated samples in one pass and leave out zeros: as many products, or fewer.
    assert 0 < figure["ours_mflop"] <= figure["textbook_mflop"]


def test_sweep(tmp_path: Path) -> None:
    options = ("--trials", "2", "--budget", "9", "--samples", "100", "--repeats", "1", "--alone-within", "0")
    found = figures_of("sweep.py", *options, out=tmp_path / "sweep.json")
    assert [run["arm"] for run in found["runs"]] == ["a", "b", "c"]
    for run in found["runs"]:
        assert 0 < run["training"] < run["span"] < run["total"]
        assert run["evaluation"] > 0
    assert set(found["ratios"]) == {"span b/a", "total b/a", "span c/a", "total c/a"}


def test_precision(tmp_path: Path) -> None:
    options = ("--updates", "5", "--seeds", "2", "--samples", "100", "--device", "cpu")
    found = figures_of("precision.py", *options, out=tmp_path / "precision.json")
    assert [run["arm"] for run in found["runs"]] == ["float32", "bfloat16", "float32 again"] * 2
    first, rounded, again = found["runs"][:3]
    assert list(first["curve"]) == ["1", "2", "3", "4", "5"]
    # The same start, and from there other numbers; of the third arm another start.
    assert rounded["curve"]["5"] not in (first["curve"]["5"], again["curve"]["5"])
    (exact, *others) = found["summary"]
    assert exact["mean"] == pytest.approx(sum(run["curve"]["5"] for run in found["runs"][::3]) / 2)
    assert exact["difference"] is None
    for arm in others:
        assert arm["difference"] == pytest.approx(arm["mean"] - exact["mean"])
        assert arm["half"] > 0 < arm["seconds_an_update"]
