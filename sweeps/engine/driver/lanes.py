"""How many trials a process trains side by side where nobody has said it: the choice, from what was measured."""

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
# What is not gained by this share is not worth the memory, nor what the search does not know yet when it asks.
GAIN = 0.05
# Of the memory, for what is not seen by measuring: the context of each process, and what falls between its blocks.
FILLED = 0.9


@dataclass(frozen=True)
class Choice:
    """So many trials side by side in a process, and why, in a line."""

    lanes: int
    line: str


def most_lanes(trials: int, presets: int, processes: int) -> int:
    """How many trials a process may train side by side so that the search still learns from most of them.

    All lanes are filled before any trial has reported. The presets and the random points lose nothing by that: they
    would be the same. Of the others no more than makes a third of all trials are asked for at once; those are then
    drawn as if at random. Early stopping frees two thirds of the lanes at the first report, and what refills them is
    drawn knowing what the first third came to.
    """
    at_once = min(trials, max(presets + RANDOM_TRIALS, -(-trials // ETA)))
    return max(1, at_once // processes)


def sizes(most: int) -> tuple[int, ...]:
    """The numbers to try: up to `most`, which is tried too."""
    last = min(most, SIZES[-1])
    return (*(size for size in SIZES if size < last), last)


def hypers(space: Space, lanes: int) -> list[Hyper]:
    """Points of a space for so many lanes, evenly along all its ranges; for one its middle.

    Spread, since lanes of several n_critic have a generator update in most ticks, and lanes of one in few.
    """
    shares = [(lane + 0.5) / lanes for lane in range(lanes)]
    return [space.hyper({name: _at(bounds, share) for name, bounds in space.ranges.items()}) for share in shares]


def unmeasured(kept: int | None, places: Placement, most: int) -> Choice | None:
    """The choice where there is nothing to measure; None where there is.

    kept: the sweep's number so far, if it is continued: another one changes the last bits of its trials.
    """
    if places.gpus_per_trial > 1:
        return Choice(1, "lanes: 1 a process, as each trial takes several GPUs")
    if kept is not None:
        # Whether the number was measured or given is not known any more.
        elsewhere = kept > 1 and not places.gpus_per_trial
        said = "; if that was measured on a GPU, --lanes 1 suits these CPUs better" if elsewhere else ""
        return Choice(kept, f"lanes: {kept} a process, as before: another number changes last bits{said}")
    if not places.gpus_per_trial:
        return Choice(1, "lanes: 1 a process, as on a CPU processes use the cores as well; --lanes N for several")
    if most == 1:
        return Choice(1, "lanes: 1 a process; from more at once the search would learn too little")
    return None


def climb(tried: Sequence[int], measure: Callable[[int], Measurement]) -> list[Measurement]:
    """Measure number after number, until one does not fit or brings less than 5 % more than the one before."""
    found, enough = [], 0.0
    for lanes in tried:
        found.append(measure(lanes))
        speed = found[-1].updates_per_s
        if speed is None or speed < enough:
            break
        enough = (1 + GAIN) * speed
    return found


def choose(found: Sequence[Measurement], capacity: int | None, most: int) -> Choice:
    """The least number within 5 % of the best of those that leave some memory free.

    found: of `climb`, from one lane on. capacity: bytes that a process may take of its device; None: not known. most:
    of `most_lanes`. Raises `UserError` if not even one trial fits.
    """
    speeds = {each.lanes: each.updates_per_s for each in found if each.updates_per_s is not None}
    if not speeds:
        there = "" if capacity is None else f", {_gib(capacity)} GiB"
        raise UserError(
            f"a trial must fit in the memory that its process has on a device{there}; it does not: give a larger "
            "--gpus-per-trial, or smaller networks"
        )
    peaks = {each.lanes: each.peak_bytes for each in found}
    # One trial alone has nothing less to fall back on.
    roomy = {lanes: speed for lanes, speed in speeds.items() if lanes == 1 or _has_room(peaks[lanes], capacity)}
    best = max(roomy.values())
    lanes = min(lanes for lanes, speed in roomy.items() if speed >= (1 - GAIN) * best)
    return Choice(lanes, _line(lanes, speeds, peaks, capacity, most))


def _line(lanes: int, speeds: dict[int, float], peaks: dict[int, int | None], capacity: int | None, most: int) -> str:
    """What was chosen, beside the ends of what was tried."""
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


def _at(bounds: Range, share: float) -> float:
    """What lies so far along a range, on a log scale where that is searched on one."""
    if bounds.log:
        value = bounds.low * (bounds.high / bounds.low) ** share
    else:
        value = bounds.low + share * (bounds.high - bounds.low)
    return min(max(round(value) if bounds.whole else value, bounds.low), bounds.high)


def _number(value: float) -> str:
    """With three digits, and none after the point from 100 on."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g}"
