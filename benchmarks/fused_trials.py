"""Time many trials on one device: lanes of a cohort against what one would do without them.

    python benchmarks/fused_trials.py [--structures mlp conv] [--trials 1 4 16 64 256] [--n-critic 1] [--pairs 9]
        [--seconds 1] [--processes P] [--precision tf32] [--data FOLDER] [--profile OUT] [--json OUT]
    python benchmarks/fused_trials.py --draw JSON

The figure is trial-updates a second: one is n_critic critic updates, with the gradient penalty, and one generator
update of one trial, at batch 64 on 28x28 images and 100 latent dimensions. K is the number of trials.

    ours        K lanes of a `Cohort`, with all that training does: draws by counter, the generator's average, running
                means; on a GPU as it trains there by itself
    eager       the same without capture, on a GPU
    hfta        K models in horizontally fused modules (Wang et al., MLSys 2021; `fused/hfta.py`), in lock step
    processes   P processes that share the device, each with the textbook loop; their sum. P does not follow K.
                They take turns on a GPU, unless NVIDIA's MPS runs there
    textbook    the textbook loop with torch.optim.Adam, one trial at a time: K trials have the rate of one

`--precision` is of all arms, but for bfloat16, which is ours alone; the others are then in float32.
The other arms draw with torch's own generator, keep no average and log nothing.

All arms of one K run in one process (but the processes, which wait while the others run), in alternating blocks whose
order moves on by one from round to round; rates are medians over the rounds with quartiles, and ratios are taken within
each round. Reports are not in the blocks, as a trial makes some ten in thousands of updates; one of K lanes, without
scoring, is timed apart.

The floor is the larger of two times (`fused/floor.py` has what is counted and why it is not their sum). `reached` is
the floor's time over ours; on a GPU it is given for products in fp32, TF32 and bf16, whichever ours uses.

On a CPU each process has one thread, as a sweep gives a trial one core: the processes then have P cores where the
other arms, and the floor, have one. Without CUDA every figure of CUDA is written as `not measured`. The machine must be
free of other work: the script listens before it starts, and says so if there is any.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from fused import ours as our_side
from fused import picture, profiling
from fused.floor import Rates, Work, work_of
from fused.hfta import Hfta
from fused.ours import Ours, rates
from fused.printed import HEADER, NOT_MEASURED, floor_lines, rows
from fused.processes import Processes
from machine import MOST_BUSY, busy_cores, cores
from measuring import Run, copy_rate, cuda_matmul_rates, matmul_rate, rotated, seconds_of, spread
from torch import Tensor
from wgan_gp import BATCH, BETAS, LAMBDA, PAIRS, Textbook, real_data

from wgan_core.backend import process
from wgan_core.backend.choices import CAPTURED, EAGER, FLOAT32, PRECISIONS
from wgan_core.backend.memory import give_back, is_out_of_memory
from wgan_core.backend.process import processor

NO_ROOM = "out of memory"
TRIALS = {"cuda": [1, 4, 16, 64, 256], "cpu": [1, 4, 16]}
PROCESSES = {"cuda": 8, "cpu": 2}
EQUAL_LANES = {"cuda": 16, "cpu": 4}
EXECUTIONS = {"ours": CAPTURED, "eager": EAGER}
PROFILED_TRIALS = 64
# The widest product of the pairs, by rows, terms and columns.
WIDEST = (BATCH, 1024, 784)


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(arguments)
    if options.draw:
        out = options.draw.with_suffix(".png")
        picture.draw(json.loads(options.draw.read_text()), out)
        print(f"wrote {out}")
        return
    device = torch.device(options.device)
    process.configure(options.threads, precision=options.precision)
    busy = busy_cores()
    images, name = real_data(options.data)
    data = images.to(device)
    best = rates_of(device, min(1.0, options.seconds))
    noted = circumstances(options, device, name, busy, best)
    for key, value in noted.items():
        print(f"{key}: {value}")
    figures = []
    for structure in options.structures:
        for n_critic in options.n_critic:
            print(f"\n{structure} pair, n_critic {n_critic}\n{HEADER}", flush=True)
            for figure in measured(structure, data, n_critic, best, options):
                figures.append(figure)
                print(rows(figure), flush=True)
                keep({**noted, "figures": figures}, options)
            print(floor_lines(figures[-1]), flush=True)
    content = {**noted, "figures": figures, "equality": equality(options, data), "cuda": on_cuda(options)}
    print("\nlargest difference in fp64: after 20 critic updates, of captured ones after 200")
    print("\n".join(f"  {what}: {apart}" for what, apart in content["equality"].items()))
    content["profile"] = profiled(options, data, noted)
    if content["cuda"]:
        print("on CUDA\n" + "\n".join(f"  {what}: {found}" for what, found in content["cuda"].items()))
    if busy > MOST_BUSY:
        print(f"\n{busy:.1f} cores were busy with other work before the start: DO NOT QUOTE these figures")
    if options.json:
        keep(content, options)
        print(f"wrote {options.json}")


def keep(content: dict[str, Any], options: argparse.Namespace) -> None:
    """Write what there is so far, if it is asked for: a larger size may end the process."""
    if options.json:
        options.json.write_text(json.dumps(content, indent=1) + "\n")


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    add("--structures", nargs="+", choices=sorted(PAIRS), default=["mlp", "conv"], help="pairs of networks")
    add("--trials", type=int, nargs="+", help=f"numbers of trials K; on CUDA {TRIALS['cuda']}, else {TRIALS['cpu']}")
    add("--n-critic", type=int, nargs="+", default=[1], help="critic updates per generator update, counts")
    add("--pairs", type=int, default=9, help="rounds of blocks for each K, a count >= 2")
    add("--seconds", type=float, default=1.0, help="length of one block, in seconds, at least an iteration")
    add("--processes", type=int, help=f"that share the device; on CUDA {PROCESSES['cuda']}, else {PROCESSES['cpu']}")
    add("--device", choices=("cpu", "cuda"), default=kind, help="CUDA if there is any")
    add("--precision", choices=list(PRECISIONS), default=FLOAT32, help="of products, of ours and what others can")
    add("--threads", type=int, default=1, help="of the CPU, of each process")
    add("--data", type=Path, metavar="FOLDER", help="that has mnist.parquet; default: where MNIST is kept")
    add("--profile", type=Path, metavar="OUT", help=f"write where the time goes at K = {PROFILED_TRIALS} to this file")
    add("--profiled-trials", type=int, default=PROFILED_TRIALS, help="K of the profile")
    add("--json", type=Path, metavar="OUT", help="write the figures to this file as JSON")
    add("--draw", type=Path, metavar="JSON", help="only draw the figures of this file, beside it, with matplotlib")
    options = parser.parse_args(arguments)
    options.trials = options.trials or TRIALS[options.device]
    options.processes = options.processes or PROCESSES[options.device]
    for option in ("trials", "n_critic", "processes", "threads", "profiled_trials"):
        given = getattr(options, option)
        if min(given if isinstance(given, list) else [given]) < 1:
            parser.error(f"--{option.replace('_', '-')} must be 1 or more; given {given}")
    if options.pairs < 2:
        parser.error(f"--pairs must be 2 or more, for quartiles; given {options.pairs}")
    return options


# Measuring


def rates_of(device: torch.device, seconds: float) -> Rates:
    """The best that the device does, each in so many seconds of tries."""
    if device.type == "cuda":
        return Rates(cuda_matmul_rates(device, seconds), copy_rate(device, seconds))
    return Rates({"fp32": matmul_rate(*WIDEST, seconds)}, None)


def measured(
    structure: str, data: Tensor, n_critic: int, best: Rates, options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """A figure a K: rates of the arms and ratios over them, beside the floor."""
    work = work_of(structure, n_critic)
    torch.manual_seed(0)
    with sharing(structure, data, n_critic, options) as processes:
        textbook = Textbook(data, n_critic, PAIRS[structure])
        for trials in options.trials:
            yield compared(structure, data, n_critic, trials, textbook, processes, work, best, options)


@contextmanager
def sharing(structure: str, data: Tensor, n_critic: int, options: argparse.Namespace) -> Iterator[Processes]:
    """The processes, which end with the block."""
    with tempfile.TemporaryDirectory(prefix="benchmark-processes-") as folder:
        shared = options.processes, options.threads, options.precision
        processes = Processes(structure, data, n_critic, *shared, Path(folder))
        try:
            yield processes
        finally:
            processes.close()


def compared(
    structure: str,
    data: Tensor,
    n_critic: int,
    trials: int,
    textbook: Textbook,
    processes: Processes,
    work: Work,
    best: Rates,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """All arms at one K."""
    # By arm: what runs iterations of it, how many trials each of them trains, and how many fill a block.
    arms: dict[str, tuple[Run, int]] = {}
    iterations: dict[str, int] = {}
    missing: dict[str, str] = {}
    reporting: dict[str, float] = {}

    def fused_modules() -> Run:
        return Hfta(data, n_critic, PAIRS[structure], [LAMBDA] * trials, rates(trials), BETAS).run

    def cohort(name: str) -> Run:
        ours = Ours(structure, data, n_critic, trials, EXECUTIONS[name], options.precision)
        reporting[name] = ours.reporting_seconds
        return ours.run

    makers: dict[str, Callable[[], Run]] = {
        "ours": lambda: cohort("ours"),
        "eager": lambda: cohort("eager"),
        "hfta": fused_modules,
        "processes": lambda: processes.run,
        "textbook": lambda: textbook.run,
    }
    counts = {"processes": options.processes, "textbook": 1}
    if data.device.type != "cuda":
        del makers["eager"]
        missing["eager"] = NOT_MEASURED
    for name, make in makers.items():
        with fitting(name, missing):
            arms[name] = make(), counts.get(name, trials)
            iterations[name] = iterations_in(arms[name][0], options.seconds, data.device)
        if name in missing:  # not before: the error holds on to what was made
            arms.pop(name, None)
            give_back(data.device)
    taken = in_rounds(arms, iterations, missing, options.pairs, data.device)
    per_second = {
        name: [arms[name][1] * iterations[name] / seconds for seconds in blocks] for name, blocks in taken.items()
    }
    counted = {name: (arms[name][1], iterations[name]) for name in per_second}
    arms.clear()
    give_back(data.device)
    noted = {"structure": structure, "n_critic": n_critic, "trials": trials, "rounds": options.pairs}
    return noted | figure_of(trials, per_second, counted, missing, reporting, work, best)


def figure_of(
    trials: int,
    per_second: dict[str, list[float]],
    counted: dict[str, tuple[int, int]],
    missing: dict[str, str],
    reporting: dict[str, float],
    work: Work,
    best: Rates,
) -> dict[str, Any]:
    """What is kept of the rates of the arms' blocks. counted: by arm, its trials, and the iterations of a block."""
    floor = best.seconds(work)
    figure: dict[str, Any] = {
        "arms": {
            name: {"trials": counted[name][0], "iterations_a_block": counted[name][1], "per_second": spread(values)}
            for name, values in per_second.items()
        }
        | missing,
        "ratios": ratios(per_second),
        "work": asdict(work),
        "floor_seconds": floor,
    }
    if "ours" in per_second:
        middle = figure["arms"]["ours"]["per_second"]["median"]
        figure["reached"] = {precision: middle * seconds for precision, seconds in floor["floor"].items()}
        slow = trials / figure["arms"]["ours"]["per_second"]["q1"]
        # None where it is lost in the noise of the iteration that it ends.
        figure["report_ms"] = 1e3 * (reporting["ours"] - trials / middle) if reporting["ours"] > slow else None
    return figure


