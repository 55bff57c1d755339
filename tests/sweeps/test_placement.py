"""Placement: how many trials fit on a cluster; two declared GPUs that trials share, and that one trial has."""

from __future__ import annotations

import json
import re
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sweeps.engine.cluster.growth import Growth, growth
from sweeps.engine.cluster.placement import placement
from sweeps.engine.plan.options import SMOKE_SAMPLES
from sweeps.engine.plan.plan import read_plan
from tests.sweeps.clusters import Head, head
from tests.sweeps.processes import ROOT, Surroundings, copy_tables, wait_for
from wgan_core.data.folder import Folder
from wgan_core.data.toy import load_toy
from wgan_core.errors import UserError
from wgan_core.metrics.evaluator import Evaluator
from wgan_core.training import checkpoint
from wgan_core.training.cohort import Cohort
from wgan_core.training.data import TrainingData
from wgan_core.training.samples import evaluation_z


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


@pytest.fixture(scope="module")
def cluster(surroundings: Surroundings) -> Head:
    """A node that declares four CPUs and two GPUs, which this machine need not have."""
    return head(surroundings, "--num-cpus", "4", "--num-gpus", "2")


@pytest.mark.slow
def test_half_a_gpu_each_on_two(cluster: Head, surroundings: Surroundings, small_data: Path, tmp_path: Path) -> None:
    """Four trials run at once, two on each GPU, and each sees that one alone."""
    seen, storage = tmp_path / "seen", tmp_path / "storage"
    seen.mkdir()
    copy_tables(storage)
    options = ["--data", small_data, "--smoke", "--budget", "1", "--gpus-per-trial", "0.5", "--storage", storage]
    surroundings.start(sys.executable, "-c", WITNESSED, seen, *options, cwd=ROOT, **cluster.env).succeeded()
    found = [json.loads(file.read_text()) for file in sorted(seen.glob("*.json"))]
    assert sorted(each["devices"] for each in found) == ["0", "0", "1", "1"]
    assert len({each["pid"] for each in found}) == 4
    assert cluster.process.process.poll() is None, "the sweep ended a cluster that it did not start"


# In double precision, so that sums of halves differ from sums of all by the last bits only.
SCRIPT = """
import sys
from sweeps.engine.plan.options import parse
from sweeps.engine.plan.presets import GAUSSIANS
from sweeps import run_script, run_sweep
from wgan_core.config import Structure
from wgan_core.data.toy import load_toy

def main():
    options = parse("two", "", trials=1, budget=45, presets=GAUSSIANS)
    networks = {"critic": {"widths": [32]}, "generator": {"widths": [32], "output": "linear", "batch_norm": True}}
    structure = Structure("mlp", (2,), 4, 32, dtype="float64", network_options=networks)
    run_sweep(options, load_toy("8gaussians"), structure, GAUSSIANS[options.preset].space)

if __name__ == "__main__":
    sys.exit(run_script(main))
"""


def followers(cluster: Head) -> list[psutil.Process]:
    """The processes of further ranks."""
    found = []
    for each in cluster.process.descendants():
        with suppress(psutil.NoSuchProcess):
            if "ray::Follower" in " ".join(each.cmdline()):
                found.append(each)
    return found


