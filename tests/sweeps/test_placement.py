"""Placement: how many trials fit on a cluster, and that two declared GPUs are shared as was asked."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sweeps.engine.cluster.growth import Growth, growth
from sweeps.engine.cluster.placement import placement
from tests.sweeps.clusters import head
from tests.sweeps.processes import ROOT, Surroundings
from wgan_core.errors import UserError


@pytest.mark.parametrize(
    ("cpus_per_trial", "gpus_per_trial", "cluster", "gpus", "concurrent"),
    [
        (1.0, None, {"CPU": 2.0}, 0.0, 2),
        (1.0, None, {"CPU": 8.0, "GPU": 2.0}, 1.0, 2),
        (1.0, 0.5, {"CPU": 8.0, "GPU": 2.0}, 0.5, 4),
        (1.0, 0.5, {"CPU": 3.0, "GPU": 2.0}, 0.5, 3),
        (1.0, 0.4, {"CPU": 8.0, "GPU": 2.0}, 0.4, 4),  # a third of .4 on each would straddle them
        (1.0, 0.2, {"CPU": 16.0, "GPU": 1.0}, 0.2, 5),
        (1.0, 0.1, {"CPU": 16.0, "GPU": 1.0}, 0.1, 10),
        (0.1, 0.0, {"CPU": 2.0, "GPU": 1.0}, 0.0, 20),
        (0.3, None, {"CPU": 3.0}, 0.0, 10),
        (2.0, None, {"CPU": 5.0}, 0.0, 2),
        (1.0, 2.0, {"CPU": 8.0, "GPU": 5.0}, 2.0, 2),
        (4.0, 2.0, {"CPU": 4.0, "GPU": 4.0}, 2.0, 1),
    ],
)
def test_as_many_as_fit(
    cpus_per_trial: float, gpus_per_trial: float | None, cluster: dict[str, float], gpus: float, concurrent: int
) -> None:
    found = placement(cpus_per_trial, gpus_per_trial, 0, [cluster])
    assert (found.gpus_per_trial, found.room([cluster])) == (gpus, concurrent)


@pytest.mark.parametrize(
    ("gpus_per_trial", "nodes", "cpus", "concurrent"),
    [
        (None, [{"CPU": 8.0}], 1.0, 8),
        (0.0, [{"CPU": 8.0, "GPU": 1.0}], 1.0, 8),
        (None, [{"CPU": 16.0, "GPU": 1.0}], 16.0, 1),
        (0.25, [{"CPU": 18.0, "GPU": 1.0}], 4.0, 4),
        (2.0, [{"CPU": 17.0, "GPU": 4.0}], 8.0, 2),
        # The head has no GPU, and the smaller of the others decides.
        (None, [{"CPU": 4.0}, {"CPU": 16.0, "GPU": 2.0}, {"CPU": 12.0, "GPU": 1.0}], 8.0, 3),
        (0.25, [{"CPU": 2.0, "GPU": 1.0}], 1.0, 2),
    ],
)
def test_who_trains_on_gpus_has_the_cpus_beside_them(
    gpus_per_trial: float | None, nodes: list[dict[str, float]], cpus: float, concurrent: int
) -> None:
    found = placement(None, gpus_per_trial, 0, nodes)
    assert (found.cpus_per_trial, found.room(nodes)) == (cpus, concurrent)
    assert found.threads == max(1, cpus // max(1, gpus_per_trial or 0))


@given(st.integers(1, 32), st.integers(1, 8), st.integers(1, 12), st.integers(0, 40))
def test_never_more_than_asked_for_or_fit(cpus: int, gpus: int, share: int, most: int) -> None:
    """Fractions 1/n of a GPU fit n times on each."""
    nodes = [{"CPU": float(cpus), "GPU": float(gpus)}]
    fitting = min(cpus, gpus * share)
    assert placement(1.0, 1 / share, most, nodes).room(nodes) == (min(fitting, most) if most else fitting)


@pytest.mark.parametrize(
    ("cpus_per_trial", "gpus_per_trial", "cluster"),
    [(3.0, None, {"CPU": 2.0}), (1.0, 0.5, {"CPU": 2.0}), (1.0, None, {}), (1.0, 2.0, {"CPU": 2.0, "GPU": 1.0})],
)
def test_not_even_one_fits(cpus_per_trial: float, gpus_per_trial: float | None, cluster: dict[str, float]) -> None:
    with pytest.raises(UserError, match="ask for less with --cpus-per-trial and --gpus-per-trial"):
        placement(cpus_per_trial, gpus_per_trial, 0, [cluster])


@pytest.mark.parametrize(
    ("gpus", "ranks", "bundles"),
    [
        (0.0, 1, [{"CPU": 2.0, "GPU": 0.0}]),
        (0.25, 1, [{"CPU": 2.0, "GPU": 0.25}]),
        (1.0, 1, [{"CPU": 2.0, "GPU": 1.0}]),
        (3.0, 3, [{"CPU": 2.0, "GPU": 1.0}, {"GPU": 1.0}, {"GPU": 1.0}]),
    ],
)
def test_a_trial_has_a_process_a_gpu(gpus: float, ranks: int, bundles: list[dict[str, float]]) -> None:
    found = placement(2.0, gpus, 0, [{"CPU": 8.0, "GPU": 4.0}])
    assert (found.ranks, found.bundles()) == (ranks, bundles)


def test_nodes_are_counted_one_by_one() -> None:
    """Three CPUs do not fit on two nodes of two; a node's GPUs need its own CPUs."""
    two = [{"CPU": 2.0}, {"CPU": 2.0}]
    assert placement(2.0, None, 0, two).room(two) == 2
    with pytest.raises(UserError, match="on one node; the nodes have 2 and 0, 2 and 0"):
        placement(3.0, None, 0, two)
    lopsided = [{"CPU": 8.0}, {"CPU": 1.0, "GPU": 4.0}]
    assert placement(1.0, 0.5, 0, lopsided).room(lopsided) == 1
    ones = [{"CPU": 4.0, "GPU": 1.0}, {"CPU": 4.0, "GPU": 1.0}]
    with pytest.raises(UserError, match="1 CPUs and 2 GPUs on one node"):
        placement(1.0, 2.0, 0, ones)


