"""What a person waits for before a command says anything: the libraries that it imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from sweeps.cli import COMMANDS
from tests.sweeps.made import made_sweep

ROOT = Path(__file__).resolve().parents[2]
# Each takes a second or more to import.
SLOW = ("torch", "ray", "mlflow", "plotly", "pandas", "sklearn", "torchmetrics")
SCRIPTS = ("conditional", "gaussians", "mnist", "sequences", "tabular")

# Runs commands one after the other in one process, and writes which of the slow libraries it then has.
RUN = """
import contextlib, io, json, runpy, sys
out, slow, scripts, commands = json.loads(sys.argv[1])
for script in scripts:
    sys.argv = [script, "--help"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        runpy.run_path(script, run_name="__main__")
from sweeps.cli import main
for command in commands:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        try:
            status = main(command)
        except SystemExit as error:
            status = error.code
    assert status == 0, (command, status)
    assert said.getvalue(), command
with open(out, "w") as file:
    json.dump([name for name in slow if name in sys.modules], file)
"""


def imported(tmp_path: Path, scripts: list[str], commands: list[list[str]], slow: tuple[str, ...] = SLOW) -> list[str]:
    out = tmp_path / "imported.json"
    given = json.dumps([str(out), slow, scripts, commands])
    ran = subprocess.run(
        [sys.executable, "-c", RUN, given], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stderr
    found: list[str] = json.loads(out.read_text())
    return found


def test_help_imports_no_slow_library(tmp_path: Path) -> None:
    scripts = [str(ROOT / "sweeps" / f"{name}.py") for name in SCRIPTS]
    assert imported(tmp_path, scripts, [["--help"], *([command, "--help"] for command in COMMANDS)]) == []


def test_a_look_at_a_sweep_imports_no_slow_library(tmp_path: Path) -> None:
    made_sweep(tmp_path / "storage", "made", trials=4)
    looks = [["ls"], ["ls", "--json"], ["status", "made"], ["status", "made", "--json"], ["best", "made"]]
    assert imported(tmp_path, [], [[*look, "--storage", str(tmp_path / "storage")] for look in looks]) == []


def test_a_look_at_a_table_imports_no_study_either(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("\n".join(["a,b", *(f"{row},{row % 7 / 7:.3f}" for row in range(90))]))
    # pyarrow imports pandas, where it is installed, to make an array.
    slow = (*(name for name in SLOW if name != "pandas"), "optuna", "sqlalchemy")
    assert imported(tmp_path, [], [["data", str(table)]], slow) == []