@pytest.mark.slow
def test_a_trial_on_two_gpus_is_the_one_on_one(cluster: Head, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A rank that is killed amid, and then the one that leads, cost time alone."""
    tmp_path = tmp_path_factory.mktemp("two")
    script = tmp_path / "two.py"
    script.write_text(SCRIPT)
    checkpoints = tmp_path / "two" / "trials" / "0" / "checkpoints"

    def kill() -> None:
        wait_for(lambda: bool(list(checkpoints.glob("*/manifest.json"))), "a checkpoint")
        (killed,) = followers(cluster)
        killed.kill()
        wait_for(
            lambda: [each.pid for each in followers(cluster)] not in ([], [killed.pid]), "another in its place", 90
        )
        (left,) = followers(cluster)
        (leader,) = cluster.process.workers()
        psutil.Process(leader).kill()
        wait_for(
            lambda: left.pid not in [each.pid for each in followers(cluster)], "the end of the one that was led", 30
        )

    around = Surroundings(tmp_path, cluster.env)
    options = ("--smoke", "--gpus-per-trial", 2, "--cpus-per-trial", 2, "--name", "two")
    sweep = around.run(script, tmp_path, *options, beside=kill).succeeded(with_tracebacks=True)
    around.close()
    assert "processes at a time: 1, with 2 CPU and 2 GPU each" in sweep.out
    again = "trial 0 is trained again from its last checkpoint: its process died "
    assert re.findall(f"{again}(.*)", sweep.out) == [
        "1 times, the last time: LostRank: rank 1 of 2 has died, by a signal or for want of memory",
        "2 times, the last time: killed, or out of memory",
    ]
    wait_for(lambda: not followers(cluster), "the further ranks to end with their trials", 30)

    kept, plan = checkpoint.latest(Folder.at(str(checkpoints))), read_plan(Folder.at(str(tmp_path / "two")))
    assert kept is not None
    assert plan is not None
    assert kept.critic_updates == plan.budget
    dataset = load_toy("8gaussians")
    alone = Cohort(plan.structure, TrainingData(torch.from_numpy(dataset.train.values)), [plan.budget])
    alone.add(kept.trial)
    alone.advance()
    evaluator = Evaluator.build(dataset, "validation", sample_size=SMOKE_SAMPLES)
    samples = alone.samples(0, evaluation_z(plan.structure, evaluator.sample_size))
    assert kept.scores == pytest.approx(evaluator.scores(samples, None), rel=1e-10)


# A leader that waits for ever, as on a GPU, for a follower that has failed.
STUCK = """
import time
import ray
from sweeps.engine.worker import rank_group
from wgan_core.backend.ranks import Ranks

class Follower:
    def advance(self):
        raise MemoryError("no room for 3 GiB")

ray.init(logging_level="ERROR", log_to_driver=False)
rank_group.GRACE_S = 0.5
followers = [ray.remote(num_cpus=0)(Follower).remote()]
ours = rank_group.RankGroup(Ranks(), followers, lambda why: print(why, flush=True))
with ours.doing("advance"):
    time.sleep(200)
"""


@pytest.mark.slow
def test_a_leader_that_waits_for_a_follower_that_failed_is_ended(cluster: Head, surroundings: Surroundings) -> None:
    leader = surroundings.start(sys.executable, "-c", STUCK, cwd=ROOT, **cluster.env).wait(100)
    assert leader.process.returncode == 1, leader.err
    assert leader.out == "MemoryError: no room for 3 GiB\n"


# Of a critic that needs more memory than there is on more than two lanes, and one that fails there. The task runs on
# the CPU, as the GPU is but declared.
MEASURED = """
import ray
import torch
from torch import nn
from sweeps.engine.driver.lane_probe import settle_lanes
from sweeps.engine.cluster.placement import Placement
from sweeps.engine.plan.plan import Plan
from sweeps.engine.plan.presets import WGAN_GP
from sweeps.engine.worker.job import Job
from wgan_core.config import Structure
from wgan_core.data import Split
from wgan_core.data.folder import Folder
from wgan_core.networks.pairs import Pair, register

class Limited(torch.autograd.Function):
    @staticmethod
    def forward(x, how):
        return x.clone()

    @staticmethod
    def setup_context(context, inputs, output):
        pass

    @staticmethod
    def backward(context, gradient):
        return gradient, None

    @staticmethod
    def vmap(info, in_dims, x, how):
        if info.batch_size > 2:
            if how == "crowded":
                torch.empty(2**50, dtype=torch.uint8)
            raise RuntimeError("an illegal memory access was encountered")
        return Limited.apply(x, how), in_dims[0]

class Layer(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how = how

    def forward(self, x):
        return Limited.apply(x, self.how)

def pair(how):
    critic = lambda structure: nn.Sequential(nn.Linear(2, 4), Layer(how), nn.Linear(4, 1), nn.Flatten(0))
    return Pair(critic, lambda structure: nn.Linear(structure.latent_dim, 2))

ray.init(log_to_driver=False, logging_level="ERROR")
train = Split(torch.randn(64, 2).numpy(), None)
for how in ("crowded", "faulty"):
    register(how, pair(how))
    plan = Plan("1d", how, 100, 90, 0, "a", Structure(how, (2,), 3, 4), WGAN_GP, "", "", {}, {"a": 1.0})
    job = Job(plan, Folder.at("/nowhere"), Placement(1.0, 1.0), {}, pairs={how: pair(how)})
    assert settle_lanes(job, None, train, 10, [{"CPU": 1.0, "GPU": 1.0}], print) == 1
"""


@pytest.mark.slow
def test_what_cannot_be_trained_side_by_side(cluster: Head, surroundings: Surroundings) -> None:
    """Of want of memory fewer lanes are the remedy; after any other error one lane is, and a line says what failed."""
    ran = surroundings.start(sys.executable, "-c", MEASURED, cwd=ROOT, **cluster.env).succeeded()
    asks, crowded, asks_again, faulty = ran.out.splitlines()
    assert asks == asks_again == "lanes: measuring how many trials a GPU trains best side by side"
    assert re.fullmatch(r"lanes: 1 a process: [\d,.]+ critic updates/s; 4 do not fit in the memory", crowded)
    why = "RuntimeError: an illegal memory access was encountered"
    assert faulty == f"lanes: 1 a process, as measuring failed: {why}: --lanes N for several"


# Three actors with a CPU and half a GPU each.
USED = """
import json, time
from dataclasses import astuple
import ray
from sweeps.engine.cluster.use import ClusterUse

use = ClusterUse()
assert use.now() is None and not ray.is_initialized()
ray.init(log_to_driver=False, logging_level="ERROR")

@ray.remote(num_cpus=1, num_gpus=0.5)
class Held:
    def __init__(self):
        self.is_there = True
    def there(self):
        return self.is_there

held = [Held.remote() for _ in range(3)]
assert all(ray.get([each.there.remote() for each in held]))
deadline = time.monotonic() + 30
# Ray hears of it a moment later.
while ((seen := use.now()) is None or seen.cpus_used != 3) and time.monotonic() < deadline:
    time.sleep(0.05)
ray.shutdown()
assert use.now() == seen
print(json.dumps(astuple(seen)[:5]))
"""


@pytest.mark.slow
def test_how_much_of_a_cluster_is_in_use(cluster: Head, surroundings: Surroundings) -> None:
    ran = surroundings.start(sys.executable, "-c", USED, cwd=ROOT, **cluster.env).succeeded()
    assert json.loads(ran.out) == [1, 4, 3, 2, 1.5]


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
def test_room_is_what_ray_places(cluster: Head, surroundings: Surroundings) -> None:
    """Of fractions, whole and several GPUs, on nodes of which one has too few CPUs: nothing straddles two.

    The last test here, as it adds a node to the cluster.
    """
    cluster.add("127.0.0.2", "--num-cpus", "2", "--num-gpus", "5")
    shares = [(1, 0.4), (1, 0.5), (0.5, 0.3), (1, 1), (1, 2), (1, 3), (2, 2), (3, 1)]
    ran = surroundings.start(sys.executable, "-c", RESERVED, json.dumps(shares), cwd=ROOT, **cluster.env).succeeded()
    placed = json.loads(ran.out.splitlines()[-1])
    assert [count for count, _ in placed] == [room for _, room in placed]
    assert placed[0][0] == 4 + 2
    assert placed[4][0] == 1 + 2
    assert placed[5][0] == 0 + 1
