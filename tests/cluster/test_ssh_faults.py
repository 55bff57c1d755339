"""A sweep on three hosts that loses one after the other, and its driver: it ends as if nothing had happened.

In this order: a host's link is cut while it trains, and the host to which its trial moved loses power; both come back;
the driver is killed at once with the command that started it, and the same command is given again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psutil
import pytest

from tests.cluster.hosts import HOME, Host, Lab
from tests.cluster.submitted import BIN, BUDGET, HOSTS, PAUSE_S, SUBMIT, Submitted, watched
from tests.sweeps.processes import Running, wait_for
from tests.sweeps.stored import Stored

pytestmark = [pytest.mark.slow, pytest.mark.needs_server]

# Two at a time, so that there is room for both on the head when it alone is left.
DISTURBED = (*SUBMIT, "--name", "disturbed", "--max-concurrent", "2")
MOVED = re.compile(r"trial (\d+) is trained again from its last checkpoint")


@dataclass
class Fault:
    """What happens to a host or a driver at `began`, and how long it takes until the sweep goes on."""

    what: str
    stored: Stored
    head: Host
    times: dict[str, float]
    began: float

    def noticed(self, sweep: Running, before: int) -> int:
        """Wait for the driver's word on a trial that moves, after so many others; its number."""
        wait_for(lambda: len(MOVED.findall(sweep.out)) > before or sweep.process.poll() is not None, self.what)
        self.times[f"{self.what}, to the driver's notice"] = time.monotonic() - self.began
        return int(MOVED.findall(sweep.out)[before])

    def goes_on(self, number: int, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Wait until the search was told of a step of this trial that is beyond all that the lost process wrote."""
        last = max(self.stored.steps(number), default=0)

        def told() -> bool:
            meanwhile()
            with self.head.network():
                return max(self.stored.search()[number][2], default=0) > last

        wait_for(told, f"a report of trial {number} after {self.what}", pause_s=PAUSE_S)
        self.times[f"{self.what}, to the trial's next report"] = time.monotonic() - self.began


@pytest.fixture(scope="module")
def disturbed(
    lab: Lab,
    undisturbed: Submitted,
    ray: Callable[..., Running],
    times: dict[str, float],
    stored_as: Callable[[str], Stored],
) -> Submitted:
    head, *workers = lab.hosts
    stored = stored_as("disturbed")

    def fault(what: str) -> Fault:
        return Fault(what, stored, head, times, time.monotonic())

    sweep = ray(*DISTURBED)
    wait_for(lambda: all(stored.reports(number) for number in range(2)), "a report of each of two trials")
    wait_for(lambda: any(host.trains() for host in workers), "a trial on a worker", pause_s=PAUSE_S)
    first, second = sorted(workers, key=Host.trains, reverse=True)
    cut = fault("link cut")
    first.cut_link()
    time.sleep(1)  # for a report that it was just writing
    written = _written(stored)
    moved = cut.noticed(sweep, 0)
    assert first.trains(), "the process that lost its trial has not ended"
    assert _written(stored)[moved] == written[moved]
    cut.goes_on(moved)

    def amid_trials() -> bool:
        """No trial is about to end, and one is on the other worker."""
        with head.network():
            steps = [max(values, default=0) for state, _, values in stored.search() if state == "RUNNING"]
        return max(steps, default=BUDGET) <= BUDGET * 2 // 3 and second.trains()

    wait_for(amid_trials, "a trial on the other worker", pause_s=PAUSE_S)
    lost, before = fault("power cut"), len(MOVED.findall(sweep.out))
    second.cut_power()
    lost.goes_on(lost.noticed(sweep, before))

    back = time.time()
    first.mend_link()
    second.start()
    driver = fault("driver killed")
    for process in head.running(f"python {HOME}/mnist.py"):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    sweep.kill()
    again = ray(*DISTURBED)
    with head.network():
        running = [number for number, (state, _, _) in enumerate(stored.search()) if state == "RUNNING"]
    there: dict[str, float] = {}

    def rejoined() -> bool:
        for host, what in ((first, "link mended"), (second, "power back")):
            started = [each.create_time() for each in host.running("raylet/raylet")]
            if any(start > back for start in started):
                there.setdefault(what, time.time() - back)
        return len(there) == 2

    driver.goes_on(min(running, key=stored.reports), rejoined)
    trained = watched(again, lab.hosts, rejoined) | watched(again, lab.hosts)
    again.succeeded()
    wait_for(rejoined, "Ray on the hosts that came back", pause_s=PAUSE_S)
    times |= {f"{what}, to Ray started anew there": seconds for what, seconds in there.items()}
    return Submitted(stored, again, trained)


def _written(stored: Stored) -> list[dict[str, int]]:
    """When the records and sample grids of each trial were written, by file."""
    folders = sorted((stored.folder / "trials").iterdir(), key=lambda folder: int(folder.name))
    return [{file.name: file.stat().st_mtime_ns for file in folder.glob("s*/[0-9]*")} for folder in folders]


def test_what_was_disturbed_equals_what_was_not(lab: Lab, undisturbed: Submitted, disturbed: Submitted) -> None:
    """All that MLflow and the search know but times, and the weights, bit for bit."""
    with lab.hosts[0].network():
        assert disturbed.stored.search() == undisturbed.stored.search()
        logged, expected = disturbed.stored.logged(), undisturbed.stored.logged()
        runs = disturbed.stored.runs()
    assert logged.keys() == expected.keys() == {*range(8)}
    for number, parts in expected.items():
        assert len(parts["timed"]) == 9
        for part, value in parts.items():
            assert logged[number][part] == value, f"{part} of trial {number}"
    assert runs[None].data.tags["mlflow.sync"] == "complete"
    states, others = disturbed.stored.states(), undisturbed.stored.states()
    assert states.keys() >= others.keys()
    assert {path: states[path] for path in others} == others


def test_all_hosts_train_again_in_a_sweep_that_is_left_alone(
    lab: Lab, disturbed: Submitted, ray: Callable[..., Running], stored_as: Callable[[str], Stored]
) -> None:
    """`--tmux` returns at once; the sweep is found by its name, by attaching to it, and in MLflow."""
    head, stored = lab.hosts[0], stored_as("alone")
    sweep = ("sweeps/mnist.py", "--name", "alone", "--trials", "6", "--budget", "45", "--no-pruning")
    ray("submit", "cluster.yaml", "--tmux", *sweep).succeeded()
    trained: set[str] = set()

    def all_train() -> bool:
        trained.update(host.name for host in lab.hosts if host.trains())
        return trained == {*HOSTS}

    wait_for(all_train, "a trial on each host", pause_s=PAUSE_S)
    terminal = lab.launch(BIN / "ray", "attach", "cluster.yaml", "--tmux", TERM="xterm")
    said = ray("exec", "cluster.yaml", "sweeps status alone").succeeded().out
    assert "training" in said
    wait_for(lambda: "6 of 6 trials ended" in terminal.out, "the end, in the terminal")
    terminal.kill()
    wait_for(lambda: not head.running(f"python {HOME}/mnist.py"), "the driver's end", pause_s=PAUSE_S)
    with head.network():
        assert stored.runs().keys() == {None, *map(str, range(6))}
        assert {state for state, _, _ in stored.search()} == {"COMPLETE"}
