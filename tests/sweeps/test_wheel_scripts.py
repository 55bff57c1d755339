"""The script where only the wheel is installed: another folder, and no checkout in sight."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.sweeps.processes import MNIST, ROOT, Surroundings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment in which the wheel is unpacked beside the packages that it needs."""
    wheels, environment = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("environment")
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    for package in ("wgan_core", "sweeps"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--no-index", "-w", wheels, source], check=True, capture_output=True)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (packages,) = environment.glob("lib/python3.*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    # A .pth line that is a path adds it to sys.path, but does not read the .pth files there: those of an editable
    # install stay without effect.
    others = {
        str(Path(str(importlib.metadata.distribution(name).locate_file(""))).resolve()) for name in ("torch", "ray")
    }
    (packages / "others.pth").write_text("\n".join(sorted(others)))
    return environment / "bin" / "python"


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script in a folder where nothing else is."""
    return Path(shutil.copy(MNIST, tmp_path_factory.mktemp("alone") / "mnist.py"))


def test_the_packages_are_those_of_the_wheel(surroundings: Surroundings, installed: Path, alone: Path) -> None:
    where = "import sweeps, wgan_core; print(sweeps.__file__); print(wgan_core.__file__)"
    found = surroundings.start(installed, "-c", where, cwd=alone.parent).succeeded().out.splitlines()
    packages = installed.parents[1].resolve()
    assert [Path(file).resolve().is_relative_to(packages) for file in found] == [True, True]
    assert not any(Path(file).resolve().is_relative_to(ROOT / "sweeps") for file in found)


def test_help(surroundings: Surroundings, installed: Path, alone: Path) -> None:
    said = surroundings.start(installed, alone.name, "--help", cwd=alone.parent).succeeded().out
    assert "usage: mnist.py" in said
    assert "--gpus-per-trial" in said


@pytest.mark.usefixtures("_mnist")
def test_a_sweep(surroundings: Surroundings, installed: Path, alone: Path, tmp_path: Path) -> None:
    """Workers import the wheel's packages too: the checkout is not on their way."""
    options = ("--smoke", "--trials", "1", "--budget", "1", "--storage", tmp_path)
    ran = surroundings.start(installed, alone.name, *options, cwd=alone.parent).succeeded()
    assert "1 of 1 trials ended" in ran.out
    assert (tmp_path / "mnist-smoke" / "trials" / "0" / "spool" / "end.json").exists()
    assert sorted(file.name for file in alone.parent.iterdir() if file.name != "__pycache__") == ["mnist.py"]