@contextmanager
def fitting(name: str, missing: dict[str, str]) -> Iterator[None]:
    """Notes of an arm that it ran out of memory, while it was made, recorded or run."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        missing[name] = NO_ROOM


def in_rounds(
    arms: dict[str, tuple[Run, int]],
    iterations: dict[str, int],
    missing: dict[str, str],
    rounds: int,
    device: torch.device,
) -> dict[str, list[float]]:
    """Seconds of each arm's blocks; of those only that never ran out of memory, the others are noted in `missing`."""
    taken: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds):
        for name in rotated(list(arms), number) if arms else []:
            with fitting(name, missing):
                taken[name].append(seconds_of(arms[name][0], iterations[name], device))
            if name in missing:
                del arms[name], taken[name]
                give_back(device)
    return taken


def iterations_in(run: Run, seconds: float, device: torch.device) -> int:
    """About how many iterations fill this time, after one to warm up."""
    run(1)
    count = 1
    while (taken := seconds_of(run, count, device)) < seconds / 4:
        count *= 2
    return max(1, round(count * seconds / taken))


def ratios(per_second: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Ours over each other arm, within rounds; above 1, ours is faster."""
    if "ours" not in per_second:
        return {}
    return {
        f"ours/{name}": spread([mine / other for mine, other in zip(per_second["ours"], values, strict=True)])
        for name, values in per_second.items()
        if name != "ours"
    }


def equality(options: argparse.Namespace, data: Tensor) -> dict[str, float | str]:
    """Largest differences in fp64, of lanes after 20 critic updates and of captured ones after 200."""
    found: dict[str, float | str] = {}
    some, device = data[:1000], data.device.type
    lanes = max(2, min(EQUAL_LANES[device], max(options.trials)))
    for structure in options.structures:
        found[f"{structure}, {device}: {lanes} lanes against K = 1"] = our_side.difference(structure, some, lanes)
        if device != "cuda":
            found[f"{structure}, cuda: {EQUAL_LANES['cuda']} lanes against K = 1"] = NOT_MEASURED
        apart = our_side.difference_of_capture(structure, some, lanes) if device == "cuda" else NOT_MEASURED
        found[f"{structure}, cuda: captured against eager"] = apart
    return found


def on_cuda(options: argparse.Namespace) -> dict[str, str]:
    """What stands for the figures of CUDA where there is none."""
    if options.device == "cuda":
        return {}
    runs = [
        f"{structure} pair, n_critic {n_critic}, K = {trials}"
        for structure in options.structures
        for n_critic in options.n_critic
        for trials in TRIALS["cuda"]
    ]
    return dict.fromkeys([*runs, f"profile at K = {PROFILED_TRIALS}"], NOT_MEASURED)


def profiled(options: argparse.Namespace, data: Tensor, noted: dict[str, Any]) -> str:
    """Where the profile was written to."""
    if options.profile is None:
        return NOT_MEASURED
    parts = ["\n".join(f"{key}: {value}" for key, value in noted.items())]
    for structure in options.structures:
        ours = Ours(structure, data, options.n_critic[0], options.profiled_trials, CAPTURED, options.precision)
        head = f"{structure} pair, n_critic {options.n_critic[0]}, K = {options.profiled_trials}"
        parts.append(f"{head}\n{profiling.table(ours)}")
    options.profile.write_text("\n\n".join(parts) + "\n")
    print(f"wrote {options.profile}")
    return options.profile.name


# What is kept


def circumstances(
    options: argparse.Namespace, device: torch.device, data: str, busy: float, best: Rates
) -> dict[str, Any]:
    """What a figure has to stand with."""
    cuda = device.type == "cuda"
    gflops = {name: round(rate / 1e9, 1) for name, rate in best.products.items()}
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "device": process.describe(device),
        "processor": processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpu_memory_gib": round(torch.cuda.get_device_properties(device).total_memory / 2**30, 1) if cuda else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if cuda else NOT_MEASURED,
        "cudnn": torch.backends.cudnn.version() if cuda else NOT_MEASURED,
        "matmul_precision_as_set": torch.backends.cuda.matmul.fp32_precision if cuda else NOT_MEASURED,
        "convolution_precision_as_set": torch.backends.cudnn.conv.fp32_precision if cuda else NOT_MEASURED,
        "precision": options.precision,
        "data": data,
        "batch": BATCH,
        "processes": options.processes,
        "rounds": options.pairs,
        "block_seconds": options.seconds,
        "other_busy_cores": round(busy, 2),
        "best_gflop_per_second": gflops if cuda else gflops | dict.fromkeys(("tf32", "bf16"), NOT_MEASURED),
        "best_copy_gbyte_per_second": round(best.copies / 1e9, 1) if best.copies else NOT_MEASURED,
    }


if __name__ == "__main__":
    main()
