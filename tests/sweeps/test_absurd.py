"""Absurd values are refused in one line, and soon."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.pruners import NopPruner

from sweeps.engine.cluster import growth
from sweeps.engine.plan.confirmation_size import ConfirmationSize
from sweeps.engine.plan.options import _lanes
from sweeps.engine.study.storage import open_study
from sweeps.engine.tracking.store import open_stored
from tests.sweeps.made import made_plan
from wgan_core.config import Structure
from wgan_core.errors import UserError
from wgan_core.training.preflight import check_fit

PLAN = made_plan("absurd", 1)
DIGITS = "9" * 5_000


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: _lanes(DIGITS), "--lanes must be auto or a whole number"),
        (lambda: ConfirmationSize.read(f"1x{DIGITS}"), "--confirm must be two whole numbers"),
        (
            lambda: check_fit(Structure("mlp", (2,)), 1, 10**18),
            "must divide evenly over the GPUs .* --gpus-per-trial 64",
        ),
        (lambda: open_stored(f"sqlite:///{DIGITS}", PLAN), "File name too long"),
        (lambda: open_stored("http://[::1", PLAN), "must answer within 5 s"),
        (lambda: open_study("a", "http://[::1", NopPruner()), "check --study-storage"),
        (lambda: open_stored("postgresql://127.0.0.1:1/gone", PLAN), "must answer within 5 s"),
        (lambda: open_study("a", "postgresql://127.0.0.1:1/gone", NopPruner()), "check --study-storage"),
    ],
)
def test_absurd_values_are_refused_soon(act: Callable[[], object], said: str) -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match=said) as caught:
        act()
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 20  # MLflow's own retries of a database that is away take over a minute


def test_kinds_of_nodes_that_are_nested_too_deeply(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(growth.VARIABLE, "{a: " + "[" * 5_000 + "]" * 5_000 + "}")
    with pytest.raises(UserError, match="must be kinds of nodes"):
        growth.growth()
    monkeypatch.delenv(growth.VARIABLE)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / growth.BOOTSTRAP).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / growth.BOOTSTRAP).write_text("a: " + "[" * 5_000)
    assert growth.growth() == growth.NONE
