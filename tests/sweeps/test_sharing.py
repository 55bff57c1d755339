"""The training data of a node is one copy, however many processes train from it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sweeps.engine.worker.resident import resident
from tests.sweeps.processes import Surroundings
from wgan_core.data import Split


def test_the_tensor_is_the_shared_array_itself_and_nothing_warns() -> None:
    """Ray hands every process of a node the same read-only memory; a tensor made of it must not copy it."""
    shared = np.arange(2 * 1 * 4 * 4, dtype=np.uint8).reshape(2, 1, 4, 4)
    shared.flags.writeable = False
    split = Split(shared, None)
    data = resident(split, "grey", torch.device("cpu"))
    assert data.samples.data_ptr() == shared.ctypes.data
    assert torch.equal(data.samples, torch.arange(32, dtype=torch.uint8).reshape(2, 1, 4, 4))
    assert resident(split, "grey", torch.device("cpu")) is data


SCRIPT = """
import os
import sys
import numpy as np
import ray
import torch
from ray import tune

from sweeps.engine.cluster.connection import joined, running_cluster
from sweeps.engine.worker.resident import resident
from wgan_core.data import Split


def lies_in(split):
    address = resident(split, "ones", torch.device("cpu")).samples.data_ptr()
    for line in open("/proc/self/maps"):
        first, last = (int(end, 16) for end in line.split()[0].split("-"))
        if first <= address < last:
            return os.getpid(), line.split(maxsplit=5)[-1]


def train(config, split):
    process, file = lies_in(split)
    tune.report({"process": process, "file": file})


with joined(running_cluster()):
    trainable = tune.with_resources(tune.with_parameters(train, split=Split(np.ones((1000, 1000)), None)), {"CPU": 1})
    run = tune.RunConfig(storage_path=sys.argv[1], verbose=0)
    results = tune.Tuner(trainable, tune_config=tune.TuneConfig(num_samples=2), run_config=run).fit()
    for result in results:
        print("trained in", result.metrics["process"], result.metrics["file"])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_every_process_of_a_node_trains_from_rays_own_memory(joined: Surroundings, tmp_path: Path) -> None:
    script = tmp_path / "sharing.py"
    script.write_text(SCRIPT)
    ran = joined.start(sys.executable, script, tmp_path / "results").succeeded()
    found = [line.split(maxsplit=3)[2:] for line in ran.out.splitlines() if line.startswith("trained in")]
    assert len({process for process, _ in found}) == 2
    for _, file in found:
        assert "plasma" in file or file.startswith("/dev/shm"), found


def test_another_sweep_in_the_same_process_gets_its_own_data() -> None:
    first, second = (Split(values((3, 2), np.float32), None) for values in (np.zeros, np.ones))
    assert resident(first, "zeros", torch.device("cpu")).samples.sum() == 0
    assert resident(second, "ones", torch.device("cpu")).samples.sum() == 6