HEAD = [{"CPU": 0.0}]
KINDS = """
small: {resources: {CPU: 4, GPU: 1}, max_workers: 64}
large: {resources: {CPU: 48, GPU: 4}, max_workers: 4}
head: {resources: {CPU: 0}, max_workers: 0}
unknown: {resources: {}, max_workers: 8}
"""


def test_room_follows_the_nodes() -> None:
    """A place for each that is there, and fewer when they go."""
    found = placement(1.0, None, 0, [{"CPU": 2.0}])
    assert [found.room([{"CPU": 2.0}] * nodes) for nodes in (1, 3, 0)] == [2, 6, 0]


def test_a_cluster_that_may_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its GPUs are counted before they are there; trials wait for no more than as many again as there are places."""
    monkeypatch.setenv("WGAN_NODE_TYPES", KINDS)
    may = growth()
    assert [(kind.resources, kind.most) for kind in may.kinds] == [
        ({"CPU": 4.0, "GPU": 1.0}, 64),
        ({"CPU": 48.0, "GPU": 4.0}, 4),
    ]
    found = placement(1.0, None, 0, HEAD, may)
    assert found.gpus_per_trial == 1.0
    one = {"CPU": 4.0, "GPU": 1.0}
    assert [found.room(HEAD + [one] * nodes) for nodes in (0, 4, 20, 64, 100)] == [8, 12, 40, 80, 100]
    assert placement(1.0, 0.5, 0, HEAD, may).room(HEAD + [one] * 64) == 160
    assert placement(1.0, None, 6, HEAD, may).room(HEAD) == 6
    # A head that trains too is reckoned beside what may come.
    busy = [{"CPU": 8.0, "GPU": 2.0}]
    assert placement(1.0, None, 0, busy, may).room(busy + [one] * 64) == 2 + 64 + 16
    with pytest.raises(UserError, match="64 CPUs and 1 GPUs on one node; the nodes have 0 and 0, 4 and 1, 48 and 4"):
        placement(64.0, None, 0, HEAD, may)


def test_what_ray_up_left_says_how_a_cluster_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its bound on all workers together, of which the largest are reckoned with first."""
    monkeypatch.delenv("WGAN_NODE_TYPES", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert growth() == Growth()
    file = tmp_path / "ray_bootstrap_config.yaml"
    file.write_text(yaml.safe_dump({"max_workers": 5, "available_node_types": yaml.safe_load(KINDS)}))
    busy = HEAD + [{"CPU": 48.0, "GPU": 4.0}] * 3
    assert placement(1.0, None, 0, HEAD, growth()).room(busy) == 4 * 4 + 1
    for others in ("", "[", "available_node_types: 3", "provider: {type: local}"):
        file.write_text(others)
        assert growth() == Growth()


@pytest.mark.parametrize("given", ["[", "3", "{gpu: 4}", "{gpu: {resources: {CPU: many}, max_workers: 1}}"])
def test_kinds_of_nodes_in_another_form_are_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WGAN_NODE_TYPES", given)
    with pytest.raises(UserError, match="WGAN_NODE_TYPES must be kinds of nodes"):
        growth()


# Runs the product's own script; each process that trains notes the devices it sees, and waits until four have.
WITNESSED = """
import json, os, sys, time
from pathlib import Path
import sweeps.mnist
from sweeps import run_script
from sweeps.engine.driver import training

folder, original = Path(sys.argv.pop(1)), training.train_cohort

def train_cohort(config, **given):
    (folder / f"{config['trial']}.part").write_text(json.dumps(
        {"devices": os.environ.get("CUDA_VISIBLE_DEVICES"), "pid": os.getpid()}))
    (folder / f"{config['trial']}.part").rename(folder / f"{config['trial']}.json")
    deadline = time.monotonic() + 120
    while len(list(folder.glob("*.json"))) < 4:
        assert time.monotonic() < deadline, "four trials do not run at once"
        time.sleep(0.05)
    original(config, **given)

training.train_cohort = train_cohort
sys.exit(run_script(sweeps.mnist.main))
"""


@pytest.mark.slow
def test_half_a_gpu_each_on_two(surroundings: Surroundings, small_data: Path, tmp_path: Path) -> None:
    """On a running cluster that declares two GPUs, four trials run at once, two on each, and each sees that one alone.

    The sweep joins that cluster, since it finds four CPUs and two GPUs, which this machine need not have.
    """
    cluster = head(surroundings, "--num-cpus", "4", "--num-gpus", "2")
    seen = tmp_path / "seen"
    seen.mkdir()
    options = ["--data", small_data, "--smoke", "--gpus-per-trial", "0.5", "--storage", tmp_path / "storage"]
    surroundings.start(sys.executable, "-c", WITNESSED, seen, *options, cwd=ROOT, **cluster.env).succeeded()
    found = [json.loads(file.read_text()) for file in sorted(seen.glob("*.json"))]
    assert sorted(each["devices"] for each in found) == ["0", "0", "1", "1"]
    assert len({each["pid"] for each in found}) == 4
    assert cluster.process.process.poll() is None, "the sweep ended a cluster that it did not start"
    cluster.process.kill()


# Reserves, share by share, what as many processes take as the cluster has room for; prints how many, and our reckoning.
RESERVED = """
import json, sys
import ray
from ray.util.placement_group import placement_group, remove_placement_group
from sweeps.engine.cluster.placement import placement

ray.init(logging_level="ERROR")
nodes = [node["Resources"] for node in ray.nodes()]
found = []
for cpus, gpus in json.loads(sys.argv[1]):
    taken = []
    while True:
        taken.append(placement_group(placement(cpus, gpus, 0, nodes).bundles(), strategy="STRICT_PACK"))
        if not taken[-1].wait(2):
            break
    found.append((len(taken) - 1, placement(cpus, gpus, 0, nodes).room(nodes)))
    for group in taken:
        remove_placement_group(group)
    free = lambda: ray.available_resources().get("GPU") == ray.cluster_resources()["GPU"]
    while not free():
        pass
print(json.dumps(found))
"""


@pytest.mark.slow
def test_room_is_what_ray_places(surroundings: Surroundings) -> None:
    """Of fractions, whole and several GPUs, on nodes of which one has too few CPUs: nothing straddles two."""
    cluster = head(surroundings, "--num-cpus", "8", "--num-gpus", "3")
    cluster.add("127.0.0.2", "--num-cpus", "2", "--num-gpus", "4")
    shares = [(1, 0.4), (1, 0.5), (0.5, 0.3), (1, 1), (1, 2), (1, 3), (2, 2), (3, 1)]
    ran = surroundings.start(sys.executable, "-c", RESERVED, json.dumps(shares), cwd=ROOT, **cluster.env).succeeded()
    placed = json.loads(ran.out.splitlines()[-1])
    assert [count for count, _ in placed] == [room for _, room in placed]
    assert placed[0][0] == 6 + 2
    assert placed[4][0] == 1 + 2
    cluster.process.kill()
