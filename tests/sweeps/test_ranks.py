"""A trial on two declared GPUs, one of whose ranks is killed amid, beside the same trial on one."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch

from sweeps.engine.plan.options import SMOKE_SAMPLES
from sweeps.engine.plan.plan import read_plan
from tests.sweeps.clusters import Head, head
from tests.sweeps.processes import ROOT, Surroundings, wait_for
from wgan_core.data.folder import Folder
from wgan_core.data.toy import load_toy
from wgan_core.metrics.evaluator import Evaluator
from wgan_core.training import checkpoint
from wgan_core.training.cohort import Cohort
from wgan_core.training.data import TrainingData
from wgan_core.training.samples import evaluation_z

pytestmark = pytest.mark.slow

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


@pytest.fixture(scope="module")
def cluster(surroundings: Surroundings) -> Head:
    return head(surroundings, "--num-cpus", "2", "--num-gpus", "2")


def test_a_trial_on_two_gpus_is_the_one_on_one(cluster: Head, surroundings: Surroundings, tmp_path: Path) -> None:
    """A rank that is killed amid, and then the one that leads, cost time alone."""
    script = tmp_path / "two.py"
    script.write_text(SCRIPT)
    options = ("--smoke", "--gpus-per-trial", "2", "--name", "two", "--storage", tmp_path)
    sweep = surroundings.start(sys.executable, script, *options, cwd=ROOT, **cluster.env)
    checkpoints = tmp_path / "two" / "trials" / "0" / "checkpoints"
    wait_for(
        lambda: bool(list(checkpoints.glob("*/manifest.json"))) or sweep.process.poll() is not None, "a checkpoint"
    )
    assert sweep.process.poll() is None, sweep.out + sweep.err
    (killed,) = followers(cluster)
    killed.kill()
    wait_for(lambda: [each.pid for each in followers(cluster)] not in ([], [killed.pid]), "another in its place", 90)
    (left,) = followers(cluster)
    (leader,) = cluster.process.workers()
    psutil.Process(leader).kill()
    wait_for(lambda: left.pid not in [each.pid for each in followers(cluster)], "the end of the one that was led", 30)
    sweep.succeeded(with_tracebacks=True)
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


def test_a_leader_that_waits_for_a_follower_that_failed_is_ended(cluster: Head, surroundings: Surroundings) -> None:
    leader = surroundings.start(sys.executable, "-c", STUCK, cwd=ROOT, **cluster.env).wait(100)
    assert leader.process.returncode == 1, leader.err
    assert leader.out == "MemoryError: no room for 3 GiB\n"
