"""Choice of the number of lanes from measurements, for a sweep that is run without `--lanes`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sweeps.engine.cluster.placement import Placement
from sweeps.engine.plan.plan import ETA, RANDOM_TRIALS
from sweeps.engine.plan.space import Range, Space
from wgan_core.config import Hyper
from wgan_core.errors import UserError
from wgan_core.training.probe import Measurement

SIZES = (1, 4, 16, 64, 256)
# Smallest relative speed-up that justifies more lanes. More lanes take more memory, and the sampler then has to draw
# more trials before it knows the results of the others.
GAIN = 0.05
# Share of the GPU memory to fill. The rest is for CUDA contexts and fragmentation, which the measurement misses.
FILLED = 0.9


@dataclass(frozen=True)
class LaneChoice:
    """Chosen number of lanes of a process, and a line for the user that gives the reason."""

    lanes: int
    line: str


def most_lanes(trials: int, starts: int, processes: int) -> int:
    """Return the most lanes of a process with which the sampler still learns from most trials.

    All lanes are filled before any trial has reported. Starting points and random points lose nothing by that, because
    they do not depend on reports. The sampler draws the other trials of this first batch as if at random. So the first
    batch is at most a third of all trials, or the starting and random points if they are more. At the first report,
    early stopping frees two thirds of the lanes. The sampler knows the first reports when it refills these lanes.

    Args:
        trials: Number of trials of the sweep.
        starts: Number of starting points of the space.
        processes: Number of processes that train at once.
    """
    at_once = min(trials, max(starts + RANDOM_TRIALS, -(-trials // ETA)))
    return max(1, at_once // processes)


def sizes(most: int) -> tuple[int, ...]:
    """Return the numbers of lanes to measure, ascending; the last is `most` or 256, whichever is less."""
    last = min(most, SIZES[-1])
    return (*(size for size in SIZES if size < last), last)


def hypers(space: Space, lanes: int) -> list[Hyper]:
    """Return one point of the space per lane, evenly spaced along every range; one lane gets the middle.

    The points differ in n_critic as a sweep's trials do. Some generator is then due at most critic updates. If all
    lanes had the same n_critic, generators would be due at few of them.
    """
    shares = [(lane + 0.5) / lanes for lane in range(lanes)]
    return [space.hyper({name: _at(bounds, share) for name, bounds in space.ranges.items()}) for share in shares]


def unmeasured(kept: int | None, places: Placement, most: int) -> LaneChoice | None:
    """Return a choice that needs no measurement, or None if lanes must be measured.

    Args:
        kept: Number of lanes of a continued sweep, or None. Another number would change the last bits of its trials.
        places: Resources of a trial.
        most: Upper limit from `most_lanes`.
    """
    if places.gpus_per_trial > 1:
        return LaneChoice(1, "lanes: 1 a process, as each trial takes several GPUs")
    if kept is not None:
        # The sweep's file does not say whether its number was measured or given.
        elsewhere = kept > 1 and not places.gpus_per_trial
        said = "; if that was measured on a GPU, --lanes 1 suits these CPUs better" if elsewhere else ""
        return LaneChoice(kept, f"lanes: {kept} a process, as before: another number changes last bits{said}")
    if not places.gpus_per_trial:
        return LaneChoice(1, "lanes: 1 a process, as on a CPU processes use the cores as well; --lanes N for several")
    if most == 1:
        return LaneChoice(1, "lanes: 1 a process; from more at once the search would learn too little")
    return None


def climb(tried: Sequence[int], measure: Callable[[int], Measurement]) -> list[Measurement]:
    """Measure ascending numbers of lanes; stop if one does not fit or is less than 5 % faster than the one before."""
    found, enough = [], 0.0
    for lanes in tried:
        found.append(measure(lanes))
        speed = found[-1].updates_per_s
        if speed is None or speed < enough:
            break
        enough = (1 + GAIN) * speed
    return found


def choose(found: Sequence[Measurement], capacity: int | None, most: int) -> LaneChoice:
    """Choose the smallest number of lanes whose speed is within 5 % of the best.

    Numbers that fill more than 90 % of the memory are left out, except one lane.

    Args:
        found: Measurements from `climb`, starting with one lane.
        capacity: Device memory in bytes that a process may use; None if it is not known.
        most: Upper limit from `most_lanes`.

    Raises:
        UserError: Not even one trial fits in the memory.
    """
    speeds = {each.lanes: each.updates_per_s for each in found if each.updates_per_s is not None}
    if not speeds:
        there = "" if capacity is None else f", {_gib(capacity)} GiB"
        raise UserError(
            f"a trial must fit in the memory that its process has on a device{there}; it does not: give a larger "
            "--gpus-per-trial, or smaller networks"
        )
    peaks = {each.lanes: each.peak_bytes for each in found}
    # One lane counts even if it fills the memory, because there is no smaller number.
    roomy = {lanes: speed for lanes, speed in speeds.items() if lanes == 1 or _has_room(peaks[lanes], capacity)}
    best = max(roomy.values())
    lanes = min(lanes for lanes, speed in roomy.items() if speed >= (1 - GAIN) * best)
    return LaneChoice(lanes, _line(lanes, speeds, peaks, capacity, most))


def _line(lanes: int, speeds: dict[int, float], peaks: dict[int, int | None], capacity: int | None, most: int) -> str:
    """Format the choice, with the speeds of the smallest and largest measured numbers of lanes."""
    ends = [f"{_number(speeds[other])} at {other}" for other in (min(speeds), max(speeds)) if other != lanes]
    said = f"lanes: {lanes} a process: {_number(speeds[lanes])} critic updates/s"
    said += f" against {' and '.join(dict.fromkeys(ends))}" if ends else ""
    peak = peaks[lanes]
    if peak is not None and capacity is not None:
        said += f"; {_gib(peak)} of {_gib(capacity)} GiB"
    crowded = [
        other for other in peaks if other > lanes and not (other in speeds and _has_room(peaks[other], capacity))
    ]
    if crowded:
        said += f"; {crowded[0]} do not fit in the memory"
    elif lanes == most:
        said += "; from more at once the search would learn too little"
    return said


def _has_room(peak: int | None, capacity: int | None) -> bool:
    return peak is None or capacity is None or peak <= FILLED * capacity


def _at(bounds: Range, share: float) -> float | str:
    """Return the value at a share (0 to 1) of a list or a range, on a log scale if the range has one."""
    if bounds.among:
        listed: float | str = bounds.among[min(int(share * len(bounds.among)), len(bounds.among) - 1)]
        return listed
    if bounds.log:
        value = bounds.low * (bounds.high / bounds.low) ** share
    else:
        value = bounds.low + share * (bounds.high - bounds.low)
    return min(max(round(value) if bounds.whole else value, bounds.low), bounds.high)


def _number(value: float) -> str:
    """Format a number with three significant digits; from 100 on as a whole number."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g}"
