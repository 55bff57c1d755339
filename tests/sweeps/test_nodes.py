"""What each node of a cluster has is compared with what the driver has, before a sweep starts."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from sweeps.engine.cluster.nodes import check_here, inventory
from tests.sweeps.clusters import Head, head
from tests.sweeps.processes import ROOT, Running, Surroundings
from wgan_core.errors import UserError

pytestmark = pytest.mark.slow

# As on a node where the wheel was never installed: the checkout's own is found through a finder.
WITHOUT = """
import sys
sys.meta_path = [each for each in sys.meta_path if "editable" not in getattr(each, "__module__", str(each)).lower()]
"""
ASKED = """
import sys
from sweeps.engine.cluster.connection import joined
from sweeps.engine.cluster.nodes import alive, ask_each

def answer():
    return "answered"

with joined(sys.argv[1]):
    for node, said in ask_each(alive(), answer, within_s=5.0):
        print(node.address, said)
"""


@dataclass(frozen=True)
class Cluster:
    """A head like the driver, `127.0.0.2` with other code and another numpy, and `127.0.0.3` without our packages."""

    head: Head
    other: Running
    without: Running


@pytest.fixture(scope="module")
def cluster(surroundings: Surroundings, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    other, without = tmp_path_factory.mktemp("other"), tmp_path_factory.mktemp("without")
    for package in ("wgan_core", "sweeps"):
        shutil.copytree(ROOT / package, other / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "wgan_core" / "errors.py").open("a") as file:
        file.write("# another line\n")
    (other / "numpy-1.0.dist-info").mkdir()
    (other / "numpy-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 1.0\n")
    (without / "sitecustomize.py").write_text(WITHOUT)
    first = head(surroundings, "--num-cpus", "1")
    second = first.add("127.0.0.2", "--num-cpus", "0", PYTHONPATH=str(other))
    return Cluster(first, second, first.add("127.0.0.3", "--num-cpus", "0", PYTHONPATH=str(without)))


def test_a_node_that_has_something_else_is_named_before_anything_starts(
    cluster: Cluster, surroundings: Surroundings, small_data: Path, tmp_path: Path
) -> None:
    """A line of code, a package by its metadata, our packages missing; what is the same is not told."""
    run = surroundings.script(tmp_path, "--data", small_data, "--smoke", **cluster.head.env).refused("`make wheel`")
    (said,) = [line for line in run.err.splitlines() if line.startswith("error: ")]
    other, without = said.partition(" has; ")[2].split("; ")
    version, code = other.split(", ")
    assert "(127.0.0.2) has numpy 1.0 (here " in version
    assert code.startswith("wgan_core code ")
    assert "(127.0.0.3) has no " in without
    assert "no wgan_core code (here " in without
    assert "no sweeps code (here " in without
    assert not list(tmp_path.glob("*/trials"))


def test_the_doctor_names_them_too(cluster: Cluster, surroundings: Surroundings, tmp_path: Path) -> None:
    """And looks at what can be looked at without our packages on every node."""
    run = surroundings.sweeps("doctor", "--storage", tmp_path, **cluster.head.env).wait()
    assert run.process.returncode == 1
    assert "Traceback" not in run.err
    failed = [line.split(maxsplit=2)[1:] for line in run.out.splitlines() if line.startswith("failed")]
    assert [what for what, _ in failed] == ["versions", "versions", "nodes"]
    for (_, said), part in zip(
        failed, ("(127.0.0.2) has numpy 1.0", "(127.0.0.3) has no ", "(127.0.0.3): "), strict=True
    ):
        assert part in said


def test_a_node_that_stands_still_does_not_hold_everything_up(cluster: Cluster, surroundings: Surroundings) -> None:
    """It is stopped as by a machine that swaps; the others' answers are there, and of it is told that none came."""
    (raylet,) = [each for each in cluster.without.descendants() if each.name() == "raylet"]
    raylet.suspend()
    try:
        run = surroundings.start(sys.executable, "-c", ASKED, cluster.head.address, **cluster.head.env).succeeded()
    finally:
        raylet.resume()
    said = dict(line.split(maxsplit=1) for line in run.out.splitlines())
    assert said.pop("127.0.0.3") == "NoAnswer(reason='no answer within 5 s')"
    assert said.pop("127.0.0.2") == "answered"
    assert list(said.values()) == ["answered"]  # the head's: Ray takes an address of the machine for its loopback


def test_a_node_that_joined_later_is_looked_at_by_its_first_trial() -> None:
    check_here(inventory())
    with pytest.raises(UserError, match=r"must have what the driver's has; .* \(here 1\.0\)"):
        check_here({**inventory(), "numpy": "1.0"})
